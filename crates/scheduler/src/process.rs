//! Work in a child process that cannot take more than it was given.

mod capture;
mod confine;
mod keeper;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::future::Future;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Command, ExitStatus, Stdio};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use serde_json::json;
use tokio::io::AsyncWrite;
use tokio::process::ChildStdin;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, Sleep};

use crate::{Error, ToolOutput};

pub use capture::Captured;
use capture::Pipe;
use keeper::Group;

/// What a child process may take. Limits below the system's own are kept by the kernel; none can be raised above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Longest time from start to end; then the child and all it started are killed. Default 120 s.
    pub wall: Duration,
    /// Processor time, rounded up to whole seconds; a second later the kernel kills. Each process below the child has
    /// as much of its own. Default `None`: as long as `wall`, which is one processor for all of that time.
    pub cpu: Option<Duration>,
    /// Bytes of address space. Default 2 GiB. Runtimes that reserve far more than they use (Go, Java, sanitizers)
    /// need a higher one, or none.
    pub memory: Option<u64>,
    /// Open descriptors, at least 8. Default 256.
    pub open_files: Option<u64>,
    /// Bytes kept of each of the two outputs: one half from its start, one half from its end. Default 64 KiB.
    pub output: usize,
}

impl Default for ProcessLimits {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(120),
            cpu: None,
            memory: Some(2 << 30),
            open_files: Some(256),
            output: 64 << 10,
        }
    }
}

impl ProcessLimits {
    fn cpu_seconds(&self) -> u64 {
        let time = self.cpu.unwrap_or(self.wall);
        time.as_secs()
            .saturating_add(u64::from(time.subsec_nanos() > 0))
            .max(1)
    }
}

/// A program to be run as a child process of its own group, under limits.
///
/// Dropping the future of [`run`](Self::run) kills the group: the child and whatever it started that did not leave the
/// group. The same happens when the child ends and leaves something behind. On Linux the child is also killed when this
/// process dies, however it dies. The child does not stay behind as a zombie, whatever becomes of the runtime; what it
/// started is for init to bury, which in a container may be this process. Out of reach is what runs as another user.
///
/// As a tool:
///
/// ```
/// use mainspring_scheduler::{Access, FnTool, Process, ProcessLimits};
/// use std::time::Duration;
/// let count = FnTool::new("count_lines", |args, _context| async move {
///     let limits = ProcessLimits { wall: Duration::from_secs(10), ..ProcessLimits::default() };
///     let text = args["text"].as_str().unwrap_or("").to_owned();
///     Ok(Process::new("wc").arg("-l").stdin(text).limits(limits).run().await?.into())
/// })
/// .access(|_| Access::none());
/// ```
#[derive(Clone)]
#[must_use = "call `run`"]
pub struct Process {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    clear_env: bool,
    dir: Option<PathBuf>,
    stdin: Bytes,
    limits: ProcessLimits,
}

impl Process {
    /// The program, searched in `PATH` unless it is a path. No shell is involved.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            clear_env: false,
            dir: None,
            stdin: Bytes::new(),
            limits: ProcessLimits::default(),
        }
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// One more variable of the environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Only what [`env`](Self::env) names. Default: on top of this process's environment.
    pub fn clear_env(mut self) -> Self {
        self.clear_env = true;
        self
    }

    /// The working directory. Default: this process's.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// What it reads; then its input ends. Default: nothing.
    pub fn stdin(mut self, input: impl Into<Bytes>) -> Self {
        self.stdin = input.into();
        self
    }

    /// What it may take.
    pub fn limits(mut self, limits: ProcessLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Runs it to its end, or to its limits. An exit code other than 0 is no error here.
    ///
    /// Memory: [`output`](ProcessLimits::output) for each of two outputs. Cost: a fork on a thread kept for that.
    ///
    /// # Errors
    /// [`Error::NoRuntime`]; [`Error::Failed`] when it cannot be started, or other code of this process waited for it.
    ///
    /// # Panics
    /// In a runtime built without `enable_io` or `enable_time`.
    pub async fn run(self) -> Result<ProcessOutput, Error> {
        tokio::runtime::Handle::try_current().map_err(|_| Error::NoRuntime)?;
        let name = self.program.clone();
        let failed = |what: io::Error| Error::Failed {
            message: format!("{} could not be run: {what}", name.to_string_lossy()),
        };
        // Listens before there is a child, so that no end is missed.
        let ends = signal(SignalKind::child()).map_err(failed)?;
        let deadline = Box::pin(tokio::time::sleep(self.limits.wall));
        let started = Instant::now();
        let group = keeper::spawn(self.command()).await.map_err(failed)?;
        let mut running = Running::new(group, ends, deadline, self).map_err(failed)?;
        let status = (&mut running).await.map_err(failed)?;
        let end = match running.late {
            true => ProcessEnd::OutOfTime,
            false => ProcessEnd::of(status),
        };
        Ok(ProcessOutput {
            end,
            stdout: running.stdout.take(),
            stderr: running.stderr.take(),
            took: started.elapsed(),
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        if self.clear_env {
            command.env_clear();
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        let stdin = match self.stdin.is_empty() {
            true => Stdio::null(),
            false => Stdio::piped(),
        };
        command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        confine::confine(&mut command, &self.limits);
        command
    }
}

impl fmt::Debug for Process {
    /// Without the values of the environment and the input: they may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// How a child process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessEnd {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal of this number: 9 is `SIGKILL`; too much processor time is `SIGXCPU`, 24 on Linux.
    Signalled(i32),
    /// Killed when its wall time was over.
    OutOfTime,
}

impl ProcessEnd {
    fn of(status: ExitStatus) -> Self {
        match status.signal() {
            Some(signal) => Self::Signalled(signal),
            None => Self::Exited(status.code().unwrap_or(-1)),
        }
    }

    /// Whether it exited with 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Exited(0)
    }
}

/// What a child process left.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessOutput {
    /// How it ended.
    pub end: ProcessEnd,
    /// Its standard output.
    pub stdout: Captured,
    /// Its standard error.
    pub stderr: Captured,
    /// How long it took.
    pub took: Duration,
}

impl From<ProcessOutput> for ToolOutput {
    /// An object with `exit_code` or `signal` or `out_of_time`, and the texts `stdout` and `stderr`.
    fn from(output: ProcessOutput) -> Self {
        let (name, value) = match output.end {
            ProcessEnd::Exited(code) => ("exit_code", json!(code)),
            ProcessEnd::Signalled(signal) => ("signal", json!(signal)),
            ProcessEnd::OutOfTime => ("out_of_time", json!(true)),
        };
        Self::json(json!({
            name: value,
            "stdout": output.stdout.to_text(),
            "stderr": output.stderr.to_text(),
        }))
    }
}

/// A child under way. Dropping it kills the group.
struct Running {
    group: Group,
    ends: Signal,
    deadline: Pin<Box<Sleep>>,
    late: bool,
    stdin: Option<ChildStdin>,
    input: Bytes,
    stdout: Pipe,
    stderr: Pipe,
    /// Not yet asked whether it has ended.
    fresh: bool,
}

impl Running {
    fn new(
        mut group: Group,
        ends: Signal,
        deadline: Pin<Box<Sleep>>,
        process: Process,
    ) -> io::Result<Self> {
        let (stdin, stdout, stderr) = group.take_pipes();
        let most = process.limits.output;
        Ok(Self {
            ends,
            deadline,
            late: false,
            stdin: stdin.map(ChildStdin::from_std).transpose()?,
            input: process.stdin,
            stdout: Pipe::stdout(stdout, most)?,
            stderr: Pipe::stderr(stderr, most)?,
            fresh: true,
            group,
        })
    }

    /// Writes what fits; the pipe is closed after the last byte, or when nobody reads.
    fn feed(&mut self, cx: &mut Context<'_>) {
        while let Some(stdin) = &mut self.stdin {
            let written = match self.input.is_empty() {
                true => Ok(0),
                false => match Pin::new(stdin).poll_write(cx, &self.input) {
                    Poll::Pending => return,
                    Poll::Ready(written) => written,
                },
            };
            match written {
                Ok(bytes) if bytes > 0 => self.input.advance(bytes),
                _ => self.stdin = None,
            }
        }
    }
}

impl Future for Running {
    type Output = io::Result<ExitStatus>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.feed(cx);
        this.stdout.poll(cx);
        this.stderr.poll(cx);
        let over = !this.late && this.deadline.as_mut().poll(cx).is_ready();
        let mut ask = std::mem::take(&mut this.fresh) || over;
        while let Poll::Ready(Some(())) = this.ends.poll_recv(cx) {
            ask = true;
        }
        let status = match ask {
            true => this.group.ended()?,
            false => None,
        };
        let Some(status) = status else {
            // Only one that still runs is late, however long nobody looked.
            if over {
                this.late = true;
                this.group.kill();
            }
            return Poll::Pending;
        };
        // Whoever could write is dead: what there is to read is there now.
        this.stdout.finish();
        this.stderr.finish();
        Poll::Ready(Ok(status))
    }
}

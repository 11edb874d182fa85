//! A server process, as the supervisor sees it.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use mainspring_soak_checker::{Entry, Line};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tokio::sync::mpsc::UnboundedSender;

use crate::journal::Journal;

/// What becomes of a server.
#[derive(Debug)]
pub(crate) enum News {
    /// It told an event of its own.
    Event(u32, String),
    /// Its output ended: it is gone, and everything that it told is in the log.
    Gone(u32),
}

/// A running server; killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) w: u32,
    child: Child,
    input: ChildStdin,
}

impl Process {
    /// Starts this program again as a server. A write beyond its file size limit is an error there, not
    /// its end: a signal that is ignored stays so over `exec`.
    pub(crate) fn start(
        w: u32,
        arguments: &[String],
        log: &Path,
        journal: &Arc<Journal>,
        news: &UnboundedSender<News>,
    ) -> Result<Self> {
        let program = std::env::current_exe()?;
        let stderr = File::options().create(true).append(true).open(log)?;
        let mut child = Command::new("/bin/sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .context("a server could not be started")?;
        let input = child.stdin.take().context("no input")?;
        let output = child.stdout.take().context("no output")?;
        let (journal, news) = (Arc::clone(journal), news.clone());
        std::thread::spawn(move || follow(w, output, &journal, &news));
        Ok(Self { w, child, input })
    }

    /// Tells it something.
    pub(crate) fn tell(&mut self, line: &str) {
        // One that is gone hears nothing, and is noticed otherwise.
        let _ = self.input.write_all(format!("{line}\n").as_bytes());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Waits for the end of one that is gone.
    pub(crate) fn ended(&mut self) -> String {
        self.child
            .wait()
            .map_or_else(|error| error.to_string(), |status| status.to_string())
    }

    /// Bounds what it may have of a resource; `None` for no bound.
    pub(crate) fn limit(&self, resource: Resource, current: Option<u64>) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        let limit = Rlimit {
            current,
            maximum: None,
        };
        prlimit(Some(pid), resource, limit).context("a limit could not be set")?;
        Ok(())
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }

    /// A figure of `/proc/PID/status`; those of memory in KiB.
    pub(crate) fn status(&self, name: &str) -> Result<u64> {
        let text = std::fs::read_to_string(self.proc("status"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim_matches(':').split_whitespace().next());
        number
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("/proc has no {name}"))
    }

    /// Descriptors that are no files below `folder`.
    pub(crate) fn descriptors(&self, folder: &Path) -> Result<u64> {
        let mut count = 0;
        for entry in std::fs::read_dir(self.proc("fd"))? {
            let target = std::fs::read_link(entry?.path()).unwrap_or_default();
            count += u64::from(!target.starts_with(folder));
        }
        Ok(count)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes down each whole line that a server tells, for as long as it does.
fn follow(w: u32, output: ChildStdout, journal: &Journal, news: &UnboundedSender<News>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = output.read_until(b'\n', &mut line);
        // What was cut short by the end was not told.
        if !read.is_ok_and(|read| read > 0) || line.last() != Some(&b'\n') {
            break;
        }
        journal.raw(&line);
        if let Some(event) = event(&line) {
            let _ = news.send(News::Event(w, event));
        }
    }
    let _ = news.send(News::Gone(w));
}

fn event(line: &[u8]) -> Option<String> {
    let marked = line.windows(12).any(|part| part == b"\"k\":\"server\"");
    match serde_json::from_slice(line).ok().filter(|_| marked)? {
        Entry {
            line: Line::Server { event },
            ..
        } => Some(event),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::event;

    #[test]
    fn events_of_a_server_are_heard_and_nothing_else_is() {
        let heard = |line: &str| event(line.as_bytes());
        assert_eq!(
            heard(r#"{"t":1,"w":2,"k":"server","event":"ready"}"#).as_deref(),
            Some("ready")
        );
        assert_eq!(
            heard(r#"{"t":1,"w":2,"k":"ran","r":"server","us":3}"#),
            None
        );
        assert_eq!(heard(r#"{"t":1,"w":2,"k":"server","#), None);
    }
}

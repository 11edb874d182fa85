//! Where CPU time goes, by samples of what runs.

use std::fmt;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::profile::{Profile, without_start};

/// Samples of a second by default: not a divisor of what else happens a hundred times a second.
const HERTZ: i32 = 99;
/// What the functions of the sampler are called, and how the system calls a signal's handler.
const SAMPLER: [&str; 3] = ["pprof::", "perf_signal_handler", "__restore_rt"];

/// Samples the stacks of the threads that use the CPU, until it is stopped.
///
/// It runs by a timer of the process and the signal `SIGPROF`: one profiler at a time, and not
/// beside another one that uses that signal. At 99 samples a second of CPU time it costs well below
/// one percent. Names need the debug information that a release build keeps with
/// `debug = "line-tables-only"`.
pub struct CpuProfiler {
    guard: pprof::ProfilerGuard<'static>,
    began: Instant,
}

impl CpuProfiler {
    /// Starts with 99 samples per second of CPU time.
    ///
    /// # Errors
    /// When another profiler runs, or the system refuses the timer.
    pub fn start() -> Result<Self, Error> {
        Self::start_at(HERTZ)
    }

    /// Starts with `hertz` samples per second of CPU time, cut to 1..=1,000.
    ///
    /// # Errors
    /// As for [`CpuProfiler::start`].
    pub fn start_at(hertz: i32) -> Result<Self, Error> {
        let guard = pprof::ProfilerGuardBuilder::default()
            .frequency(hertz.clamp(1, 1_000))
            // A signal inside these may find a lock held that unwinding wants.
            .blocklist(&["libc", "libgcc", "pthread", "vdso"])
            .build();
        Ok(Self {
            guard: guard.map_err(failed)?,
            began: Instant::now(),
        })
    }

    /// For how long it has been sampling.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Stops and says where the samples fell: stacks of function names under the thread's name.
    ///
    /// # Errors
    /// When the samples cannot be read.
    pub fn stop(self) -> Result<Profile, Error> {
        let report = self.guard.report().build().map_err(failed)?;
        let stacks = report.data.iter().map(|(frames, count)| {
            let thread = match frames.thread_name.as_str() {
                "" => "unnamed thread",
                name => name,
            };
            let calls = frames.frames.iter().rev().flat_map(|inlined| {
                let names = inlined.iter().rev();
                names.map(pprof::Symbol::name)
            });
            // The innermost are those of the sampler itself.
            let calls = calls.take_while(|name| !SAMPLER.iter().any(|own| name.contains(own)));
            let mut stack = without_start(calls.collect());
            stack.insert(0, thread.to_owned());
            (stack, u64::try_from(*count).unwrap_or(0))
        });
        Ok(Profile::from_stacks("samples", stacks))
    }
}

fn failed(error: pprof::Error) -> Error {
    Error::Io {
        what: "CPU profile".to_owned(),
        source: std::io::Error::other(error),
    }
}

impl fmt::Debug for CpuProfiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuProfiler")
            .field("began", &self.began)
            .finish_non_exhaustive()
    }
}

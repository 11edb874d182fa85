//! This process as the system describes it where there is no `/proc`.

use std::fmt;
use std::time::Duration;

use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::error::Error;
use crate::process::{Cpu, Memory, ProcessSample, unreadable};

/// Asks the system about this process, and about no other.
pub(crate) struct Probe {
    system: System,
    peak_bytes: u64,
}

impl Probe {
    pub(crate) fn open() -> Result<Self, Error> {
        let system = System::new().map_err(|error| Error::Io {
            what: "the system's table of processes".to_owned(),
            source: std::io::Error::other(error),
        })?;
        let mut probe = Self {
            system,
            peak_bytes: 0,
        };
        probe.memory()?;
        Ok(probe)
    }

    pub(crate) fn memory(&mut self) -> Result<Memory, Error> {
        let kind = ProcessRefreshKind::nothing().with_memory();
        let rss_bytes = self.look(kind)?.memory();
        Ok(Memory {
            rss_bytes,
            rss_anon_bytes: rss_bytes,
        })
    }

    pub(crate) fn sample(&mut self) -> Result<ProcessSample, Error> {
        let kind = ProcessRefreshKind::nothing().with_memory().with_cpu();
        let process = self.look(kind.with_tasks())?;
        let rss_bytes = process.memory();
        let total = Duration::from_millis(process.accumulated_cpu_time());
        let threads = process.tasks().map_or(0, |tasks| tasks.len() as u64);
        let descriptors = process.open_files().unwrap_or(0) as u64;
        let uptime = Duration::from_secs(process.run_time());
        let cpu = Cpu::now().unwrap_or(Cpu {
            user: total,
            system: Duration::ZERO,
        });
        self.peak_bytes = self.peak_bytes.max(rss_bytes);
        Ok(ProcessSample {
            rss_bytes,
            rss_anon_bytes: rss_bytes,
            peak_rss_bytes: self.peak_bytes,
            cpu_user: cpu.user,
            cpu_system: cpu.system,
            threads,
            descriptors,
            uptime,
        })
    }

    fn look(&mut self, kind: ProcessRefreshKind) -> Result<&Process, Error> {
        // Asked again each time: a forked child is another process.
        let pid = Pid::from_u32(std::process::id());
        let only = ProcessesToUpdate::Some(&[pid]);
        self.system.refresh_processes_specifics(only, true, kind);
        let process = self.system.process(pid);
        process.ok_or_else(|| unreadable("this process in the system's table"))
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").finish_non_exhaustive()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Other tests allocate meanwhile.
    const NEAR: u64 = 64 << 20;

    #[test]
    fn the_system_and_proc_tell_the_same() {
        let mut probe = Probe::open().expect("a process");
        let block = std::hint::black_box(vec![1u8; 32 << 20]);
        let portable = probe.sample().expect("a sample");
        let proc = ProcessSample::now().expect("/proc");
        assert!(
            portable.rss_bytes.abs_diff(proc.rss_bytes) < NEAR,
            "{portable:?} {proc:?}"
        );
        assert!(portable.rss_bytes > block.len() as u64);
        assert!(portable.peak_rss_bytes >= portable.rss_bytes);
        assert!(portable.descriptors.abs_diff(proc.descriptors) < 64);
        assert!(portable.cpu() <= proc.cpu());
        assert!(portable.uptime.abs_diff(proc.uptime) < Duration::from_secs(3));
        let again = probe.memory().expect("memory");
        assert!(again.rss_bytes.abs_diff(proc.rss_bytes) < NEAR);
        assert_eq!(again.rss_bytes, again.rss_anon_bytes);
    }
}

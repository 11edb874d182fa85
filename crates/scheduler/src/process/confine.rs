//! What a child does to itself between fork and exec.
//!
//! Contract of the one unsafe block: between `fork` and `exec` the child of a process with threads may only do what is
//! safe in a signal handler (signal-safety(7)): no allocation, no lock, no panic. The hook below makes system calls
//! (`getrlimit`, `setrlimit`, `prctl`, `getppid`) on values that were computed before the fork, and nothing else; its
//! errors are plain numbers.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::ProcessLimits;

/// Makes the children of `command` obey the limits, and die with this process where the system can do that.
pub(super) fn confine(command: &mut Command, limits: &ProcessLimits) {
    let seconds = limits.cpu_seconds();
    let (memory, files) = (limits.memory, limits.open_files);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let parent = rustix::process::getpid();
    let hook = move || {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        die_with(parent)?;
        // The kernel's last word is a second after its first.
        lower(Resource::Cpu, seconds, seconds.saturating_add(1))?;
        if let Some(bytes) = memory {
            lower(Resource::As, bytes, bytes)?;
        }
        if let Some(files) = files {
            lower(Resource::Nofile, files.max(8), files.max(8))?;
        }
        lower(Resource::Core, 0, 0)
    };
    // SAFETY: the hook does only what the module's contract allows between fork and exec.
    unsafe { command.pre_exec(hook) };
}

/// Lowers a limit; one that is lower already stays.
fn lower(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let now = getrlimit(resource);
    let below = |most: Option<u64>, wanted: u64| most.map_or(wanted, |most| most.min(wanted));
    let maximum = below(now.maximum, hard);
    let current = below(now.current, soft).min(maximum);
    let new = Rlimit {
        current: Some(current),
        maximum: Some(maximum),
    };
    Ok(setrlimit(resource, new)?)
}

/// The signal is sent when the thread that forked ends: see `keeper.rs` for why that is the end of the process.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn die_with(parent: rustix::process::Pid) -> io::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};

    set_parent_process_death_signal(Some(Signal::KILL))?;
    match getppid() == Some(parent) {
        true => Ok(()),
        // It died before the wish was heard.
        false => Err(rustix::io::Errno::SRCH.into()),
    }
}

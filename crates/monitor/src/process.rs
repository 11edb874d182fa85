//! What the kernel says about this process.

use std::fmt;
use std::fs::File;
use std::time::{Duration, Instant};

use crate::error::Error;

/// This process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessSample {
    /// Resident memory, bytes.
    pub rss_bytes: u64,
    /// Resident memory that no file backs (heap, stacks), bytes; without `/proc` all that is resident.
    pub rss_anon_bytes: u64,
    /// The most that was ever resident, bytes; without `/proc` the most that the probe saw.
    pub peak_rss_bytes: u64,
    /// CPU time in user mode; on Windows in both modes.
    pub cpu_user: Duration,
    /// CPU time in the kernel; zero on Windows.
    pub cpu_system: Duration,
    /// Threads; zero where the system does not tell.
    pub threads: u64,
    /// Open descriptors; zero where the system does not tell.
    pub descriptors: u64,
    /// Time since the process started.
    pub uptime: Duration,
}

impl ProcessSample {
    /// One sample, with descriptors opened for it alone. To sample again and again, keep a
    /// [`ProcessProbe`].
    ///
    /// # Errors
    /// As [`ProcessProbe::open`].
    pub fn now() -> Result<Self, Error> {
        ProcessProbe::open()?.sample()
    }

    /// CPU time in both modes.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        self.cpu_user + self.cpu_system
    }
}

/// Resident memory at one moment; see [`ProcessProbe::memory`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// Resident memory, bytes.
    pub rss_bytes: u64,
    /// Resident memory that no file backs, bytes.
    pub rss_anon_bytes: u64,
}

/// Kept `/proc` descriptors, so that a sample costs a few microseconds and no allocation. Where there
/// is no `/proc` (macOS, Windows) the feature `sysinfo` asks the system instead, at tens of
/// microseconds.
///
/// The descriptors belong to the process that opened them; a forked child reopens them by itself.
#[derive(Debug)]
pub struct ProcessProbe(Source);

#[derive(Debug)]
enum Source {
    Proc(Kept),
    #[cfg(feature = "sysinfo")]
    System(Box<crate::portable::Probe>),
}

struct Kept {
    files: Files,
    system: System,
    pid: u32,
    opened: Instant,
    uptime_when_opened: Duration,
    peak_bytes: u64,
    samples: u32,
}

struct Files {
    statm: File,
    status: File,
    descriptors: File,
    tasks: File,
}

#[derive(Clone, Copy)]
struct System {
    page_bytes: u64,
    ticks_per_second: u64,
}

#[derive(Debug)]
pub(crate) struct Cpu {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

/// More than `/proc/self/status`, the largest of the files, ever has.
const FILE_BYTES: usize = 4096;
/// Seven numbers.
const STATM_BYTES: usize = 160;
const PEAK_EVERY: u32 = 16;
const DESCRIPTORS: &str = "/proc/self/fd";
const TASKS: &str = "/proc/self/task";

impl ProcessProbe {
    /// Opens the descriptors.
    ///
    /// # Errors
    /// When `/proc` cannot be read, or is not there (anything but Linux) and the feature `sysinfo` is
    /// off.
    pub fn open() -> Result<Self, Error> {
        let kept = Kept::open().map(Source::Proc);
        #[cfg(feature = "sysinfo")]
        let kept = kept.or_else(|_| {
            crate::portable::Probe::open()
                .map(Box::new)
                .map(Source::System)
        });
        kept.map(Self)
    }

    /// Everything. The peak is read from the kernel on the first and every 16th sample, which is
    /// dear; in between it is the greatest value seen.
    ///
    /// # Errors
    /// When the system can no longer be asked.
    pub fn sample(&mut self) -> Result<ProcessSample, Error> {
        match &mut self.0 {
            Source::Proc(kept) => kept.sample(),
            #[cfg(feature = "sysinfo")]
            Source::System(probe) => probe.sample(),
        }
    }

    /// Resident memory only: with `/proc` one read of `statm`, below 2 µs.
    ///
    /// # Errors
    /// When the system can no longer be asked.
    pub fn memory(&mut self) -> Result<Memory, Error> {
        match &mut self.0 {
            Source::Proc(kept) => kept.memory(),
            #[cfg(feature = "sysinfo")]
            Source::System(probe) => probe.memory(),
        }
    }
}

impl Kept {
    fn open() -> Result<Self, Error> {
        let files = Files::open()?;
        let system = System::ask()?;
        let mut buffer = [0; FILE_BYTES];
        let path = "/proc/self/stat";
        let started = started(read(&open(path)?, &mut buffer, path)?)?;
        let since_boot = boot_age()?;
        let started = Duration::from_secs_f64(started as f64 / system.ticks_per_second as f64);
        Ok(Self {
            files,
            system,
            pid: std::process::id(),
            opened: Instant::now(),
            uptime_when_opened: since_boot.saturating_sub(started),
            peak_bytes: 0,
            samples: 0,
        })
    }

    fn sample(&mut self) -> Result<ProcessSample, Error> {
        let memory = self.memory()?;
        let cpu = Cpu::now()?;
        if self.samples.is_multiple_of(PEAK_EVERY) {
            let mut buffer = [0; FILE_BYTES];
            self.peak_bytes = peak(read(&self.files.status, &mut buffer, "/proc/self/status")?)?;
        }
        self.samples = self.samples.wrapping_add(1);
        self.peak_bytes = self.peak_bytes.max(memory.rss_bytes);
        Ok(ProcessSample {
            rss_bytes: memory.rss_bytes,
            rss_anon_bytes: memory.rss_anon_bytes,
            peak_rss_bytes: self.peak_bytes,
            cpu_user: cpu.user,
            cpu_system: cpu.system,
            threads: self.files.count_threads()?,
            descriptors: self.files.count_descriptors()?,
            uptime: self.uptime_when_opened + self.opened.elapsed(),
        })
    }

    fn memory(&mut self) -> Result<Memory, Error> {
        if self.pid != std::process::id() {
            *self = Self::open()?;
        }
        let mut buffer = [0; STATM_BYTES];
        let text = read(&self.files.statm, &mut buffer, "/proc/self/statm")?;
        let mut fields = text.split_ascii_whitespace().map(str::parse::<u64>);
        let mut next = || {
            fields
                .next()
                .and_then(Result::ok)
                .ok_or_else(|| unreadable("/proc/self/statm"))
        };
        let (_size, resident, shared) = (next()?, next()?, next()?);
        let page = self.system.page_bytes;
        Ok(Memory {
            rss_bytes: resident * page,
            rss_anon_bytes: resident.saturating_sub(shared) * page,
        })
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

impl Files {
    fn open() -> Result<Self, Error> {
        Ok(Self {
            statm: open("/proc/self/statm")?,
            status: open("/proc/self/status")?,
            descriptors: open(DESCRIPTORS)?,
            tasks: open(TASKS)?,
        })
    }

    /// A folder has a link for itself, one for its name, and one for each folder in it.
    fn count_threads(&self) -> Result<u64, Error> {
        let failed = |source| Error::Io {
            what: TASKS.to_owned(),
            source,
        };
        let links = links(&self.tasks.metadata().map_err(failed)?);
        match links.checked_sub(2) {
            None | Some(0) => Ok(std::fs::read_dir(TASKS).map_err(failed)?.count() as u64),
            Some(threads) => Ok(threads),
        }
    }

    /// Newer kernels give the number as the folder's size, older ones make us count.
    fn count_descriptors(&self) -> Result<u64, Error> {
        let failed = |source| Error::Io {
            what: DESCRIPTORS.to_owned(),
            source,
        };
        let size = self.descriptors.metadata().map_err(failed)?.len();
        if size > 0 {
            return Ok(size);
        }
        // One of them is the descriptor that counts.
        Ok((std::fs::read_dir(DESCRIPTORS).map_err(failed)?.count() as u64).saturating_sub(1))
    }
}

impl System {
    /// Page size and clock tick from the auxiliary vector, which needs no C library.
    fn ask() -> Result<Self, Error> {
        const PAGE_SIZE: usize = 6;
        const CLOCK_TICK: usize = 17;
        let path = "/proc/self/auxv";
        let bytes = std::fs::read(path).map_err(|source| Error::Io {
            what: path.to_owned(),
            source,
        })?;
        let (words, _) = bytes.as_chunks::<{ size_of::<usize>() }>();
        #[expect(clippy::host_endian_bytes, reason = "the kernel writes native words")]
        let words: Vec<usize> = words
            .iter()
            .map(|word| usize::from_ne_bytes(*word))
            .collect();
        let entry = |key| {
            let pair = words.chunks_exact(2).find(|pair| pair[0] == key);
            pair.map(|pair| pair[1] as u64).filter(|value| *value > 0)
        };
        Ok(Self {
            page_bytes: entry(PAGE_SIZE).ok_or_else(|| unreadable(path))?,
            ticks_per_second: entry(CLOCK_TICK).ok_or_else(|| unreadable(path))?,
        })
    }
}

impl Cpu {
    /// From the kernel's own accounts: what `/proc/self/stat` says takes four times as long to print
    /// and is rounded to ticks.
    #[cfg(unix)]
    pub(crate) fn now() -> Result<Self, Error> {
        use nix::sys::resource::{UsageWho, getrusage};
        use nix::sys::time::TimeVal;
        let usage = getrusage(UsageWho::RUSAGE_SELF).map_err(|errno| Error::Io {
            what: "CPU time of this process".to_owned(),
            source: errno.into(),
        })?;
        let duration = |time: TimeVal| {
            let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
            let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
            Duration::from_secs(seconds) + Duration::from_micros(micros)
        };
        Ok(Self {
            user: duration(usage.user_time()),
            system: duration(usage.system_time()),
        })
    }

    #[cfg(not(unix))]
    pub(crate) fn now() -> Result<Self, Error> {
        Err(unreadable("CPU time of this process"))
    }
}

/// When the process started, in ticks since the system did: the 22nd field of `/proc/self/stat`.
fn started(stat: &str) -> Result<u64, Error> {
    // The second field is the program's name in parentheses, which may hold anything.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = after_name.split_ascii_whitespace().nth(19);
    field
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| unreadable("/proc/self/stat"))
}

fn peak(status: &str) -> Result<u64, Error> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| unreadable("/proc/self/status"))
}

fn boot_age() -> Result<Duration, Error> {
    let path = "/proc/uptime";
    let text = std::fs::read_to_string(path).map_err(|source| Error::Io {
        what: path.to_owned(),
        source,
    })?;
    let seconds = text
        .split_ascii_whitespace()
        .next()
        .and_then(|field| field.parse().ok());
    let age = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    age.ok_or_else(|| unreadable(path))
}

fn open(path: &str) -> Result<File, Error> {
    File::open(path).map_err(|source| Error::Io {
        what: path.to_owned(),
        source,
    })
}

#[cfg(unix)]
fn links(folder: &std::fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    folder.nlink()
}

#[cfg(not(unix))]
fn links(_: &std::fs::Metadata) -> u64 {
    0
}

#[cfg(unix)]
fn read<'a>(file: &File, buffer: &'a mut [u8], path: &str) -> Result<&'a str, Error> {
    use std::os::unix::fs::FileExt as _;
    let got = file.read_at(buffer, 0);
    let length = got.map_err(|source| Error::Io {
        what: path.to_owned(),
        source,
    })?;
    str::from_utf8(&buffer[..length]).map_err(|_| unreadable(path))
}

#[cfg(not(unix))]
fn read<'a>(_: &File, _: &'a mut [u8], path: &str) -> Result<&'a str, Error> {
    Err(unreadable(path))
}

pub(crate) fn unreadable(what: &str) -> Error {
    Error::Unreadable {
        what: what.to_owned(),
    }
}

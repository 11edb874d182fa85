//! Cache traces: sequences of keys, read from files or generated.

mod format;
mod generated;
mod source;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt, io,
    path::{Path, PathBuf},
};

use format::{Format, Packing};
use source::Source;

/// The keys that somebody asked a cache for, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The file's name, or what it was made of.
    pub name: String,
    /// The keys.
    pub keys: Vec<u64>,
}

/// How much of a file is read. Sizes are those of the unpacked file.
#[derive(Debug, Clone, Copy)]
pub struct TraceLimits {
    /// Most bytes; more is [`TraceError::TooLarge`]. Default 1 GiB.
    pub bytes: u64,
    /// Most keys; more is [`TraceError::TooLarge`]. Default 64 Mi (half a GiB in memory).
    pub keys: usize,
    /// Reads the first so many keys and ignores the rest of the file. Default all.
    pub first: Option<usize>,
}

impl Default for TraceLimits {
    fn default() -> Self {
        Self {
            bytes: 1 << 30,
            keys: 1 << 26,
            first: None,
        }
    }
}

/// Why a trace could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum TraceError {
    /// The file could not be read or unpacked beyond this offset.
    Io {
        /// The file.
        path: PathBuf,
        /// Bytes unpacked before.
        offset: u64,
        /// What failed.
        source: io::Error,
    },
    /// The name says no format.
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// Something stands there that is not of the file's format.
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where, in the unpacked file.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The file holds more than the limits allow.
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Where the limit was reached, in the unpacked file.
        offset: u64,
        /// Which limit.
        what: &'static str,
    },
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, offset, .. } => {
                write!(f, "{}: cannot be read at byte {offset}", path.display())
            }
            Self::Unknown { path } => write!(
                f,
                "{}: no trace by its name (*.u64, *.lis, *.jsonl, *.trace, perhaps with .zst, .gz or .xz)",
                path.display()
            ),
            Self::Malformed { path, offset, what } => {
                write!(f, "{}: {what} at byte {offset}", path.display())
            }
            Self::TooLarge { path, offset, what } => write!(
                f,
                "{}: more {what} than allowed at byte {offset}; raise the limit or read only the first keys",
                path.display()
            ),
        }
    }
}

impl std::error::Error for TraceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// What lies in a folder of traces.
#[derive(Debug, Default)]
pub struct TraceFolder {
    /// The traces, by name.
    pub traces: Vec<Trace>,
    /// The files whose names say no format of a trace.
    pub others: Vec<PathBuf>,
    /// Why other files were set aside: damaged, unreadable, or larger than the limits.
    pub damaged: Vec<TraceError>,
}

impl TraceFolder {
    /// Reads every trace of a folder (not of those below it); what cannot be read is set aside.
    ///
    /// # Errors
    /// [`TraceError::Io`] when the folder itself cannot be read.
    pub fn read(folder: &Path, limits: &TraceLimits) -> Result<Self, TraceError> {
        let failed = |source| TraceError::Io {
            path: folder.to_owned(),
            offset: 0,
            source,
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_file() {
                paths.push(path);
            }
        }
        paths.sort();
        let mut found = Self::default();
        for path in paths {
            match Trace::read(&path, limits) {
                Ok(trace) => found.traces.push(trace),
                Err(TraceError::Unknown { path }) => found.others.push(path),
                Err(error) => found.damaged.push(error),
            }
        }
        Ok(found)
    }
}

impl Trace {
    /// Reads a trace; its name says the format, and `.zst`, `.gz` or `.xz` behind it how it is packed:
    ///
    /// | name | content |
    /// | --- | --- |
    /// | `*.u64` | little-endian 64-bit keys |
    /// | `*.lis` | lines of a first key, a count of keys from there, and columns that are ignored |
    /// | `*.jsonl` | lines of JSON objects with an array `hash_ids` of keys |
    /// | `cache2k*.trace` | big-endian 32-bit keys |
    /// | `scarab*.trace` | big-endian signed 64-bit keys |
    /// | `*.trace` | one decimal key a line; lines of `*` are skipped |
    ///
    /// # Errors
    /// [`TraceError`], with the file and the offset.
    pub fn read(path: &Path, limits: &TraceLimits) -> Result<Self, TraceError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (packing, name_inside) = Packing::of(&name);
        let format = Format::of(name_inside).ok_or_else(|| TraceError::Unknown {
            path: path.to_owned(),
        })?;
        let mut source = Source::open(path, packing, limits)?;
        let keys = format.keys(&mut source, limits)?;
        Ok(Self {
            name: name_inside.to_owned(),
            keys,
        })
    }

    /// The first `each` keys of every trace one after the other, all of it `times` over: a workload
    /// whose nature shifts. Equal keys of different traces are different.
    #[must_use]
    pub fn phases(traces: &[Self], each: usize, times: usize) -> Self {
        let mut numbers = HashMap::new();
        let mut once = Vec::new();
        for (which, trace) in traces.iter().enumerate() {
            for key in trace.keys.iter().take(each) {
                let next = numbers.len() as u64;
                once.push(*numbers.entry((which, *key)).or_insert(next));
            }
        }
        Self {
            name: "phases".to_owned(),
            keys: once.repeat(times),
        }
    }

    /// The keys as small numbers in the order in which they come up, and how many there are.
    ///
    /// # Panics
    /// With more than `u32::MAX` different keys.
    #[must_use]
    pub fn numbered(&self) -> (Vec<u32>, usize) {
        let mut numbers = HashMap::new();
        let mut numbered = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            let next = u32::try_from(numbers.len()).expect("fewer than 2^32 different keys");
            numbered.push(*numbers.entry(*key).or_insert(next));
        }
        (numbered, numbers.len())
    }
}

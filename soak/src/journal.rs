//! The acknowledgement log, written by the supervisor so that no end of a server loses a line.

use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use mainspring_soak_checker::{Entry, Line};

use crate::clock::monotonic_us;

/// Lines go to the file one by one, each with one write, and to the disk once a second.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Mutex<File>,
    lines: AtomicU64,
}

impl Journal {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: Mutex::new(File::create(path)?),
            lines: AtomicU64::new(0),
        })
    }

    /// Writes what a server told, with its line feed.
    pub(crate) fn raw(&self, line: &[u8]) {
        self.lines.fetch_add(1, Ordering::Relaxed);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // Without its log a soak proves nothing.
        if let Err(error) = file.write_all(line) {
            eprintln!("the acknowledgement log cannot be written: {error}");
            std::process::exit(3);
        }
    }

    /// Writes a line of the supervisor's own.
    pub(crate) fn line(&self, line: Line) {
        self.line_of(0, line);
    }

    /// Writes a line about a server.
    pub(crate) fn line_of(&self, w: u32, line: Line) {
        let t = monotonic_us();
        if let Ok(mut text) = serde_json::to_vec(&Entry { t, w, line }) {
            text.push(b'\n');
            self.raw(&text);
        }
    }

    pub(crate) fn fault(&self, fault: &str, event: &str, detail: impl Into<String>) {
        self.line(Line::Fault {
            fault: fault.to_owned(),
            event: event.to_owned(),
            detail: detail.into(),
        });
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.sync_data()
    }
}

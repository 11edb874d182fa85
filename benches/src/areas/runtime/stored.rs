//! A runtime's folder with many small sessions in it, and the same as one file each.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::Result;
use mainspring::{Profile, Runtime, compressor::Format};
use mainspring_inputs::{SessionSpec, generate};

use crate::Bench;

/// Messages of each session.
pub(super) const MESSAGES: usize = 3;

pub(super) struct Stored {
    dir: tempfile::TempDir,
    pub(super) count: usize,
    messages: Vec<String>,
    tokio: tokio::runtime::Runtime,
}

impl Stored {
    pub(super) fn of(bench: &Bench) -> Result<Rc<Self>> {
        bench.fixture(|| Self::new(bench.scale().pick(20, 1_000, 10_000)))
    }

    fn new(count: usize) -> Result<Self> {
        let stored = Self {
            dir: tempfile::tempdir()?,
            count,
            messages: generate(&SessionSpec::coding(1, MESSAGES)),
            tokio: super::tokio()?,
        };
        let runtime = stored.open();
        std::fs::create_dir(stored.files())?;
        for number in 0..count {
            let mut session = runtime.session(&name(number), Format::OpenAiChat)?;
            for message in &stored.messages {
                session.append(message.clone())?;
            }
            session.checkpoint(&format!("{{\"session\":{number}}}"))?;
            std::fs::write(
                stored.files().join(name(number)),
                stored.messages.join("\n"),
            )?;
        }
        stored.close(runtime);
        Ok(stored)
    }

    /// The runtime's folder.
    pub(super) fn folder(&self) -> PathBuf {
        self.dir.path().join("runtime")
    }

    /// One file a session.
    pub(super) fn files(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    pub(super) fn message(&self, number: usize) -> &str {
        &self.messages[number]
    }

    pub(super) fn open(&self) -> Runtime {
        open(&self.tokio, &self.folder())
    }

    pub(super) fn close(&self, runtime: Runtime) {
        let closed = self.tokio.block_on(runtime.close());
        closed.expect("the runtime closes");
    }
}

pub(super) fn open(tokio: &tokio::runtime::Runtime, folder: &Path) -> Runtime {
    let opened = tokio.block_on(Runtime::open(folder, Profile::Workstation));
    opened.expect("the runtime opens")
}

pub(super) fn name(number: usize) -> String {
    format!("session-{number:05}")
}

//! The sessions that rows over sessions run on: recorded ones, or the generator's.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::{Result, bail};
use bytes::Bytes;
use mainspring_compressor::{Format, Transcript, read_sessions};
use mainspring_inputs::{Profile, SessionSpec, generate};

use crate::{Bench, Scale, areas::Unavailable};

/// The most that one file may be after decompression.
const FILE: u64 = 1 << 30;
/// The most that all sessions together may be.
const ALL: u64 = 4 << 30;

/// One session.
#[derive(Debug)]
pub struct Session {
    /// Its file and, where a file has several, its own name; or what it was generated from.
    pub name: String,
    /// Its items as they were recorded, each one JSON value.
    pub items: Vec<Bytes>,
    /// The same items, read.
    pub transcript: Transcript,
}

/// All sessions of a run.
#[derive(Debug)]
pub struct Sessions {
    /// The sessions, by name of file.
    pub all: Vec<Session>,
    /// Whether they were recorded.
    pub recorded: bool,
    /// The files that hold no session that can be read, and why.
    pub refused: Vec<String>,
}

impl Sessions {
    /// The sessions that this run measures on.
    ///
    /// # Errors
    /// [`Unavailable`] when a folder was given and no session in it can be read.
    pub fn of(bench: &Bench) -> Result<Rc<Self>> {
        bench.fixture(|| match &bench.options().sessions {
            Some(folder) => Self::recorded(folder),
            None => Self::generated(bench.scale()),
        })
    }

    fn generated(scale: Scale) -> Result<Self> {
        use Profile::{Adversarial, Coding, Incompressible, Support};
        let plans: &[(Profile, usize)] = match scale {
            Scale::Tiny => &[
                (Coding, 14),
                (Support, 10),
                (Incompressible, 8),
                (Adversarial, 8),
            ],
            Scale::Quick => &[
                (Coding, 200),
                (Support, 150),
                (Incompressible, 60),
                (Adversarial, 100),
            ],
            Scale::Full => &[
                (Coding, 200),
                (Coding, 1_000),
                (Support, 400),
                (Incompressible, 200),
                (Adversarial, 200),
            ],
        };
        let all = plans
            .iter()
            .map(|(profile, messages)| Session::generated(*profile, *messages));
        Ok(Self {
            all: all.collect::<Result<_>>()?,
            recorded: false,
            refused: Vec::new(),
        })
    }

    fn recorded(folder: &Path) -> Result<Self> {
        let mut sessions = Self {
            all: Vec::new(),
            recorded: true,
            refused: Vec::new(),
        };
        let mut room = ALL;
        for path in files(folder, &mut sessions.refused) {
            match read(&path, room.min(FILE)).and_then(|(size, read)| {
                room -= size;
                sessions.take(&path, folder, read)
            }) {
                Ok(()) => {}
                Err(error) => sessions
                    .refused
                    .push(format!("{}: {error:#}", path.display())),
            }
        }
        if sessions.all.is_empty() {
            let none = format!("no session can be read in {}", folder.display());
            return Err(Unavailable(none).into());
        }
        Ok(sessions)
    }

    fn take(&mut self, path: &Path, folder: &Path, bytes: Vec<u8>) -> Result<()> {
        let import = read_sessions(bytes)?;
        let aside = import.quarantined().len();
        let file = path.strip_prefix(folder).unwrap_or(path).display();
        let found = import.into_sessions();
        if found.is_empty() {
            bail!("holds no session");
        }
        if aside > 0 {
            self.refused
                .push(format!("{file}: {aside} damaged pieces put aside"));
        }
        let alone = found.len() == 1;
        for session in found {
            let name = if alone {
                file.to_string()
            } else {
                format!("{file} {}", session.name)
            };
            let items = session.transcript.items().iter();
            self.all.push(Session {
                name,
                items: items.map(|item| item.raw().clone()).collect(),
                transcript: session.transcript,
            });
        }
        Ok(())
    }

    /// What a row should say beside its figure.
    #[must_use]
    pub fn note(&self) -> String {
        let kind = if self.recorded {
            "recorded"
        } else {
            "generated"
        };
        let mut note = format!("{} {kind} sessions", self.all.len());
        if !self.refused.is_empty() {
            note.push_str(&format!("; left out: {}", self.refused.join(", ")));
        }
        note
    }
}

impl Session {
    /// A session of the generator, by seed 1.
    ///
    /// # Errors
    /// When its messages cannot be read.
    pub fn generated(profile: Profile, messages: usize) -> Result<Self> {
        let spec = SessionSpec {
            seed: 1,
            messages,
            profile,
        };
        let mut transcript = Transcript::new(Format::OpenAiChat);
        let items: Vec<Bytes> = generate(&spec).into_iter().map(Bytes::from).collect();
        for item in &items {
            transcript.push(item.clone())?;
        }
        Ok(Self {
            name: format!("generated {profile:?}, {messages} messages").to_lowercase(),
            items,
            transcript,
        })
    }
}

/// All files below a folder, sorted within each; links to folders are not followed.
fn files(folder: &Path, refused: &mut Vec<String>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries.flatten(),
            Err(error) => {
                refused.push(format!("{}: {error}", folder.display()));
                continue;
            }
        };
        for path in entries.map(|entry| entry.path()) {
            match path.symlink_metadata() {
                Ok(about) if about.is_dir() => waiting.push(path),
                _ if path.is_file() => found.push(path),
                _ => refused.push(format!("{}: no file", path.display())),
            }
        }
    }
    found.sort();
    found
}

/// The bytes of a file, decompressed when they begin like gzip or zstd, and their number.
fn read(path: &Path, limit: u64) -> Result<(u64, Vec<u8>)> {
    let mut magic = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut magic)?;
    let file = File::open(path)?;
    let source: Box<dyn Read> = match magic[..] {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(file)?),
        _ => Box::new(file),
    };
    let mut bytes = Vec::new();
    source.take(limit + 1).read_to_end(&mut bytes)?;
    let size = bytes.len() as u64;
    if size > limit {
        bail!("larger than the {} MiB that are left", limit >> 20);
    }
    Ok((size, bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::Options;

    #[test]
    fn a_folder_is_read_plain_and_compressed_and_what_is_no_session_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let lines = generate(&SessionSpec::coding(1, 12)).join("\n");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("plain.jsonl"), &lines).unwrap();
        std::fs::create_dir(at("deeper")).unwrap();
        let packed = zstd::bulk::compress(lines.as_bytes(), 3).unwrap();
        std::fs::write(at("deeper/packed.jsonl.zst"), packed).unwrap();
        let file = File::create(at("deeper/zipped.jsonl.gz")).unwrap();
        let mut zip = flate2::write::GzEncoder::new(file, flate2::Compression::default());
        zip.write_all(lines.as_bytes()).unwrap();
        zip.finish().unwrap();
        std::fs::write(at("README.md"), "# Not a session\n").unwrap();

        let bench = Bench::new(Options {
            sessions: Some(folder.path().to_owned()),
            ..Options::default()
        });
        let sessions = Sessions::of(&bench).unwrap();
        assert!(sessions.recorded);
        assert_eq!(sessions.all.len(), 3);
        for session in &sessions.all {
            assert_eq!(session.items.len(), 12, "{}", session.name);
        }
        assert_eq!(sessions.refused.len(), 1);
        assert!(sessions.note().contains("README.md"), "{}", sessions.note());
    }

    #[test]
    fn a_folder_without_a_session_skips_the_row() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(Options {
            sessions: Some(folder.path().to_owned()),
            ..Options::default()
        });
        assert!(Sessions::of(&bench).unwrap_err().is::<Unavailable>());
    }
}

//! A whole session by the facade, by its crates wired by hand, and by what people assemble today.

use std::{cell::RefCell, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use mainspring::{
    Profile, Runtime,
    adapters::StoreBacking,
    compressor::{Budget, Compactor, Context, Estimate, Format},
    delta_snapshot::{CommitOptions, Options as SnapshotOptions, Snapshots, Thread, VersionId},
    mmap_store::{Durability, Options, Store},
};
use mainspring_inputs::{SessionSpec, generate};
use redb::{Database, ReadableDatabase as _, TableDefinition};
use rusqlite::{Connection, params};

use super::Benchmark;
use crate::{Bench, Contest, Measured, Peer, Standing, check};

pub(super) const ROWS: &[(&str, Benchmark)] = &[
    ("facade.overhead", overhead),
    ("facade.assembled", assembled),
    ("facade.disk", disk),
];

const BY_HAND: &str = "the same crates, wired by hand to the same promises";
const ASSEMBLED: &str = "a log in redb, each checkpoint whole under zstd-3 beside it";
const WHOLE: &str =
    "the whole state as a row of JSON each step, as LangGraph's SqliteSaver keeps it";
/// As the profile has it.
const DURABILITY: Durability = Durability::Interval(Duration::from_millis(100));
/// As the facade has it.
const LEAST_COMPRESSED: usize = 8 << 10;
const LOG: TableDefinition<&[u8], &[u8]> = TableDefinition::new("log");
const VERSIONS: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("versions");

/// Somebody who keeps sessions with a checkpoint after each message.
trait Keeper {
    /// A new session, from its first message to its last.
    fn session(&mut self, number: u64, messages: &[Bytes]) -> Result<()>;

    /// The last checkpoint of the session before.
    fn restore(&self) -> Result<Bytes>;

    /// Writes what is still in memory, so that files can be measured.
    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// The state at a step, as a checkpoint of the facade shows it.
fn state(step: usize, messages: &[Bytes]) -> Vec<u8> {
    let mut state = format!("{{\"header\":{{\"step\":{step}}},\"messages\":[").into_bytes();
    state.extend(messages.join(&b','));
    state.extend(b"]}");
    state
}

fn header(step: usize) -> String {
    format!("{{\"step\":{step}}}")
}

struct Facade {
    runtime: Runtime,
    last: Option<VersionId>,
}

impl Keeper for Facade {
    fn session(&mut self, number: u64, messages: &[Bytes]) -> Result<()> {
        let name = format!("s{number}");
        let mut session = self.runtime.session(&name, Format::OpenAiChat)?;
        for (step, message) in messages.iter().enumerate() {
            session.append(message.clone())?;
            self.last = Some(session.checkpoint(&header(step))?);
        }
        Ok(())
    }

    fn restore(&self) -> Result<Bytes> {
        let version = self.last.context("no checkpoint")?;
        Ok(self.runtime.snapshots().restore(version)?)
    }
}

struct ByHand {
    log: Store,
    snapshots: Snapshots,
    last: Option<VersionId>,
}

impl ByHand {
    fn open(dir: &Path) -> Result<Self> {
        let options = || Options::new().durability(DURABILITY).create(true);
        for folder in ["log", "snapshots"] {
            std::fs::create_dir_all(dir.join(folder))?;
        }
        let backing = StoreBacking::new(options().open(dir.join("snapshots"))?)?;
        // Large messages are stored compressed by both, or they would do different work.
        let log = options().compress_above(LEAST_COMPRESSED);
        Ok(Self {
            log: log.open(dir.join("log"))?,
            snapshots: Snapshots::open(Arc::new(backing), SnapshotOptions::new())?,
            last: None,
        })
    }

    fn commit(thread: &Thread, step: usize, message: &Bytes) -> Result<VersionId> {
        match step {
            0 => thread.set("", String::from_utf8(state(0, &[]))?)?,
            _ => thread.set("/header", header(step))?,
        }
        thread.append("/messages", std::slice::from_ref(message))?;
        Ok(thread.commit(CommitOptions::new())?)
    }
}

impl Keeper for ByHand {
    fn session(&mut self, number: u64, messages: &[Bytes]) -> Result<()> {
        let thread = self.snapshots.thread(&format!("s{number}"))?;
        let mut context = Context::new(
            Format::OpenAiChat,
            Budget::new(200_000),
            Arc::new(Estimate::new()),
        );
        let compactor = Compactor::default();
        for (step, message) in messages.iter().enumerate() {
            compactor.append(&mut context, message.clone())?;
            let key = [number.to_le_bytes(), (step as u64).to_le_bytes()].concat();
            self.log.put(&key, message)?;
            let version = Self::commit(&thread, step, message)?;
            // What tells, after a power cut, whether log and checkpoint belong together.
            let told = [&number.to_le_bytes()[..], b"checkpoint"].concat();
            self.log.put(&told, version.to_string().as_bytes())?;
            self.last = Some(version);
        }
        Ok(())
    }

    fn restore(&self) -> Result<Bytes> {
        let version = self.last.context("no checkpoint")?;
        Ok(self.snapshots.restore(version)?)
    }
}

struct Assembled {
    database: Database,
    last: Option<(u64, u64)>,
}

impl Assembled {
    fn write(&self, at: (u64, u64), message: &[u8], version: &[u8]) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        // As ours: acknowledged before the disk has it.
        transaction.set_durability(redb::Durability::None)?;
        let key = [at.0.to_le_bytes(), at.1.to_le_bytes()].concat();
        transaction.open_table(LOG)?.insert(&key[..], message)?;
        transaction.open_table(VERSIONS)?.insert(at, version)?;
        Ok(transaction.commit()?)
    }
}

impl Keeper for Assembled {
    fn session(&mut self, number: u64, messages: &[Bytes]) -> Result<()> {
        for (step, message) in messages.iter().enumerate() {
            let whole = zstd::bulk::compress(&state(step, &messages[..=step]), 3)?;
            let at = (number, step as u64);
            self.write(at, message, &whole)?;
            self.last = Some(at);
        }
        Ok(())
    }

    fn restore(&self) -> Result<Bytes> {
        let at = self.last.context("no checkpoint")?;
        let table = self.database.begin_read()?.open_table(VERSIONS)?;
        let stored = table.get(at)?.context("the checkpoint is gone")?;
        Ok(zstd::decode_all(stored.value())?.into())
    }

    fn flush(&self) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(redb::Durability::Immediate)?;
        Ok(transaction.commit()?)
    }
}

struct Whole {
    connection: Connection,
    last: Option<(u64, u64)>,
}

impl Whole {
    fn open(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        // As LangGraph's saver sets its database up; the system flushes it, as it does ours.
        connection.execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;
             CREATE TABLE checkpoints (thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL DEFAULT '',
               checkpoint_id TEXT NOT NULL, parent_checkpoint_id TEXT, type TEXT, checkpoint BLOB,
               metadata BLOB, PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id));",
        )?;
        Ok(Self {
            connection,
            last: None,
        })
    }
}

impl Keeper for Whole {
    fn session(&mut self, number: u64, messages: &[Bytes]) -> Result<()> {
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO checkpoints VALUES (?1, '', ?2, ?3, 'json', ?4, '{}')")?;
        for step in 0..messages.len() {
            let whole = state(step, &messages[..=step]);
            let parent = step.checked_sub(1).map(|parent| parent.to_string());
            insert.execute(params![number.to_string(), step.to_string(), parent, whole])?;
            self.last = Some((number, step as u64));
        }
        Ok(())
    }

    fn restore(&self) -> Result<Bytes> {
        let (number, step) = self.last.context("no checkpoint")?;
        let query =
            "SELECT checkpoint FROM checkpoints WHERE thread_id = ?1 AND checkpoint_id = ?2";
        let key = params![number.to_string(), step.to_string()];
        let stored: Vec<u8> = self.connection.query_row(query, key, |row| row.get(0))?;
        Ok(stored.into())
    }
}

/// Name, version, and who keeps.
type Side = (&'static str, &'static str, RefCell<Box<dyn Keeper>>);

struct Keepers {
    messages: Vec<Bytes>,
    all: Vec<Side>,
    dir: tempfile::TempDir,
    _tokio: tokio::runtime::Runtime,
}

impl Keepers {
    fn new(bench: &Bench) -> Result<Self> {
        let count = bench.scale().pick(8, 100, 200);
        let messages = generate(&SessionSpec::coding(bench.seed(), count));
        let mut tokio = tokio::runtime::Builder::new_current_thread();
        let tokio = tokio.enable_time().build()?;
        let dir = tempfile::tempdir()?;
        for folder in [0, 1, 2, 3] {
            std::fs::create_dir(dir.path().join(folder.to_string()))?;
        }
        let runtime = Runtime::open(dir.path().join("0"), Profile::Workstation);
        let facade = Facade {
            runtime: tokio.block_on(runtime)?,
            last: None,
        };
        let assembled = Assembled {
            database: Database::create(dir.path().join("2/sessions.redb"))?,
            last: None,
        };
        let whole = Whole::open(&dir.path().join("3/sessions.sqlite"))?;
        let by_hand = ByHand::open(&dir.path().join("1"))?;
        let keep = |keeper: Box<dyn Keeper>| RefCell::new(keeper);
        Ok(Self {
            messages: messages.into_iter().map(Bytes::from).collect(),
            all: vec![
                ("mainspring", "", keep(Box::new(facade))),
                (BY_HAND, "", keep(Box::new(by_hand))),
                (ASSEMBLED, "4", keep(Box::new(assembled))),
                (WHOLE, "3", keep(Box::new(whole))),
            ],
            dir,
            _tokio: tokio,
        })
    }

    /// One session each, whose last checkpoint must be the state it was made of; what that took on disk.
    fn checked(&self, bench: &Bench) -> Result<Vec<f64>> {
        let wanted = state(self.messages.len() - 1, &self.messages);
        let mut stored = Vec::new();
        for (folder, (name, _, keeper)) in self.all.iter().enumerate() {
            let before = bytes_below(&self.dir.path().join(folder.to_string()))?;
            keeper.borrow_mut().session(u64::MAX, &self.messages)?;
            keeper.borrow().flush()?;
            let restored = bench.answer(keeper.borrow().restore()?);
            check(
                restored == wanted,
                &format!("{name}: another state came back"),
            )?;
            let after = bytes_below(&self.dir.path().join(folder.to_string()))?;
            stored.push(after.saturating_sub(before) as f64);
        }
        Ok(stored)
    }

    fn contest(&self, bench: &Bench) -> Standing {
        let mut number = 0;
        let numbers = RefCell::new(&mut number);
        let mut contest = Contest::new(bench, self.messages.len() as u64).at_most(60);
        for (name, version, keeper) in &self.all {
            let numbers = &numbers;
            contest = contest.side(name, version, move || {
                **numbers.borrow_mut() += 1;
                let number = **numbers.borrow();
                let kept = keeper.borrow_mut().session(number, &self.messages);
                kept.expect("it could before");
            });
        }
        contest.run()
    }
}

/// What files take, not counting what is only set aside for them.
fn bytes_below(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            bytes += bytes_below(&path)?;
        } else {
            let mut content = std::fs::read(&path)?;
            while content.last() == Some(&0) {
                content.pop();
            }
            bytes += content.len() as u64;
        }
    }
    Ok(bytes)
}

fn measured(bench: &Bench) -> Result<Standing> {
    let keepers = Keepers::new(bench)?;
    keepers.checked(bench)?;
    Ok(keepers.contest(bench))
}

fn overhead(bench: &Bench) -> Result<Measured> {
    Ok(measured(bench)?.ratio(BY_HAND))
}

fn assembled(bench: &Bench) -> Result<Measured> {
    Ok(measured(bench)?.ratio(ASSEMBLED))
}

fn disk(bench: &Bench) -> Result<Measured> {
    let keepers = Keepers::new(bench)?;
    let stored = keepers.checked(bench)?;
    let named = keepers.all.iter().zip(&stored).skip(1);
    let peers =
        named.map(|((name, version, _), bytes)| Peer::counted(name, version, *bytes, stored[0]));
    let peers = peers.collect();
    Ok(Measured::counted(1.0 - stored[0] / stored[3]).beside("bytes", stored[0], peers))
}

//! One session of an agent: its log, its context, its checkpoints and its tools.

mod active;
mod branch;
mod calls;
mod log;
mod reading;
mod record;
mod timers;
mod usage;
mod versions;

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::Instant,
};

use bytes::Bytes;
use mainspring_compressor::{
    Appended, Blob, Budget as Window, Compactor, Context, Format, Pushed, Tokenizer,
};
use mainspring_delta_snapshot::{Thread, VersionId};
use mainspring_scheduler::{Budget, Toolbox};
use xxhash_rust::xxh3::xxh3_128;

use crate::{Error, Event, EventBus, Runtime, runtime::Claim};
use active::{Active, Bounds};
use branch::Branch;
use log::{Beside, damaged};
use record::Record;
use timers::TimedTokenizer;

pub(crate) use log::Log;
pub(crate) use timers::Timers;
use usage::Counts;
pub use usage::Usage;

/// Shorter messages are not looked for among earlier ones, nor kept as versions.
const LEAST_REPEATED: usize = 256;
const LEAST_KEPT: usize = 4_096;
/// Messages that are remembered for that, at 32 bytes each.
const REMEMBERED: usize = 4_096;
/// The least that is appended before the context is saved although nothing was compacted.
const LEAST_UNSAVED: u64 = 1 << 20;
/// What stands for a record that no model sees when a context is built up again.
const STUB: &str = r#"{"type":"progress"}"#;

/// A session of an agent. Made by [`Runtime::session`] and [`Runtime::resume`].
///
/// A message goes into the log and into the context; the context is compacted by itself when it
/// passes its trigger, or grows beyond what stays active ([`Config::active_bytes`], [`Config::interactions`]).
/// A checkpoint is a version of `{"header":…,"messages":[…]}` over every message
/// so far. One handle at a time; it may move between threads.
///
/// What resuming reads is the saved context and the messages since: the context is saved with each
/// compaction, and whenever twice its size (at least 1 MiB, at most `active_bytes`) was appended since. A message
/// that the session had before, byte for byte, is stored as its number, and a large record of a log that no model
/// sees as a version of the one before it; both come back as they were.
///
/// Methods that write take as long as the log takes: a system write, and a disk sync under
/// [`Durability::Always`](mainspring_mmap_store::Durability).
///
/// [`Config::active_bytes`]: crate::Config::active_bytes
/// [`Config::interactions`]: crate::Config::interactions
#[derive(Debug)]
pub struct Session {
    claim: Claim,
    label: Arc<str>,
    number: u32,
    branch: Branch,
    compactor: Compactor,
    context: Context,
    active: Active,
    saved: Saved,
    thread: OnceLock<Thread>,
    records: OnceLock<Thread>,
    tools: Arc<Toolbox>,
    budget: Option<Budget>,
    warned: AtomicBool,
    messages: u64,
    counts: Counts,
    /// Hashes of messages, with their numbers.
    seen: HashMap<u128, u64>,
    /// The checkpoint made last through this handle, and its messages.
    checkpointed: Option<(VersionId, u64)>,
    failed: bool,
}

/// The context that resuming would begin with.
#[derive(Debug, Clone, Copy)]
struct Saved {
    covers: u64,
    bytes: u64,
    /// False in a fork that goes on from the context of another session.
    own: bool,
    /// Bytes appended since.
    behind: u64,
}

impl Session {
    pub(crate) fn begin(runtime: &Runtime, name: &str, format: Format) -> Result<Self, Error> {
        let claim = runtime.claim(name)?;
        // Somebody may have begun it, and let go of it, since it was looked for.
        if let Some(number) = runtime.inner.log.find(name)? {
            return Self::open(claim, number);
        }
        let context = Context::new(format, window(runtime), tokenizer(runtime));
        let saved = context.save();
        let number = runtime.begin(|log| log.begin(name, &saved))?;
        let saved = Saved::new(0, saved.len(), true);
        Ok(Self::assemble(
            claim,
            number,
            Branch::default(),
            context,
            saved,
        ))
    }

    pub(crate) fn resume(runtime: &Runtime, name: &str) -> Result<Self, Error> {
        let claim = runtime.claim(name)?;
        let number = runtime.inner.log.find(name)?;
        let number = number.ok_or_else(|| Error::NoSession(name.to_owned()))?;
        Self::open(claim, number)
    }

    fn open(claim: Claim, number: u32) -> Result<Self, Error> {
        let started = Instant::now();
        let runtime = claim.runtime().clone();
        let log = &runtime.inner.log;
        let branch = log.branch(claim.name(), number)?;
        let (context, saved) = restored(&runtime, claim.name(), number, &branch)?;
        let begins = branch.begins();
        if saved.covers > begins && !log.holds(number, saved.covers - 1)? {
            let what = "the saved context is ahead of the log";
            return Err(damaged(claim.name(), saved.covers - 1, what));
        }
        let messages = log.count(number, saved.covers.max(begins))?;
        let mut session = Self::assemble(claim, number, branch, context, saved);
        session.messages = messages;
        session.catch_up(saved.covers..messages)?;
        runtime.inner.timers.resume.record(started.elapsed());
        Ok(session)
    }

    /// The context again as the log has it.
    fn reload(&mut self) -> Result<(), Error> {
        self.failed = true;
        let runtime = self.runtime().clone();
        (self.context, self.saved) = restored(&runtime, self.name(), self.number, &self.branch)?;
        self.active = Active::of(&self.context);
        self.catch_up(self.saved.covers..self.messages)?;
        self.failed = false;
        Ok(())
    }

    fn assemble(claim: Claim, number: u32, branch: Branch, context: Context, saved: Saved) -> Self {
        Self {
            label: claim.name().into(),
            claim,
            number,
            branch,
            compactor: Compactor::default(),
            active: Active::of(&context),
            context,
            saved,
            thread: OnceLock::new(),
            records: OnceLock::new(),
            tools: Arc::new(Toolbox::new()),
            budget: None,
            warned: AtomicBool::new(false),
            messages: 0,
            counts: Counts::default(),
            seen: HashMap::new(),
            checkpointed: None,
            failed: false,
        }
    }

    /// Takes what was logged after the saved context into the context.
    fn catch_up(&mut self, numbers: Range<u64>) -> Result<(), Error> {
        let bounds = self.bounds();
        for number in numbers {
            let stored = self.stored(number)?;
            self.saved.behind += stored.len() as u64;
            let raw = match self.decoded(&stored, number)? {
                // Only its place counts.
                Record::Outside(_) | Record::Noise(_) => Bytes::from_static(STUB.as_bytes()),
                Record::Plain(_) | Record::Same(_) => self.message(number)?,
            };
            let appended = self.compactor.append(&mut self.context, raw)?;
            if appended.pushed.index.is_some() {
                self.active.note(&self.context, bounds);
            }
        }
        Ok(())
    }

    /// Begins a session with everything that this one has so far. From then on both go their own
    /// way: each has its messages, its context and its checkpoints, and neither sees the other's.
    ///
    /// Costs one small record however long the session is, and catching up as resuming does; what is
    /// shared is stored once.
    ///
    /// # Errors
    /// [`Error::SessionExists`], [`Error::SessionOpen`], [`Error::Snapshot`], [`Error::Store`].
    pub fn fork(&self, name: &str) -> Result<Self, Error> {
        self.usable()?;
        let runtime = self.runtime();
        let claim = runtime.claim(name)?;
        if runtime.inner.log.find(name)?.is_some() {
            return Err(Error::SessionExists(name.to_owned()));
        }
        let grown = self.branch.grown(self.number, self.messages);
        let mut branch =
            grown.ok_or_else(|| damaged(self.name(), 0, "it is a fork of too many forks"))?;
        if self.saved.own {
            branch.context = Some((self.number, self.saved.covers));
        }
        branch.head = self.checkpoints()?.head();
        let number = runtime.begin(|log| log.fork(name, &branch))?;
        Self::open(claim, number)
    }

    /// Appends a message: one JSON value in the session's format, kept byte for byte.
    ///
    /// When it would take the context past its trigger, the context is compacted first. Message,
    /// compacted context and the outputs that were moved out of it are logged together or not at
    /// all. Cost: the message; a compaction now and then.
    ///
    /// # Errors
    /// [`Error::Context`] when it is no JSON value or cannot be made to fit the window: nothing was
    /// appended. [`Error::Store`] when the log refused: this handle is then done for, resume the
    /// session.
    pub fn append(&mut self, raw: impl Into<Bytes>) -> Result<Appended, Error> {
        self.append_after(None, raw.into())
    }

    /// As [`append`](Self::append), with what stands before the message in an imported log.
    pub(crate) fn append_after(
        &mut self,
        frame: Option<&[u8]>,
        raw: Bytes,
    ) -> Result<Appended, Error> {
        self.usable()?;
        let timers = self.runtime().inner.timers.clone();
        let started = Instant::now();
        let compactions = self.context.stats().compactions;
        let mut appended = match self.compactor.append(&mut self.context, raw.clone()) {
            // Room was made for a message that does not fit all the same: nothing of it is logged.
            Err(error) if self.context.stats().compactions != compactions => {
                self.reload()?;
                return Err(error.into());
            }
            appended => appended?,
        };
        if appended.pushed.index.is_some() {
            self.active.note(&self.context, self.bounds());
        }
        if appended.compaction.is_none() && self.active.is_due() {
            appended.compaction = self.trim();
        }
        if let Some(compaction) = &appended.compaction {
            self.active = Active::of(&self.context);
            timers.compact.record(started.elapsed());
            self.bus().tell(|| Event::SessionCompacted {
                session: self.label.clone(),
                before: compaction.before,
                after: compaction.after,
            });
        }
        let started = Instant::now();
        self.log(frame, &raw, &appended)?;
        timers.append.record(started.elapsed());
        Ok(appended)
    }

    /// Logs a record that is too large for the window, or of no kind known here, outside the context.
    pub(crate) fn append_outside(
        &mut self,
        frame: Option<&[u8]>,
        raw: Bytes,
    ) -> Result<Appended, Error> {
        self.usable()?;
        let pushed = self.context.push(STUB)?;
        let appended = Appended {
            pushed: Pushed {
                index: None,
                ..pushed
            },
            compaction: None,
            blobs: Vec::new(),
        };
        self.log(frame, &raw, &appended)?;
        Ok(appended)
    }

    /// Compacts a context that is larger than what stays active; one that cannot be stays as it is.
    fn trim(&mut self) -> Option<mainspring_compressor::Compaction> {
        let plan = self.compactor.plan(&self.context).ok()?;
        self.compactor.commit(&mut self.context, plan).ok()
    }

    /// Writes the message that the context has taken in, with what belongs to it.
    fn log(&mut self, frame: Option<&[u8]>, raw: &Bytes, appended: &Appended) -> Result<(), Error> {
        // Until it is written, context and log do not agree.
        self.failed = true;
        let hash = (raw.len() >= LEAST_REPEATED).then(|| xxh3_128(raw));
        let record = self.record(raw, hash, appended.pushed.index.is_none())?;
        let compacted = appended.compaction.as_ref();
        let moved: &[Blob] = compacted.map_or(&[], |compaction| &compaction.blobs);
        let behind = self.saved.behind + raw.len() as u64;
        let due = compacted.is_some() || behind > self.most_unsaved();
        let context = due.then(|| (self.context.save(), self.saved.covers));
        let size = context.as_ref().map(|(context, _)| context.len());
        let beside = Beside {
            blobs: appended
                .blobs
                .iter()
                .chain(moved)
                .map(|blob| (&*blob.id, &blob.bytes))
                .collect(),
            context,
            frame,
        };
        let log = &self.claim.runtime().inner.log;
        log.append(self.number, self.messages, record, beside)?;
        self.failed = false;
        self.remember(raw, hash, record);
        self.messages += 1;
        self.saved.behind = behind;
        if let Some(size) = size {
            self.saved = Saved::new(self.messages, size, true);
        }
        self.bus().tell(|| Event::SessionAppended {
            session: self.label.clone(),
            message: self.messages - 1,
        });
        Ok(())
    }

    /// How a message is kept.
    fn record<'a>(
        &self,
        raw: &'a Bytes,
        hash: Option<u128>,
        outside: bool,
    ) -> Result<Record<'a>, Error> {
        if !outside
            && let Some(&number) = hash.and_then(|hash| self.seen.get(&hash))
            && self.message(number)? == *raw
        {
            return Ok(Record::Same(number));
        }
        Ok(match outside {
            false => Record::Plain(raw),
            true if raw.len() < LEAST_KEPT => Record::Outside(raw),
            true => Record::Noise(self.keep(raw)?),
        })
    }

    fn remember(&mut self, raw: &Bytes, hash: Option<u128>, record: Record<'_>) {
        let length = raw.len() as u64;
        Counts::add(&self.counts.appended, length);
        match record {
            Record::Same(_) => Counts::add(&self.counts.repeated, length),
            Record::Plain(_) => {
                if self.seen.len() >= REMEMBERED {
                    self.seen.clear();
                }
                self.seen.extend(hash.map(|hash| (hash, self.messages)));
            }
            Record::Outside(_) | Record::Noise(_) => {}
        }
    }

    /// Bytes after which the context is saved although nothing was compacted.
    fn most_unsaved(&self) -> u64 {
        let most = match self.runtime().inner.config.active_bytes {
            0 => u64::MAX,
            bytes => bytes,
        };
        (2 * self.saved.bytes).max(LEAST_UNSAVED).min(most)
    }

    fn bounds(&self) -> Bounds {
        let config = &self.runtime().inner.config;
        Bounds {
            bytes: config.active_bytes,
            interactions: config.interactions,
        }
    }

    /// What is sent to the model next, with its tokens.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Notes that the context is being sent now; see [`Context::mark_sent`].
    pub fn sent(&mut self) -> mainspring_compressor::CacheReport {
        self.context.mark_sent()
    }

    /// How many messages the log has.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// What the session has used. O(1).
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.counts.with(self.messages, &self.context)
    }

    /// The session's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.claim.name()
    }

    /// Saves the context, so that the next resume reads nothing else, makes everything durable, and
    /// gives the name back. Dropping the handle loses nothing either.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn close(mut self) -> Result<Usage, Error> {
        let usage = self.usage();
        if self.usable().is_ok() && self.saved.behind > 0 {
            let log = &self.claim.runtime().inner.log;
            let context = self.context.save();
            log.save(self.number, self.saved.covers, self.messages, &context)?;
            self.saved = Saved::new(self.messages, context.len(), true);
        }
        let inner = &self.runtime().inner;
        if !inner.config.read_only {
            inner.log.store().flush(inner.config.durability)?;
        }
        Ok(usage)
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.claim.runtime()
    }

    fn bus(&self) -> &EventBus {
        &self.runtime().inner.bus
    }

    fn usable(&self) -> Result<(), Error> {
        if self.runtime().inner.config.read_only {
            return Err(mainspring_mmap_store::Error::ReadOnly.into());
        }
        match self.failed {
            true => Err(damaged(
                self.name(),
                self.messages,
                "the log refused a message; resume",
            )),
            false => Ok(()),
        }
    }

    pub(crate) fn damaged(&self, message: u64, what: &'static str) -> Error {
        damaged(self.name(), message, what)
    }
}

impl Saved {
    fn new(covers: u64, bytes: usize, own: bool) -> Self {
        Self {
            covers,
            bytes: bytes as u64,
            own,
            behind: 0,
        }
    }
}

/// The saved context of a session.
fn restored(
    runtime: &Runtime,
    name: &str,
    number: u32,
    branch: &Branch,
) -> Result<(Context, Saved), Error> {
    let ((covers, saved), own) = runtime.inner.log.context(name, number, branch)?;
    let kept = Saved::new(covers, saved.len(), own);
    Ok((Context::resume(saved, tokenizer(runtime))?, kept))
}

fn window(runtime: &Runtime) -> Window {
    let config = &runtime.inner.config;
    Window::new(config.window).with_max_output(config.max_output)
}

fn tokenizer(runtime: &Runtime) -> Arc<dyn Tokenizer> {
    let inner = &runtime.inner;
    Arc::new(TimedTokenizer::new(
        Arc::clone(&inner.tokenizer),
        inner.timers.count_tokens.clone(),
    ))
}

//! One session of an agent: its log, its context, its checkpoints and its tools.

mod active;
mod branch;
mod calls;
mod growing;
mod log;
mod mark;
mod mended;
mod reading;
mod recent;
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

use mainspring_compressor::{Blob, Budget as Window, Compactor, Context, Format, Tokenizer};
use mainspring_delta_snapshot::Thread;
use mainspring_mmap_store::Durability;
use mainspring_scheduler::{Budget, Toolbox};

use crate::{Error, EventBus, Runtime, runtime::Claim};
use active::{Active, Bounds};
use branch::Branch;
use log::damaged;
use mark::Mark;
use mended::{begun, is_damage};
use recent::Recent;
use timers::TimedTokenizer;
use versions::{Records, stored_below};

pub(crate) use log::Log;
pub use mark::Divergence;
pub use mended::Mended;
pub(crate) use timers::Timers;
use usage::Counts;
pub use usage::Usage;

/// Closing saves the context when resuming would read more than this instead.
const LEAST_SAVED: u64 = 64 << 10;
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
/// compaction, and whenever twice its size (at least 1 MiB, at most `active_bytes`) was appended since. What is read
/// gives the context that this handle had, to the byte, whatever was refused meanwhile. A message
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
    /// How the names begin under which its own versions are stored.
    versions: String,
    records: Option<Records>,
    tools: Arc<Toolbox>,
    budget: Option<Budget>,
    warned: AtomicBool,
    messages: u64,
    counts: Counts,
    /// Hashes of messages, with their numbers.
    seen: HashMap<u128, u64>,
    /// The checkpoint made last, as the log knows it, and whether its version is known to be that one.
    mark: Option<Mark>,
    marked: bool,
    recent: Recent,
    divergence: Option<Divergence>,
    mended: Option<Mended>,
    /// Outputs that left the context while it was built up again, and wait for the next write.
    unlogged: Vec<Blob>,
    /// Whether what was sent is told by the saved context too.
    sent: bool,
    /// Whether a message was refused since the context was saved.
    refusals: bool,
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
        let mut session = Self::assemble(claim, number, Branch::default(), context, saved);
        // A power cut may have taken all of its log, and no checkpoint.
        session.compare();
        Ok(session)
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
        let begins = branch.begins();
        let (context, saved, cause) = match restored(&runtime, claim.name(), number, &branch) {
            Err(error) if is_damage(&error) => {
                let context = begun(&runtime, claim.name(), number, &branch)?;
                (context, Saved::new(0, 0, true), Some(error.to_string()))
            }
            read => read.map(|(context, saved)| (context, saved, None))?,
        };
        if saved.covers > begins && !log.holds(number, saved.covers - 1)? {
            let what = "the saved context is ahead of the log";
            return Err(damaged(claim.name(), saved.covers - 1, what));
        }
        let messages = match cause {
            Some(_) => log.end(number, begins)?,
            None => log.count(number, saved.covers.max(begins))?,
        };
        let mut session = Self::assemble(claim, number, branch, context, saved);
        session.messages = messages;
        match cause {
            Some(cause) => session.rebuild(cause)?,
            None => session.catch_up()?,
        }
        session.tell_mended();
        session.compare();
        runtime.inner.timers.resume.record(started.elapsed());
        Ok(session)
    }

    /// The context again as the log has it.
    fn reload(&mut self) -> Result<(), Error> {
        self.failed = true;
        let known = self.mended.clone();
        match self.restore_context() {
            Err(error) if is_damage(&error) => {
                self.context = begun(self.runtime(), self.name(), self.number, &self.branch)?;
                self.active = Active::of(&self.context);
                self.rebuild(error.to_string())?;
            }
            restored => restored.and_then(|()| self.catch_up())?,
        }
        if self.mended != known {
            self.tell_mended();
        }
        self.failed = false;
        Ok(())
    }

    fn restore_context(&mut self) -> Result<(), Error> {
        let runtime = self.runtime().clone();
        (self.context, self.saved) = restored(&runtime, self.name(), self.number, &self.branch)?;
        self.active = Active::of(&self.context);
        self.unlogged.clear();
        Ok(())
    }

    fn assemble(claim: Claim, number: u32, branch: Branch, context: Context, saved: Saved) -> Self {
        Self {
            label: claim.name().into(),
            versions: stored_below(claim.name()),
            claim,
            number,
            branch,
            compactor: Compactor::default(),
            active: Active::of(&context),
            context,
            saved,
            thread: OnceLock::new(),
            records: None,
            tools: Arc::new(Toolbox::new()),
            budget: None,
            warned: AtomicBool::new(false),
            messages: 0,
            counts: Counts::default(),
            seen: HashMap::new(),
            mark: None,
            marked: false,
            recent: Recent::default(),
            divergence: None,
            mended: None,
            unlogged: Vec::new(),
            sent: false,
            refusals: false,
            failed: false,
        }
    }

    /// Takes what was logged after the saved context into the context.
    fn catch_up(&mut self) -> Result<(), Error> {
        match self.take_up(self.saved.covers..self.messages, true) {
            // It fitted as it was counted then.
            Err(Error::Context(_)) => {
                self.restore_context()?;
                self.take_up(self.saved.covers..self.messages, false)
            }
            done => done,
        }
    }

    /// Appends logged messages to the context: as they were when they came, or as they are.
    fn take_up(&mut self, numbers: Range<u64>, bounded: bool) -> Result<(), Error> {
        let bounds = self.bounds();
        for number in numbers {
            let Some(raw) = self.readable(number)? else {
                // Only its place counts.
                self.context.push(STUB)?;
                continue;
            };
            if bounded {
                let appended = self.compactor.append(&mut self.context, raw)?;
                let compacted = appended.compaction.map(|compaction| compaction.blobs);
                if compacted.is_some() {
                    self.active = Active::of(&self.context);
                }
                // The log has them all, unless tokens are counted otherwise than when they came.
                for blob in appended
                    .blobs
                    .into_iter()
                    .chain(compacted.into_iter().flatten())
                {
                    if !self.has_blob(&blob.id)? {
                        self.unlogged.push(blob);
                    }
                }
            } else {
                self.context.push(raw)?;
            }
            self.active.note(&self.context, bounds);
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
        branch.head = match self.thread.get() {
            Some(thread) => thread.head(),
            None => self.mark.map(|mark| mark.version),
        };
        let mark = self.mark.filter(|mark| branch.head == Some(mark.version));
        let mark = mark.map(|mark| Mark { stored: 0, ..mark });
        let format = self.context.transcript().format();
        let empty = Context::new(format, self.context.budget(), tokenizer(runtime)).save();
        let number = runtime.begin(|log| log.fork(name, &branch, mark, &empty))?;
        Self::open(claim, number)
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
        self.sent = true;
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

    /// Saves the context, so that the next resume reads little else, makes everything durable, and
    /// gives the name back. Dropping the handle loses nothing either, but for what an interval of
    /// [`Config::durability`](crate::Config::durability) leaves open.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Snapshot`].
    pub fn close(mut self) -> Result<Usage, Error> {
        let usage = self.usage();
        let worth_it = self.saved.behind > LEAST_SAVED || self.sent || !self.unlogged.is_empty();
        if self.usable().is_ok() && worth_it {
            let log = &self.claim.runtime().inner.log;
            let context = self.context.save();
            let before = self.saved.covers;
            log.save(self.number, before, self.messages, &context, &self.unlogged)?;
            self.saved = Saved::new(self.messages, context.len(), true);
        }
        let inner = &self.runtime().inner;
        if !inner.config.read_only {
            // The log first: a checkpoint should not outlive its messages.
            inner.log.store().flush(Durability::Always)?;
            // Those of an earlier handle too; what is durable costs nothing.
            inner.snapshots.sync()?;
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

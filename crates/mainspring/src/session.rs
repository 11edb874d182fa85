//! One session of an agent: its log, its context, its checkpoints and its tools.

mod log;
mod timers;

use std::{ops::Range, sync::Arc, time::Instant};

use bytes::Bytes;
use mainspring_compressor::{Appended, Budget, Compactor, Context, Format, Tokenizer};
use mainspring_delta_snapshot::{CommitOptions, Thread, VersionId};
use mainspring_scheduler::{ToolCall, ToolOutcome, Toolbox};

use crate::{Error, Runtime, runtime::Claim};
use log::damaged;

pub(crate) use log::Log;
use timers::TimedTokenizer;
pub(crate) use timers::Timers;

/// A session of an agent. Made by [`Runtime::session`] and [`Runtime::resume`].
///
/// A message goes into the log and into the context; the context is compacted by itself when it
/// passes its trigger. A checkpoint is a version of `{"header":…,"messages":[…]}` over every message
/// so far. One handle at a time; it may move between threads.
///
/// Methods that write take as long as the log takes: a system write, and a disk sync under
/// [`Durability::Always`](mainspring_mmap_store::Durability).
#[derive(Debug)]
pub struct Session {
    claim: Claim,
    number: u32,
    compactor: Compactor,
    context: Context,
    thread: Thread,
    tools: Arc<Toolbox>,
    messages: u64,
    /// The checkpoint made last through this handle, and its messages.
    checkpointed: Option<(VersionId, u64)>,
    failed: bool,
}

impl Session {
    pub(crate) fn begin(runtime: &Runtime, name: &str, format: Format) -> Result<Self, Error> {
        let claim = runtime.claim(name)?;
        let context = Context::new(format, budget(runtime), tokenizer(runtime));
        let number = runtime.begin(name, &context.save())?;
        Self::assemble(claim, number, context, 0)
    }

    pub(crate) fn resume(runtime: &Runtime, name: &str) -> Result<Self, Error> {
        let started = Instant::now();
        let claim = runtime.claim(name)?;
        let log = &runtime.inner.log;
        let number = log
            .find(name)?
            .ok_or_else(|| Error::NoSession(name.to_owned()))?;
        let (covers, saved) = log.context(name, number)?;
        let context = Context::resume(saved, tokenizer(runtime))?;
        let messages = log.count(number)?;
        if messages < covers {
            return Err(damaged(
                name,
                messages,
                "the saved context is ahead of the log",
            ));
        }
        let mut session = Self::assemble(claim, number, context, messages)?;
        session.catch_up(covers..messages)?;
        runtime.inner.timers.resume.record(started.elapsed());
        Ok(session)
    }

    fn assemble(claim: Claim, number: u32, context: Context, messages: u64) -> Result<Self, Error> {
        let thread = claim.runtime().inner.snapshots.thread(claim.name())?;
        Ok(Self {
            claim,
            number,
            compactor: Compactor::default(),
            context,
            thread,
            tools: Arc::new(Toolbox::new()),
            messages,
            checkpointed: None,
            failed: false,
        })
    }

    /// Takes what was logged after the saved context into the context.
    fn catch_up(&mut self, numbers: Range<u64>) -> Result<(), Error> {
        for number in numbers {
            let raw = self.message(number)?;
            self.compactor.append(&mut self.context, raw)?;
        }
        Ok(())
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
        self.usable()?;
        let raw = raw.into();
        let timers = self.runtime().inner.timers.clone();
        let started = Instant::now();
        let appended = self.compactor.append(&mut self.context, raw.clone())?;
        if appended.compaction.is_some() {
            timers.compact.record(started.elapsed());
        }
        let started = Instant::now();
        let mut blobs: Vec<_> = appended
            .blobs
            .iter()
            .map(|blob| (&*blob.id, &blob.bytes))
            .collect();
        let saved = appended.compaction.as_ref().map(|compaction| {
            blobs.extend(compaction.blobs.iter().map(|blob| (&*blob.id, &blob.bytes)));
            self.context.save()
        });
        let log = &self.claim.runtime().inner.log;
        let written = log.append(self.number, self.messages, &raw, &blobs, saved.as_deref());
        self.failed = written.is_err();
        written?;
        self.messages += 1;
        timers.append.record(started.elapsed());
        Ok(appended)
    }

    /// Makes a version of `{"header":HEADER,"messages":[…]}`; `header` is any JSON value.
    ///
    /// Cost: the header and the messages appended since the last checkpoint.
    ///
    /// # Errors
    /// [`Error::Snapshot`] when the header is no JSON value or the store refused, [`Error::Store`].
    pub fn checkpoint(&mut self, header: &str) -> Result<VersionId, Error> {
        self.usable()?;
        let started = Instant::now();
        let committed = self.commit(header);
        match committed {
            Ok(version) => self.checkpointed = Some((version, self.messages)),
            // What did not get into a version must not get into the next one twice.
            Err(_) => self.thread.rollback(),
        }
        self.runtime()
            .inner
            .timers
            .checkpoint
            .record(started.elapsed());
        committed
    }

    fn commit(&self, header: &str) -> Result<VersionId, Error> {
        let done = match (self.checkpointed, self.thread.head()) {
            (_, None) => 0,
            (Some((version, done)), Some(head)) if version == head => done,
            (_, Some(head)) => self.messages_in(head)?,
        };
        let fresh: Vec<Bytes> = (done..self.messages)
            .map(|n| self.message(n))
            .collect::<Result<_, _>>()?;
        if self.thread.is_changed() {
            self.thread.rollback();
        }
        if self.thread.head().is_none() {
            self.thread
                .set("", format!("{{\"header\":{header},\"messages\":[]}}"))?;
        } else {
            self.thread.set("/header", header)?;
        }
        self.thread.append("/messages", &fresh)?;
        Ok(self.thread.commit(CommitOptions::new())?)
    }

    /// The bytes of a checkpoint, exactly as they were.
    ///
    /// # Errors
    /// [`Error::Snapshot`].
    pub fn restore(&self, version: VersionId) -> Result<Bytes, Error> {
        let restore = || self.thread.restore(version);
        Ok(self.runtime().inner.timers.restore.time(restore)?)
    }

    /// The checkpoints of the session, for listing, labels, differences and going back: after a
    /// `checkout` the next checkpoint follows the older one. Changes of the state that were not
    /// committed are dropped by [`checkpoint`](Self::checkpoint).
    #[must_use]
    pub fn checkpoints(&self) -> &Thread {
        &self.thread
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

    /// The tools that this session's model may call; made by [`Runtime::toolbox`].
    pub fn set_tools(&mut self, tools: Toolbox) {
        self.tools = Arc::new(tools);
    }

    /// Runs calls side by side where their resources allow, and returns one outcome each, in call
    /// order. Dropping the future stops what has not ended.
    pub async fn run_tools(&self, calls: Vec<ToolCall>) -> Vec<ToolOutcome> {
        let calls = calls
            .into_iter()
            .map(|call| call.session(self.name()))
            .collect();
        let inner = &self.runtime().inner;
        let outcomes = inner
            .scheduler
            .with_toolbox(Arc::clone(&self.tools))
            .run(calls)
            .await;
        for outcome in &outcomes {
            inner.timers.tool_call.record(outcome.queued + outcome.ran);
        }
        outcomes
    }

    /// A message of the log, by its number from 0.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it should be there and is not, [`Error::Store`].
    pub fn message(&self, number: u64) -> Result<Bytes, Error> {
        let found = self.runtime().inner.log.message(self.number, number)?;
        found.ok_or_else(|| damaged(self.name(), number, "the log has no such message"))
    }

    /// An output that was moved out of the context, by the id that stands in its place.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn blob(&self, id: &str) -> Result<Option<Bytes>, Error> {
        self.runtime().inner.log.blob(self.number, id)
    }

    /// How many messages the log has.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// The session's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.claim.name()
    }

    /// How many messages a checkpoint has.
    fn messages_in(&self, version: VersionId) -> Result<u64, Error> {
        #[derive(serde::Deserialize)]
        struct State<'a> {
            #[serde(borrow)]
            messages: Vec<&'a serde_json::value::RawValue>,
        }
        let state = self.thread.restore(version)?;
        let read: Result<State<'_>, _> = serde_json::from_slice(&state);
        let state = read.map_err(|_| damaged(self.name(), 0, "its checkpoint is no session's"))?;
        Ok(state.messages.len() as u64)
    }

    fn runtime(&self) -> &Runtime {
        self.claim.runtime()
    }

    fn usable(&self) -> Result<(), Error> {
        match self.failed {
            true => Err(damaged(
                self.name(),
                self.messages,
                "the log refused a message; resume",
            )),
            false => Ok(()),
        }
    }
}

fn budget(runtime: &Runtime) -> Budget {
    let config = &runtime.inner.config;
    Budget::new(config.window).with_max_output(config.max_output)
}

fn tokenizer(runtime: &Runtime) -> Arc<dyn Tokenizer> {
    let inner = &runtime.inner;
    Arc::new(TimedTokenizer::new(
        Arc::clone(&inner.tokenizer),
        inner.timers.count_tokens.clone(),
    ))
}

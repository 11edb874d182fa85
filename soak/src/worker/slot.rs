//! One of the sessions that are served at once, and what its user does.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use fastrand::Rng;
use mainspring::{
    Error, Session,
    compressor::Format,
    mmap_store,
    scheduler::{ToolCall, ToolOutcome},
};
use mainspring_soak_checker::{Call, Line, digest};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    Pace, Server,
    tell::{Tell, chain, took},
    texts, tools,
};

/// A session of so many messages is let go, and the next one begun.
const MESSAGES: u64 = 300;
/// What a session's handle may spend.
const PURSE: u64 = 600;
/// Longest pause between two things that a user does.
const PAUSE_MS: u64 = 1_500;

/// Sessions one after the other.
pub(super) struct Slot {
    pub(super) server: Arc<Server>,
    pub(super) pace: watch::Receiver<Pace>,
    number: u32,
    generation: u32,
    handles: u64,
    asked: u64,
    pub(super) rng: Rng,
}

/// Why a session is let go.
enum Over {
    /// The runtime refused something.
    Refused(Error),
    /// It is long enough.
    Long,
    /// It is closed, and opened again.
    Again,
    /// The server stops.
    Stop,
}

impl From<Error> for Over {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Slot {
    pub(super) fn new(server: &Arc<Server>, number: u32) -> Self {
        let arguments = &server.arguments;
        let mixed = u64::from(arguments.number) << 32 | u64::from(number);
        Self {
            server: Arc::clone(server),
            pace: server.pace.subscribe(),
            number,
            generation: 0,
            handles: 0,
            asked: 0,
            rng: Rng::with_seed(arguments.seed ^ mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        }
    }

    fn tell(&self) -> &Tell {
        &self.server.tell
    }

    fn name(&self) -> String {
        format!("s{:02}-{:05}", self.number, self.generation)
    }

    pub(super) async fn run(mut self) {
        self.generation = self.latest();
        loop {
            let Some(mut session) = self.open().await else {
                return;
            };
            let name = session.name().to_owned();
            match self.use_up(&mut session).await {
                Over::Stop => return self.close(session),
                Over::Again => self.close(session),
                Over::Long => {
                    self.follow(&session);
                    self.close(session);
                }
                Over::Refused(error) => {
                    self.tell().refused("a session's work", &name, &error);
                    drop(session);
                    self.refused(&error).await;
                }
            }
            self.server.forget(&name);
        }
    }

    /// The generation to go on with: the newest that is there.
    fn latest(&self) -> u32 {
        let names = self.server.runtime.sessions().unwrap_or_default();
        let prefix = format!("s{:02}-", self.number);
        let own = names.iter().filter_map(|name| name.strip_prefix(&prefix));
        own.filter_map(|number| number.parse().ok())
            .max()
            .unwrap_or(0)
    }

    /// Opens the session, however often that takes; `None` when the server stops.
    async fn open(&mut self) -> Option<Session> {
        loop {
            if self.rest().await {
                return None;
            }
            let (name, started) = (self.name(), Instant::now());
            match self.server.runtime.session(&name, Format::OpenAiChat) {
                Ok(session) => {
                    let (n, us) = (session.messages(), took(started));
                    self.tell().line(Line::Opened { s: name, n, us });
                    return self.equip(session);
                }
                Err(error) if is_damage(&error) => {
                    self.tell().line(Line::Unreadable {
                        s: name,
                        what: "session".to_owned(),
                        error: chain(&error),
                    });
                    self.generation += 1;
                }
                Err(error) => {
                    self.tell().refused("open", &name, &error);
                    self.refused(&error).await;
                }
            }
        }
    }

    fn equip(&mut self, mut session: Session) -> Option<Session> {
        self.handles += 1;
        let purse = self.server.purse(session.name(), PURSE, self.handles);
        session.set_budget(purse);
        session.set_tools(tools::toolbox(&self.server).ok()?);
        Some(session)
    }

    /// After a refusal: a store that takes no more writes has to be opened again, so the process
    /// ends, as an operator would have it.
    async fn refused(&self, error: &Error) {
        let poisoned = matches!(error, Error::Store(mmap_store::Error::Poisoned { .. }));
        // Through the checkpoints the cause comes as text.
        if poisoned || chain(error).contains("takes no more writes") {
            self.tell().server("poisoned");
            std::process::exit(9);
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }

    /// Waits while everybody rests; true when the server stops.
    pub(super) async fn rest(&mut self) -> bool {
        let resting = &self.server.resting;
        if *self.pace.borrow_and_update() == Pace::Rest {
            resting.fetch_add(1, Ordering::Relaxed);
            let _ = self.pace.wait_for(|pace| *pace != Pace::Rest).await;
            resting.fetch_sub(1, Ordering::Relaxed);
        }
        *self.pace.borrow() == Pace::Stop
    }

    async fn use_up(&mut self, session: &mut Session) -> Over {
        loop {
            if self.rest().await {
                return Over::Stop;
            }
            if session.messages() >= MESSAGES {
                return Over::Long;
            }
            let pause = Duration::from_millis(self.rng.u64(1..PAUSE_MS));
            // A pause ends early when everybody shall rest or stop.
            let _ = tokio::time::timeout(pause, self.pace.changed()).await;
            if let Err(over) = self.act(session).await {
                return over;
            }
        }
    }

    async fn act(&mut self, session: &mut Session) -> Result<(), Over> {
        match self.rng.u8(..100) {
            0..52 => self.turn(session).await,
            52..68 => self.checkpoint(session),
            68..80 => self.restore(session),
            80..90 => self.read(session),
            90..95 => self.ask(session).await,
            95..99 => Err(Over::Again),
            _ => Err(Over::Long),
        }
    }

    /// A message of the user, an answer with calls, and their results.
    async fn turn(&mut self, session: &mut Session) -> Result<(), Over> {
        let user = texts::user(&mut self.rng);
        self.append(session, user)?;
        let count = self.rng.usize(0..=10);
        let calls: Vec<ToolCall> = (0..count).map(|_| self.call()).collect();
        let answer = texts::assistant(&mut self.rng, &calls);
        self.append(session, answer)?;
        if calls.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = calls.iter().map(|call| call.id.clone()).collect();
        match self.run_tools(session, calls).await {
            Some(outcomes) => {
                for outcome in outcomes {
                    let text = outcome.to_text();
                    self.append(session, texts::result(&outcome.id, &text))?;
                }
            }
            None => {
                for id in ids {
                    self.append(session, texts::result(&id, "cancelled"))?;
                }
            }
        }
        Ok(())
    }

    fn call(&mut self) -> ToolCall {
        let id = self.fresh_id();
        texts::call(&mut self.rng, id)
    }

    pub(super) fn fresh_id(&mut self) -> String {
        self.asked += 1;
        format!(
            "{}-{}-{}",
            self.server.arguments.number, self.number, self.asked
        )
    }

    /// Sends the context to the model and appends what it says.
    async fn ask(&mut self, session: &mut Session) -> Result<(), Over> {
        let started = Instant::now();
        let context = session.context();
        let items: Vec<_> = context
            .items()
            .map(|item| String::from_utf8_lossy(item))
            .collect();
        let messages = format!("[{}]", items.join(","));
        self.tell().line(Line::Context {
            s: session.name().to_owned(),
            tokens: context.tokens() as u64,
            window: super::WINDOW as u64,
            us: took(started),
        });
        session.sent();
        let id = self.fresh_id();
        let call = ToolCall::new(id, "ask", json!({ "messages": messages }));
        let call = call.deadline(Duration::from_secs(4));
        let outcomes = self.run_tools(session, vec![call]).await;
        match outcomes.as_deref() {
            Some(
                [
                    ToolOutcome {
                        result: Ok(output), ..
                    },
                ],
            ) => {
                let text = output.as_text().unwrap_or_default();
                let answer = json!({"role": "assistant", "content": text});
                self.append(session, answer.to_string())
            }
            _ => Ok(()),
        }
    }

    /// Runs calls; `None` when the caller goes away before they end.
    pub(super) async fn run_tools(
        &mut self,
        session: &Session,
        calls: Vec<ToolCall>,
    ) -> Option<Vec<ToolOutcome>> {
        let run = self.fresh_id();
        let listed = calls.iter().map(|call| Call {
            id: call.id.clone(),
            reads: match call.name == "read_doc" {
                true => call.args["doc"]
                    .as_u64()
                    .map(|doc| doc as u32)
                    .into_iter()
                    .collect(),
                false => Vec::new(),
            },
        });
        self.tell().line(Line::Calls {
            r: run.clone(),
            calls: listed.collect(),
        });
        let patience = match self.rng.u8(..) {
            0..10 => Duration::from_micros(self.rng.u64(1..20_000)),
            _ => Duration::from_secs(3_600),
        };
        let started = Instant::now();
        let Ok(outcomes) = tokio::time::timeout(patience, session.run_tools(calls)).await else {
            self.tell().line(Line::Dropped { r: run });
            return None;
        };
        let us = took(started);
        for outcome in &outcomes {
            self.tell().line(told(&run, outcome));
        }
        self.tell().line(Line::Ran { r: run, us });
        Some(outcomes)
    }

    fn append(&self, session: &mut Session, message: String) -> Result<(), Over> {
        let (s, n) = (session.name().to_owned(), session.messages());
        let dg = digest(message.as_bytes());
        let try_append = Line::TryAppend {
            s: s.clone(),
            n,
            dg,
        };
        self.tell().line(try_append);
        let started = Instant::now();
        session.append(message)?;
        let us = took(started);
        self.tell().line(Line::Append { s, n, us });
        Ok(())
    }

    fn checkpoint(&mut self, session: &mut Session) -> Result<(), Over> {
        let header = json!({"turn": self.asked, "note": texts::text(&mut self.rng)}).to_string();
        let started = Instant::now();
        let version = session.checkpoint(&header)?;
        self.tell().line(Line::Checkpoint {
            s: session.name().to_owned(),
            v: version.to_string(),
            header,
            n: session.messages(),
            us: took(started),
        });
        Ok(())
    }

    fn restore(&mut self, session: &Session) -> Result<(), Over> {
        let thread = session.checkpoints()?;
        let versions = thread.versions().map_err(Error::from)?;
        let Some(version) = self.rng.choice(versions) else {
            return Ok(());
        };
        let started = Instant::now();
        match session.restore(version.id) {
            Ok(state) => self.tell().line(Line::Restore {
                s: session.name().to_owned(),
                v: version.id.to_string(),
                dg: digest(&state),
                us: took(started),
            }),
            Err(error) => self.unreadable(session, format!("version {}", version.id), &error),
        }
        Ok(())
    }

    fn read(&mut self, session: &Session) -> Result<(), Over> {
        if session.messages() == 0 {
            return Ok(());
        }
        let n = self.rng.u64(..session.messages());
        let started = Instant::now();
        match session.message(n) {
            Ok(message) => self.tell().line(Line::Read {
                s: session.name().to_owned(),
                n,
                dg: digest(&message),
                us: took(started),
            }),
            Err(error) => self.unreadable(session, format!("message {n}"), &error),
        }
        Ok(())
    }

    fn unreadable(&self, session: &Session, what: String, error: &Error) {
        self.tell().line(Line::Unreadable {
            s: session.name().to_owned(),
            what,
            error: chain(error),
        });
    }

    /// The next generation begins empty, or as a fork of this one.
    fn follow(&mut self, session: &Session) {
        self.generation += 1;
        let name = self.name();
        let forks = self.rng.u8(..) < 140 && session.messages() <= MESSAGES / 2;
        let (from, n) = match forks {
            true => (session.name().to_owned(), session.messages()),
            false => (String::new(), 0),
        };
        let s = name.clone();
        self.tell().line(Line::Fork { s, from, n });
        if !forks {
            return;
        }
        let started = Instant::now();
        match session.fork(&name) {
            Ok(forked) => {
                let (n, us) = (forked.messages(), took(started));
                self.tell().line(Line::Opened { s: name, n, us });
            }
            Err(error) => {
                self.tell().refused("fork", &name, &error);
                // Whether it is there is unknown: its name is used for nothing else.
                self.generation += 1;
            }
        }
    }

    fn close(&self, session: Session) {
        let name = session.name().to_owned();
        if let Err(error) = session.close() {
            self.tell().refused("close", &name, &error);
        }
    }
}

fn told(run: &str, outcome: &ToolOutcome) -> Line {
    let versions = |field: &str| -> Vec<(u32, u64)> {
        let content = outcome.result.as_ref().map(|output| &output.content);
        let listed = content.ok().and_then(|content| content.get(field));
        let listed = listed
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let pair = |pair: &Value| Some((pair.get(0)?.as_u64()? as u32, pair.get(1)?.as_u64()?));
        listed.iter().filter_map(pair).collect()
    };
    let error = outcome.result.as_ref().err();
    Line::Outcome {
        r: run.to_owned(),
        id: outcome.id.clone(),
        ok: error.is_none(),
        saw: versions("saw"),
        wrote: versions("wrote"),
        why: error.map_or_else(String::new, |error| format!("{:?}", error.kind)),
    }
}

fn is_damage(error: &Error) -> bool {
    match error {
        Error::Store(error) => matches!(error, mmap_store::Error::Damaged { .. }),
        Error::Snapshot(error) => error.is_damage(),
        Error::Damaged { .. } => true,
        _ => false,
    }
}

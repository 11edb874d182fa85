//! Tool calls of whole sessions, replayed through a cache that writes invalidate.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use mainspring::{adapters::CachedTool, compressor};
use mainspring_cache_tier::{BytesCodec, TieredCache};
use mainspring_inputs::Profile;
use mainspring_scheduler::{Access, FnTool, Scheduler, ToolCall, ToolError, ToolOutput, Toolbox};
use serde_json::{Value, json};

use crate::{Bench, Measured, PerInput, Session, Sessions, areas::Unavailable, check};

/// Above every resource: what a call reads that names none, and writes that names none.
const WORLD: &str = "world";

/// Calls that only look, but at what the tool itself remembers: the same words mean something else
/// the next time.
const STATEFUL: [&str; 4] = ["open", "goto", "scroll_up", "scroll_down"];

/// One call as it was recorded.
struct Recorded {
    tool: String,
    args: Value,
    access: Access,
    cacheable: bool,
    answer: Arc<str>,
    failed: bool,
}

/// The share of attainable hits that the cache has, nothing stale among them.
pub(super) fn rate(bench: &Bench) -> Result<Measured> {
    let (sessions, note) = sessions(bench)?;
    let mut replay = Replay::new(&sessions)?;
    let mut inputs = Vec::new();
    let mut all = Tally::default();
    for (name, calls) in &sessions {
        let tally = replay.run(bench, name, calls)?;
        all.add(&tally);
        if tally.attainable > 0 {
            inputs.push(tally.figures(name));
        }
    }
    if all.attainable == 0 {
        let none = format!("no call could be answered from a cache; {note}");
        return Err(Unavailable(none).into());
    }
    let share = match all.changed {
        0 => all.had as f64 / all.attainable as f64,
        _ => 0.0,
    };
    Ok(Measured::counted(share).on_inputs(inputs).noting(format!(
        "{} calls, {} reads to cache, {} repeated, {} of those after a write; {} hits of {} \
         attainable, {} stale; {note}",
        all.calls, all.reads, all.repeats, all.written, all.had, all.attainable, all.changed
    )))
}

/// The calls of a session, under its name.
type Calls = (String, Vec<Recorded>);

/// The calls of every session, and a remark.
fn sessions(bench: &Bench) -> Result<(Vec<Calls>, String)> {
    let calls = |session: &Session| (session.name.clone(), recorded(session));
    if bench.options().sessions.is_some() {
        let sessions = Sessions::of(bench)?;
        return Ok((sessions.all.iter().map(calls).collect(), sessions.note()));
    }
    // The other profiles draw a call's result anew each time: it follows from no state of a world.
    let lengths: &[usize] = bench
        .scale()
        .pick(&[160], &[200, 1_000], &[200, 1_000, 4_000]);
    let generated = lengths
        .iter()
        .map(|messages| Session::generated(Profile::Coding, *messages));
    let generated: Vec<Session> = generated.collect::<Result<_>>()?;
    let note = format!("{} generated sessions", generated.len());
    Ok((generated.iter().map(calls).collect(), note))
}

/// The calls that were answered, in the order in which they were made.
fn recorded(session: &Session) -> Vec<Recorded> {
    let mut waiting: VecDeque<(Option<String>, usize)> = VecDeque::new();
    let mut calls: Vec<(Recorded, bool)> = Vec::new();
    for item in session.transcript.items() {
        for call in item.calls() {
            let id = call.id.as_deref().map(str::to_owned);
            waiting.push_back((id, calls.len()));
            calls.push((unanswered(&call), false));
        }
        for result in item.results() {
            let id = result.id.as_deref();
            let same = |(asked, _): &(Option<String>, usize)| asked.as_deref() == id;
            let Some((_, at)) = waiting
                .iter()
                .position(same)
                .and_then(|at| waiting.remove(at))
            else {
                continue;
            };
            let (call, answered) = &mut calls[at];
            call.answer = (*result.text).into();
            call.failed = result.is_error;
            *answered = true;
        }
    }
    let answered = calls.into_iter().filter(|(_, answered)| *answered);
    answered.map(|(call, _)| call).collect()
}

fn unanswered(call: &compressor::ToolCall<'_>) -> Recorded {
    let args = match serde_json::from_str(&call.arguments) {
        Ok(args @ Value::Object(_)) => args,
        _ => json!({ "text": call.arguments }),
    };
    let guess = call.access();
    let resource = match &guess.path {
        Some(path) => in_world(path),
        None => WORLD.to_owned(),
    };
    let looks = guess.kind == compressor::AccessKind::Read;
    let cacheable = looks && guess.command.is_none() && !STATEFUL.contains(&call.name.as_ref());
    let access = match guess.kind {
        compressor::AccessKind::Read if cacheable => Access::read(&*resource),
        compressor::AccessKind::Read => Access::none(),
        compressor::AccessKind::Write => Access::write(&*resource),
        _ => Access::exclusive(),
    };
    Recorded {
        tool: call.name.to_string(),
        args,
        access,
        cacheable,
        answer: "".into(),
        failed: false,
    }
}

/// The path as a resource, `.` and `..` resolved by name, never above the world.
fn in_world(path: &str) -> String {
    let mut parts = vec![WORLD];
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => parts.truncate((parts.len() - 1).max(1)),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// What the tools answer next, and whether they were asked.
#[derive(Default)]
struct Stage {
    access: Access,
    cacheable: bool,
    answer: Option<Result<Arc<str>, Arc<str>>>,
    asked: bool,
}

fn lock(stage: &Mutex<Stage>) -> MutexGuard<'_, Stage> {
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The facade's cached tools over tools that answer as they did when they were recorded.
struct Replay {
    scheduler: Scheduler,
    stage: Arc<Mutex<Stage>>,
    runtime: tokio::runtime::Runtime,
}

impl Replay {
    fn new(sessions: &[Calls]) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let cache: TieredCache<Bytes> =
            runtime.block_on(TieredCache::<Bytes>::builder(BytesCodec).open())?;
        let stage = Arc::new(Mutex::new(Stage::default()));
        let names: BTreeSet<&str> = sessions
            .iter()
            .flat_map(|(_, calls)| calls.iter().map(|call| &*call.tool))
            .collect();
        let mut toolbox = Toolbox::new();
        for name in names {
            let seen = Arc::clone(&stage);
            let cached = CachedTool::new(Arc::new(tool(name, &stage)), cache.clone());
            toolbox = toolbox.with(cached.when(move |_| lock(&seen).cacheable))?;
        }
        Ok(Self {
            scheduler: Scheduler::builder().toolbox(toolbox).build()?,
            stage,
            runtime,
        })
    }

    fn run(&mut self, bench: &Bench, session: &str, calls: &[Recorded]) -> Result<Tally> {
        let mut tally = Tally::default();
        // Where each read was made last, and what it was told.
        let mut last: HashMap<(&str, String), (usize, String)> = HashMap::new();
        for (at, call) in calls.iter().enumerate() {
            let key = (&*call.tool, call.args.to_string());
            let before = last.remove(&key).filter(|_| call.cacheable);
            let since = before.as_ref().map(|(before, _)| &calls[before + 1..at]);
            let written = since.is_some_and(|since| since.iter().any(|other| spoils(other, call)));
            let (answer, hit) = self.call(session, at, call)?;
            tally.calls += 1;
            tally.reads += u64::from(call.cacheable);
            tally.repeats += u64::from(before.is_some());
            tally.written += u64::from(written);
            let kept = before.filter(|_| !written).map(|(_, answer)| answer);
            tally.attainable += u64::from(kept.is_some());
            let fresh = bench.answer(!hit || kept.is_some());
            check(fresh, "a read was answered from before a write")?;
            let answer = bench.answer(answer);
            let wanted = kept.as_deref().filter(|_| hit).unwrap_or(&call.answer);
            check(answer == wanted, "a call got another call's answer")?;
            tally.had += u64::from(hit);
            tally.changed += u64::from(hit && answer != *call.answer);
            if call.cacheable && (hit || !call.failed) {
                last.insert(key, (at, answer));
            }
        }
        Ok(tally)
    }

    /// The answer, and whether it came from the cache.
    fn call(&self, session: &str, at: usize, call: &Recorded) -> Result<(String, bool)> {
        let answer = Arc::clone(&call.answer);
        *lock(&self.stage) = Stage {
            access: call.access.clone(),
            cacheable: call.cacheable,
            answer: Some(if call.failed { Err(answer) } else { Ok(answer) }),
            asked: false,
        };
        let asked = ToolCall::new(at.to_string(), &*call.tool, call.args.clone()).session(session);
        let outcome = self.runtime.block_on(self.scheduler.run(vec![asked]));
        let outcome = outcome
            .into_iter()
            .next()
            .context("a call has an outcome")?;
        let text = match outcome.result {
            Ok(output) => output.content.as_str().unwrap_or_default().to_owned(),
            Err(error) => error.message,
        };
        Ok((text, !lock(&self.stage).asked))
    }
}

/// Answers what the stage says, at once.
fn tool(name: &str, stage: &Arc<Mutex<Stage>>) -> FnTool {
    let (asked, declared) = (Arc::clone(stage), Arc::clone(stage));
    FnTool::new(name, move |_, _| {
        let mut stage = lock(&asked);
        stage.asked = true;
        let answer = stage.answer.take();
        async move {
            match answer {
                Some(Ok(text)) => Ok(ToolOutput::text(&*text)),
                Some(Err(text)) => Err(ToolError::permanent(&*text)),
                None => Err(ToolError::permanent("asked twice")),
            }
        }
    })
    .access(move |_| lock(&declared).access.clone())
}

/// Whether the call could have changed what the other one reads; decided here, by the paths alone.
fn spoils(call: &Recorded, read: &Recorded) -> bool {
    let covers = |a: &str, b: &str| {
        let (a, b) = (a.split('/'), b.split('/'));
        a.zip(b).all(|(a, b)| a == b)
    };
    call.access.exclusive
        || call.access.writes.iter().any(|written| {
            let mut reads = read.access.reads.iter();
            reads.any(|read| covers(written.as_str(), read.as_str()))
        })
}

/// How a session's calls came out.
#[derive(Default)]
struct Tally {
    calls: u64,
    /// Calls whose answer may be kept.
    reads: u64,
    /// Of those, calls that were made before in the session.
    repeats: u64,
    /// Of those, calls since whose last answer something was written that they read.
    written: u64,
    attainable: u64,
    /// Attainable hits that the cache had.
    had: u64,
    /// Hits whose recorded answer was another one, though nothing was written.
    changed: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.reads += other.reads;
        self.repeats += other.repeats;
        self.written += other.written;
        self.attainable += other.attainable;
        self.had += other.had;
        self.changed += other.changed;
    }

    fn figures(&self, name: &str) -> PerInput {
        PerInput::new(
            name,
            [
                ("calls", self.calls as f64),
                ("repeated reads", self.repeats as f64),
                ("attainable", self.attainable as f64),
                ("hits", self.had as f64),
                ("stale", self.changed as f64),
            ],
        )
    }
}

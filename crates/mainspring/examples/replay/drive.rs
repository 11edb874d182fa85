//! One recorded session, driven the way a live agent runtime would.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use mainspring::{
    Error, Runtime, Session,
    compressor::{Quality, Tokenizer, Transcript, count_item, validate},
    delta_snapshot::VersionId,
    scheduler::{ToolCall, Toolbox},
};

use crate::{
    figures::{Cache, Storage, Tokens, Tools, share},
    recorded::{self, Call, Concurrency},
};

/// How many tools run at once at most: the runtime's default.
pub(crate) const LIMIT: usize = 10;

/// A session that was driven, with what is needed to verify it.
#[derive(Debug)]
pub(crate) struct Driven {
    pub name: String,
    pub transcript: Transcript,
    /// The header of each checkpoint.
    pub headers: Vec<String>,
    pub versions: Vec<VersionId>,
    /// What would have been sent to the model at the end.
    pub context: Vec<Bytes>,
    pub tokens: Tokens,
    pub quality: Option<Quality>,
    pub storage: Storage,
    pub cache: Cache,
    pub tools: Tools,
    /// What did not go as it should have.
    pub problems: Vec<String>,
}

/// Drives a session to its end.
pub(crate) async fn drive(
    runtime: &Runtime,
    name: &str,
    transcript: Transcript,
    tokenizer: &dyn Tokenizer,
    seed: u64,
    mut step: impl FnMut(),
) -> Driven {
    let stored = runtime.snapshot_store().stats().log_bytes;
    let mut driven = Driven {
        name: name.to_owned(),
        headers: Vec::with_capacity(transcript.len()),
        versions: Vec::with_capacity(transcript.len()),
        context: Vec::new(),
        tokens: Tokens {
            original: original(&transcript, tokenizer),
            ..Tokens::default()
        },
        quality: None,
        storage: Storage::default(),
        cache: Cache::default(),
        tools: Tools::default(),
        problems: damage(&transcript),
        transcript,
    };
    if let Err(error) = run(runtime, &mut driven, seed, &mut step).await {
        driven
            .problems
            .push(format!("after message {}: {error}", driven.versions.len()));
    }
    driven.storage.stored_bytes = runtime.snapshot_store().stats().log_bytes - stored;
    driven.finish();
    driven
}

async fn run(
    runtime: &Runtime,
    driven: &mut Driven,
    seed: u64,
    step: &mut impl FnMut(),
) -> Result<(), Error> {
    let mut session = runtime.session(&driven.name, driven.transcript.format())?;
    let calls = recorded::calls(&driven.transcript, &driven.name, seed);
    let concurrency = Arc::new(Concurrency::default());
    let mut toolbox = Toolbox::new();
    for tool in recorded::tools(&calls, &concurrency) {
        let asked = Arc::clone(&tool);
        toolbox.add(runtime.cached(tool).when(move |args| asked.cacheable(args)))?;
    }
    session.set_tools(toolbox);
    let (mut next, mut pending) = (0, 0..0);
    let mut size = 0;
    for at in 0..driven.transcript.len() {
        if calls[pending.clone()].iter().any(|call| call.answer == at) {
            driven.answer(&session, &calls, pending.clone()).await;
            pending.start = pending.end;
        }
        let raw = driven.transcript.items()[at].raw().clone();
        size += raw.len() as u64 + u64::from(at > 0);
        let appended = session.append(raw)?;
        if appended.compaction.is_some()
            && let Err(broken) = validate(session.context().transcript())
        {
            driven.problems.push(format!(
                "message {at}: the compacted context is invalid: {broken}"
            ));
        }
        while calls.get(next).is_some_and(|call| call.item == at) {
            next += 1;
        }
        pending.end = next;
        let header = header(&session, at);
        driven.storage.full_json_bytes += size + header.len() as u64 + 25;
        driven.versions.push(session.checkpoint(&header)?);
        driven.headers.push(header);
        step();
    }
    let context = session.context();
    driven.context = context.items().cloned().collect();
    driven.tokens.final_context = context.tokens() as u64;
    driven.tokens.peak_context = context.stats().peak_tokens as u64;
    driven.tokens.compactions = context.stats().compactions;
    driven.tokens.window = context.budget().window as u64;
    driven.tools.max_concurrency = concurrency.peak();
    Ok(())
}

impl Driven {
    /// Runs the calls that wait for an answer, side by side, and compares with the recording.
    async fn answer(
        &mut self,
        session: &Session,
        calls: &[Arc<Call>],
        batch: std::ops::Range<usize>,
    ) {
        let submitted = batch
            .clone()
            .map(|id| ToolCall::new(id.to_string(), &*calls[id].name, calls[id].args.clone()));
        let started = Instant::now();
        let outcomes = session.run_tools(submitted.collect()).await;
        self.tools.wall_ms += millis(started.elapsed());
        let batch = &calls[batch];
        for (call, outcome) in batch.iter().zip(&outcomes) {
            if outcome.to_text() != call.output {
                self.problems.push(format!(
                    "message {}: the replayed result of `{}` is not the recorded one (from message {})",
                    call.answer, call.name, call.item
                ));
            }
            let ran = call.ran();
            self.cache.hits += u64::from(call.cacheable() && ran.is_none());
            self.cache.misses += u64::from(call.cacheable() && ran.is_some());
            self.tools.sequential_ms += millis(ran.unwrap_or_default());
        }
        if outcomes.len() != batch.len() {
            let item = batch.first().map_or(0, |call| call.item);
            let (calls, results) = (batch.len(), outcomes.len());
            self.problems.push(format!(
                "message {item}: {calls} calls gave {results} results"
            ));
        }
        self.tools.calls += batch.len() as u64;
        self.tools.critical_path_ms += millis(recorded::critical_path(batch, LIMIT));
    }

    /// What follows from the rest.
    fn finish(&mut self) {
        match Quality::measure(&self.transcript, &self.context) {
            Ok(quality) => self.quality = Some(quality),
            Err(error) => self
                .problems
                .push(format!("the final context cannot be judged: {error}")),
        }
        let tokens = &mut self.tokens;
        tokens.reduction = share(tokens.final_context, tokens.original).map(|kept| 1.0 - kept);
        if tokens.peak_context > tokens.window {
            let (peak, window) = (tokens.peak_context, tokens.window);
            self.problems.push(format!(
                "the context had {peak} tokens in a window of {window}"
            ));
        }
        let last = self
            .versions
            .len()
            .checked_sub(1)
            .map(|last| self.state(last));
        self.storage.floor_bytes = last.map_or(0, |state| {
            zstd::bulk::compress(&state, 3).map_or(0, |packed| packed.len() as u64)
        });
        self.storage.ratio = share(self.storage.full_json_bytes, self.storage.stored_bytes);
        self.cache.hit_rate = share(self.cache.hits, self.cache.hits + self.cache.misses);
    }

    /// The state that a checkpoint must restore to, put together from the input's own bytes.
    pub(crate) fn state(&self, step: usize) -> Vec<u8> {
        let mut state = format!("{{\"header\":{},\"messages\":[", self.headers[step]).into_bytes();
        for (at, item) in self.transcript.items()[..=step].iter().enumerate() {
            if at > 0 {
                state.push(b',');
            }
            state.extend_from_slice(item.raw());
        }
        state.extend_from_slice(b"]}");
        state
    }
}

/// What a runtime writes beside the messages, different at every step.
fn header(session: &Session, at: usize) -> String {
    let stats = session.context().stats();
    format!(
        "{{\"step\":{},\"session\":\"{}\",\"tokens\":{},\"compactions\":{},\"updated_ms\":{}}}",
        at + 1,
        session.name().escape_default(),
        stats.tokens,
        stats.compactions,
        1_790_000_000_000 + at as u64 * 7_919
    )
}

fn original(transcript: &Transcript, tokenizer: &dyn Tokenizer) -> u64 {
    transcript
        .items()
        .iter()
        .map(|item| count_item(tokenizer, item) as u64)
        .sum()
}

fn damage(transcript: &Transcript) -> Vec<String> {
    transcript
        .damage()
        .iter()
        .map(|finding| format!("the recording is damaged: {finding}"))
        .collect()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

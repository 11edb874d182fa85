//! Tools that answer as the recording did, after a while.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use mainspring::{
    compressor::{self, AccessKind, Place, ToolExchange, Transcript},
    scheduler::{Access, BoxFuture, ResourceKey, Tool, ToolContext, ToolError, ToolOutput},
};
use mainspring_inputs::Random;
use serde_json::Value;

/// How much shorter a replayed call is than a real one, whose mean is 1.3 seconds.
const SCALE: u32 = 250;

/// One recorded call and what it gave.
#[derive(Debug)]
pub(crate) struct Call {
    /// The number of the item that made the call, and of the one that answers it.
    pub item: usize,
    pub answer: usize,
    pub name: String,
    pub args: Value,
    pub output: String,
    pub access: Access,
    latency: Duration,
    /// Whether its result depends on nothing but what it reads.
    cacheable: bool,
    /// Nanoseconds that the tool really ran; 0 when the cache answered.
    ran: AtomicU64,
}

impl Call {
    /// How long the tool ran, or nothing when the cache answered.
    pub(crate) fn ran(&self) -> Option<Duration> {
        match self.ran.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// Whether the cache was asked.
    pub(crate) fn cacheable(&self) -> bool {
        let access = &self.access;
        let reads = access.writes.is_empty() && !access.exclusive && !access.reads.is_empty();
        reads && self.cacheable
    }
}

/// The calls of a session that have a result, in the order in which they were made.
pub(crate) fn calls(transcript: &Transcript, session: &str, seed: u64) -> Vec<Arc<Call>> {
    let mut latencies = Random::new(seed ^ digest(session));
    let made = ranks(
        transcript
            .exchanges()
            .iter()
            .filter_map(|exchange| exchange.call),
    );
    let given = ranks(
        transcript
            .exchanges()
            .iter()
            .filter_map(|exchange| exchange.result),
    );
    let complete = |exchange: &ToolExchange| Some((exchange.call?, exchange.result?));
    let mut exchanges: Vec<_> = transcript.exchanges().iter().filter_map(complete).collect();
    exchanges.sort_unstable();
    let items = transcript.items();
    exchanges
        .iter()
        .filter_map(|(call, result)| {
            let made = items[call.item].calls().nth(made[call])?;
            let given = items[result.item].results().nth(given[result])?;
            Some(Arc::new(Call {
                item: call.item,
                answer: result.item,
                name: made.name.to_string(),
                args: serde_json::from_str(&made.arguments)
                    .unwrap_or_else(|_| Value::from(&*made.arguments)),
                output: given.text.to_string(),
                access: access(&made, session),
                latency: latency(&mut latencies),
                cacheable: made.access().command.is_none(),
                ran: AtomicU64::new(0),
            }))
        })
        .collect()
}

/// Which of its item's calls (or results) each place is.
fn ranks(places: impl Iterator<Item = Place>) -> HashMap<Place, usize> {
    let mut places: Vec<Place> = places.collect();
    places.sort_unstable();
    let mut ranks = HashMap::with_capacity(places.len());
    let (mut item, mut rank) = (usize::MAX, 0);
    for place in places {
        rank = if place.item == item { rank + 1 } else { 0 };
        item = place.item;
        ranks.insert(place, rank);
    }
    ranks
}

/// What a call touches, inside a world of its session's own.
fn access(call: &compressor::ToolCall<'_>, session: &str) -> Access {
    let guess = call.access();
    let resource = match &guess.path {
        Some(path) => ResourceKey::new(&format!("{session}/{path}")),
        None => ResourceKey::new(session),
    };
    match guess.kind {
        AccessKind::Read => Access::read(resource),
        AccessKind::Write => Access::write(resource),
        _ => Access::write(ResourceKey::new(session)),
    }
}

fn latency(random: &mut Random) -> Duration {
    Duration::from_micros(random.length(900_000, 0.85, 20_000_000) as u64) / SCALE
}

/// FNV-1a: the same for ever, so that a seed gives the same latencies everywhere.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// How many calls of a session run, and the most that ever did.
#[derive(Debug, Default)]
pub(crate) struct Concurrency {
    running: AtomicUsize,
    peak: AtomicUsize,
}

impl Concurrency {
    /// The most calls that ran at once.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed) as u64
    }

    fn enter(&self) -> Running<'_> {
        let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak.fetch_max(running, Ordering::Relaxed);
        Running(self)
    }
}

struct Running<'a>(&'a Concurrency);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A tool of the recording: every call of one name.
#[derive(Debug)]
pub(crate) struct RecordedTool {
    name: String,
    concurrency: Arc<Concurrency>,
    by_id: HashMap<String, Arc<Call>>,
    by_args: HashMap<String, (Access, bool)>,
}

/// The tools that a session's calls name. A call's id is its number in `calls`.
pub(crate) fn tools(calls: &[Arc<Call>], concurrency: &Arc<Concurrency>) -> Vec<Arc<RecordedTool>> {
    let mut tools: HashMap<&str, RecordedTool> = HashMap::new();
    for (id, call) in calls.iter().enumerate() {
        let tool = tools.entry(&call.name).or_insert_with(|| RecordedTool {
            name: call.name.clone(),
            concurrency: Arc::clone(concurrency),
            by_id: HashMap::new(),
            by_args: HashMap::new(),
        });
        tool.by_id.insert(id.to_string(), Arc::clone(call));
        tool.by_args
            .insert(call.args.to_string(), (call.access.clone(), call.cacheable));
    }
    tools.into_values().map(Arc::new).collect()
}

impl RecordedTool {
    /// Whether the result of such a call may be cached.
    pub(crate) fn cacheable(&self, args: &Value) -> bool {
        self.by_args
            .get(&args.to_string())
            .is_some_and(|(_, cacheable)| *cacheable)
    }
}

impl Tool for RecordedTool {
    fn name(&self) -> &str {
        &self.name
    }

    fn access(&self, args: &Value) -> Access {
        let known = self.by_args.get(&args.to_string());
        known.map_or_else(Access::exclusive, |(access, _)| access.clone())
    }

    fn call<'a>(
        &'a self,
        _args: &'a Value,
        context: &'a ToolContext,
    ) -> BoxFuture<'a, Result<ToolOutput, ToolError>> {
        Box::pin(async move {
            let call = self
                .by_id
                .get(context.id())
                .ok_or_else(|| ToolError::permanent("this call was never recorded"))?;
            let _running = self.concurrency.enter();
            let started = Instant::now();
            tokio::time::sleep(call.latency).await;
            call.ran
                .store(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
            Ok(ToolOutput::text(call.output.clone()))
        })
    }
}

/// The least time that a batch can take: conflicting calls one after the other, the others side by
/// side, at most `limit` at once.
pub(crate) fn critical_path(batch: &[Arc<Call>], limit: usize) -> Duration {
    let mut ends: Vec<Duration> = Vec::with_capacity(batch.len());
    let spent = |call: &Call| call.ran().unwrap_or_default();
    for (at, call) in batch.iter().enumerate() {
        let waits = batch[..at].iter().zip(&ends);
        let start = waits
            .filter(|(earlier, _)| earlier.access.conflicts_with(&call.access))
            .map(|(_, end)| *end)
            .max()
            .unwrap_or_default();
        ends.push(start + spent(call));
    }
    let total: Duration = batch.iter().map(|call| spent(call)).sum();
    let longest = ends.into_iter().max().unwrap_or_default();
    longest.max(total / u32::try_from(limit).unwrap_or(u32::MAX))
}

//! Figures gathered while sessions run, for each and for all.

use std::time::Instant;

use mainspring::{
    Runtime,
    monitor::{HistogramSnapshot, ProcessSample},
};
use serde::Serialize;

use crate::{
    drive::Driven,
    figures::{
        Figures, Operation, Operations, Process, Quality, Restore, Resume, Tokens, Tools, share,
        worst,
    },
    verify::{Verified, summarise},
};

const OPERATIONS: [&str; 8] = [
    "append",
    "checkpoint",
    "count_tokens",
    "compact",
    "tool_call",
    "cache_get",
    "restore",
    "resume",
];

/// A point in time: clocks, and the histograms of all operations.
#[derive(Debug)]
pub(crate) struct Mark {
    wall: Instant,
    cpu_ms: Option<f64>,
    histograms: Vec<HistogramSnapshot>,
}

impl Mark {
    /// Clocks alone.
    pub(crate) fn now() -> Self {
        Self {
            wall: Instant::now(),
            cpu_ms: cpu_ms(),
            histograms: Vec::new(),
        }
    }

    /// Clocks and histograms; the process's peak memory starts anew where the system allows it.
    pub(crate) fn of(runtime: &Runtime) -> Self {
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        Self {
            histograms: histograms(runtime),
            ..Self::now()
        }
    }

    fn process(&self) -> Process {
        Process {
            peak_rss_bytes: ProcessSample::now()
                .ok()
                .map(|sample| sample.peak_rss_bytes),
            wall_ms: self.wall.elapsed().as_secs_f64() * 1e3,
            cpu_ms: self.cpu_ms.zip(cpu_ms()).map(|(before, now)| now - before),
        }
    }

    /// What was recorded since, by operation.
    fn since(&self, runtime: &Runtime) -> Vec<HistogramSnapshot> {
        let now = histograms(runtime);
        now.iter()
            .zip(&self.histograms)
            .map(|(now, before)| now.since(before))
            .collect()
    }
}

fn histograms(runtime: &Runtime) -> Vec<HistogramSnapshot> {
    let timer = |name: &&str| {
        runtime
            .registry()
            .timer(&format!("{name}_duration"), &[])
            .snapshot()
    };
    OPERATIONS.iter().map(timer).collect()
}

fn cpu_ms() -> Option<f64> {
    ProcessSample::now()
        .ok()
        .map(|sample| sample.cpu().as_secs_f64() * 1e3)
}

/// What `--json` prints: all sessions together, and each.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// All together.
    #[serde(flatten)]
    pub all: Figures,
    /// Each, in the order of the inputs.
    pub per_session: Vec<Figures>,
}

/// The figures of all sessions so far.
#[derive(Debug)]
pub(crate) struct Total {
    skipped: usize,
    window: u64,
    per_session: Vec<Figures>,
    histograms: Vec<Vec<HistogramSnapshot>>,
    restores: Vec<f64>,
}

impl Total {
    pub(crate) fn new(sessions: usize, skipped: usize, window: u64) -> Self {
        Self {
            skipped,
            window,
            per_session: Vec::with_capacity(sessions),
            histograms: Vec::with_capacity(sessions),
            restores: Vec::new(),
        }
    }

    /// Adds a session that was driven since `mark`.
    pub(crate) fn driven(&mut self, driven: &Driven, mark: &Mark, runtime: &Runtime) {
        let steps = driven.versions.len() as u64;
        let mut tools = driven.tools.clone();
        tools.speedup = speedup(&tools);
        self.histograms.push(mark.since(runtime));
        self.per_session.push(Figures {
            sessions: 1,
            steps,
            messages: steps,
            tool_calls: tools.calls,
            skipped: 0,
            tokens: driven.tokens.clone(),
            quality: quality(driven),
            storage: driven.storage.clone(),
            restore: Restore::default(),
            resume: Resume::default(),
            cache: driven.cache.clone(),
            tools,
            operations: Operations::default(),
            process: mark.process(),
        });
    }

    /// Adds what verifying the session at `at` showed.
    pub(crate) fn verified(
        &mut self,
        at: usize,
        verified: Verified,
        mark: &Mark,
        runtime: &Runtime,
    ) {
        for (all, new) in self.histograms[at].iter_mut().zip(mark.since(runtime)) {
            all.merge(&new);
        }
        let (figures, process) = (&mut self.per_session[at], mark.process());
        figures.restore = verified.restore;
        figures.resume = verified.resume;
        figures.operations = Operations::of(&self.histograms[at]);
        figures.process.wall_ms += process.wall_ms;
        figures.process.peak_rss_bytes = figures.process.peak_rss_bytes.max(process.peak_rss_bytes);
        let cpu = figures.process.cpu_ms.zip(process.cpu_ms);
        figures.process.cpu_ms = cpu.map(|(drive, verify)| drive + verify);
        self.restores.extend(verified.times);
    }

    /// All together; `stored` is what the checkpoints really take on disk.
    pub(crate) fn finish(mut self, started: &Mark, stored: u64) -> Report {
        let each = &self.per_session;
        let sum = |of: &dyn Fn(&Figures) -> u64| each.iter().map(of).sum::<u64>();
        let mut all = Figures {
            sessions: each.len() as u64,
            steps: sum(&|f| f.steps),
            messages: sum(&|f| f.messages),
            tool_calls: sum(&|f| f.tool_calls),
            skipped: self.skipped as u64,
            tokens: Tokens {
                original: sum(&|f| f.tokens.original),
                final_context: sum(&|f| f.tokens.final_context),
                peak_context: each
                    .iter()
                    .map(|f| f.tokens.peak_context)
                    .max()
                    .unwrap_or(0),
                window: self.window,
                compactions: sum(&|f| f.tokens.compactions),
                reduction: None,
            },
            quality: each
                .iter()
                .map(|f| &f.quality)
                .fold(Quality::default(), Quality::worst),
            storage: crate::figures::Storage {
                full_json_bytes: sum(&|f| f.storage.full_json_bytes),
                stored_bytes: stored,
                ratio: None,
                floor_bytes: sum(&|f| f.storage.floor_bytes),
            },
            restore: Restore {
                versions_checked: sum(&|f| f.restore.versions_checked),
                identical: each.iter().all(|f| f.restore.identical),
                ..Restore::default()
            },
            resume: slowest(each),
            cache: crate::figures::Cache {
                hits: sum(&|f| f.cache.hits),
                misses: sum(&|f| f.cache.misses),
                hit_rate: None,
            },
            tools: tools(each),
            operations: Operations::of(&merged(&self.histograms)),
            process: started.process(),
        };
        all.tokens.reduction =
            share(all.tokens.final_context, all.tokens.original).map(|kept| 1.0 - kept);
        all.storage.ratio = share(all.storage.full_json_bytes, stored);
        all.cache.hit_rate = share(all.cache.hits, all.cache.hits + all.cache.misses);
        let peaks = each.iter().filter_map(|f| f.process.peak_rss_bytes).max();
        all.process.peak_rss_bytes = all.process.peak_rss_bytes.max(peaks);
        summarise(&mut all.restore, &mut self.restores);
        Report {
            all,
            per_session: self.per_session,
        }
    }
}

fn quality(driven: &Driven) -> Quality {
    let intact = driven.transcript.damage().is_empty();
    match &driven.quality {
        None => Quality {
            pairs_intact: false,
            ..Quality::default()
        },
        Some(measured) => Quality {
            score: Some(measured.score),
            user_messages_kept: Some(measured.user_messages_kept),
            paths_kept: Some(measured.paths_kept),
            commands_kept: Some(measured.commands_kept),
            errors_kept: Some(measured.errors_kept),
            pending_tasks_kept: Some(measured.pending_tasks_kept),
            pairs_intact: measured.pairs_intact && intact,
        },
    }
}

fn slowest(each: &[Figures]) -> Resume {
    let most = |of: &dyn Fn(&Resume) -> Option<f64>| {
        each.iter()
            .filter_map(|f| of(&f.resume))
            .max_by(f64::total_cmp)
    };
    Resume {
        open_ms: most(&|resume| resume.open_ms),
        to_first_context_ms: most(&|resume| resume.to_first_context_ms),
        rss_bytes: each.iter().filter_map(|f| f.resume.rss_bytes).max(),
    }
}

fn tools(each: &[Figures]) -> Tools {
    let mut all = Tools::default();
    for one in each.iter().map(|f| &f.tools) {
        all.calls += one.calls;
        all.max_concurrency = all.max_concurrency.max(one.max_concurrency);
        all.sequential_ms += one.sequential_ms;
        all.critical_path_ms += one.critical_path_ms;
        all.wall_ms += one.wall_ms;
    }
    all.speedup = speedup(&all);
    all
}

fn speedup(tools: &Tools) -> Option<f64> {
    (tools.wall_ms > 0.0).then(|| tools.sequential_ms / tools.wall_ms)
}

fn merged(each: &[Vec<HistogramSnapshot>]) -> Vec<HistogramSnapshot> {
    let mut all: Vec<HistogramSnapshot> = each.first().cloned().unwrap_or_default();
    for one in each.iter().skip(1) {
        all.iter_mut()
            .zip(one)
            .for_each(|(all, one)| all.merge(one));
    }
    all
}

impl Quality {
    fn worst(self, other: &Self) -> Self {
        Self {
            score: worst(self.score, other.score),
            user_messages_kept: worst(self.user_messages_kept, other.user_messages_kept),
            paths_kept: worst(self.paths_kept, other.paths_kept),
            commands_kept: worst(self.commands_kept, other.commands_kept),
            errors_kept: worst(self.errors_kept, other.errors_kept),
            pending_tasks_kept: worst(self.pending_tasks_kept, other.pending_tasks_kept),
            pairs_intact: self.pairs_intact && other.pairs_intact,
        }
    }
}

impl Operations {
    /// From one histogram an operation, in the order of their names here.
    fn of(histograms: &[HistogramSnapshot]) -> Self {
        let operation = |at: usize| histograms.get(at).map(Operation::of).unwrap_or_default();
        Self {
            append: operation(0),
            checkpoint: operation(1),
            count_tokens: operation(2),
            compact: operation(3),
            tool_call: operation(4),
            cache_get: operation(5),
            restore: operation(6),
            resume: operation(7),
        }
    }
}

impl Operation {
    fn of(histogram: &HistogramSnapshot) -> Self {
        let micros = |seconds: f64| (histogram.count() > 0).then_some(seconds * 1e6);
        Self {
            count: histogram.count(),
            p50_us: micros(histogram.p50()),
            p95_us: micros(histogram.p95()),
            p99_us: micros(histogram.p99()),
        }
    }
}

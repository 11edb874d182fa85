//! The figures of a replay: of one session, or of all together.

use serde::Serialize;

/// What `--json` prints, for all sessions and for each.
///
/// In the figures of all sessions, `quality` is that of the worst session, and `final_context` and
/// `original` are sums. A value that was not measured is `null`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    pub sessions: u64,
    pub steps: u64,
    pub messages: u64,
    pub tool_calls: u64,
    pub skipped: u64,
    pub tokens: Tokens,
    pub quality: Quality,
    pub storage: Storage,
    pub restore: Restore,
    pub resume: Resume,
    pub cache: Cache,
    pub tools: Tools,
    pub operations: Operations,
    pub process: Process,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Tokens {
    pub original: u64,
    pub final_context: u64,
    pub peak_context: u64,
    pub window: u64,
    pub compactions: u64,
    pub reduction: Option<f64>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Quality {
    pub score: Option<f64>,
    pub user_messages_kept: Option<f64>,
    pub paths_kept: Option<f64>,
    pub commands_kept: Option<f64>,
    pub errors_kept: Option<f64>,
    pub pending_tasks_kept: Option<f64>,
    pub pairs_intact: bool,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Storage {
    pub full_json_bytes: u64,
    pub stored_bytes: u64,
    pub ratio: Option<f64>,
    pub floor_bytes: u64,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Restore {
    pub versions_checked: u64,
    pub identical: bool,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub max_us: Option<f64>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Resume {
    pub open_ms: Option<f64>,
    pub to_first_context_ms: Option<f64>,
    pub rss_bytes: Option<u64>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Cache {
    pub hits: u64,
    pub misses: u64,
    pub hit_rate: Option<f64>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Tools {
    pub calls: u64,
    pub max_concurrency: u64,
    pub sequential_ms: f64,
    pub critical_path_ms: f64,
    pub wall_ms: f64,
    pub speedup: Option<f64>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Operations {
    pub append: Operation,
    pub checkpoint: Operation,
    pub count_tokens: Operation,
    pub compact: Operation,
    pub tool_call: Operation,
    pub cache_get: Operation,
    pub restore: Operation,
    pub resume: Operation,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Operation {
    pub count: u64,
    pub p50_us: Option<f64>,
    pub p95_us: Option<f64>,
    pub p99_us: Option<f64>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Process {
    pub peak_rss_bytes: Option<u64>,
    pub wall_ms: f64,
    pub cpu_ms: Option<f64>,
}

impl Default for Quality {
    fn default() -> Self {
        Self {
            score: None,
            user_messages_kept: None,
            paths_kept: None,
            commands_kept: None,
            errors_kept: None,
            pending_tasks_kept: None,
            pairs_intact: true,
        }
    }
}

impl Default for Restore {
    fn default() -> Self {
        Self {
            versions_checked: 0,
            identical: true,
            p50_us: None,
            p99_us: None,
            max_us: None,
        }
    }
}

/// `part / whole`, or nothing when there is no whole.
pub(crate) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The smaller of two shares, an unmeasured one ignored.
pub(crate) fn worst(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

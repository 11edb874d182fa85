//! Figures of a scheduler.

use std::time::Duration;

use crate::Phase;

/// A snapshot; taking it costs one lock and O(tools).
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks and calls taken in since the start.
    pub submitted: u64,
    /// Running now.
    pub running: usize,
    /// Taken in and not over, running ones included.
    pub unfinished: usize,
    /// The limit on running tasks.
    pub limit: usize,
    /// The most that ever ran at once.
    pub max_running: usize,
    /// Ended well.
    pub succeeded: u64,
    /// Ended with an error.
    pub failed: u64,
    /// Stopped, skipped or given up.
    pub cancelled: u64,
    /// Runs that gave their slot back to wait for a rate, a cooldown or a retry.
    pub deferred: u64,
    /// Mean time from submission to start.
    pub mean_queued: Duration,
    /// Calls that entered each phase and those that failed there.
    pub phases: [PhaseStats; 6],
    /// Runs after the first one of their call.
    pub retries: u64,
    /// Resource keys held or waited for.
    pub keys_in_use: usize,
    /// Per kind of task (tool name), by name.
    pub tools: Vec<ToolStats>,
}

impl Stats {
    /// The figures of one phase.
    #[must_use]
    pub fn phase(&self, phase: Phase) -> PhaseStats {
        self.phases[phase as usize]
    }

    /// The figures of one tool, if it was ever called.
    #[must_use]
    pub fn tool(&self, name: &str) -> Option<&ToolStats> {
        self.tools.iter().find(|tool| tool.name == name)
    }
}

/// How many calls came to a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PhaseStats {
    /// Entered it (retries count once).
    pub entered: u64,
    /// Ended in it with an error.
    pub failed: u64,
}

/// The figures of one kind of task.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ToolStats {
    /// The kind: for calls, the tool's name.
    pub name: String,
    /// Taken in.
    pub submitted: u64,
    /// Running now.
    pub running: usize,
    /// Ended well.
    pub succeeded: u64,
    /// Ended with an error.
    pub failed: u64,
    /// Stopped, skipped or given up.
    pub cancelled: u64,
    /// Runs that gave their slot back.
    pub deferred: u64,
    /// Recent mean of one run.
    pub mean_run: Duration,
    /// All runs together.
    pub total_run: Duration,
}

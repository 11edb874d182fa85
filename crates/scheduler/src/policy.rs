//! Which ready task goes first.
//!
//! Every policy is one number: how long, at most the ageing bound, a task is held back against tasks that
//! became ready later. The queue is ordered by `ready + penalty`, so that linear ageing needs no re-sorting and
//! nobody is overtaken by a task that became ready more than the ageing bound after it, whatever the policy.

/// How the next task is chosen among those that could run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Policy {
    /// In the order in which tasks became ready.
    Fifo,
    /// Higher [`priority`](crate::Submission::priority) first.
    Priority,
    /// Shortest expected run time first, learned per kind (tool name). An unknown kind counts as short until a
    /// task of it has run for longer, and as long as that task has run from then on (multi-level feedback).
    ShortestFirst,
    /// Turn by turn between tenants, weighted, in the cost units of [`Submission::cost`](crate::Submission::cost)
    /// (start-time fair queueing, Goyal, Vin, Cheng 1996).
    RoundRobin,
    /// The three above as one weighted score. Weights move smoothly with the measured mean run time (against
    /// 1 s), priority variance (against 0.5) and contention (against 0.7), so that nothing flaps.
    #[default]
    Adaptive,
}

/// The documented boundaries of the adaptive policy.
const SHORT_RUN: f64 = 1.0;
const VARIED_PRIORITY: f64 = 0.5;
const CONTENDED: f64 = 0.7;
/// Share of a new observation in each moving average.
const LEARN: f64 = 0.1;
/// Priorities beyond this count as this.
const PRIORITY_RANGE: f64 = 8.0;

/// Exponential averages of what the policy looks at.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Measures {
    /// Mean run time in seconds.
    pub mean_run: f64,
    /// Variance of the priorities submitted.
    pub priority_variance: f64,
    /// Share of tasks that had to wait, 0 to 1.
    pub contention: f64,
    priority_mean: f64,
}

impl Measures {
    pub(crate) fn ran(&mut self, seconds: f64) {
        self.mean_run += LEARN * (seconds - self.mean_run);
    }

    pub(crate) fn submitted(&mut self, priority: i8) {
        let delta = f64::from(priority) - self.priority_mean;
        self.priority_mean += LEARN * delta;
        self.priority_variance = (1.0 - LEARN) * (self.priority_variance + LEARN * delta * delta);
    }

    pub(crate) fn started(&mut self, waited: bool) {
        self.contention += LEARN * (f64::from(u8::from(waited)) - self.contention);
    }

    /// Weights of shortest first, priority and round robin; they add up to 1.
    #[must_use]
    pub fn weights(&self) -> [f64; 3] {
        let short = SHORT_RUN / (SHORT_RUN + self.mean_run.max(0.0));
        let varied = self.priority_variance / (self.priority_variance + VARIED_PRIORITY);
        let contended = self.contention / (self.contention + CONTENDED);
        let sum = short + varied + contended;
        if sum > 0.0 {
            [short / sum, varied / sum, contended / sum]
        } else {
            [1.0, 0.0, 0.0]
        }
    }
}

/// What a policy may look at for one task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traits {
    pub(crate) priority: i8,
    /// Expected run time in seconds.
    pub(crate) estimate: f64,
    /// How far the tenant is ahead of its fair share, in cost units.
    pub(crate) lead: f64,
}

/// Nanoseconds of handicap, between 0 and `ageing`. `weights` are those of the current measures.
pub(crate) fn penalty(policy: Policy, weights: [f64; 3], task: Traits, ageing: u64) -> u64 {
    let share = match policy {
        Policy::Fifo => 0.0,
        Policy::Priority => by_priority(task.priority),
        Policy::ShortestFirst => by_length(task.estimate),
        Policy::RoundRobin => by_lead(task.lead),
        Policy::Adaptive => {
            let [short, varied, contended] = weights;
            short * by_length(task.estimate)
                + varied * by_priority(task.priority)
                + contended * by_lead(task.lead)
        }
    };
    ((share.clamp(0.0, 1.0) * ageing as f64) as u64).min(ageing)
}

fn by_priority(priority: i8) -> f64 {
    0.5 - f64::from(priority).clamp(-PRIORITY_RANGE, PRIORITY_RANGE) / (2.0 * PRIORITY_RANGE)
}

/// Strictly growing, so that any two lengths are told apart, and 0.5 at the documented boundary.
fn by_length(seconds: f64) -> f64 {
    let seconds = seconds.max(0.0);
    seconds / (seconds + SHORT_RUN)
}

/// Strictly growing; halfway after 16 ordinary tasks ahead.
fn by_lead(units: f64) -> f64 {
    let units = units.max(0.0);
    units / (units + 16.0)
}

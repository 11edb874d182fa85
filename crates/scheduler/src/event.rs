//! What goes into the machine and what comes out.

use std::time::Duration;

use crate::Access;
#[cfg(doc)]
use crate::{Machine, Policy};

/// A task of one [`Machine`]. Stale ids are recognised and ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TaskId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// What the machine needs to know about a task.
#[derive(Debug, Clone, Default)]
pub struct Submission {
    /// What sort of task it is (the tool's name): run times are learned per kind.
    pub kind: String,
    /// Who it belongs to (a session, a user): turns and limits are kept per tenant.
    pub tenant: String,
    /// Higher first under [`Policy::Priority`] and [`Policy::Adaptive`]; -8 to 8, default 0.
    pub priority: i8,
    /// Cost in the unit of the tenants' weights (tokens, say); 0 counts as 1.
    pub cost: u32,
    /// What it reads and writes.
    pub access: Access,
    /// Tasks that must succeed first.
    pub after: Vec<TaskId>,
    /// Longest time from start to end of one run.
    pub timeout: Option<Duration>,
    /// Latest end, on the machine's clock.
    pub deadline: Option<Duration>,
    /// Earliest start, on the machine's clock.
    pub not_before: Option<Duration>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Dependents may start.
    Success,
    /// Dependents are skipped.
    Failure,
    /// Given up; dependents are skipped and the run time teaches nothing.
    Cancelled,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A running task ended and everything it held is returned.
    Finished(TaskId, Verdict),
    /// A running task gives its slot back and wants to run again at the given time. It keeps its place in the
    /// order of its keys, so that what was issued after it stays after it.
    Deferred(TaskId, Duration),
    /// Nobody wants the task any more.
    Cancel(TaskId),
    /// Time passed, or tasks were submitted.
    Tick,
    /// The limit on running tasks changed. Lowering it interrupts nothing.
    Resize(usize),
    /// Nothing starts any more; what waits is cancelled and what runs interrupted.
    Close,
}

/// Why a task did not get to its own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// Cancelled by its owner.
    Cancelled,
    /// Its deadline passed.
    Deadline,
    /// It ran longer than its timeout.
    Timeout,
    /// A task it depends on did not succeed.
    Dependency(TaskId),
    /// The scheduler was closed.
    Closed,
}

/// What the driver has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Run the task; report [`Event::Finished`] or [`Event::Deferred`].
    Start(TaskId),
    /// Stop the running task, then report [`Event::Finished`].
    Interrupt(TaskId, Stop),
    /// The task is over without having been run (again); its id is no longer valid.
    Drop(TaskId, Stop),
    /// Send [`Event::Tick`] at this time. Replaces any earlier request.
    WakeAt(Duration),
}

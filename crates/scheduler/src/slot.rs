//! What the machine keeps per task.

use std::time::Duration;

use crate::locks::Claim;
use crate::{Access, Submission, TaskId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Vacant,
    /// Dependencies are unfinished.
    Depends,
    /// Until a time: not-before or a deferral.
    Delayed,
    /// Others hold its keys or came first.
    Blocked,
    Ready,
    /// Its tenant is at its limit.
    Parked,
    Running,
    /// Told to stop; still running.
    Stopping,
}

pub(crate) const NEVER: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) generation: u32,
    pub(crate) stage: Stage,
    pub(crate) priority: i8,
    /// Has entered the order of its keys.
    pub(crate) keyed: bool,
    pub(crate) kind: u32,
    pub(crate) tenant: u32,
    pub(crate) cost: u32,
    /// Unfinished dependencies, then ungranted claims.
    pub(crate) waits_for: u32,
    pub(crate) sequence: u64,
    pub(crate) submitted: u64,
    /// When it became ready, then when it was started.
    pub(crate) since: u64,
    /// Start tag in its tenant's virtual time; not a number until booked.
    pub(crate) tag: f64,
    pub(crate) extra: Option<Box<Extra>>,
}

/// What only some tasks have, apart so that the plain ones stay small.
#[derive(Debug)]
pub(crate) struct Extra {
    pub(crate) timeout: u64,
    pub(crate) deadline: u64,
    pub(crate) delayed_until: u64,
    pub(crate) access: Access,
    pub(crate) claims: Box<[Claim]>,
    pub(crate) dependents: Vec<TaskId>,
}

impl Default for Extra {
    fn default() -> Self {
        Self {
            timeout: NEVER,
            deadline: NEVER,
            delayed_until: 0,
            access: Access::none(),
            claims: Box::default(),
            dependents: Vec::new(),
        }
    }
}

impl Slot {
    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub(crate) fn delayed_until(&self) -> u64 {
        self.extra.as_ref().map_or(0, |extra| extra.delayed_until)
    }

    pub(crate) fn deadline(&self) -> u64 {
        self.extra.as_ref().map_or(NEVER, |extra| extra.deadline)
    }

    /// Whether a timer at this time is still of use.
    pub(crate) fn waits_until(&self, at: u64) -> bool {
        at == self.deadline()
            || (self.stage == Stage::Running && at == self.expires())
            || (self.stage == Stage::Delayed && at == self.delayed_until())
    }

    pub(crate) fn expires(&self) -> u64 {
        self.extra
            .as_ref()
            .map_or(NEVER, |extra| self.since.saturating_add(extra.timeout))
    }
}

impl Extra {
    /// `None` for a plain task.
    pub(crate) fn of(task: &mut Submission) -> Option<Box<Self>> {
        let plain = task.access.is_none()
            && task.timeout.is_none()
            && task.deadline.is_none()
            && task.not_before.is_none();
        (!plain).then(|| {
            Box::new(Self {
                timeout: task.timeout.map_or(NEVER, nanos),
                deadline: task.deadline.map_or(NEVER, nanos),
                delayed_until: task.not_before.map_or(0, nanos),
                access: std::mem::take(&mut task.access),
                ..Self::default()
            })
        })
    }
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER - 1)
}

pub(crate) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

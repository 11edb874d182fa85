//! The scheduler's decisions as a pure state machine: events and the time go in, actions come out.
//!
//! No clock, no thread, no runtime: the same events at the same times give the same actions. The driver in
//! `driver.rs` feeds it; a simulation can do so as well.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::ledger::Ledger;
use crate::locks::{Claim, LockTable};
use crate::policy::{Traits, penalty};
use crate::queue::ReadyQueue;
use crate::scaling::Scaler;
use crate::slot::{Extra, NEVER, Slot, Stage, nanos, seconds};
use crate::{
    Action, Event, Measures, Policy, Refused, Scaling, Stats, Stop, Submission, TaskId, ToolStats,
    Verdict,
};

/// The state. Memory per queued task: about 200 bytes without keys or dependencies.
#[derive(Debug)]
pub struct Machine {
    slots: Vec<Slot>,
    vacant: Vec<u32>,
    ready: ReadyQueue,
    timers: BinaryHeap<Reverse<(u64, u32, u32)>>,
    locks: LockTable,
    ledger: Ledger,
    measures: Measures,
    /// The weights under some measures: between a batch's tasks these seldom change.
    weighed: (Measures, [f64; 3]),
    policy: Policy,
    ageing: u64,
    limit: usize,
    /// Moves the limit, if anything does.
    scaler: Option<Box<Scaler>>,
    max_queued: usize,
    running: usize,
    live: usize,
    sequence: u64,
    closed: bool,
    woken: Vec<u32>,
    asked_wake: u64,
}

impl Machine {
    /// An empty machine that runs at most `limit` tasks (at least 1), with the given policy and ageing bound.
    #[must_use]
    pub fn new(limit: usize, policy: Policy, ageing: Duration) -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            ready: ReadyQueue::default(),
            timers: BinaryHeap::new(),
            locks: LockTable::new(),
            ledger: Ledger::new(),
            measures: Measures::default(),
            weighed: (Measures::default(), Measures::default().weights()),
            policy,
            ageing: nanos(ageing),
            limit: limit.max(1),
            scaler: None,
            max_queued: 1_000_000,
            running: 0,
            live: 0,
            sequence: 0,
            closed: false,
            woken: Vec::new(),
            asked_wake: NEVER,
        }
    }

    /// Refuses submissions beyond this many unfinished tasks (default 1,000,000).
    pub fn set_max_queued(&mut self, tasks: usize) {
        self.max_queued = tasks.clamp(1, u32::MAX as usize / 2);
    }

    /// Lets the limit follow the load, from where it is; [`Event::Resize`] then sets where it goes on from. Default: it
    /// stays as it is.
    pub fn set_scaling(&mut self, bounds: Scaling) {
        let scaler = Scaler::new(bounds, self.limit);
        self.limit = scaler.limit();
        self.scaler = Some(Box::new(scaler));
    }

    /// Sets a tenant's share (relative, default 1.0) and how many of its tasks may run at once (default: no limit).
    /// Without effect for a tenant beyond the 65,536 that are told apart.
    pub fn set_tenant(&mut self, tenant: &str, weight: f64, limit: Option<usize>) {
        let name = tenant;
        let tenant = self.ledger.tenant(name);
        if tenant == 0 && !name.is_empty() {
            // The table is full: what counts as one with others has no settings of its own.
            return;
        }
        self.ledger
            .configure(tenant, weight, limit.unwrap_or(usize::MAX).max(1));
        for rank in self.ledger.take_parked(tenant) {
            let Reverse((_, _, index, generation)) = rank;
            let slot = &mut self.slots[index as usize];
            if slot.generation == generation && slot.stage == Stage::Parked {
                slot.stage = Stage::Ready;
                self.ready.push(rank);
            }
        }
    }

    /// Drops a tenant's settings; its place is reused when its tasks are over.
    pub fn forget_tenant(&mut self, tenant: &str) {
        self.ledger.forget(tenant);
    }

    /// Takes a task in. Follow up with [`Event::Tick`] once all of a batch are in.
    ///
    /// # Errors
    /// [`Refused::Full`] at the bound, [`Refused::Closed`] after [`Event::Close`],
    /// [`Refused::UnknownDependency`] when a task in `after` is not unfinished.
    pub fn submit(&mut self, mut task: Submission, now: Duration) -> Result<TaskId, Refused> {
        self.admit(&mut task, now)
    }

    /// As [`submit`](Self::submit), but takes only what it keeps: a submission is large to move.
    pub(crate) fn admit(
        &mut self,
        task: &mut Submission,
        now: Duration,
    ) -> Result<TaskId, Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        if self.live >= self.max_queued {
            return Err(Refused::Full {
                limit: self.max_queued,
            });
        }
        if let Some(position) = task.after.iter().position(|&id| self.find(id).is_none()) {
            return Err(Refused::UnknownDependency { position });
        }
        let now = nanos(now);
        self.measures.submitted(task.priority);
        let sequence = self.sequence;
        self.sequence += 1;
        let slot = Slot {
            generation: 0,
            stage: Stage::Depends,
            priority: task.priority,
            keyed: false,
            kind: self.ledger.kind(&task.kind),
            tenant: self.ledger.tenant(&task.tenant),
            cost: task.cost.max(1),
            waits_for: task.after.len() as u32,
            sequence,
            submitted: now,
            since: now,
            tag: f64::NAN,
            extra: Extra::of(task),
        };
        self.ledger.submitted(slot.tenant, slot.kind);
        let deadline = slot.deadline();
        let index = self.place(slot);
        self.live += 1;
        let id = self.id(index);
        for parent in &task.after {
            self.slots[parent.index as usize]
                .extra()
                .dependents
                .push(id);
        }
        self.arm(index, deadline);
        if task.after.is_empty() {
            self.dependencies_done(index, now);
        }
        Ok(id)
    }

    /// Applies one event; what has to be done is appended to `actions`.
    pub fn apply(&mut self, event: Event, now: Duration, actions: &mut Vec<Action>) {
        let now = nanos(now);
        match event {
            Event::Finished(id, verdict) => self.finished(id, verdict, now, actions),
            Event::Deferred(id, until) => self.deferred(id, nanos(until), now, actions),
            Event::Cancel(id) => self.stop(id, Stop::Cancelled, now, actions),
            // Whoever ticks too early is asked again.
            Event::Tick => self.asked_wake = NEVER,
            Event::Resize(limit) => self.resize(limit),
            Event::Close => self.close(now, actions),
        }
        self.expire(now, actions);
        self.dispatch(now, actions);
        self.ask_for_wake(actions);
    }

    fn resize(&mut self, limit: usize) {
        self.limit = limit.max(1);
        if let Some(scaler) = &mut self.scaler {
            scaler.set(limit);
            self.limit = scaler.limit();
        }
    }

    /// Stages of the task's life are left for it to run.
    fn dependencies_done(&mut self, index: u32, now: u64) {
        let slot = &mut self.slots[index as usize];
        slot.waits_for = 0;
        if !slot.keyed {
            slot.keyed = true;
            if let Some(extra) = &mut slot.extra
                && !extra.access.is_none()
            {
                let access = std::mem::take(&mut extra.access);
                (extra.claims, slot.waits_for) = self.locks.enter(index, &access);
            }
        }
        if slot.waits_for > 0 {
            slot.stage = Stage::Blocked;
            return;
        }
        self.keys_granted(index, now);
    }

    fn keys_granted(&mut self, index: u32, now: u64) {
        let slot = &mut self.slots[index as usize];
        if slot.delayed_until() > now {
            slot.stage = Stage::Delayed;
            let until = slot.delayed_until();
            self.arm(index, until);
            return;
        }
        slot.stage = Stage::Ready;
        slot.since = now;
        if slot.tag.is_nan() {
            slot.tag = self.ledger.book(slot.tenant, slot.cost);
        }
        let task = Traits {
            priority: slot.priority,
            estimate: self.ledger.estimate(slot.kind, now),
            lead: self.ledger.lead(slot.tag),
        };
        if self.weighed.0 != self.measures {
            self.weighed = (self.measures, self.measures.weights());
        }
        let penalty = penalty(self.policy, self.weighed.1, task, self.ageing);
        let key = now.saturating_add(penalty);
        self.ready
            .push(Reverse((key, slot.sequence, index, slot.generation)));
    }

    fn dispatch(&mut self, now: u64, actions: &mut Vec<Action>) {
        while self.running < self.limit && !self.closed {
            let Some(Reverse(rank)) = self.ready.pop() else {
                break;
            };
            let (_, _, index, generation) = rank;
            let slot = &mut self.slots[index as usize];
            if slot.generation != generation || slot.stage != Stage::Ready {
                continue;
            }
            if !self.ledger.may_start(slot.tenant) {
                slot.stage = Stage::Parked;
                self.ledger.park(slot.tenant, Reverse(rank));
                continue;
            }
            slot.stage = Stage::Running;
            self.measures.started(now > slot.since);
            slot.since = now;
            let expires = slot.expires();
            self.running += 1;
            self.ledger.started(
                slot.tenant,
                slot.kind,
                now,
                now.saturating_sub(slot.submitted),
            );
            self.ledger.serve(slot.tag);
            self.arm(index, expires);
            actions.push(Action::Start(self.id(index)));
        }
        self.ledger.saw_running(self.running);
    }

    fn finished(&mut self, id: TaskId, verdict: Verdict, now: u64, actions: &mut Vec<Action>) {
        let Some(slot) = self.find(id) else { return };
        if !matches!(slot.stage, Stage::Running | Stage::Stopping) {
            return;
        }
        let run = now.saturating_sub(slot.since);
        let (tenant, kind) = (slot.tenant, slot.kind);
        if verdict != Verdict::Cancelled {
            self.measures.ran(seconds(run));
        }
        self.ledger.finished(kind, run, verdict);
        if let Some(scaler) = &mut self.scaler {
            scaler.ended(kind, run, verdict, self.running, self.ready.len() > 0);
            self.limit = scaler.limit();
        }
        self.left_slot(tenant, kind);
        self.end(id, verdict == Verdict::Success, now, actions);
    }

    fn deferred(&mut self, id: TaskId, until: u64, now: u64, actions: &mut Vec<Action>) {
        let Some(slot) = self.find(id) else { return };
        match slot.stage {
            Stage::Running => {}
            Stage::Stopping => {
                let stop = if self.closed {
                    Stop::Closed
                } else {
                    Stop::Cancelled
                };
                let (tenant, kind) = (slot.tenant, slot.kind);
                self.left_slot(tenant, kind);
                self.ledger.dropped(kind);
                actions.push(Action::Drop(id, stop));
                self.end(id, false, now, actions);
                return;
            }
            _ => return,
        }
        let slot = &mut self.slots[id.index as usize];
        slot.extra().delayed_until = until;
        slot.stage = Stage::Delayed;
        let (tenant, kind) = (slot.tenant, slot.kind);
        self.left_slot(tenant, kind);
        self.ledger.deferred(kind);
        self.keys_granted(id.index, now);
    }

    fn left_slot(&mut self, tenant: u32, kind: u32) {
        self.running -= 1;
        self.ledger.left(tenant, kind);
        self.unpark(tenant);
    }

    /// Makes one parked task of the tenant ready, if it may run; entries of tasks that are gone do not count.
    fn unpark(&mut self, tenant: u32) {
        while let Some(rank) = self.ledger.next_parked(tenant) {
            let Reverse((_, _, index, generation)) = rank;
            let slot = &mut self.slots[index as usize];
            if slot.generation == generation && slot.stage == Stage::Parked {
                slot.stage = Stage::Ready;
                self.ready.push(rank);
                return;
            }
        }
    }

    /// Stops a task that may be anywhere in its life.
    fn stop(&mut self, id: TaskId, why: Stop, now: u64, actions: &mut Vec<Action>) {
        let Some(slot) = self.find(id) else { return };
        match slot.stage {
            Stage::Stopping | Stage::Vacant => {}
            Stage::Running => {
                self.slots[id.index as usize].stage = Stage::Stopping;
                actions.push(Action::Interrupt(id, why));
            }
            _ => {
                let kind = slot.kind;
                self.ledger.dropped(kind);
                actions.push(Action::Drop(id, why));
                self.end(id, false, now, actions);
            }
        }
    }

    /// Returns what a task holds, frees its slot, and passes the result on to its dependents: without recursion,
    /// so that a chain of any length unwinds on a flat stack.
    fn end(&mut self, id: TaskId, success: bool, now: u64, actions: &mut Vec<Action>) {
        let mut next = Some((id.index, success, id));
        let mut ended = Vec::new();
        while let Some((index, success, cause)) = next.take().or_else(|| ended.pop()) {
            let (extra, tenant) = self.vacate(index);
            self.unpark(tenant);
            self.ledger.gone(tenant);
            let Some(extra) = extra else { continue };
            self.release(&extra.claims, now);
            for child in extra.dependents {
                let dependent = child.index;
                let slot = &mut self.slots[dependent as usize];
                if slot.generation != child.generation || slot.stage != Stage::Depends {
                    continue;
                }
                if success {
                    slot.waits_for -= 1;
                    if slot.waits_for == 0 {
                        self.dependencies_done(dependent, now);
                    }
                } else {
                    // The stage changes so that a second failed parent does not drop it again.
                    slot.stage = Stage::Stopping;
                    let kind = slot.kind;
                    self.ledger.dropped(kind);
                    actions.push(Action::Drop(child, Stop::Dependency(cause)));
                    ended.push((dependent, false, cause));
                }
            }
        }
    }

    fn release(&mut self, claims: &[Claim], now: u64) {
        let mut woken = std::mem::take(&mut self.woken);
        self.locks.leave(claims, &mut woken);
        for index in woken.drain(..) {
            let slot = &mut self.slots[index as usize];
            slot.waits_for -= 1;
            if slot.waits_for == 0 {
                self.keys_granted(index, now);
            }
        }
        self.woken = woken;
    }

    /// Handles every timer that is due, and forgets those of tasks that are gone.
    fn expire(&mut self, now: u64, actions: &mut Vec<Action>) {
        while let Some(&Reverse((at, index, generation))) = self.timers.peek() {
            let current = self.slots[index as usize].generation == generation;
            if current && at > now {
                break;
            }
            self.timers.pop();
            if current {
                self.timer_fired(index, now, actions);
            }
        }
        self.compact();
    }

    /// Entries that no longer matter are left where they are, up to a share; this keeps that share.
    fn compact(&mut self) {
        let most = 64 + 4 * self.live;
        let slots = &self.slots;
        let current = |index: u32, generation: u32| slots[index as usize].generation == generation;
        if self.timers.len() > most {
            self.timers.retain(|Reverse((at, index, generation))| {
                current(*index, *generation) && slots[*index as usize].waits_until(*at)
            });
        }
        if self.ready.len() > most {
            self.ready
                .retain(|Reverse((_, _, index, generation))| current(*index, *generation));
        }
        self.ledger.compact_parked(most, current);
    }

    fn timer_fired(&mut self, index: u32, now: u64, actions: &mut Vec<Action>) {
        let id = self.id(index);
        let slot = &self.slots[index as usize];
        if slot.deadline() <= now {
            self.stop(id, Stop::Deadline, now, actions);
        } else if slot.stage == Stage::Running && slot.expires() <= now {
            if let Some(scaler) = &mut self.scaler {
                scaler.timed_out();
            }
            self.stop(id, Stop::Timeout, now, actions);
        } else if slot.stage == Stage::Delayed && slot.delayed_until() <= now {
            self.keys_granted(index, now);
        }
    }

    fn ask_for_wake(&mut self, actions: &mut Vec<Action>) {
        let next = self.timers.peek().map_or(NEVER, |Reverse((at, _, _))| *at);
        if next != self.asked_wake {
            self.asked_wake = next;
            if next != NEVER {
                actions.push(Action::WakeAt(Duration::from_nanos(next)));
            }
        }
    }

    fn close(&mut self, now: u64, actions: &mut Vec<Action>) {
        self.closed = true;
        for index in 0..self.slots.len() as u32 {
            if self.slots[index as usize].stage != Stage::Vacant {
                self.stop(self.id(index), Stop::Closed, now, actions);
            }
        }
    }

    fn arm(&mut self, index: u32, at: u64) {
        if at != NEVER {
            self.timers
                .push(Reverse((at, index, self.slots[index as usize].generation)));
        }
    }

    fn place(&mut self, mut slot: Slot) -> u32 {
        if let Some(index) = self.vacant.pop() {
            let old = &mut self.slots[index as usize];
            slot.generation = old.generation;
            *old = slot;
            return index;
        }
        self.slots.push(slot);
        (self.slots.len() - 1) as u32
    }

    fn vacate(&mut self, index: u32) -> (Option<Box<Extra>>, u32) {
        let slot = &mut self.slots[index as usize];
        slot.stage = Stage::Vacant;
        slot.generation = slot.generation.wrapping_add(1);
        self.live -= 1;
        self.vacant.push(index);
        (slot.extra.take(), slot.tenant)
    }

    fn id(&self, index: u32) -> TaskId {
        TaskId {
            index,
            generation: self.slots[index as usize].generation,
        }
    }

    fn find(&self, id: TaskId) -> Option<&Slot> {
        let slot = self.slots.get(id.index as usize)?;
        (slot.generation == id.generation && slot.stage != Stage::Vacant).then_some(slot)
    }

    /// Whether a tick now would change nothing: no slot is free and the next wake-up is asked for.
    #[must_use]
    pub fn is_saturated(&self) -> bool {
        let next = self.timers.peek().map_or(NEVER, |Reverse((at, _, _))| *at);
        self.running >= self.limit && next == self.asked_wake
    }

    /// Tasks that run now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running
    }

    /// Tasks taken in and not over.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.live
    }

    /// The limit on running tasks.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The highest that the limit may become by itself.
    pub(crate) fn highest_limit(&self) -> usize {
        let scaled = self.scaler.as_ref().map_or(0, |scaler| scaler.most());
        scaled.max(self.limit)
    }

    /// Keys that somebody holds or waits for.
    #[must_use]
    pub fn keys_in_use(&self) -> usize {
        self.locks.keys_in_use()
    }

    /// What the adaptive policy currently sees.
    #[must_use]
    pub fn measures(&self) -> Measures {
        self.measures
    }

    /// The figures, as far as the machine knows them: no phases. O(kinds).
    #[must_use]
    pub fn stats(&self) -> Stats {
        let tools = self.ledger.per_kind();
        let sum = |count: fn(&ToolStats) -> u64| tools.iter().map(count).sum();
        Stats {
            submitted: sum(|tool| tool.submitted),
            running: self.running,
            unfinished: self.live,
            limit: self.limit,
            max_running: self.ledger.max_running(),
            succeeded: sum(|tool| tool.succeeded),
            failed: sum(|tool| tool.failed),
            cancelled: sum(|tool| tool.cancelled),
            deferred: sum(|tool| tool.deferred),
            mean_queued: self.ledger.mean_queued(),
            keys_in_use: self.locks.keys_in_use(),
            tools,
            ..Stats::default()
        }
    }
}

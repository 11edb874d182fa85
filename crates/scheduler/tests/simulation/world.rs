//! The outside of the machine: arrivals, runs, faults, money.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use mainspring_scheduler::{
    Access, Action, Balancer, Budget, Error, Event, Lease, Machine, Policy, Reservation,
    ResourceKey, Scaling, Stop, Submission, TaskId, Verdict,
};

use super::check::{Model, Stage};
use super::{Faults, Plant, Summary};

const KEYS: [&str; 8] = ["", "a", "a/b", "a/b/c", "a/d", "e", "e/f", "g"];
const KINDS: [(&str, u64); 4] = [("quick", 5), ("middle", 60), ("long", 600), ("ask", 120)];
const POLICIES: [Policy; 5] = [
    Policy::Fifo,
    Policy::Priority,
    Policy::ShortestFirst,
    Policy::RoundRobin,
    Policy::Adaptive,
];
/// Bounds of a limit that follows the load.
const LIMITS: (usize, usize) = (2, 12);
const MONEY: u64 = 3_000;
const EXECUTORS: usize = 3;
/// A connection that takes this long is slow.
const SLOW: u64 = 900;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrive,
    /// Task, run.
    Ends(usize, u32),
    Cancel(usize),
    Resize(usize),
    Wake,
}

/// How a run will end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Succeeds,
    Fails,
    Again(u64),
    Hangs,
}

pub(crate) struct World {
    random: fastrand::Rng,
    faults: Faults,
    plant: Plant,
    /// Whether the limit follows the load.
    scales: bool,
    machine: Machine,
    model: Model,
    now: u64,
    /// When the machine asked to be woken.
    wake: Option<u64>,
    agenda: BinaryHeap<Reverse<(u64, usize, Happening)>>,
    order: usize,
    ids: Vec<TaskId>,
    fates: Vec<Fate>,
    money: Vec<Option<Reservation>>,
    /// What each run holds in truth, whatever the books say.
    holds: Vec<u64>,
    leaked: Vec<Option<Reservation>>,
    budget: Budget,
    executors: Balancer<usize>,
    leases: Vec<Option<Lease<usize>>>,
    /// From when on each executor answers nothing.
    dead_from: [u64; EXECUTORS],
    /// The endpoint refuses until then.
    cooldown: u64,
    arrivals: usize,
    forget_wake: usize,
    events: usize,
    summary: Summary,
}

impl World {
    pub(crate) fn new(seed: u64, faults: Faults, plant: Plant) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let limit = random.usize(1..=6);
        let policy = POLICIES[random.usize(..POLICIES.len())];
        let ageing = random.u64(50..3_000);
        let slower = if plant == Plant::SkippedAgeing {
            100
        } else {
            1
        };
        let mut machine = Machine::new(limit, policy, ms(ageing * slower));
        let mut model = Model::new(limit, ms(ageing));
        let scales = random.u8(..40) == 0;
        if scales {
            machine.set_scaling(Scaling::between(LIMITS.0, LIMITS.1));
        }
        model.limit = machine.limit();
        for tenant in 0..3 {
            let limit = random.bool().then(|| random.usize(1..=3));
            machine.set_tenant(tenant_name(tenant), f64::from(random.u32(1..4)), limit);
            model.tenant_limit[tenant] = limit.unwrap_or(usize::MAX);
        }
        let executors = Balancer::new(random.u64(..));
        for executor in 0..EXECUTORS {
            executors.add(format!("executor {executor}"), 1.0, executor);
        }
        // A limit that follows the load moves after some hundred runs.
        let arrivals = match scales {
            true => random.usize(250..350),
            false => random.usize(10..60),
        };
        let mut world = Self {
            faults,
            plant,
            scales,
            machine,
            model,
            now: 0,
            wake: None,
            agenda: BinaryHeap::new(),
            order: 0,
            ids: Vec::new(),
            fates: Vec::new(),
            money: Vec::new(),
            leaked: Vec::new(),
            budget: Budget::new("simulated", MONEY),
            cooldown: 0,
            dead_from: [(); EXECUTORS].map(|()| match random.bool() {
                true => random.u64(100..4_000),
                false => u64::MAX,
            }),
            executors,
            leases: Vec::new(),
            holds: Vec::new(),
            arrivals,
            forget_wake: random.usize(0..6),
            events: 0,
            summary: Summary::default(),
            random,
        };
        let mut at = 0;
        for _ in 0..arrivals {
            // Bursts and pauses.
            at += if world.random.u8(..3) == 0 {
                world.random.u64(..300)
            } else {
                0
            };
            world.plan(at, Happening::Arrive);
        }
        if world.random.bool() {
            let (at, limit) = (world.random.u64(..2_000), world.random.usize(1..=6));
            world.plan(at, Happening::Resize(limit));
        }
        world
    }

    pub(crate) fn events(&self) -> usize {
        self.events
    }

    fn plan(&mut self, at: u64, what: Happening) {
        self.order += 1;
        self.agenda.push(Reverse((at, self.order, what)));
    }

    pub(crate) fn run(&mut self) -> Result<Summary, String> {
        while let Some(Reverse((at, _, what))) = self.agenda.pop() {
            self.now = at;
            self.events += 1;
            if self.events > 100_000 {
                return Err("no end in sight: something spins".to_owned());
            }
            self.happen(what)?;
            self.model.check_idle_slots(ms(self.now))?;
            self.check_money()?;
            self.check_executors()?;
        }
        self.finish()
    }

    fn happen(&mut self, what: Happening) -> Result<(), String> {
        match what {
            Happening::Arrive => self.arrive(),
            Happening::Ends(task, run) => self.ends(task, run),
            Happening::Cancel(task) => self.apply(Event::Cancel(self.ids[task])),
            Happening::Resize(limit) => self.apply(Event::Resize(limit)),
            // A later request replaced it.
            Happening::Wake if self.wake != Some(self.now) => Ok(()),
            Happening::Wake => {
                self.wake = None;
                self.apply(Event::Tick)
            }
        }
    }

    fn access(&mut self) -> Access {
        let mut access = Access::none();
        if self.random.u8(..3) == 0 {
            return access;
        }
        for _ in 0..self.random.usize(1..=2) {
            let key = ResourceKey::new(KEYS[self.random.usize(..KEYS.len())]);
            if self.random.bool() {
                access.writes.push(key)
            } else {
                access.reads.push(key)
            }
        }
        access.exclusive = self.random.u8(..30) == 0;
        access
    }

    fn arrive(&mut self) -> Result<(), String> {
        let access = self.access();
        let task = self.ids.len();
        let after: Vec<usize> = (0..task)
            .filter(|&on| self.model.unfinished(on))
            .filter(|_| self.random.u8(..12) == 0)
            .take(3)
            .collect();
        let kind = self.random.usize(..KINDS.len());
        let tenant = self.random.usize(..3);
        let deadline = (self.random.u8(..8) == 0).then(|| ms(self.now + self.random.u64(1..2_000)));
        let not_before = (self.random.u8(..8) == 0).then(|| ms(self.now + self.random.u64(1..500)));
        let mut told = access.clone();
        if self.plant == Plant::MissedConflict && self.random.u8(..3) == 0 {
            told.reads.append(&mut told.writes);
        }
        let submission = Submission {
            kind: KINDS[kind].0.to_owned(),
            tenant: tenant_name(tenant).to_owned(),
            priority: self.random.i8(-8..=8),
            cost: self.random.u32(..20),
            access: told,
            after: after.iter().map(|&on| self.ids[on]).collect(),
            timeout: Some(ms(2_000)),
            deadline,
            not_before,
        };
        let id = self
            .machine
            .submit(submission, ms(self.now))
            .map_err(|why| why.to_string())?;
        self.ids.push(id);
        self.fates.push(Fate::Succeeds);
        self.money.push(None);
        self.holds.push(0);
        self.leases.push(None);
        self.model
            .arrive(tenant, access, after, not_before, ms(self.now));
        if self.faults.cancels && self.random.u8(..6) == 0 {
            let at = self.now + self.random.u64(..1_500);
            self.plan(at, Happening::Cancel(task));
        }
        self.summary.tasks += 1;
        self.apply(Event::Tick)
    }

    fn apply(&mut self, event: Event) -> Result<(), String> {
        let mut actions = Vec::new();
        let before = self.machine.limit();
        self.machine.apply(event, ms(self.now), &mut actions);
        self.resized(before, event)?;
        self.model.step += 1;
        self.model.refresh(ms(self.now));
        for action in actions {
            self.act(action)?;
        }
        Ok(())
    }

    /// The limit is what it was told to be, or moves between its bounds when it follows the load.
    fn resized(&mut self, before: usize, event: Event) -> Result<(), String> {
        let now = self.machine.limit();
        let (least, most) = match event {
            Event::Resize(limit) if self.scales => {
                let limit = limit.clamp(LIMITS.0, LIMITS.1);
                (limit, limit)
            }
            Event::Resize(limit) => (limit, limit),
            Event::Finished(..) if self.scales => LIMITS,
            _ => (before, before),
        };
        self.model.limit = now;
        self.summary.scaled += usize::from(now != before && !matches!(event, Event::Resize(_)));
        match (least..=most).contains(&now) {
            true => Ok(()),
            false => Err(format!(
                "the limit went from {before} to {now} at {event:?}"
            )),
        }
    }

    fn task(&self, id: TaskId) -> Result<usize, String> {
        // Ids are reused with another generation, so the newest match is the one.
        self.ids
            .iter()
            .rposition(|&known| known == id)
            .ok_or_else(|| format!("unknown {id:?}"))
    }

    fn act(&mut self, action: Action) -> Result<(), String> {
        match action {
            Action::Start(id) => {
                let task = self.task(id)?;
                self.model.start(task, ms(self.now))?;
                self.start(task);
            }
            Action::Interrupt(id, why) => {
                let task = self.task(id)?;
                self.model.interrupt(task)?;
                if why == Stop::Cancelled && self.plant == Plant::LeakedReservation {
                    self.leaked.push(self.money[task].take());
                }
                self.give_back(task);
                if let Some(lease) = self.leases[task].take() {
                    // Only a timeout speaks against the executor.
                    match why {
                        Stop::Timeout => lease.finish(false, ms(self.now)),
                        _ => drop(lease),
                    }
                }
                // Stopping takes a moment.
                let run = self.model.runs(task);
                let at = self.now + self.random.u64(..20);
                self.plan(at, Happening::Ends(task, run));
            }
            Action::Drop(id, why) => {
                let task = self.task(id)?;
                let cause = match why {
                    Stop::Dependency(cause) => Some(self.task(cause)?),
                    _ => None,
                };
                self.summary.stopped += 1;
                self.model.dropped(task, cause)?;
                self.model.refresh(ms(self.now));
            }
            Action::WakeAt(at) => {
                self.forget_wake = self.forget_wake.saturating_sub(1);
                if self.plant == Plant::LostWakeUp && self.forget_wake == 0 {
                    return Ok(());
                }
                let at = millis(at).max(self.now);
                if self.wake != Some(at) {
                    self.wake = Some(at);
                    self.plan(at, Happening::Wake);
                }
            }
            other => return Err(format!("unexpected {other:?}")),
        }
        Ok(())
    }

    fn start(&mut self, task: usize) {
        let Ok(reservation) = self.budget.reserve(self.random.u64(1..30)) else {
            self.fates[task] = Fate::Fails;
            let run = self.model.runs(task);
            return self.plan(self.now, Happening::Ends(task, run));
        };
        self.holds[task] = reservation.amount();
        self.money[task] = Some(reservation);
        let lease = match self.executors.pick(ms(self.now)) {
            Ok(lease) => lease,
            Err(Error::NoExecutor { retry_after }) => {
                let at = self.now + millis(retry_after).max(1);
                self.fates[task] = Fate::Again(at);
                let run = self.model.runs(task);
                return self.plan(self.now, Happening::Ends(task, run));
            }
            Err(other) => unreachable!("picking fails with nothing else: {other}"),
        };
        let dead = self.faults.dead && self.now >= self.dead_from[**lease.executor()];
        self.leases[task] = Some(lease);
        let typical = KINDS[self.random.usize(..KINDS.len())].1;
        let slow = self.faults.slow && self.random.u8(..20) == 0;
        let mut takes = self.random.u64(..=typical) + if slow { SLOW } else { 0 };
        self.fates[task] = match self.random.u8(..100) {
            _ if dead => Fate::Hangs,
            0..3 if self.faults.hangs => Fate::Hangs,
            3..8 if self.faults.errors => Fate::Again(self.now + takes + self.random.u64(1..400)),
            8..12 if self.faults.panics => Fate::Fails,
            _ if self.faults.refusals && self.now < self.cooldown => {
                takes = 0;
                Fate::Again(self.cooldown + self.random.u64(..50))
            }
            12..16 if self.faults.refusals => {
                self.cooldown = self.cooldown.max(self.now + takes + 300);
                Fate::Again(self.cooldown)
            }
            _ => Fate::Succeeds,
        };
        if self.model.runs(task) > 4 && matches!(self.fates[task], Fate::Again(_)) {
            self.fates[task] = Fate::Fails;
        }
        if self.fates[task] != Fate::Hangs {
            let run = self.model.runs(task);
            self.plan(self.now + takes, Happening::Ends(task, run));
        }
    }

    fn ends(&mut self, task: usize, run: u32) -> Result<(), String> {
        if self.model.runs(task) != run {
            return Ok(());
        }
        let id = self.ids[task];
        match (self.model.stage(task), self.fates[task]) {
            (Stage::Stopping, _) => {
                self.summary.stopped += 1;
                self.model.ended(task, false)?;
                self.apply(Event::Finished(id, Verdict::Cancelled))
            }
            (Stage::Running, Fate::Again(at)) => {
                self.summary.deferred += 1;
                self.give_back(task);
                self.leave_executor(task, false);
                self.model.deferred(task, ms(at))?;
                self.apply(Event::Deferred(id, ms(at)))
            }
            (Stage::Running, fate) => {
                let success = fate == Fate::Succeeds;
                if let Some(reservation) = self.money[task].take() {
                    let spent = self.random.u64(..=reservation.amount());
                    self.model.spent += spent;
                    reservation.settle(spent);
                }
                self.holds[task] = 0;
                self.leave_executor(task, success);
                let verdict = if success {
                    Verdict::Success
                } else {
                    Verdict::Failure
                };
                *if success {
                    &mut self.summary.succeeded
                } else {
                    &mut self.summary.failed
                } += 1;
                self.model.ended(task, success)?;
                self.apply(Event::Finished(id, verdict))
            }
            // An interrupt came first, or the same run was planned to end twice.
            _ => Ok(()),
        }
    }

    /// Refunds what a run did not spend. A double refund is played as what it does to the books: the amount goes back
    /// once more, out of what another run holds.
    fn give_back(&mut self, task: usize) {
        let amount = std::mem::take(&mut self.holds[task]);
        if self.money[task].take().is_none() || self.plant != Plant::DoubleRefund {
            return;
        }
        let other = self
            .money
            .iter_mut()
            .flatten()
            .find(|r| r.amount() >= amount);
        if let Some(other) = other
            && let Ok(less) = self.budget.reserve(other.amount() - amount)
        {
            *other = less;
        }
    }

    fn leave_executor(&mut self, task: usize, success: bool) {
        if let Some(lease) = self.leases[task].take() {
            lease.finish(success, ms(self.now));
        }
    }

    /// Every executor has the work that runs on it: no lease is lost, none counted twice.
    fn check_executors(&mut self) -> Result<(), String> {
        for (executor, stats) in self.executors.stats().iter().enumerate() {
            let leases = self.leases.iter().flatten();
            let runs = leases
                .filter(|lease| **lease.executor() == executor)
                .count();
            if stats.in_flight != runs {
                return Err(format!("{runs} runs on it in truth: {stats:?}"));
            }
        }
        Ok(())
    }

    /// The books agree with what runs now. A leak is played by keeping a reservation that should have been given back.
    fn check_money(&mut self) -> Result<(), String> {
        let stats = self.budget.stats();
        let held: u64 = self.holds.iter().sum();
        if stats.reserved != held {
            return Err(format!(
                "{} reserved in the books, {held} held by runs",
                stats.reserved
            ));
        }
        if stats.spent != self.model.spent {
            return Err(format!(
                "{} spent in the books, {} in truth",
                stats.spent, self.model.spent
            ));
        }
        if stats.spent + stats.reserved > stats.limit || stats.overdrafts > 0 {
            return Err(format!("overrun: {stats:?}"));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Summary, String> {
        if self.ids.len() != self.arrivals {
            return Err("some tasks never arrived".to_owned());
        }
        self.model.check_all_ended()?;
        let left = (
            self.machine.running(),
            self.machine.unfinished(),
            self.machine.keys_in_use(),
        );
        if left != (0, 0, 0) {
            return Err(format!("left behind (running, unfinished, keys): {left:?}"));
        }
        self.summary.events = self.events;
        Ok(self.summary)
    }
}

fn tenant_name(tenant: usize) -> &'static str {
    ["red", "green", "blue"][tenant]
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn millis(time: Duration) -> u64 {
    time.as_nanos().div_ceil(1_000_000) as u64
}

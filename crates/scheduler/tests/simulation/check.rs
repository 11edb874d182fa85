//! What must hold, told as plainly as possible: lists, and a look at every pair.

use std::time::Duration;

use mainspring_scheduler::Access;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Waiting,
    Running,
    Stopping,
    Succeeded,
    Failed,
}

#[derive(Debug)]
struct Task {
    tenant: usize,
    after: Vec<usize>,
    not_before: Duration,
    stage: Stage,
    runs: u32,
    /// Step at which its dependencies were done: its place in the order of its keys.
    keyed: Option<u64>,
    /// Since when nothing but the limits kept it from running.
    eligible: Option<Duration>,
    conflicts: Vec<usize>,
}

pub(crate) struct Model {
    tasks: Vec<Task>,
    accesses: Vec<Access>,
    pub(crate) limit: usize,
    pub(crate) tenant_limit: [usize; 3],
    pub(crate) step: u64,
    pub(crate) spent: u64,
    ageing: Duration,
}

impl Model {
    pub(crate) fn new(limit: usize, ageing: Duration) -> Self {
        Self {
            tasks: Vec::new(),
            accesses: Vec::new(),
            limit,
            tenant_limit: [usize::MAX; 3],
            step: 0,
            spent: 0,
            ageing,
        }
    }

    pub(crate) fn arrive(
        &mut self,
        tenant: usize,
        access: Access,
        after: Vec<usize>,
        not_before: Option<Duration>,
        now: Duration,
    ) {
        let index = self.tasks.len();
        let conflicts: Vec<usize> = (0..index)
            .filter(|&other| self.accesses[other].conflicts_with(&access))
            .collect();
        for &other in &conflicts {
            self.tasks[other].conflicts.push(index);
        }
        self.accesses.push(access);
        self.tasks.push(Task {
            tenant,
            after,
            not_before: not_before.unwrap_or(now),
            stage: Stage::Waiting,
            runs: 0,
            keyed: None,
            eligible: None,
            conflicts,
        });
        self.step += 1;
        self.refresh(now);
    }

    pub(crate) fn stage(&self, task: usize) -> Stage {
        self.tasks[task].stage
    }

    pub(crate) fn runs(&self, task: usize) -> u32 {
        self.tasks[task].runs
    }

    pub(crate) fn unfinished(&self, task: usize) -> bool {
        !matches!(self.tasks[task].stage, Stage::Succeeded | Stage::Failed)
    }

    /// Brings `keyed` and `eligible` up to date.
    pub(crate) fn refresh(&mut self, now: Duration) {
        for index in 0..self.tasks.len() {
            let task = &self.tasks[index];
            let ready = task
                .after
                .iter()
                .all(|&on| self.tasks[on].stage == Stage::Succeeded);
            if task.stage == Stage::Waiting && ready && task.keyed.is_none() {
                self.tasks[index].keyed = Some(self.step);
            }
        }
        for index in 0..self.tasks.len() {
            let eligible = self.is_eligible(index, now);
            let task = &mut self.tasks[index];
            task.eligible = if eligible {
                task.eligible.or(Some(now))
            } else {
                None
            };
        }
    }

    fn is_eligible(&self, index: usize, now: Duration) -> bool {
        let task = &self.tasks[index];
        let Some(keyed) = task.keyed else {
            return false;
        };
        task.stage == Stage::Waiting
            && task.not_before <= now
            && task.conflicts.iter().all(|&other| {
                let other_keyed = self.tasks[other].keyed;
                let first = other_keyed.is_some_and(|at| (at, other) < (keyed, index));
                !self.unfinished(other) || !first
            })
    }

    fn running(&self) -> impl Iterator<Item = &Task> {
        self.tasks
            .iter()
            .filter(|task| matches!(task.stage, Stage::Running | Stage::Stopping))
    }

    fn tenant_full(&self, tenant: usize) -> bool {
        self.running().filter(|task| task.tenant == tenant).count() >= self.tenant_limit[tenant]
    }

    pub(crate) fn start(&mut self, index: usize, now: Duration) -> Result<(), String> {
        let task = &self.tasks[index];
        if task.stage != Stage::Waiting {
            return Err(format!("task {index} started while {:?}", task.stage));
        }
        if self.running().count() >= self.limit {
            return Err(format!(
                "task {index} started above the limit of {}",
                self.limit
            ));
        }
        if self.tenant_full(task.tenant) {
            return Err(format!("task {index} started above its tenant's limit"));
        }
        let clash = task
            .conflicts
            .iter()
            .find(|&&other| matches!(self.tasks[other].stage, Stage::Running | Stage::Stopping));
        if let Some(other) = clash {
            return Err(format!(
                "tasks {index} and {other} conflict and run at once"
            ));
        }
        let Some(since) = task.eligible else {
            return Err(format!(
                "task {index} started before its turn: {task:?} at {now:?}"
            ));
        };
        for (other, waiting) in self.tasks.iter().enumerate() {
            let Some(waits) = waiting.eligible else {
                continue;
            };
            if other != index && since > waits + self.ageing && !self.tenant_full(waiting.tenant) {
                return Err(format!(
                    "task {index}, ready at {since:?}, overtook {other}, ready at {waits:?}, against an ageing bound of {:?}",
                    self.ageing
                ));
            }
        }
        let task = &mut self.tasks[index];
        task.stage = Stage::Running;
        task.eligible = None;
        task.runs += 1;
        Ok(())
    }

    pub(crate) fn interrupt(&mut self, index: usize) -> Result<(), String> {
        let task = &mut self.tasks[index];
        if task.stage != Stage::Running {
            return Err(format!("task {index} interrupted while {:?}", task.stage));
        }
        task.stage = Stage::Stopping;
        Ok(())
    }

    pub(crate) fn deferred(&mut self, index: usize, until: Duration) -> Result<(), String> {
        let task = &mut self.tasks[index];
        task.stage = Stage::Waiting;
        task.not_before = until;
        Ok(())
    }

    pub(crate) fn ended(&mut self, index: usize, success: bool) -> Result<(), String> {
        if !self.unfinished(index) {
            return Err(format!("task {index} ended twice"));
        }
        self.tasks[index].stage = if success {
            Stage::Succeeded
        } else {
            Stage::Failed
        };
        Ok(())
    }

    pub(crate) fn dropped(&mut self, index: usize, cause: Option<usize>) -> Result<(), String> {
        if let Some(cause) = cause
            && !self.below_failed(index, cause)
        {
            return Err(format!(
                "task {index} was skipped because of {cause}, which is no reason"
            ));
        }
        if self.tasks[index].stage != Stage::Waiting {
            return Err(format!(
                "task {index} dropped while {:?}",
                self.tasks[index].stage
            ));
        }
        self.ended(index, false)
    }

    fn below_failed(&self, index: usize, cause: usize) -> bool {
        self.tasks[cause].stage == Stage::Failed
            && self.tasks[index]
                .after
                .iter()
                .any(|&on| on == cause || self.below_failed(on, cause))
    }

    /// Work is conserved: a slot is only free when nothing could use it.
    pub(crate) fn check_idle_slots(&self, now: Duration) -> Result<(), String> {
        if self.running().count() >= self.limit {
            return Ok(());
        }
        let idle = self
            .tasks
            .iter()
            .position(|task| task.eligible.is_some() && !self.tenant_full(task.tenant));
        match idle {
            Some(task) => Err(format!(
                "task {task} could run at {now:?} and a slot is free"
            )),
            None => Ok(()),
        }
    }

    pub(crate) fn check_all_ended(&self) -> Result<(), String> {
        match (0..self.tasks.len()).find(|&task| self.unfinished(task)) {
            Some(task) => Err(format!("task {task} never ended: {:?}", self.tasks[task])),
            None => Ok(()),
        }
    }
}

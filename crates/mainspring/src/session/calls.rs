//! The tools of a session.

use std::sync::{Arc, atomic::Ordering};

use mainspring_scheduler::{Budget, BudgetLevel, ToolCall, ToolOutcome, Toolbox};

use super::Session;
use crate::Event;

impl Session {
    /// The tools that this session's model may call; made by
    /// [`Runtime::toolbox`](crate::Runtime::toolbox).
    pub fn set_tools(&mut self, tools: Toolbox) {
        self.tools = Arc::new(tools);
    }

    /// Who pays for the calls of this session. Default: whom the scheduler says. When the budget
    /// warns, [`Event::BudgetWarned`] is told.
    pub fn set_budget(&mut self, budget: Budget) {
        self.budget = Some(budget);
    }

    /// Runs calls side by side where their resources allow, and returns one outcome each, in call
    /// order. Dropping the future stops what has not ended.
    pub async fn run_tools(&self, calls: Vec<ToolCall>) -> Vec<ToolOutcome> {
        let mut running = self.runtime().calling(calls.len());
        let calls = calls.into_iter().map(|call| {
            let call = call.session(self.name());
            match &self.budget {
                Some(budget) => call.budget(budget.clone()),
                None => call,
            }
        });
        let inner = &self.runtime().inner;
        let scheduler = inner.scheduler.with_toolbox(Arc::clone(&self.tools));
        let mut ending = scheduler.stream(calls.collect());
        let mut outcomes = Vec::with_capacity(ending.remaining());
        while let Some(outcome) = ending.next().await {
            running.ended();
            outcomes.push(outcome);
        }
        outcomes.sort_by_key(|outcome| outcome.index);
        for outcome in &outcomes {
            self.counts.call(outcome);
            inner.timers.tool_call.record(outcome.queued + outcome.ran);
            self.bus().tell(|| Event::ToolEnded {
                session: self.label.clone(),
                tool: outcome.tool.as_str().into(),
                succeeded: outcome.result.is_ok(),
                ran: outcome.ran,
            });
        }
        self.warn();
        outcomes
    }

    fn warn(&self) {
        let Some(budget) = &self.budget else {
            return;
        };
        let warns = budget.level() >= BudgetLevel::Warn;
        if warns && !self.warned.swap(warns, Ordering::Relaxed) {
            self.bus().tell(|| Event::BudgetWarned {
                session: self.label.clone(),
                budget: budget.stats().name.into(),
            });
        }
        self.warned.store(warns, Ordering::Relaxed);
    }
}

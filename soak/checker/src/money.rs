//! No budget is overrun, at any time.

use std::collections::HashMap;

use crate::Report;

#[derive(Debug, Default)]
pub(crate) struct Money {
    /// Limit and what was spent.
    budgets: HashMap<String, (u64, u64)>,
}

impl Money {
    pub(crate) fn budget(&mut self, budget: &str, limit: u64) {
        self.budgets.insert(budget.to_owned(), (limit, 0));
    }

    pub(crate) fn charge(&mut self, at: u64, budgets: &[String], money: u64, report: &mut Report) {
        report.count("charges");
        for budget in budgets {
            let Some((limit, spent)) = self.budgets.get_mut(budget) else {
                report.violation(at, "log", format!("no budget is called {budget}"));
                continue;
            };
            *spent += money;
            if *spent > *limit {
                let what = format!("{budget} has spent {spent} of {limit}");
                report.violation(at, "money", what);
            }
        }
    }
}

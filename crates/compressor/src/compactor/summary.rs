//! The eight-section summary, written from the ledger without a model.

use crate::{
    extract,
    ledger::{ErrorFact, Ledger},
};
use std::{
    collections::HashSet,
    fmt::{self, Write},
};

/// The eight sections, in order.
pub(crate) const SECTIONS: [&str; 8] = [
    "Primary request and intent",
    "Key technical concepts",
    "Files and code",
    "Errors and fixes",
    "Problem solving",
    "All user messages",
    "Pending tasks",
    "Current work",
];

/// How much of the less important facts a summary holds; what people wrote is always complete.
#[derive(Debug, Clone, Copy)]
pub(super) struct Detail {
    pub(super) names: usize,
    pub(super) decisions: usize,
    pub(super) errors: usize,
    pub(super) commands: usize,
    pub(super) paths: usize,
    pub(super) current: usize,
}

/// From rich to bare.
pub(super) const DETAILS: [Detail; 4] = [
    Detail {
        names: 24,
        decisions: 8,
        errors: usize::MAX,
        commands: usize::MAX,
        paths: usize::MAX,
        current: 600,
    },
    Detail {
        names: 0,
        decisions: 0,
        errors: usize::MAX,
        commands: usize::MAX,
        paths: usize::MAX,
        current: 200,
    },
    Detail {
        names: 0,
        decisions: 0,
        errors: 60,
        commands: 80,
        paths: 400,
        current: 0,
    },
    Detail {
        names: 0,
        decisions: 0,
        errors: 12,
        commands: 30,
        paths: 150,
        current: 0,
    },
];

/// What the summary does not have to say, and what it has to point at.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// Numbers of the items that stay in the context as they are.
    pub(super) kept: HashSet<u64>,
    /// The blob with the items that the summary stands for.
    pub(super) history: String,
    pub(super) removed: usize,
    /// Text of a model for single sections, taken in addition.
    pub(super) written: Vec<(usize, String)>,
}

pub(super) fn render(ledger: &Ledger, detail: &Detail, around: &Around) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = Summary {
        ledger,
        detail,
        around,
    }
    .write(&mut out);
    out
}

struct Summary<'a> {
    ledger: &'a Ledger,
    detail: &'a Detail,
    around: &'a Around,
}

/// The last `most` of a list.
fn last<T>(list: &[T], most: usize) -> &[T] {
    &list[list.len().saturating_sub(most)..]
}

impl Summary<'_> {
    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(
            out,
            "[Context summary: {} earlier items were taken out and are stored as {}. What follows was copied from them.]",
            self.around.removed, self.around.history
        )?;
        for (number, name) in SECTIONS.iter().enumerate() {
            let start = out.len();
            write!(out, "\n## {}. {name}\n", number + 1)?;
            let body = out.len();
            self.section(number, out)?;
            for (section, text) in &self.around.written {
                if *section == number {
                    writeln!(out, "{text}")?;
                }
            }
            if out.len() == body {
                out.truncate(start);
            }
        }
        Ok(())
    }

    fn section(&self, number: usize, out: &mut String) -> fmt::Result {
        match number {
            0 => self.intent(out),
            1 => self.concepts(out),
            2 => self.files(out),
            3 => self.errors(out),
            4 => self.solving(out),
            5 => self.people(out),
            6 => self.tasks(out),
            _ => self.current(out),
        }
    }

    fn intent(&self, out: &mut String) -> fmt::Result {
        match self.ledger.people.len() {
            0 => Ok(()),
            1 => writeln!(out, "As the user message says."),
            n => writeln!(out, "User messages 1 to {n}; the newest decides."),
        }
    }

    fn concepts(&self, out: &mut String) -> fmt::Result {
        let mut names: Vec<_> = self.ledger.names.list.iter().enumerate().collect();
        names.sort_by_key(|(at, (_, count))| (std::cmp::Reverse(*count), *at));
        for (at, (_, (name, _))) in names.iter().take(self.detail.names).enumerate() {
            write!(out, "{}`{name}`", if at == 0 { "" } else { ", " })?;
        }
        if self.detail.names > 0 && !names.is_empty() {
            out.push('\n');
        }
        Ok(())
    }

    fn files(&self, out: &mut String) -> fmt::Result {
        let mut files: Vec<_> = self.ledger.files.list.iter().collect();
        if files.len() > self.detail.paths {
            // Those touched last, and before all those that were changed, tell most.
            files.sort_by_key(|(_, fact)| (fact.writes == 0, std::cmp::Reverse(fact.last)));
            files.truncate(self.detail.paths);
        }
        for (path, fact) in files {
            match (fact.writes, fact.reads) {
                (0, _) => writeln!(out, "- {path}")?,
                (1, _) => writeln!(out, "- {path} (changed)")?,
                (n, _) => writeln!(out, "- {path} (changed {n} times)")?,
            }
        }
        Ok(())
    }

    fn errors(&self, out: &mut String) -> fmt::Result {
        let list = &self.ledger.errors.list;
        let mut errors: Vec<&(Box<str>, ErrorFact)> = list.iter().collect();
        if errors.len() > self.detail.errors {
            // Open errors first, then the newest.
            errors.reverse();
            errors.sort_by_key(|(_, fact)| fact.fix.is_some());
            errors.truncate(self.detail.errors);
        }
        for (line, fact) in errors {
            write!(out, "- {line}")?;
            if let Some(fix) = &fact.fix {
                write!(out, " (fixed in {fix})")?;
            }
            out.push('\n');
        }
        Ok(())
    }

    fn solving(&self, out: &mut String) -> fmt::Result {
        for decision in last(&self.ledger.decisions, self.detail.decisions) {
            writeln!(out, "- {decision}")?;
        }
        let commands = last(&self.ledger.commands.list, self.detail.commands);
        if !commands.is_empty() {
            out.push_str("Commands:\n");
        }
        for (command, fact) in commands {
            write!(out, "- {command}")?;
            if fact.failed_last {
                out.push_str(" (failed)");
            }
            out.push('\n');
        }
        Ok(())
    }

    fn people(&self, out: &mut String) -> fmt::Result {
        for (at, (seq, text)) in self.ledger.people.iter().enumerate() {
            if !self.around.kept.contains(seq) {
                writeln!(out, "[{}] {text}", at + 1)?;
            }
        }
        Ok(())
    }

    fn tasks(&self, out: &mut String) -> fmt::Result {
        let pending: Vec<&str> = self.ledger.pending().collect();
        for task in last(&pending, 200) {
            writeln!(out, "- [ ] {task}")?;
        }
        Ok(())
    }

    fn current(&self, out: &mut String) -> fmt::Result {
        let said = extract::clip(&self.ledger.last_said, self.detail.current);
        if said.is_empty() {
            return Ok(());
        }
        writeln!(out, "{said}")
    }
}

//! The eight-section summary, written from the ledger without a model.

use super::section::Section;
use crate::{
    extract,
    ledger::{ErrorFact, Ledger, Stored},
    snippet::Snippet,
};
use std::{
    collections::HashSet,
    fmt::{self, Write},
};

/// How much of the less important facts a summary holds; what people wrote is always complete.
#[derive(Debug, Clone, Copy)]
pub(super) struct Detail {
    pub(super) names: usize,
    pub(super) decisions: usize,
    pub(super) errors: usize,
    pub(super) commands: usize,
    pub(super) paths: usize,
    /// Bytes of code that stand in the summary itself.
    pub(super) code: usize,
    /// The newest facts of which it says more than that they were: where outputs and code are stored,
    /// which files a message changed, what met an error, what was looked up.
    pub(super) places: usize,
    pub(super) current: usize,
}

/// Facts, without prose and code; places for some of them.
const fn facts(places: usize) -> Detail {
    Detail {
        names: 0,
        decisions: 0,
        errors: usize::MAX,
        commands: usize::MAX,
        paths: usize::MAX,
        code: 0,
        places,
        current: 200,
    }
}

/// Some of the facts alone.
const fn few(errors: usize, commands: usize, paths: usize) -> Detail {
    Detail {
        errors,
        commands,
        paths,
        current: 0,
        ..facts(0)
    }
}

/// From rich to bare.
pub(super) const DETAILS: [Detail; 11] = [
    Detail {
        names: 24,
        decisions: 8,
        code: 8_000,
        current: 600,
        ..facts(usize::MAX)
    },
    Detail {
        code: 2_000,
        current: 600,
        ..facts(usize::MAX)
    },
    facts(600),
    facts(400),
    facts(250),
    facts(150),
    facts(80),
    facts(30),
    facts(0),
    few(60, 80, 400),
    few(12, 30, 150),
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
    pub(super) written: Vec<(Section, String)>,
}

pub(super) fn render(ledger: &Ledger, detail: &Detail, around: &Around) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = Summary {
        ledger,
        detail,
        around,
        from: newest(ledger, around, detail.places),
    }
    .write(&mut out);
    out
}

struct Summary<'a> {
    ledger: &'a Ledger,
    detail: &'a Detail,
    around: &'a Around,
    /// The oldest item whose place is told.
    from: u64,
}

/// The item from which on `most` facts have a place that is to be told.
fn newest(ledger: &Ledger, around: &Around, most: usize) -> u64 {
    let outputs = ledger.files.list.iter().map(|(_, fact)| &fact.output);
    let outputs = outputs.chain(ledger.commands.list.iter().map(|(_, fact)| &fact.output));
    let outputs = outputs.chain(ledger.looks.list.iter().map(|(_, fact)| &fact.output));
    let outputs = outputs.flatten().map(|stored| stored.seq);
    let places = outputs.chain(ledger.snippets.iter().map(|snippet| snippet.seq));
    let mut gone: Vec<u64> = places.filter(|seq| !around.kept.contains(seq)).collect();
    gone.sort_unstable();
    match gone.len().checked_sub(most) {
        None | Some(0) => 0,
        Some(left_out) => gone.get(left_out).map_or(u64::MAX, |seq| *seq),
    }
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
        for (number, section) in Section::ALL.into_iter().enumerate() {
            let start = out.len();
            write!(out, "\n## {}. {}\n", number + 1, section.title())?;
            let body = out.len();
            self.section(section, out)?;
            for (_, text) in self.around.written.iter().filter(|(s, _)| *s == section) {
                writeln!(out, "{text}")?;
            }
            if out.len() == body {
                out.truncate(start);
            }
        }
        Ok(())
    }

    fn section(&self, section: Section, out: &mut String) -> fmt::Result {
        match section {
            Section::Intent => self.intent(out),
            Section::Concepts => self.concepts(out),
            Section::Files => {
                self.files(out)?;
                self.code(out)
            }
            Section::Errors => self.errors(out),
            Section::Solving => self.solving(out),
            Section::UserMessages => self.people(out),
            Section::PendingTasks => self.tasks(out),
            Section::CurrentWork => self.current(out),
        }
    }

    /// Where the newest output of something can be had, unless it is still in the context.
    fn place<'b>(&self, stored: Option<&'b Stored>) -> Option<&'b str> {
        let stored = stored.filter(|stored| stored.seq >= self.from)?;
        (!self.around.kept.contains(&stored.seq)).then_some(&*stored.id)
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
            let mut notes = Notes::default();
            match fact.lines.filter(|_| fact.last >= self.from) {
                Some((from, u32::MAX)) => notes.add(format_args!("lines {from} to the end read")),
                Some((from, to)) => notes.add(format_args!("lines {from}-{to} read")),
                None => {}
            }
            match fact.writes {
                0 => {}
                1 => notes.add(format_args!("changed")),
                n => notes.add(format_args!("changed {n} times")),
            }
            if let Some(id) = self.place(fact.output.as_ref()) {
                notes.add(format_args!("read stored as {id}"));
            }
            writeln!(out, "- {path}{notes}")?;
        }
        Ok(())
    }

    /// Snippets that are gone from the context: the newest in full as far as there is room, the others
    /// by where they are stored.
    fn code(&self, out: &mut String) -> fmt::Result {
        let snippets = self.ledger.snippets.iter();
        let told = |snippet: &&Snippet| {
            snippet.seq >= self.from && !self.around.kept.contains(&snippet.seq)
        };
        let gone = snippets.filter(told);
        let gone: Vec<&Snippet> = gone.collect();
        let mut room = self.detail.code;
        let mut shown = HashSet::new();
        for snippet in gone.iter().rev() {
            if let Some(left) = room.checked_sub(snippet.text.len()) {
                room = left;
                shown.insert(snippet.id());
            }
        }
        for snippet in gone {
            let (name, id) = (&snippet.name, snippet.id());
            if !shown.contains(&id) {
                writeln!(out, "- code of {name}: stored as {id}")?;
                continue;
            }
            let fence = if snippet.text.contains("```") {
                "~~~~"
            } else {
                "```"
            };
            let end = if snippet.text.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            writeln!(
                out,
                "Code of {name}:\n{fence}\n{}{end}{fence}",
                snippet.text
            )?;
        }
        Ok(())
    }

    fn errors(&self, out: &mut String) -> fmt::Result {
        let list = &self.ledger.errors.list;
        let newest = list.len().saturating_sub(self.detail.places);
        let newest: HashSet<&str> = list[newest..].iter().map(|(line, _)| &**line).collect();
        let mut errors: Vec<&(Box<str>, ErrorFact)> = list.iter().collect();
        if errors.len() > self.detail.errors {
            // Open errors first, then the newest.
            errors.reverse();
            errors.sort_by_key(|(_, fact)| fact.fix.is_some());
            errors.truncate(self.detail.errors);
        }
        for (line, fact) in errors {
            let mut notes = Notes::default();
            if newest.contains(&**line) {
                notes.add(format_args!("in {}", fact.during));
            }
            if let Some(fix) = &fact.fix {
                notes.add(format_args!("fixed in {fix}"));
            }
            writeln!(out, "- {line}{notes}")?;
        }
        Ok(())
    }

    fn solving(&self, out: &mut String) -> fmt::Result {
        for decision in last(&self.ledger.decisions, self.detail.decisions) {
            writeln!(out, "- {decision}")?;
        }
        self.changes(out)?;
        self.looks(out)?;
        let commands = last(&self.ledger.commands.list, self.detail.commands);
        if !commands.is_empty() {
            out.push_str("Commands:\n");
        }
        for (command, fact) in commands {
            let mut notes = Notes::default();
            match fact.exit {
                Some(code) => notes.add(format_args!("exit code {code}")),
                None if fact.failed_last => notes.add(format_args!("failed")),
                None => {}
            }
            if let Some(id) = self.place(fact.output.as_ref()) {
                notes.add(format_args!("output stored as {id}"));
            }
            writeln!(out, "- {command}{notes}")?;
        }
        Ok(())
    }

    /// Which files each message of a person led to change.
    fn changes(&self, out: &mut String) -> fmt::Result {
        let people = &self.ledger.people;
        let newest = people.len().saturating_sub(self.detail.places);
        for (at, person) in people.iter().enumerate().skip(newest) {
            if !person.changed.is_empty() {
                let changed = person.changed.join(", ");
                writeln!(out, "After message [{}] changed: {changed}", at + 1)?;
            }
        }
        Ok(())
    }

    fn looks(&self, out: &mut String) -> fmt::Result {
        let list = &self.ledger.looks.list;
        let newest = list.len().saturating_sub(self.detail.places);
        let mut lines = String::new();
        for (at, (look, fact)) in list.iter().enumerate() {
            match self.place(fact.output.as_ref()) {
                Some(id) => writeln!(lines, "- {look}: stored as {id}")?,
                None if fact.answer.is_empty() || at < newest => {}
                None => writeln!(lines, "- {look}: {}", fact.answer.replace('\n', " "))?,
            }
        }
        if !lines.is_empty() {
            write!(out, "Looked up:\n{lines}")?;
        }
        Ok(())
    }

    fn people(&self, out: &mut String) -> fmt::Result {
        for (at, person) in self.ledger.people.iter().enumerate() {
            if !self.around.kept.contains(&person.seq) {
                writeln!(out, "[{}] {}", at + 1, person.text)?;
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

/// Remarks in brackets behind an entry, if there are any.
#[derive(Default)]
struct Notes(String);

impl Notes {
    fn add(&mut self, note: fmt::Arguments<'_>) {
        self.0.push_str(if self.0.is_empty() { " (" } else { "; " });
        let _ = self.0.write_fmt(note);
    }
}

impl fmt::Display for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.0.is_empty() { "" } else { ")" };
        write!(f, "{}{end}", self.0)
    }
}

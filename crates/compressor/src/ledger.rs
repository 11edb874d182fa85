//! The facts of a session, gathered item by item and never lost by a compaction.

use crate::{
    access::{Access, AccessKind},
    extract,
    item::{Item, Role, ToolCall},
    snippet::{self, Snippets},
};
use std::collections::HashMap;

/// Most facts of one kind; beyond it the oldest make room.
const MOST: usize = 20_000;
const DECISIONS: usize = 12;
const SAID_LAST: usize = 600;
/// Most files named for one message of a person.
const CHANGED: usize = 64;
/// Newest errors that a change may mend.
const RECENT: usize = 256;
/// Outputs below this many bytes are told in place, not by where they are stored.
pub(crate) const LEAST_STORED: usize = 160;

/// A list of distinct texts in the order of their first appearance.
#[derive(Debug, Clone)]
pub(crate) struct Distinct<T> {
    index: HashMap<Box<str>, usize>,
    pub(crate) list: Vec<(Box<str>, T)>,
}

impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self {
            index: HashMap::new(),
            list: Vec::new(),
        }
    }
}

impl<T: Default> Distinct<T> {
    /// The entry of `text`, created when it is new.
    pub(crate) fn entry(&mut self, text: &str) -> &mut T {
        if self.list.len() >= MOST && !self.index.contains_key(text) {
            self.forget_half();
        }
        let at = match self.index.get(text) {
            Some(at) => *at,
            None => {
                self.index.insert(text.into(), self.list.len());
                self.list.push((text.into(), T::default()));
                self.list.len() - 1
            }
        };
        &mut self.list[at].1
    }

    pub(crate) fn get_mut(&mut self, text: &str) -> Option<&mut T> {
        let at = *self.index.get(text)?;
        Some(&mut self.list[at].1)
    }

    pub(crate) fn put(&mut self, text: &str, value: T) {
        *self.entry(text) = value;
    }

    fn forget_half(&mut self) {
        self.list.drain(..MOST / 2);
        self.index = self
            .list
            .iter()
            .enumerate()
            .map(|(at, (text, _))| (text.clone(), at))
            .collect();
    }
}

/// What a person wrote, and which files were changed because of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) seq: u64,
    pub(crate) text: String,
    pub(crate) changed: Vec<String>,
}

/// The newest output of a call, and what it is stored as once it left the context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The item that holds it.
    pub(crate) seq: u64,
    pub(crate) id: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FileFact {
    pub(crate) reads: u32,
    pub(crate) writes: u32,
    pub(crate) last: u64,
    /// The lines that were read last.
    pub(crate) lines: Option<(u32, u32)>,
    /// What was read last.
    pub(crate) output: Option<Stored>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CommandFact {
    pub(crate) runs: u32,
    pub(crate) failures: u32,
    pub(crate) failed_last: bool,
    pub(crate) exit: Option<i32>,
    pub(crate) output: Option<Stored>,
}

/// A look at something that is neither a file nor a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LookFact {
    /// The answer, when it is short.
    pub(crate) answer: String,
    pub(crate) output: Option<Stored>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ErrorFact {
    /// The call that met it.
    pub(crate) during: String,
    /// What was changed since.
    pub(crate) since: String,
    /// What was changed last before the same call went well.
    pub(crate) fix: Option<String>,
}

/// What a session is about, as far as fixed rules can tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    pub(crate) people: Vec<Person>,
    pub(crate) files: Distinct<FileFact>,
    pub(crate) commands: Distinct<CommandFact>,
    pub(crate) looks: Distinct<LookFact>,
    pub(crate) snippets: Snippets,
    pub(crate) errors: Distinct<ErrorFact>,
    /// Tasks, with whether they are done.
    pub(crate) tasks: Distinct<bool>,
    /// The list of the planning tool, as it was given last.
    pub(crate) plan: Vec<(String, bool)>,
    pub(crate) names: Distinct<u32>,
    pub(crate) decisions: Vec<String>,
    pub(crate) last_said: String,
    pub(crate) last_change: String,
}

impl Ledger {
    /// Takes the facts of one item. `answered` are the calls that its results answer, in order.
    pub(crate) fn observe(&mut self, seq: u64, item: &Item, answered: &[Option<ToolCall<'_>>]) {
        if let Some(text) = item.human_text() {
            extract::paths(&text).for_each(|path| {
                self.files.entry(path);
            });
            self.texts(&text);
            self.people.push(Person {
                seq,
                text: text.into_owned(),
                changed: Vec::new(),
            });
        }
        if matches!(item.role(), Role::Assistant | Role::ToolCalls) {
            self.said(seq, &item.text());
        }
        for call in item.calls() {
            self.called(seq, &call);
        }
        for ((result, part), call) in item.results().zip(item.output_ids(seq)).zip(answered) {
            if let Some(call) = call {
                let stored = part.filter(|_| result.text.len() >= LEAST_STORED);
                let stored = stored.map(|id| Stored { seq, id });
                self.returned(call, &result.text, result.is_error, stored);
            }
        }
    }

    fn texts(&mut self, text: &str) {
        for (task, done) in extract::tasks(text) {
            self.tasks.put(task, done);
        }
        for name in extract::names(text) {
            let count = self.names.entry(name);
            *count = count.saturating_add(1);
        }
    }

    fn said(&mut self, seq: u64, text: &str) {
        if text.is_empty() {
            return;
        }
        self.texts(text);
        for (name, code) in snippet::fenced(text) {
            self.snippets.push(seq, name, code);
        }
        for decision in extract::decisions(text) {
            self.decisions.retain(|d| d != decision);
            self.decisions.push(decision.to_owned());
            let extra = self.decisions.len().saturating_sub(DECISIONS);
            self.decisions.drain(..extra);
        }
        self.last_said = extract::clip(text, SAID_LAST).to_owned();
    }

    fn called(&mut self, seq: u64, call: &ToolCall<'_>) {
        if let Some(plan) = extract::planned(&call.arguments) {
            self.plan = plan;
            return;
        }
        let access = call.access();
        if let Some(path) = &access.path {
            let file = self.files.entry(path);
            file.last = seq;
            if access.kind == AccessKind::Write {
                file.writes = file.writes.saturating_add(1);
                self.last_change = path.clone();
                self.changed(path);
                if let Some((name, code)) = snippet::written(call, &access) {
                    self.snippets.push(seq, &name, &code);
                }
            } else {
                file.reads = file.reads.saturating_add(1);
                file.lines = access.lines;
            }
        }
        if let Some(command) = command(call, &access) {
            let fact = self.commands.entry(&command);
            fact.runs = fact.runs.saturating_add(1);
        }
    }

    fn changed(&mut self, path: &str) {
        for (_, fact) in self.errors.list.iter_mut().rev().take(RECENT) {
            if fact.fix.is_none() {
                path.clone_into(&mut fact.since);
            }
        }
        if let Some(person) = self.people.last_mut()
            && person.changed.len() < CHANGED
            && !person.changed.iter().any(|known| known == path)
        {
            person.changed.push(path.to_owned());
        }
    }

    fn returned(&mut self, call: &ToolCall<'_>, text: &str, failed: bool, stored: Option<Stored>) {
        let access = call.access();
        let command = command(call, &access);
        let key = command.clone().unwrap_or_else(|| label(call, &access));
        let looks = access.kind == AccessKind::Read;
        let error = (failed || !looks || text.starts_with("Error"))
            .then(|| extract::error_line(text, failed))
            .flatten();
        if let Some(fact) = command.as_ref().and_then(|c| self.commands.get_mut(c)) {
            fact.failed_last = error.is_some();
            fact.failures = fact.failures.saturating_add(u32::from(error.is_some()));
            fact.exit = extract::exit_code(text);
            fact.output = stored;
        } else if looks && let Some(fact) = access.path.as_ref().and_then(|p| self.files.get_mut(p))
        {
            fact.output = stored;
        } else if looks {
            let fact = self.looks.entry(&key);
            fact.answer = match stored {
                Some(_) => String::new(),
                None => extract::clip(text, LEAST_STORED).to_owned(),
            };
            fact.output = stored;
        }
        match error {
            Some(line) => {
                let fact = self.errors.entry(line);
                *fact = ErrorFact {
                    during: key,
                    ..ErrorFact::default()
                };
            }
            None => self.fixed(&key),
        }
    }

    /// The call went well: what it met before is fixed.
    fn fixed(&mut self, key: &str) {
        for (_, fact) in self.errors.list.iter_mut().rev().take(RECENT) {
            if fact.fix.is_none() && fact.during == key && !fact.since.is_empty() {
                fact.fix = Some(fact.since.clone());
            }
        }
    }

    /// Tasks that are not done.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &str> {
        let written = self.tasks.list.iter().filter(|(_, done)| !done);
        let planned = self.plan.iter().filter(|(_, done)| !done);
        written
            .map(|(task, _)| &**task)
            .chain(planned.map(|(task, _)| task.as_str()))
    }
}

/// The command line of a call, or the call itself when it changes something that has no path.
fn command(call: &ToolCall<'_>, access: &Access) -> Option<String> {
    if let Some(command) = &access.command {
        return Some(extract::first_line(command).to_owned()).filter(|c| !c.is_empty());
    }
    if access.kind == AccessKind::Read || access.path.is_some() {
        return None;
    }
    let text = format!("{}({})", call.name, call.arguments);
    Some(extract::first_line(&text).to_owned())
}

/// A short name for a call: its tool and what it touches.
pub(crate) fn label(call: &ToolCall<'_>, access: &Access) -> String {
    match (&access.command, &access.path) {
        (Some(command), _) => extract::clip(extract::first_line(command), 80).to_owned(),
        (None, Some(path)) => match access.lines {
            Some((from, u32::MAX)) => format!("{} {path} {from}-", call.name),
            Some((from, to)) => format!("{} {path} {from}-{to}", call.name),
            None => format!("{} {path}", call.name),
        },
        (None, None) => {
            let text = format!("{}({})", call.name, call.arguments);
            extract::clip(extract::first_line(&text), 80).to_owned()
        }
    }
}

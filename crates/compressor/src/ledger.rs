//! The facts of a session, gathered item by item and never lost by a compaction.

use crate::{
    access::{Access, AccessKind},
    extract,
    item::{Item, Role, ToolCall},
};
use std::collections::HashMap;

/// Most facts of one kind; beyond it the oldest make room.
const MOST: usize = 20_000;
const DECISIONS: usize = 12;
const SAID_LAST: usize = 600;

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

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FileFact {
    pub(crate) reads: u32,
    pub(crate) writes: u32,
    pub(crate) last: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CommandFact {
    pub(crate) runs: u32,
    pub(crate) failures: u32,
    pub(crate) failed_last: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ErrorFact {
    /// The call that met it.
    pub(crate) during: String,
    /// What was changed before the same call went well.
    pub(crate) fix: Option<String>,
}

/// What a session is about, as far as fixed rules can tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    pub(crate) people: Vec<(u64, String)>,
    pub(crate) files: Distinct<FileFact>,
    pub(crate) commands: Distinct<CommandFact>,
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
            self.people.push((seq, text.into_owned()));
        }
        if matches!(item.role(), Role::Assistant | Role::ToolCalls) {
            self.said(&item.text());
        }
        for call in item.calls() {
            self.called(seq, &call);
        }
        for (result, call) in item.results().zip(answered) {
            if let Some(call) = call {
                self.returned(call, &result.text, result.is_error);
            }
        }
    }

    fn texts(&mut self, text: &str) {
        for (task, done) in extract::tasks(text) {
            self.tasks.put(task, done);
        }
        for name in extract::names(text) {
            *self.names.entry(name) += 1;
        }
    }

    fn said(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.texts(text);
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
                file.writes += 1;
                self.last_change = path.clone();
            } else {
                file.reads += 1;
            }
        }
        if let Some(command) = command(call, &access) {
            self.commands.entry(&command).runs += 1;
        }
    }

    fn returned(&mut self, call: &ToolCall<'_>, text: &str, failed: bool) {
        let access = call.access();
        let command = command(call, &access);
        let key = command.clone().unwrap_or_else(|| label(call, &access));
        let looks = access.kind == AccessKind::Read;
        let error = (failed || !looks || text.starts_with("Error"))
            .then(|| extract::error_line(text, failed))
            .flatten();
        if let Some(fact) = command.and_then(|c| self.commands.get_mut(&c)) {
            fact.failed_last = error.is_some();
            fact.failures += u32::from(error.is_some());
        }
        match error {
            Some(line) => {
                let fact = self.errors.entry(line);
                fact.during = key;
                fact.fix = None;
            }
            None if !self.last_change.is_empty() => self.fixed(&key),
            None => {}
        }
    }

    /// The call went well: what it met before is fixed.
    fn fixed(&mut self, key: &str) {
        for (_, fact) in self.errors.list.iter_mut().rev().take(64) {
            if fact.fix.is_none() && fact.during == key {
                fact.fix = Some(self.last_change.clone());
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
        (None, Some(path)) => format!("{} {path}", call.name),
        (None, None) => {
            let text = format!("{} {}", call.name, call.arguments);
            extract::clip(extract::first_line(&text), 80).to_owned()
        }
    }
}

//! Questions made from an original transcript.

use super::{Probe, ProbeKind};
use crate::{
    access::{Access, AccessKind},
    extract,
    item::{Item, Role, ToolCall},
    json::Json,
    ledger::{self, Distinct},
    snippet,
    transcript::Transcript,
};
use std::collections::HashMap;

/// Most questions of one kind, but for what people wrote.
const MOST: usize = 64;
/// Longer code cannot come back by one retrieval.
const LONGEST_CODE: usize = 6_000;
/// Longer values are texts.
const LONGEST_VALUE: usize = 80;
/// Shorter names stand everywhere.
const SHORTEST_SUBJECT: usize = 4;

pub(super) fn of(original: &Transcript) -> Vec<Probe> {
    let mut session = Session::default();
    for (at, item) in original.items().iter().enumerate() {
        if item.is_sent() {
            session.take(item, &original.answered(at));
        }
    }
    session.questions()
}

/// What happened, as far as questions are asked about it.
#[derive(Default)]
struct Session {
    messages: Vec<(String, Vec<String>)>,
    exits: Distinct<Option<i32>>,
    errors: Distinct<String>,
    /// Errors by call, with what was changed since.
    open: HashMap<String, Vec<(String, Option<String>)>>,
    fixes: Distinct<String>,
    values: Distinct<Option<(String, String)>>,
    tasks: Distinct<bool>,
    plan: Vec<(String, bool)>,
    code: Distinct<String>,
}

impl Session {
    fn take(&mut self, item: &Item, answered: &[Option<ToolCall<'_>>]) {
        if let Some(text) = item.human_text() {
            self.tasks_of(&text);
            self.messages.push((text.into_owned(), Vec::new()));
        }
        if matches!(item.role(), Role::Assistant | Role::ToolCalls) {
            let text = item.text();
            self.tasks_of(&text);
            for (name, code) in snippet::fenced(&text) {
                self.code.put(name, code.to_owned());
            }
        }
        for call in item.calls() {
            self.called(&call);
        }
        for (result, call) in item.results().zip(answered) {
            if let Some(call) = call {
                self.returned(call, &result.text, result.is_error);
            }
        }
    }

    fn tasks_of(&mut self, text: &str) {
        for (task, done) in extract::tasks(text) {
            self.tasks.put(task, done);
        }
    }

    fn called(&mut self, call: &ToolCall<'_>) {
        if let Some(plan) = extract::planned(&call.arguments) {
            self.plan = plan;
            return;
        }
        let access = call.access();
        let Some(path) = access.path.as_ref() else {
            return;
        };
        if access.kind != AccessKind::Write {
            return;
        }
        if let Some((_, changed)) = self.messages.last_mut()
            && !changed.contains(path)
        {
            changed.push(path.clone());
        }
        for (_, since) in self.open.values_mut().flatten() {
            *since = Some(path.clone());
        }
        if let Some((name, code)) = snippet::written(call, &access) {
            self.code.put(&name, code);
        }
    }

    fn returned(&mut self, call: &ToolCall<'_>, text: &str, failed: bool) {
        let access = call.access();
        let subject = subject(call, &access);
        if subject.len() < SHORTEST_SUBJECT {
            return;
        }
        let looks = access.kind == AccessKind::Read;
        if access.command.is_some() {
            self.exits.put(&subject, extract::exit_code(text));
        }
        if looks {
            self.values.put(&subject, value(text));
        }
        let error = (failed || !looks).then(|| extract::error_line(text, failed));
        match error.flatten() {
            Some(line) => {
                self.errors.put(&subject, line.to_owned());
                let open = self.open.entry(subject).or_default();
                open.retain(|(other, _)| other != line);
                open.push((line.to_owned(), None));
            }
            None => {
                for (line, since) in self.open.remove(&subject).into_iter().flatten() {
                    if let Some(path) = since {
                        self.fixes.put(&line, path);
                    }
                }
            }
        }
    }

    fn questions(self) -> Vec<Probe> {
        let mut out = Vec::new();
        let mut changes = Vec::new();
        for (at, (text, changed)) in self.messages.into_iter().enumerate() {
            let number = at + 1;
            let ask = |kind, question, subject: &str, answers| Probe {
                kind,
                question,
                subject: subject.to_owned(),
                answers,
                message: number,
            };
            let question = format!("What did the person write in message {number}?");
            let whole = vec![text.clone()];
            // One that is but an attachment says nothing that could be lost.
            if !text.trim().is_empty() {
                out.push(ask(ProbeKind::UserMessage, question, "", whole));
            }
            if !changed.is_empty() {
                let question = format!("Which files did message {number} lead to change?");
                changes.push(ask(ProbeKind::ChangedFiles, question, &text, changed));
            }
        }
        out.extend(spread(changes));
        let exits = told(self.exits, |command, code: Option<i32>| {
            let question = format!("What was the exit code of the last run of `{command}`?");
            let code = code?.to_string();
            let asked = !super::tells_exit_code(command, &code);
            asked.then(|| probe(ProbeKind::ExitCode, question, command, code))
        });
        out.extend(exits);
        out.extend(told(self.errors, |call, line| {
            let question = format!("What went wrong when `{call}` failed last?");
            // A question that holds its answer asks nothing.
            (!call.contains(&line)).then(|| probe(ProbeKind::Error, question, call, line))
        }));
        out.extend(told(self.fixes, |line, path| {
            let question = format!("What was changed before this was mended: {line}");
            Some(probe(ProbeKind::Fix, question, line, path))
        }));
        out.extend(told(
            self.values,
            |call, value: Option<(String, String)>| {
                let (key, value) = value?;
                let question = format!("Which value has `{key}` in what the last `{call}` read?");
                (!call.contains(&value)).then(|| probe(ProbeKind::Value, question, call, value))
            },
        ));
        let tasks = self
            .tasks
            .list
            .into_iter()
            .map(|(task, done)| (task.into(), done));
        let pending = tasks.chain(self.plan).filter(|(_, done)| !done);
        let pending = pending.map(|(task, _)| {
            let question = "What is still to do?".to_owned();
            probe(ProbeKind::PendingTask, question, "", task)
        });
        out.extend(spread(pending.collect()));
        out.extend(told(self.code, |name, code: String| {
            let question = format!("What is the newest code of {name}?");
            let fits = code.len() <= LONGEST_CODE && name.len() >= SHORTEST_SUBJECT;
            fits.then(|| probe(ProbeKind::Code, question, name, code))
        }));
        out
    }
}

/// Questions about the entries of a list, evenly spread over it.
fn told<T>(list: Distinct<T>, ask: impl Fn(&str, T) -> Option<Probe>) -> Vec<Probe> {
    let entries = list.list.into_iter();
    spread(
        entries
            .filter_map(|(text, fact)| ask(&text, fact))
            .collect(),
    )
}

fn probe(kind: ProbeKind, question: String, subject: &str, answer: String) -> Probe {
    Probe {
        kind,
        question,
        subject: subject.to_owned(),
        answers: vec![answer],
        message: 0,
    }
}

fn spread(list: Vec<Probe>) -> Vec<Probe> {
    let all = list.len();
    if all <= MOST {
        return list;
    }
    let numbered = list.into_iter().enumerate();
    let chosen = numbered.filter(|(at, _)| at * MOST / all != (at + 1) * MOST / all);
    chosen.map(|(_, probe)| probe).collect()
}

/// What a person would call the call: its command, its path, or itself.
fn subject(call: &ToolCall<'_>, access: &Access) -> String {
    match (&access.command, &access.path) {
        (Some(command), _) => extract::clip(extract::first_line(command), LONGEST_VALUE).to_owned(),
        (None, Some(path)) => path.clone(),
        (None, None) => ledger::label(call, access),
    }
}

/// A named value of an output, as it stands there, with its name: the first of a JSON document, else the
/// assignment in the middle of a program or of settings, else the line in the middle by how it begins.
fn value(text: &str) -> Option<(String, String)> {
    if let Some(found) = json_value(text) {
        return Some(found);
    }
    let lines: Vec<(&str, &str)> = text.lines().filter_map(assignment).collect();
    if let Some((name, line)) = lines.get(lines.len() / 2) {
        return Some((name.to_string(), line.to_string()));
    }
    let lines = text.lines().map(str::trim);
    let lines: Vec<&str> = lines
        .filter(|line| (16..=160).contains(&line.len()))
        .collect();
    let line = *lines.get(lines.len() / 2)?;
    Some((
        extract::clip(line, line.len() / 2).to_owned(),
        line.to_owned(),
    ))
}

fn json_value(text: &str) -> Option<(String, String)> {
    let document = Json::parse(text.trim()).ok();
    let document = document.or_else(|| Json::parse(text.lines().next()?.trim()).ok())?;
    let object = match document.is_array() {
        true => document.elements().next()?,
        false => document,
    };
    object.fields().find_map(|(key, value)| {
        let scalar = !value.is_object() && !value.is_array() && !value.is_null();
        let short = value.text().len() <= LONGEST_VALUE;
        let from = key.as_ptr() as usize - text.as_ptr() as usize;
        let to = value.text().as_ptr() as usize + value.text().len() - text.as_ptr() as usize;
        let said = text.get(from..to)?;
        (scalar && short).then(|| (key.to_owned(), said.to_owned()))
    })
}

/// `name = literal`.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim().trim_end_matches([',', ';']);
    let (name, value) = line.split_once(" = ")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let literal = value.starts_with(|c: char| c.is_ascii_digit() || "\"'".contains(c));
    let named = name.len() > 2 && name.chars().all(plain);
    (named && literal && value.len() <= LONGEST_VALUE).then_some((name, line))
}

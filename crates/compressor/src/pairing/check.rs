//! Judging what does not pair up: explained by the session, or damage.

use super::{END, Finding, Place, Problem, ToolExchange, key};
use crate::{
    Format,
    item::{Item, Part, Role},
};
use std::collections::HashMap;

/// Judges the exchanges of a transcript in one pass over precomputed neighbours.
pub(super) struct Check<'a> {
    items: &'a [Item],
    format: Format,
    /// For each index, the next item at or after it with which the session goes on.
    next_step: Vec<u32>,
    next_call: Vec<u32>,
    next_result: Vec<u32>,
    /// Number of interruptions before each index.
    interruptions: Vec<u32>,
    /// Number of items before each index that a request would not allow between call and result.
    barriers: Vec<u32>,
    /// For each index, the last item before it that is in the context and holds no result.
    previous: Vec<u32>,
    branches: Branches<'a>,
}

const NONE: u32 = u32::MAX;

fn only_results(item: &Item) -> bool {
    item.role() == Role::ToolResults
}

fn is_reasoning(item: &Item) -> bool {
    item.role() == Role::Assistant
        && item
            .parts()
            .iter()
            .all(|p| matches!(p, Part::Thinking(_) | Part::Opaque(_)))
}

impl<'a> Check<'a> {
    pub(super) fn new(items: &'a [Item], format: Format, exchanges: &[ToolExchange]) -> Self {
        let mut check = Self {
            items,
            format,
            next_step: vec![NONE; items.len() + 1],
            next_call: vec![NONE; items.len() + 1],
            next_result: vec![NONE; items.len() + 1],
            interruptions: vec![0; items.len() + 1],
            barriers: vec![0; items.len() + 1],
            previous: vec![NONE; items.len() + 1],
            branches: Branches::new(items, exchanges, format),
        };
        check.look_back();
        check.look_ahead();
        check
    }

    fn look_back(&mut self) {
        for (at, item) in self.items.iter().enumerate() {
            let in_context = item.in_context();
            let barrier = in_context && !only_results(item);
            self.interruptions[at + 1] =
                self.interruptions[at] + u32::from(item.interruption().is_some());
            self.barriers[at + 1] = self.barriers[at] + u32::from(barrier);
            self.previous[at + 1] = if barrier {
                at as u32
            } else {
                self.previous[at]
            };
        }
    }

    fn look_ahead(&mut self) {
        for (at, item) in self.items.iter().enumerate().rev() {
            self.next_step[at] = self.next_step[at + 1];
            self.next_call[at] = self.next_call[at + 1];
            self.next_result[at] = self.next_result[at + 1];
            match item.role() {
                Role::Meta => {}
                Role::ToolResults => self.next_result[at] = at as u32,
                Role::ToolCalls if !self.format.adjacent_results() => {
                    self.next_call[at] = at as u32;
                }
                _ if is_reasoning(item) && !self.format.adjacent_results() => {}
                _ => self.next_step[at] = at as u32,
            }
        }
    }

    /// Where the session goes on after the calls of an item, whatever became of them.
    fn goes_on(&self, call: usize) -> Option<usize> {
        let step = self.next_step[call + 1];
        let result = self.next_result[call + 1];
        let after = if result == NONE {
            NONE
        } else {
            self.next_call[result as usize]
        };
        let next = step.min(after);
        (next != NONE).then_some(next as usize)
    }

    fn interrupted(&self, from: usize, to: usize) -> Option<&'static str> {
        if self.interruptions[from] == self.interruptions[to] {
            return None;
        }
        self.items[from..to].iter().find_map(Item::interruption)
    }

    pub(super) fn run(&self, exchanges: &[ToolExchange], duplicates: &[Place]) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut later_answered: HashMap<usize, usize> = HashMap::new();
        for (at, exchange) in exchanges.iter().enumerate() {
            if let (Some(call), Some(_)) = (exchange.call, exchange.result) {
                later_answered.insert(call.item, at);
            }
        }
        for (at, exchange) in exchanges.iter().enumerate() {
            let finding = match (exchange.call, exchange.result) {
                (Some(call), Some(result)) => self.separated(call, result),
                (Some(call), None) if exchange.promised => {
                    let skipped = later_answered
                        .get(&call.item)
                        .is_some_and(|last| *last > at);
                    Some(self.missing(call, skipped))
                }
                (None, Some(result)) => Some(self.orphan(result)),
                _ => None,
            };
            found.extend(finding);
        }
        found.extend(
            duplicates
                .iter()
                .map(|place| self.finding(*place, Problem::DuplicateId, None)),
        );
        found.sort_by_key(|finding| finding.item);
        found
    }

    fn finding(&self, at: Place, problem: Problem, why: Option<&'static str>) -> Finding {
        let item = &self.items[at.item];
        let id = match &item.parts()[at.part] {
            Part::Call { id, .. } | Part::Result { id, .. } => key(item, *id),
            _ => "".into(),
        };
        Finding {
            item: at.item,
            call_id: id.into(),
            problem,
            explained_by: why,
        }
    }

    fn separated(&self, call: Place, result: Place) -> Option<Finding> {
        let between = self.barriers[result.item.max(call.item + 1)] - self.barriers[call.item + 1];
        (self.format.adjacent_results() && between > 0)
            .then(|| self.finding(result, Problem::Separated, None))
    }

    fn missing(&self, call: Place, skipped: bool) -> Finding {
        let why = match self.goes_on(call.item) {
            None if skipped && self.format.ordered_results() => None,
            None => Some(END),
            Some(next) => self
                .interrupted(call.item, next + 1)
                .or_else(|| self.branches.of_call(call.item)),
        };
        self.finding(call, Problem::MissingResult, why)
    }

    fn orphan(&self, result: Place) -> Finding {
        let previous = self.previous[result.item];
        let why = if previous == NONE {
            None
        } else {
            self.interrupted(previous as usize, result.item + 1)
                .or_else(|| self.branches.of_result(result.item))
        };
        self.finding(result, Problem::OrphanResult, why)
    }
}

/// Forks of a session in a log where every record names its parent.
struct Branches<'a> {
    /// Records by parent, with the last one that begins another branch.
    last: HashMap<&'a str, usize>,
    /// Parents with an answered result below them.
    answered: HashMap<&'a str, usize>,
    items: &'a [Item],
}

const SIBLING: &str = "a sibling branch";

impl<'a> Branches<'a> {
    fn new(items: &'a [Item], exchanges: &[ToolExchange], format: Format) -> Self {
        let mut out = Self {
            last: HashMap::new(),
            answered: HashMap::new(),
            items,
        };
        if format == Format::ClaudeCode {
            for (at, item) in items.iter().enumerate() {
                if let Some(parent) = parent(item)
                    && item.in_context()
                    && item.role() != Role::ToolResults
                {
                    out.last.insert(parent, at);
                }
            }
            for result in exchanges.iter().filter(|e| e.call.is_some()) {
                if let Some(place) = result.result
                    && let Some(parent) = parent(&items[place.item])
                {
                    out.answered.insert(parent, place.item);
                }
            }
        }
        out
    }

    /// A later record with the same parent that is not a further piece of the same message.
    fn of_call(&self, call: usize) -> Option<&'static str> {
        let item = &self.items[call];
        let sibling = *self.last.get(parent(item)?)?;
        let same =
            group(&self.items[sibling]).is_some() && group(&self.items[sibling]) == group(item);
        (sibling > call && !same).then_some(SIBLING)
    }

    /// Another result under the same parent took the place.
    fn of_result(&self, result: usize) -> Option<&'static str> {
        let answered = *self.answered.get(parent(&self.items[result])?)?;
        (answered != result).then_some(SIBLING)
    }
}

fn parent(item: &Item) -> Option<&str> {
    item.reading().parent.map(|span| item.slice(span))
}

fn group(item: &Item) -> Option<&str> {
    item.reading().group.map(|span| item.slice(span))
}

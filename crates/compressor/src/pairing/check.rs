//! Judging what does not pair up: explained by the session, or damage.

use super::{END, Finding, Place, Problem, ToolExchange, key};
use crate::{
    Format,
    item::{Item, Part, Role},
};
use std::collections::{HashMap, HashSet};

/// Judges the exchanges of a transcript in one pass over precomputed neighbours.
pub(super) struct Check<'a> {
    items: &'a [Item],
    format: Format,
    ahead: Ahead,
    /// The same without what sub-agents do beside the session; `None` when there are none.
    main: Option<Ahead>,
    /// For each index, the next item at or after it with an interruption.
    next_interruption: Vec<u32>,
    /// Items with which another session goes on in the same log.
    other_session: HashSet<usize>,
    /// Number of items before each index that a request would not allow between call and result.
    barriers: Vec<u32>,
    /// For each index, the last item before it that is in the context and holds no result.
    previous: Vec<u32>,
    branches: Branches<'a>,
    /// Ids of events that an observation may name as its cause although they are no calls.
    causes: HashSet<&'a str>,
}

const NONE: u32 = u32::MAX;
const OTHER_SESSION: &str = "a new session in the same log";
const SUB_AGENT: &str = "the end of the session while a sub-agent worked";

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

fn is_aside(item: &Item) -> bool {
    item.reading().aside
}

/// For each index, the next item at or after it with which the session goes on.
struct Ahead {
    step: Vec<u32>,
    call: Vec<u32>,
    result: Vec<u32>,
}

impl Ahead {
    fn new(items: &[Item], format: Format, counts: impl Fn(&Item) -> bool) -> Self {
        let mut ahead = Self {
            step: vec![NONE; items.len() + 1],
            call: vec![NONE; items.len() + 1],
            result: vec![NONE; items.len() + 1],
        };
        for (at, item) in items.iter().enumerate().rev() {
            ahead.step[at] = ahead.step[at + 1];
            ahead.call[at] = ahead.call[at + 1];
            ahead.result[at] = ahead.result[at + 1];
            match item.role() {
                Role::Meta => {}
                _ if !counts(item) => {}
                Role::ToolResults => ahead.result[at] = at as u32,
                Role::ToolCalls if !format.adjacent_results() => ahead.call[at] = at as u32,
                _ if is_reasoning(item) && !format.adjacent_results() => {}
                _ => ahead.step[at] = at as u32,
            }
        }
        ahead
    }

    /// Where the session goes on after the calls of an item, whatever became of them.
    fn goes_on(&self, call: usize) -> Option<usize> {
        let step = self.step[call + 1];
        let result = self.result[call + 1];
        let after = if result == NONE {
            NONE
        } else {
            self.call[result as usize]
        };
        let next = step.min(after);
        (next != NONE).then_some(next as usize)
    }
}

impl<'a> Check<'a> {
    pub(super) fn new(items: &'a [Item], format: Format, exchanges: &[ToolExchange]) -> Self {
        let mut check = Self {
            items,
            format,
            ahead: Ahead::new(items, format, |_| true),
            main: items
                .iter()
                .any(is_aside)
                .then(|| Ahead::new(items, format, |item| !is_aside(item))),
            next_interruption: vec![NONE; items.len() + 1],
            other_session: HashSet::new(),
            barriers: vec![0; items.len() + 1],
            previous: vec![NONE; items.len() + 1],
            branches: Branches::new(items, exchanges, format),
            causes: causes(items, format),
        };
        check.look_back();
        check.look_ahead();
        check
    }

    fn look_back(&mut self) {
        let mut session = None;
        for (at, item) in self.items.iter().enumerate() {
            let in_context = item.in_context();
            if let Some(now) = in_context.then(|| self::session(item)).flatten()
                && session.replace(now).is_some_and(|before| before != now)
            {
                self.other_session.insert(at);
            }
            let barrier = in_context && !only_results(item);
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
            let interrupts = item.interruption().is_some() || self.other_session.contains(&at);
            self.next_interruption[at] = if interrupts {
                at as u32
            } else {
                self.next_interruption[at + 1]
            };
        }
    }

    /// What goes on after a call: a sub-agent works while its call waits, and tells nothing of it.
    fn ahead(&self, call: usize) -> &Ahead {
        match &self.main {
            Some(main) if !is_aside(&self.items[call]) => main,
            _ => &self.ahead,
        }
    }

    fn interrupted(&self, from: usize, to: usize) -> Option<&'static str> {
        let next = self.next_interruption[from] as usize;
        (next < to).then(|| self.items[next].interruption().unwrap_or(OTHER_SESSION))
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
        let why = match self.ahead(call.item).goes_on(call.item) {
            None if skipped && self.format.ordered_results() => None,
            None if self.ahead.goes_on(call.item).is_some() => Some(SUB_AGENT),
            None => Some(END),
            Some(next) => self
                .interrupted(call.item, next + 1)
                .or_else(|| self.branches.of_call(call.item)),
        };
        self.finding(call, Problem::MissingResult, why)
    }

    fn orphan(&self, result: Place) -> Finding {
        let previous = self.previous[result.item];
        let Part::Result { id, .. } = &self.items[result.item].parts()[result.part] else {
            return self.finding(result, Problem::OrphanResult, None);
        };
        let id = key(&self.items[result.item], *id);
        let why = if self.causes.contains(&*id) {
            Some("an event that is no tool call")
        } else if previous == NONE {
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

fn causes(items: &[Item], format: Format) -> HashSet<&str> {
    let events = items.iter().filter(|_| format == Format::OpenHands);
    events
        .filter_map(|item| item.reading().uuid.map(|span| item.slice(span)))
        .collect()
}

fn parent(item: &Item) -> Option<&str> {
    item.reading().parent.map(|span| item.slice(span))
}

fn session(item: &Item) -> Option<&str> {
    item.reading().session.map(|span| item.slice(span))
}

fn group(item: &Item) -> Option<&str> {
    item.reading().group.map(|span| item.slice(span))
}

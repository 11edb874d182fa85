//! Which result answers which call, and what to think of those without a partner.

use crate::{
    Format,
    item::{Item, Part, Role, Span},
};
use std::{collections::HashMap, fmt};

/// Whether a call and its result have found each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExchangeState {
    /// Call and result.
    Complete,
    /// A call whose result is not there.
    Open,
    /// A result without a call.
    Orphan,
}

/// A place: an item, and a call or a result in it counted from 0 among all its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Index of the item.
    pub item: usize,
    pub(crate) part: usize,
}

/// A call and its result; one of the two may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolExchange {
    /// Where the call is.
    pub call: Option<Place>,
    /// Where the result is.
    pub result: Option<Place>,
    pub(crate) promised: bool,
    /// The call has an id.
    named: bool,
}

impl ToolExchange {
    /// Complete, open or orphan.
    #[must_use]
    pub fn state(&self) -> ExchangeState {
        match (self.call, self.result) {
            (Some(_), Some(_)) => ExchangeState::Complete,
            (Some(_), None) => ExchangeState::Open,
            _ => ExchangeState::Orphan,
        }
    }
}

/// What does not pair up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Problem {
    /// A call without a result.
    MissingResult,
    /// A result without a call.
    OrphanResult,
    /// Something else stands between a call and its result.
    Separated,
    /// Two calls of one message share an id.
    DuplicateId,
}

/// One call or result that does not pair up, and what explains it, if anything does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Index of the item.
    pub item: usize,
    /// The id of the call, or an empty text.
    pub call_id: String,
    /// What is wrong.
    pub problem: Problem,
    /// What the session itself records that explains it; `None` is damage.
    pub explained_by: Option<&'static str>,
}

impl Finding {
    /// Whether nothing in the session explains it.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        self.explained_by.is_none()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = if self.call_id.is_empty() {
            "without an id"
        } else {
            &self.call_id
        };
        let item = self.item;
        match self.problem {
            Problem::MissingResult => write!(f, "item {item}: tool call {id} has no result")?,
            Problem::OrphanResult => write!(f, "item {item}: tool result {id} answers no call")?,
            Problem::Separated => write!(
                f,
                "item {item}: tool result {id} does not follow its call directly"
            )?,
            Problem::DuplicateId => write!(f, "item {item}: call id {id} is used twice")?,
        }
        match self.explained_by {
            Some(why) => write!(f, " (explained by {why})"),
            None => Ok(()),
        }
    }
}

/// Calls that one item made, answered one after the other when ids are missing.
#[derive(Debug, Clone, Default)]
struct Batch {
    next: usize,
    next_unnamed: usize,
    end: usize,
}

/// The index, grown item by item.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pairing {
    exchanges: Vec<ToolExchange>,
    /// Open calls by id, the newest item last, within an item in reverse order.
    open: HashMap<Box<str>, Vec<usize>>,
    /// The calls of the newest item that made any.
    batch: Batch,
    /// Calls whose id another call of the same item has.
    duplicates: Vec<Place>,
    /// The exchange of every result, in the order of the items.
    results: Vec<(Place, usize)>,
}

impl Pairing {
    pub(crate) fn exchanges(&self) -> &[ToolExchange] {
        &self.exchanges
    }

    pub(crate) fn add(&mut self, index: usize, item: &Item) {
        if item.role() == Role::Meta || item.parts().is_empty() {
            return;
        }
        let first = self.exchanges.len();
        let mut ids: Vec<Box<str>> = Vec::new();
        for (part, piece) in item.parts().iter().enumerate() {
            let place = Place { item: index, part };
            match piece {
                Part::Call { id, promised, .. } => {
                    let id = key(item, *id);
                    self.exchanges.push(ToolExchange {
                        call: Some(place),
                        result: None,
                        promised: *promised,
                        named: !id.is_empty(),
                    });
                    ids.push(id);
                }
                Part::Result { id, .. } => self.answer(item, *id, place),
                _ => {}
            }
        }
        if !ids.is_empty() {
            self.open_calls(index, first, ids);
        }
    }

    fn open_calls(&mut self, index: usize, first: usize, ids: Vec<Box<str>>) {
        let calls: Vec<usize> = (first..self.exchanges.len())
            .filter(|e| self.exchanges[*e].call.is_some_and(|c| c.item == index))
            .collect();
        for (exchange, id) in calls.iter().zip(ids).rev() {
            if id.is_empty() {
                continue;
            }
            let open = self.open.entry(id).or_default();
            let twice = open
                .last()
                .and_then(|e| self.exchanges[*e].call)
                .is_some_and(|call| call.item == index);
            if twice && let Some(place) = self.exchanges[*exchange].call {
                self.duplicates.push(place);
            }
            open.push(*exchange);
        }
        self.batch = Batch {
            next: first,
            next_unnamed: first,
            end: self.exchanges.len(),
        };
    }

    fn answer(&mut self, item: &Item, id: Option<Span>, place: Place) {
        let id = key(item, id);
        let found = if id.is_empty() {
            self.by_position()
        } else {
            self.by_id(&id)
        };
        let exchange = found.unwrap_or(self.exchanges.len());
        self.results.push((place, exchange));
        match found {
            Some(exchange) => self.exchanges[exchange].result = Some(place),
            None => self.exchanges.push(ToolExchange {
                call: None,
                result: Some(place),
                promised: false,
                named: false,
            }),
        }
    }

    /// The exchanges of the results of an item, in order.
    pub(crate) fn of_item(&self, item: usize) -> &[(Place, usize)] {
        let from = self.results.partition_point(|(place, _)| place.item < item);
        let to = self
            .results
            .partition_point(|(place, _)| place.item <= item);
        &self.results[from..to]
    }

    /// The newest open call of that id.
    fn by_id(&mut self, id: &str) -> Option<usize> {
        if let Some(open) = self.open.get_mut(id) {
            while let Some(exchange) = open.pop() {
                if self.exchanges[exchange].result.is_none() {
                    if open.is_empty() {
                        self.open.remove(id);
                    }
                    return Some(exchange);
                }
            }
        }
        None
    }

    /// The next open call of the newest item with calls, one without an id first.
    fn by_position(&mut self) -> Option<usize> {
        let end = self.batch.end;
        let unnamed = (self.batch.next_unnamed..end).find(|at| self.waits(*at, true));
        self.batch.next_unnamed = unnamed.map_or(end, |at| at + 1);
        if unnamed.is_some() {
            return unnamed;
        }
        let next = (self.batch.next..end).find(|at| self.waits(*at, false));
        self.batch.next = next.map_or(end, |at| at + 1);
        next
    }

    fn waits(&self, at: usize, unnamed: bool) -> bool {
        let exchange = &self.exchanges[at];
        exchange.call.is_some() && exchange.result.is_none() && !(unnamed && exchange.named)
    }

    /// Calls whose id another call of the same item has.
    pub(crate) fn duplicates(&self) -> &[Place] {
        &self.duplicates
    }

    pub(crate) fn findings(&self, items: &[Item], format: Format) -> Vec<Finding> {
        Check::new(items, format, &self.exchanges).run(&self.exchanges, &self.duplicates)
    }
}

fn key(item: &Item, id: Option<Span>) -> Box<str> {
    id.map_or_else(|| "".into(), |id| item.text_of(id).into())
}

/// Judges the exchanges of a transcript in one pass over precomputed neighbours.
struct Check<'a> {
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
    fn new(items: &'a [Item], format: Format, exchanges: &[ToolExchange]) -> Self {
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

    fn run(&self, exchanges: &[ToolExchange], duplicates: &[Place]) -> Vec<Finding> {
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
            None => Some("the end of the session"),
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

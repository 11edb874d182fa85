//! Which result answers which call, and what to think of those without a partner.

mod check;

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

/// What explains a call that is still running when the session ends.
pub(crate) const END: &str = "the end of the session";

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
        check::Check::new(items, format, &self.exchanges).run(&self.exchanges, &self.duplicates)
    }
}

fn key(item: &Item, id: Option<Span>) -> Box<str> {
    id.map_or_else(|| "".into(), |id| item.text_of(id).into())
}

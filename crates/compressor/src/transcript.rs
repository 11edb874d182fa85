//! The flat list of raw items, and the index of turns and tool exchanges over it.

use crate::{
    Error, Format,
    item::{Item, Part, Role, ToolCall},
    json::{self, Json},
    pairing::{Finding, Pairing, Place, ToolExchange},
    wire::State,
};
use bytes::Bytes;
use std::ops::Range;

/// Most items of one transcript.
const MAX_ITEMS: usize = 16 << 20;
/// Largest single item, in bytes.
const MAX_ITEM: usize = 1 << 30;

/// The items of one session, raw and in order, with an index of who answers whom.
///
/// The list is the truth: a damaged or unfinished history is held as it is. Appending costs the
/// item; the index grows along.
#[derive(Debug, Clone)]
pub struct Transcript {
    format: Format,
    items: Vec<Item>,
    pairing: Pairing,
    state: State,
}

/// Everything from one message of a person to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The items of the turn.
    pub items: Range<usize>,
}

impl Transcript {
    /// An empty transcript.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            format,
            items: Vec::new(),
            pairing: Pairing::default(),
            state: State::default(),
        }
    }

    /// An empty one for the same session; that it has begun, its summary alone does not tell.
    pub(crate) fn fresh(&self) -> Self {
        let mut fresh = Self::new(self.format);
        fresh.state.main = self.state.main;
        fresh
    }

    /// The format of its items.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Appends one JSON value and returns its index.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] when `raw` is not exactly one JSON value in UTF-8, [`Error::Limit`]
    /// when it is nested too deeply, too large, or one too many. Nothing is appended then.
    pub fn push(&mut self, raw: impl Into<Bytes>) -> Result<usize, Error> {
        let raw = raw.into();
        let raw = checked(raw)?;
        self.push_checked(raw)
    }

    /// Appends a value that has been validated, blanks trimmed.
    pub(crate) fn push_checked(&mut self, raw: Bytes) -> Result<usize, Error> {
        self.admit(&raw)?;
        let item = Item::read(raw, self.format, &self.state);
        Ok(self.append(item))
    }

    /// Appends a validated value under a role that is known better than its bytes tell.
    pub(crate) fn push_as(&mut self, raw: Bytes, role: Role) -> Result<usize, Error> {
        self.admit(&raw)?;
        let mut item = Item::read(raw, self.format, &self.state);
        item.set_role(role);
        Ok(self.append(item))
    }

    fn admit(&self, raw: &Bytes) -> Result<(), Error> {
        let over = |what, limit, found| Err(Error::Limit { what, limit, found });
        if raw.len() > MAX_ITEM {
            return over("the size of an item in bytes", MAX_ITEM, raw.len());
        }
        if self.items.len() >= MAX_ITEMS {
            return over("the number of items", MAX_ITEMS, self.items.len() + 1);
        }
        Ok(())
    }

    /// Reads a validated value as the next item, without appending it.
    pub(crate) fn read_next(&self, raw: Bytes) -> Item {
        Item::read(raw, self.format, &self.state)
    }

    pub(crate) fn append(&mut self, mut item: Item) -> usize {
        let index = self.items.len();
        self.pairing.add(index, &item);
        if self.answers_sub_agent(index, &item) {
            item.set_side(self.state.main);
        }
        if self.begins_session(&item) {
            self.items.iter_mut().for_each(Item::leave_aside);
            self.state.main = true;
        }
        self.advance(&item);
        self.items.push(item);
        index
    }

    /// Whether an item is the first of a session in whose log sub-agents alone have spoken so far.
    /// The summary of a compaction belongs to whosever log it stands in, and results begin nothing.
    pub(crate) fn begins_session(&self, item: &Item) -> bool {
        let of_any = item.interruption() == Some("a compaction")
            || matches!(item.role(), Role::Meta | Role::ToolResults);
        !self.state.main && !of_any && !item.reading().side
    }

    /// Whether an item that does not say whose it is answers nothing but calls of sub-agents.
    fn answers_sub_agent(&self, index: usize, item: &Item) -> bool {
        let results = self.pairing.of_item(index);
        let side = |(_, exchange): &(Place, usize)| {
            let call = self.exchanges().get(*exchange).and_then(|e| e.call);
            call.and_then(|call| self.items.get(call.item))
                .is_some_and(|item| item.reading().side)
        };
        item.role() == Role::ToolResults && !results.is_empty() && results.iter().all(side)
    }

    fn advance(&mut self, item: &Item) {
        if !item.in_context() {
            return;
        }
        self.state.started = true;
        match item.role() {
            Role::Assistant | Role::ToolCalls => {
                self.state.answered = true;
                self.state.action_open = item
                    .parts()
                    .iter()
                    .any(|p| matches!(p, Part::Call { name: None, .. }));
            }
            Role::ToolResults | Role::Observation => self.state.action_open = false,
            _ => {}
        }
    }

    /// The items in order.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Every call with its result, every call without and every result without, in the order of
    /// their first item.
    #[must_use]
    pub fn exchanges(&self) -> &[ToolExchange] {
        self.pairing.exchanges()
    }

    /// The turns: the first may begin without a person. O(items).
    #[must_use]
    pub fn turns(&self) -> Vec<Turn> {
        let mut turns: Vec<Turn> = Vec::new();
        for (index, item) in self.items.iter().enumerate() {
            let begins = item.role() == Role::Human || turns.is_empty();
            if begins {
                turns.push(Turn {
                    items: index..index + 1,
                });
            } else if let Some(turn) = turns.last_mut() {
                turn.items.end = index + 1;
            }
        }
        turns
    }

    /// Calls and results that do not pair up: see [`Finding`]. O(items).
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        self.pairing.findings(&self.items, self.format)
    }

    /// The findings that nothing in the session explains. O(items).
    #[must_use]
    pub fn damage(&self) -> Vec<Finding> {
        let mut found = self.findings();
        found.retain(Finding::is_damage);
        found
    }

    /// The calls that the results of an item answer, in the order of the results.
    pub(crate) fn answered(&self, item: usize) -> Vec<Option<ToolCall<'_>>> {
        let exchanges = self.exchanges();
        let of_item = self.pairing.of_item(item).iter();
        of_item
            .map(|(_, exchange)| self.call_at(exchanges[*exchange].call?))
            .collect()
    }

    /// Calls whose id another call of the same item has.
    pub(crate) fn duplicate_calls(&self) -> &[Place] {
        self.pairing.duplicates()
    }

    pub(crate) fn call_at(&self, place: Place) -> Option<ToolCall<'_>> {
        let item = &self.items[place.item];
        item.call(&item.parts()[place.part])
    }
}

/// One JSON value in UTF-8, blanks around it cut off without copying.
pub(crate) fn checked(raw: Bytes) -> Result<Bytes, Error> {
    let text = std::str::from_utf8(&raw)
        .map_err(|e| Error::malformed(&raw, e.valid_up_to(), "not UTF-8"))?;
    let value = Json::parse(text).map_err(|fault| describe(&raw, &fault))?;
    let start = value.text().as_ptr() as usize - text.as_ptr() as usize;
    let end = start + value.text().len();
    Ok(raw.slice(start..end))
}

pub(crate) fn describe(input: &[u8], fault: &json::Fault) -> Error {
    Error::malformed(input, fault.offset, fault.what)
}

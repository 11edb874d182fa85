//! Making a valid request out of a damaged history.

use crate::{
    Error, Format,
    format::Wire,
    item::{Item, Part, Span},
    json::quoted,
    pairing::{Place, Problem},
    transcript::Transcript,
    wire::compose,
};
use bytes::Bytes;
use std::{
    collections::{HashMap, HashSet},
    fmt,
};

const LOST: &str = "[the result of this call was lost]";

/// What was done about one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// Index of the item in the damaged transcript.
    pub item: usize,
    /// The id of the call, or an empty text.
    pub call_id: String,
    /// What was wrong.
    pub problem: Problem,
    /// What was done.
    pub done: &'static str,
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "item {}, call {}: {}",
            self.item, self.call_id, self.done
        )
    }
}

impl Transcript {
    /// A transcript that a provider takes, made from this one, and what had to be done for it.
    ///
    /// Records that no model sees are left out, and so is what sub-agents do beside the session. A call without a result gets one that says so, also
    /// at the end of the session; a result without a call is dropped; calls that share an id get their own; a result that stands too far
    /// from its call moves to it. What needs no repair keeps its bytes. O(items).
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] or [`Error::Malformed`] from the limits of a transcript.
    pub fn mend(&self) -> Result<(Self, Vec<Repair>), Error> {
        let mut mender = Mender::new(self);
        for at in 0..self.len() {
            mender.item(at)?;
        }
        Ok((mender.out, mender.repairs))
    }
}

struct Mender<'a> {
    from: &'a Transcript,
    /// The items, with ids of their own for calls that shared one.
    items: Vec<Item>,
    out: Transcript,
    repairs: Vec<Repair>,
    /// Calls without a result, by item.
    missing: HashMap<usize, Vec<Place>>,
    /// Results without a call, by item.
    orphans: HashMap<usize, Vec<usize>>,
    /// Items with results that move behind the item of their call.
    moved: HashMap<usize, Vec<usize>>,
    moving: HashMap<usize, usize>,
    /// Items whose results wait for missing ones to join them.
    joined: HashMap<usize, Vec<Place>>,
}

impl<'a> Mender<'a> {
    fn new(from: &'a Transcript) -> Self {
        let mut mender = Self {
            from,
            items: from.items().to_vec(),
            out: Transcript::new(from.format()),
            repairs: Vec::new(),
            missing: HashMap::new(),
            orphans: HashMap::new(),
            moved: HashMap::new(),
            moving: HashMap::new(),
            joined: HashMap::new(),
        };
        mender.rename();
        mender.sort_out();
        mender
    }

    /// Gives calls of one item that share an id, and their results, different ones.
    fn rename(&mut self) {
        let twins: HashMap<Place, usize> = self
            .from
            .duplicate_calls()
            .iter()
            .enumerate()
            .map(|(number, place)| (*place, number))
            .collect();
        let mut edits: HashMap<usize, Vec<(Span, String)>> = HashMap::new();
        for exchange in self.from.exchanges() {
            let Some(call) = exchange.call else { continue };
            let Some(number) = twins.get(&call) else {
                continue;
            };
            let id = call_id(&self.items[call.item], call.part);
            let new = quoted(&format!("{id}-{}-{number}", call.item));
            for place in [Some(call), exchange.result].into_iter().flatten() {
                if let Some(span) = id_span(self.items[place.item].parts().get(place.part)) {
                    edits
                        .entry(place.item)
                        .or_default()
                        .push((span, new.clone()));
                }
            }
            self.note(
                call.item,
                &id,
                Problem::DuplicateId,
                "given an id of its own",
            );
        }
        for (at, mut edits) in edits {
            let raw = self.items[at].spliced(&mut edits);
            self.items[at] = self.items[at].with_bytes(raw, self.from.format());
        }
    }

    fn sort_out(&mut self) {
        let mut first_answer: HashMap<usize, usize> = HashMap::new();
        for exchange in self.from.exchanges() {
            match (exchange.call, exchange.result) {
                (Some(call), Some(result)) => {
                    let first = first_answer.entry(call.item).or_insert(result.item);
                    *first = (*first).min(result.item);
                }
                (Some(call), None) if exchange.promised => {
                    self.missing.entry(call.item).or_default().push(call);
                }
                (None, Some(result)) => {
                    self.orphans
                        .entry(result.item)
                        .or_default()
                        .push(result.part);
                }
                _ => {}
            }
        }
        self.separated();
        // One message holds all results of a call item: a missing one joins those that came.
        if self.from.format() == Format::AnthropicMessages {
            let mut partly: Vec<usize> = self.missing.keys().copied().collect();
            partly.sort_unstable();
            for call in partly {
                if let Some(answer) = first_answer.get(&call)
                    && let Some(places) = self.missing.remove(&call)
                {
                    self.joined.entry(*answer).or_default().extend(places);
                }
            }
        }
    }

    fn separated(&mut self) {
        let apart: HashSet<usize> = self
            .from
            .findings()
            .iter()
            .filter(|finding| finding.problem == Problem::Separated)
            .map(|finding| finding.item)
            .collect();
        for exchange in self.from.exchanges() {
            if let (Some(call), Some(result)) = (exchange.call, exchange.result)
                && apart.contains(&result.item)
                && self.moving.insert(result.item, call.item).is_none()
            {
                self.moved.entry(call.item).or_default().push(result.item);
            }
        }
    }

    fn item(&mut self, at: usize) -> Result<(), Error> {
        if !self.items[at].is_sent() || self.moving.contains_key(&at) {
            return Ok(());
        }
        self.emit(at)?;
        for result in self.moved.remove(&at).unwrap_or_default() {
            self.note(result, "", Problem::Separated, "moved behind its call");
            self.emit(result)?;
        }
        for place in self.missing.remove(&at).unwrap_or_default() {
            self.answer(place)?;
        }
        Ok(())
    }

    fn note(&mut self, item: usize, call_id: &str, problem: Problem, done: &'static str) {
        self.repairs.push(Repair {
            item,
            call_id: call_id.to_owned(),
            problem,
            done,
        });
    }

    /// The item without its orphans and with the results that join it.
    fn emit(&mut self, at: usize) -> Result<(), Error> {
        let item = self.items[at].clone();
        let orphans = self.orphans.remove(&at).unwrap_or_default();
        let joined = self.joined.remove(&at).unwrap_or_default();
        if orphans.is_empty() && joined.is_empty() {
            self.out.append(item);
            return Ok(());
        }
        for part in &orphans {
            let id = call_id(&item, *part);
            self.note(at, &id, Problem::OrphanResult, "dropped");
        }
        let results = item.parts().iter();
        let results = results.filter(|p| matches!(p, Part::Result { .. })).count();
        let alone = results == item.parts().len();
        if alone && orphans.len() == results && joined.is_empty() {
            return Ok(());
        }
        self.rewrite(at, &orphans, &joined)
    }

    fn rewrite(&mut self, at: usize, orphans: &[usize], joined: &[Place]) -> Result<(), Error> {
        let item = self.items[at].clone();
        // Only items with such a list hold more than one result.
        let Some(list) = block_list(&item) else {
            return Ok(());
        };
        let mut blocks = Vec::new();
        for place in joined {
            let call = &self.items[place.item];
            let id = id_json(call, place.part);
            blocks.push(compose::anthropic_result(id, &quoted(LOST)));
            let id = call_id(call, place.part);
            self.note(place.item, &id, Problem::MissingResult, "answered as lost");
        }
        // Every block was read as one part.
        for (part, block) in item.json(list).elements().enumerate() {
            if !orphans.contains(&part) {
                blocks.push(block.text().to_owned());
            }
        }
        if blocks.is_empty() {
            return Ok(());
        }
        let list_text = format!("[{}]", blocks.join(","));
        let raw = item.spliced(&mut vec![(list, list_text)]);
        self.out.push_checked(raw)?;
        Ok(())
    }

    fn answer(&mut self, place: Place) -> Result<(), Error> {
        let item = self.items[place.item].clone();
        let kind = match item.parts().get(place.part) {
            Some(Part::Call {
                name: Some(name), ..
            }) if self.from.format().wire() == Wire::Gemini => item.text_of(*name).into_owned(),
            _ => kind(&item),
        };
        let id = id_json(&item, place.part);
        let in_words = matches!(
            item.parts().get(place.part),
            Some(Part::Call { name: None, .. })
        );
        let raw = if in_words {
            compose::note(self.from.format(), LOST)
        } else {
            compose::result(self.from.format(), id, &kind, LOST)
        };
        self.out.push(Bytes::from(raw))?;
        let id = call_id(&item, place.part);
        self.note(place.item, &id, Problem::MissingResult, "answered as lost");
        Ok(())
    }
}

fn id_span(part: Option<&Part>) -> Option<Span> {
    match part? {
        Part::Call { id, .. } | Part::Result { id, .. } => *id,
        _ => None,
    }
}

fn id_json(item: &Item, part: usize) -> Option<&str> {
    id_span(item.parts().get(part)).map(|span| item.slice(span))
}

fn call_id(item: &Item, part: usize) -> String {
    id_span(item.parts().get(part))
        .map(|span| item.text_of(span).into_owned())
        .unwrap_or_default()
}

/// The `type` of a responses item, which decides how it is answered.
fn kind(item: &Item) -> String {
    let value = item.json(Span {
        start: 0,
        end: item.raw().len() as u32,
    });
    let inner = value.get("payload").unwrap_or(value);
    let word = inner.get("type").and_then(|v| v.word());
    word.unwrap_or_default().to_owned()
}

/// Where the array is whose elements are the parts of an item with several results.
fn block_list(item: &Item) -> Option<Span> {
    let value = item.json(Span {
        start: 0,
        end: item.raw().len() as u32,
    });
    let message = value.get("message").unwrap_or(value);
    // Where several calls share one content, the list of their ids has the parts.
    let list = ["tool_call_ids", "tool_responses", "content", "parts"]
        .into_iter()
        .find_map(|key| message.get(key).filter(|list| list.is_array()))?;
    let start = list.text().as_ptr() as usize - item.source().as_ptr() as usize;
    Some(Span {
        start: start as u32,
        end: (start + list.text().len()) as u32,
    })
}

//! A working copy of a context while a compaction is planned.

use crate::{
    access::{Access, AccessKind},
    context::{Blob, Context},
    extract,
    item::{Item, Part, Role, Span},
    ledger::{self, LEAST_STORED},
    pairing::Place,
    tokens::count_item,
    units::units,
    wire::compose,
};
use bytes::Bytes;
use std::{collections::BTreeMap, ops::Range};

/// An output that a stage may replace by a reference.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pub(super) place: Place,
    span: Span,
    pub(super) label: String,
    pub(super) access: Access,
    pub(super) arguments: String,
    /// Estimated from the share of bytes in the item.
    pub(super) tokens: usize,
    /// Whether it answers a call, or merely was put there.
    pub(super) answers: bool,
    pub(super) failed: bool,
    pub(super) tool: String,
}

/// An output that is to give way.
#[derive(Debug, Clone)]
pub(super) struct Replacement {
    pub(super) output: Output,
    /// Begins the reference.
    pub(super) why: &'static str,
    /// What of the output stays behind the reference.
    pub(super) shorter: Option<String>,
}

impl Replacement {
    pub(super) fn whole(output: Output, why: &'static str) -> Self {
        Self {
            output,
            why,
            shorter: None,
        }
    }
}

/// An item in its new form.
#[derive(Debug, Clone)]
pub(super) struct Edited {
    pub(super) item: Item,
    pub(super) tokens: usize,
    pub(super) stored: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct Work<'a> {
    pub(super) context: &'a Context,
    pub(super) units: Vec<Range<usize>>,
    pub(super) edited: BTreeMap<usize, Edited>,
    pub(super) blobs: Vec<Blob>,
    pub(super) tokens: usize,
}

/// What stages have done so far.
#[derive(Debug)]
pub(super) struct State {
    edited: BTreeMap<usize, Edited>,
    blobs: Vec<Blob>,
    tokens: usize,
}

/// Outputs below this are not worth a reference.
pub(super) const SMALL: usize = 48;

impl<'a> Work<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self {
            context,
            units: units(&context.transcript),
            edited: BTreeMap::new(),
            blobs: Vec::new(),
            tokens: context.tokens,
        }
    }

    /// Everything that stages change, to go back to.
    pub(super) fn state(&self) -> State {
        State {
            edited: self.edited.clone(),
            blobs: self.blobs.clone(),
            tokens: self.tokens,
        }
    }

    pub(super) fn restore(&mut self, state: State) {
        self.edited = state.edited;
        self.blobs = state.blobs;
        self.tokens = state.tokens;
    }

    pub(super) fn item(&self, at: usize) -> &Item {
        match self.edited.get(&at) {
            Some(edited) => &edited.item,
            None => &self.context.transcript.items()[at],
        }
    }

    pub(super) fn tokens_of(&self, at: usize) -> usize {
        match self.edited.get(&at) {
            Some(edited) => edited.tokens,
            None => self.context.entries[at].tokens,
        }
    }

    /// Whether something else stands where the output was, or part of it alone.
    pub(super) fn is_stored(&self, output: &Output) -> bool {
        self.stored(output.place)
    }

    fn stored(&self, place: Place) -> bool {
        let part = place.part as u32;
        match self.edited.get(&place.item) {
            Some(edited) => edited.stored.contains(&part),
            None => self.context.entries[place.item].stored.contains(&part),
        }
    }

    /// Id of the blob of a part.
    fn blob_id(&self, place: Place) -> String {
        let seq = self.context.entries[place.item].seq;
        self.item(place.item).blob_id(seq, place.part)
    }

    /// Every output that may be replaced and is worth it, oldest first.
    pub(super) fn outputs(&self) -> Vec<Output> {
        let mut outputs = Vec::new();
        for (at, entry) in self.context.entries.iter().enumerate() {
            if entry.pinned || self.tokens_of(at) < SMALL {
                continue;
            }
            match self.item(at).role() {
                Role::ToolResults => self.results(at, &mut outputs),
                Role::Observation => self.observation(at, &mut outputs),
                _ => {}
            }
        }
        outputs.retain(|output| output.tokens >= SMALL);
        outputs
    }

    fn results(&self, at: usize, outputs: &mut Vec<Output>) {
        let item = self.item(at);
        let total = bytes_of(item);
        let calls = self.context.transcript.answered(at);
        let results = item.parts().iter().enumerate();
        let results = results.filter(|(_, part)| matches!(part, Part::Result { .. }));
        let mut last = None;
        for ((part, piece), call) in results.zip(calls) {
            let (Some(span), Some(call)) = (piece.replaceable(), call) else {
                continue;
            };
            if last.replace(span) == Some(span) {
                continue;
            }
            let access = call.access();
            outputs.push(Output {
                place: Place { item: at, part },
                span,
                label: ledger::label(&call, &access),
                access,
                arguments: call.arguments.into_owned(),
                tokens: self.tokens_of(at) * len(span) / total,
                answers: true,
                failed: matches!(piece, Part::Result { error: true, .. }),
                tool: call.name.into_owned(),
            });
        }
    }

    fn observation(&self, at: usize, outputs: &mut Vec<Output>) {
        let item = self.item(at);
        let total = bytes_of(item);
        for (part, piece) in item.parts().iter().enumerate() {
            let Part::Text(span) = piece else { continue };
            if !item.json(*span).is_string() {
                continue;
            }
            let text = item.text_of(*span);
            outputs.push(Output {
                place: Place { item: at, part },
                span: *span,
                label: extract::clip(extract::first_line(&text), 60).to_owned(),
                access: Access {
                    kind: AccessKind::Unknown,
                    path: None,
                    command: None,
                    lines: None,
                },
                arguments: String::new(),
                tokens: self.tokens_of(at) * len(*span) / total,
                answers: false,
                failed: false,
                tool: String::new(),
            });
        }
    }

    pub(super) fn text(&self, output: &Output) -> String {
        self.item(output.place.item)
            .text_of(output.span)
            .into_owned()
    }

    /// Replaces outputs by references; returns the tokens saved.
    pub(super) fn replace(&mut self, outputs: &[Replacement]) -> usize {
        let before = self.tokens;
        let mut by_item: BTreeMap<usize, Vec<&Replacement>> = BTreeMap::new();
        for replacement in outputs {
            by_item
                .entry(replacement.output.place.item)
                .or_default()
                .push(replacement);
        }
        for (at, list) in by_item {
            self.replace_in(at, &list);
        }
        before.saturating_sub(self.tokens)
    }

    fn replace_in(&mut self, at: usize, list: &[&Replacement]) {
        let mut stored = match self.edited.get(&at) {
            Some(edited) => edited.stored.clone(),
            None => self.context.entries[at].stored.clone(),
        };
        let mut edits = Vec::new();
        let mut blobs = Vec::new();
        for replacement in list {
            let output = &replacement.output;
            let text = self.text(output);
            if !self.stored(output.place) {
                blobs.push(Blob {
                    id: self.blob_id(output.place),
                    label: output.label.clone(),
                    bytes: Bytes::from(text.clone()),
                });
                stored.push(output.place.part as u32);
            }
            let reference = self.reference(replacement, &text);
            let format = self.context.transcript.format();
            let json = if output.answers {
                compose::content(format, &reference)
            } else {
                crate::json::quoted(&reference)
            };
            edits.push((output.span, json));
        }
        if self.rewrite(at, &mut edits, stored) {
            self.blobs.append(&mut blobs);
        }
    }

    /// What stands where an output was: why, what it was, where it is, and its error, if any.
    fn reference(&self, replacement: &Replacement, text: &str) -> String {
        let Replacement {
            output,
            why,
            shorter,
        } = replacement;
        let mut out = format!(
            "[{why}: {}; {} tokens, stored as {}]",
            output.label,
            output.tokens,
            self.blob_id(output.place)
        );
        if let Some(shorter) = shorter {
            out.push('\n');
            out.push_str(shorter);
            return out;
        }
        let looks = output.access.kind == AccessKind::Read;
        if output.answers
            && (!looks || output.failed || text.starts_with("Error"))
            && let Some(line) = extract::error_line(text, output.failed)
        {
            out.push('\n');
            out.push_str(line);
        }
        out
    }

    /// What must be in blobs before an item may leave the context: the texts that were not stored so
    /// far, each large enough to be asked for alone. Second the item as it is kept with others, with
    /// references in their place.
    pub(super) fn taken_out(&self, at: usize) -> (Vec<Blob>, Bytes) {
        let item = self.item(at);
        let seq = self.context.entries[at].seq;
        let calls = self.context.transcript.answered(at);
        let mut blobs = Vec::new();
        let mut edits = Vec::new();
        let results = item.parts().iter().enumerate();
        let results = results.filter(|(_, part)| matches!(part, Part::Result { .. }));
        for (((part, piece), id), call) in results.zip(item.output_ids(seq)).zip(calls) {
            let place = Place { item: at, part };
            let (Some(span), Some(id)) = (piece.replaceable(), id) else {
                continue;
            };
            if self.stored(place) || len(span) < LEAST_STORED {
                continue;
            }
            let text = item.text_of(span).into_owned();
            if text.len() < LEAST_STORED {
                continue;
            }
            let format = self.context.transcript.format();
            edits.push((span, compose::content(format, &format!("[stored as {id}]"))));
            let label = call.map(|call| ledger::label(&call, &call.access()));
            blobs.push(Blob {
                label: label.unwrap_or_else(|| "an output".to_owned()),
                bytes: Bytes::from(text),
                id,
            });
        }
        if edits.is_empty() {
            return (blobs, item.raw().clone());
        }
        (blobs, item.spliced(&mut edits))
    }

    /// Puts a new form of an item in place, unless it is no shorter.
    fn rewrite(&mut self, at: usize, edits: &mut Vec<(Span, String)>, stored: Vec<u32>) -> bool {
        let old = self.tokens_of(at);
        let item = self.item(at);
        let item = item.with_bytes(item.spliced(edits), self.context.transcript.format());
        let tokens = count_item(&*self.context.tokenizer, &item);
        if tokens >= old {
            return false;
        }
        self.tokens = self.tokens + tokens - old;
        let edited = Edited {
            item,
            tokens,
            stored,
        };
        self.edited.insert(at, edited);
        true
    }
}

fn len(span: Span) -> usize {
    (span.end - span.start) as usize
}

/// Bytes of all parts, at least 1.
fn bytes_of(item: &Item) -> usize {
    let mut last = Span::default();
    let mut total = 1;
    for part in item.parts() {
        let span = match part {
            Part::Text(span) | Part::Thinking(span) | Part::Media(span) | Part::Opaque(span) => {
                *span
            }
            Part::Call { arguments, .. } => *arguments,
            Part::Result { content, .. } => *content,
        };
        if span != last {
            total += len(span);
        }
        last = span;
    }
    total
}

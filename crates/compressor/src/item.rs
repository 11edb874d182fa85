//! One raw item of a transcript and what it says.

use crate::{
    Format,
    access::Access,
    json::Json,
    wire::{self, State},
};
use bytes::Bytes;
use std::borrow::Cow;

/// Who speaks in an item, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Instructions of the application.
    System,
    /// What a person wrote. Never changed by a compaction.
    Human,
    /// What the model said, without calls.
    Assistant,
    /// What the model said, with at least one tool call.
    ToolCalls,
    /// Results of tool calls.
    ToolResults,
    /// What the surroundings put in, whatever role the format gives it: observations,
    /// demonstrations, reminders, messages of other agents.
    Observation,
    /// A summary that a compaction wrote.
    Summary,
    /// Records that no model sees: settings, events, snapshots, usage.
    Meta,
}

/// A range of bytes of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// A piece of an item, as ranges of its bytes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    Text(Span),
    Thinking(Span),
    Media(Span),
    Opaque(Span),
    Call {
        id: Option<Span>,
        /// `None` for an action in words, whose first word is the name.
        name: Option<Span>,
        arguments: Span,
        /// Whether the format promises a result.
        promised: bool,
    },
    Result {
        id: Option<Span>,
        name: Option<Span>,
        content: Span,
        error: bool,
        /// Whether the content may be replaced by a text.
        replaceable: bool,
    },
}

impl Part {
    /// The content of a result that another text may stand for.
    pub(crate) fn replaceable(&self) -> Option<Span> {
        match self {
            Self::Result {
                content,
                replaceable: true,
                ..
            } => Some(*content),
            _ => None,
        }
    }
}

/// What a reader of a wire format found in an item.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) role: Role,
    pub(crate) parts: Vec<Part>,
    pub(crate) interruption: Option<&'static str>,
    pub(crate) uuid: Option<Span>,
    pub(crate) parent: Option<Span>,
    pub(crate) group: Option<Span>,
    pub(crate) session: Option<Span>,
    /// Whether a sub-agent recorded it.
    pub(crate) side: bool,
    /// What a sub-agent does, recorded in the log of the session that called it.
    pub(crate) aside: bool,
}

impl Reading {
    pub(crate) fn of(role: Role) -> Self {
        Self {
            role,
            parts: Vec::new(),
            interruption: None,
            uuid: None,
            parent: None,
            group: None,
            session: None,
            side: false,
            aside: false,
        }
    }
}

/// One item of a transcript: its bytes exactly as they were recorded, and an index into them.
#[derive(Debug, Clone)]
pub struct Item {
    raw: Bytes,
    reading: Reading,
}

/// A tool call inside an item.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall<'a> {
    /// The id that its result names, when the format has ids.
    pub id: Option<Cow<'a, str>>,
    /// The tool.
    pub name: Cow<'a, str>,
    /// The arguments: JSON for tools that take it, else the text of the command.
    pub arguments: Cow<'a, str>,
    /// Whether the format promises a result for it.
    pub promised: bool,
}

impl ToolCall<'_> {
    /// A guess from name and arguments at what the call touches.
    #[must_use]
    pub fn access(&self) -> Access {
        Access::guess(&self.name, &self.arguments)
    }
}

/// A tool result inside an item.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult<'a> {
    /// The id of the call that it answers, when the format has ids.
    pub id: Option<Cow<'a, str>>,
    /// The text of the result.
    pub text: Cow<'a, str>,
    /// Whether the record says that the call failed.
    pub is_error: bool,
}

impl Item {
    /// Reads one JSON value. `raw` must be valid; see [`crate::Transcript::push`] for the checked way.
    pub(crate) fn read(raw: Bytes, format: Format, state: &State) -> Self {
        let text = std::str::from_utf8(&raw).unwrap_or("null");
        let mut reading = wire::read(Json::trusted(text), format, state);
        reading.aside = reading.side && state.main;
        Self { raw, reading }
    }

    /// The bytes as recorded.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Who speaks.
    #[must_use]
    pub fn role(&self) -> Role {
        self.reading.role
    }

    /// Takes it for what a sub-agent recorded, beside a session or in one of its own.
    pub(crate) fn set_side(&mut self, beside: bool) {
        self.reading.side = true;
        self.reading.aside = beside;
    }

    /// What a sub-agent recorded turns out to be beside a session.
    pub(crate) fn leave_aside(&mut self) {
        self.reading.aside = self.reading.side;
    }

    pub(crate) fn set_role(&mut self, role: Role) {
        self.reading.role = role;
    }

    /// Whether a model sees it, or it is a record of the log alone.
    #[must_use]
    pub fn in_context(&self) -> bool {
        self.reading.role != Role::Meta
    }

    /// Whether it belongs to a sub-agent that works beside the session, as Claude Code records it in
    /// the same log. The model of the session never sees it: what comes back is the result of the call
    /// that began the sub-agent. A log that holds nothing else is the sub-agent's own, and all of it is
    /// its session; when an item of another comes after all, what came before is beside that session.
    #[must_use]
    pub fn is_aside(&self) -> bool {
        self.reading.aside
    }

    /// Whether it is part of what is sent to the model of the session.
    pub(crate) fn is_sent(&self) -> bool {
        self.in_context() && !self.is_aside()
    }

    /// What was interrupted here, when this item records an interruption: a compaction, an aborted
    /// turn, an error of the provider, a new session in the same log.
    #[must_use]
    pub fn interruption(&self) -> Option<&'static str> {
        self.reading.interruption
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.reading.parts
    }

    pub(crate) fn reading(&self) -> &Reading {
        &self.reading
    }

    pub(crate) fn source(&self) -> &str {
        std::str::from_utf8(&self.raw).unwrap_or("null")
    }

    pub(crate) fn json(&self, span: Span) -> Json<'_> {
        Json::trusted(self.slice(span))
    }

    pub(crate) fn slice(&self, span: Span) -> &str {
        // Only the span is checked again: an item may have many.
        self.raw
            .get(span.start as usize..span.end as usize)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or("")
    }

    /// The text of a span: decoded when it is a string, else all texts inside it, else its JSON.
    pub(crate) fn text_of(&self, span: Span) -> Cow<'_, str> {
        wire::text_of(self.json(span))
    }

    /// What it says: its texts, without calls, results and hidden reasoning.
    ///
    /// Costs a decoding of the text.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        self.joined(|part| match part {
            Part::Text(span) => Some(*span),
            _ => None,
        })
    }

    /// The reasoning of the model that the record shows.
    #[must_use]
    pub fn thinking(&self) -> Cow<'_, str> {
        self.joined(|part| match part {
            Part::Thinking(span) => Some(*span),
            _ => None,
        })
    }

    fn joined(&self, pick: impl Fn(&Part) -> Option<Span>) -> Cow<'_, str> {
        let mut texts = self.parts().iter().filter_map(pick);
        let Some(first) = texts.next() else {
            return Cow::Borrowed("");
        };
        let mut out = self.text_of(first);
        for span in texts {
            let out = out.to_mut();
            out.push('\n');
            out.push_str(&self.text_of(span));
        }
        out
    }

    /// What a person wrote here; texts beside tool results count.
    #[must_use]
    pub fn human_text(&self) -> Option<Cow<'_, str>> {
        match self.role() {
            Role::Human => Some(self.text()),
            Role::ToolResults => Some(self.text()).filter(|t| !t.is_empty() && !wire::injected(t)),
            _ => None,
        }
    }

    /// Whether it carries what no text can stand for: images, sounds, files.
    #[must_use]
    pub fn has_media(&self) -> bool {
        self.parts().iter().any(|p| matches!(p, Part::Media(_)))
    }

    /// The tool calls, in order.
    pub fn calls(&self) -> impl Iterator<Item = ToolCall<'_>> {
        self.parts().iter().filter_map(|part| self.call(part))
    }

    pub(crate) fn call(&self, part: &Part) -> Option<ToolCall<'_>> {
        let Part::Call {
            id,
            name,
            arguments,
            promised,
        } = part
        else {
            return None;
        };
        let arguments = self.text_of(*arguments);
        let name = match name {
            Some(name) => self.text_of(*name),
            None => Cow::Owned(arguments.split_whitespace().next().unwrap_or("").to_owned()),
        };
        Some(ToolCall {
            id: id.map(|id| self.text_of(id)),
            name,
            arguments,
            promised: *promised,
        })
    }

    /// The tool results, in order.
    pub fn results(&self) -> impl Iterator<Item = ToolResult<'_>> {
        self.parts().iter().filter_map(|part| self.result(part))
    }

    pub(crate) fn result(&self, part: &Part) -> Option<ToolResult<'_>> {
        let Part::Result {
            id, content, error, ..
        } = part
        else {
            return None;
        };
        Some(ToolResult {
            id: id.map(|id| self.text_of(id)),
            text: self.text_of(*content),
            is_error: *error,
        })
    }

    /// For each result the id of the blob that its text goes to, unless it is of a kind that stays.
    /// Results that share one text share its id, which the first of them has.
    pub(crate) fn output_ids(&self, seq: u64) -> impl Iterator<Item = Option<String>> {
        let mut last = None;
        let parts = self.parts().iter().enumerate();
        let results = parts.filter(|(_, part)| matches!(part, Part::Result { .. }));
        results.map(move |(at, part)| {
            let span = part.replaceable()?;
            (last.replace(span) != Some(span)).then(|| self.blob_id(seq, at))
        })
    }

    /// Id of what is taken out of one part of the item.
    pub(crate) fn blob_id(&self, seq: u64, part: usize) -> String {
        let first = self
            .parts()
            .iter()
            .position(|part| matches!(part, Part::Result { .. } | Part::Text(_)));
        if first == Some(part) {
            format!("o{seq}")
        } else {
            format!("o{seq}.{part}")
        }
    }

    /// The item with other bytes in place of its own, under the same role.
    pub(crate) fn with_bytes(&self, raw: Bytes, format: Format) -> Self {
        // What state told when the item was first read is visible in its role and parts.
        let state = State {
            started: true,
            answered: self.role() == Role::Observation,
            action_open: self.results().next().is_some(),
            main: true,
        };
        let mut item = Self::read(raw, format, &state);
        item.set_role(self.role());
        item.reading.aside = self.reading.aside;
        item
    }

    /// The bytes with some spans replaced by other JSON, everything else untouched.
    pub(crate) fn spliced(&self, edits: &mut Vec<(Span, String)>) -> Bytes {
        edits.sort_by_key(|(span, _)| span.start);
        edits.dedup_by_key(|(span, _)| span.start);
        let source = self.source();
        let mut out = String::with_capacity(source.len());
        let mut at = 0;
        for (span, with) in edits.iter() {
            out.push_str(source.get(at..span.start as usize).unwrap_or(""));
            out.push_str(with);
            at = span.end as usize;
        }
        out.push_str(source.get(at..).unwrap_or(""));
        Bytes::from(out)
    }
}

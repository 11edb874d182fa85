//! Anthropic messages, and the records that Claude Code wraps around them.

use super::{Reader, interrupting, text_of};
use crate::{
    item::{Part, Role},
    json::Json,
};

/// A message as the API takes it.
pub(super) fn read(reader: &mut Reader<'_>, message: Json<'_>) {
    let mut role = "";
    let mut content = None;
    for (key, field) in message.fields() {
        match key {
            "role" => role = field.word().unwrap_or(""),
            "content" => content = Some(field),
            "id" => reader.reading.group = reader.maybe(Some(field)),
            _ => {}
        }
    }
    if let Some(content) = content {
        if content.is_string() {
            reader.content(content);
        }
        for block in content.elements() {
            self::block(reader, block);
        }
    }
    let results = |p: &Part| matches!(p, Part::Result { .. });
    match role {
        "assistant" => reader.model(),
        "system" => reader.role(Role::System),
        "user" if reader.reading.parts.iter().any(results) => reader.role(Role::ToolResults),
        "user" => reader.user(),
        _ => reader.role(Role::Meta),
    }
}

fn block(reader: &mut Reader<'_>, block: Json<'_>) {
    match block.get("type").and_then(Json::word).unwrap_or("") {
        "tool_use" => {
            let part = Part::Call {
                id: reader.maybe(block.get("id")),
                name: Some(reader.maybe(block.get("name")).unwrap_or_default()),
                arguments: reader.maybe(block.get("input")).unwrap_or_default(),
                promised: true,
            };
            reader.push(part);
        }
        "tool_result" => {
            let content = reader.maybe(block.get("content"));
            let part = Part::Result {
                id: reader.maybe(block.get("tool_use_id")),
                name: None,
                content: content.unwrap_or_default(),
                error: block.get("is_error").is_some_and(Json::is_true),
                replaceable: content.is_some(),
            };
            reader.push(part);
        }
        _ => reader.block(block),
    }
}

/// A record of a Claude Code log.
pub(super) fn read_record(reader: &mut Reader<'_>) {
    let record = reader.value;
    let mut kind = "";
    let mut subtype = "";
    let mut message = None;
    let mut flags = Flags::default();
    for (key, field) in record.fields() {
        match key {
            "type" => kind = field.word().unwrap_or(""),
            "subtype" => subtype = field.word().unwrap_or(""),
            "message" => message = Some(field).filter(|v| v.is_object()),
            "uuid" => reader.reading.uuid = reader.maybe(Some(field)),
            "sessionId" => reader.reading.session = reader.maybe(Some(field)),
            "parentUuid" => reader.reading.parent = reader.maybe(Some(field)),
            "isSidechain" => reader.reading.side = field.is_true(),
            "isMeta" => flags.meta = field.is_true(),
            "isCompactSummary" => flags.summary = field.is_true(),
            "isApiErrorMessage" => flags.api_error = field.is_true(),
            "isAbortedMidStream" => flags.aborted = field.is_true(),
            _ => {}
        }
    }
    // A message alone, as a compaction writes it, stands for a record.
    let message = message.or_else(|| record.get("role").map(|_| record));
    match (kind, message) {
        ("user" | "assistant" | "message" | "", Some(message)) => read(reader, message),
        _ => reader.role(Role::Meta),
    }
    flags.apply(reader, subtype);
}

#[derive(Default)]
struct Flags {
    meta: bool,
    summary: bool,
    api_error: bool,
    aborted: bool,
}

impl Flags {
    fn apply(&self, reader: &mut Reader<'_>, subtype: &str) {
        reader.reading.interruption = match subtype {
            "compact_boundary" | "microcompact_boundary" => Some("a compaction"),
            "api_error" | "error" => Some("an error of the provider"),
            "api_refusal" | "model_refusal_fallback" => Some("a refusal of the provider"),
            _ if self.summary => Some("a compaction"),
            _ if self.api_error => Some("an error of the provider"),
            _ if self.aborted => Some("an aborted turn"),
            _ if interrupts(reader) => Some("an aborted turn"),
            _ => None,
        };
        match reader.reading.role {
            Role::Assistant if self.api_error => reader.role(Role::Meta),
            Role::Human if self.meta || self.summary => reader.role(Role::Observation),
            _ => {}
        }
    }
}

/// Whether the first text of the record says that a person interrupted the turn.
fn interrupts(reader: &Reader<'_>) -> bool {
    let mut parts = reader.reading.parts.iter();
    parts.any(|part| match part {
        Part::Text(span) => {
            let text = &reader.value.text()[span.start as usize..span.end as usize];
            interrupting(&text_of(Json::trusted(text)))
        }
        _ => false,
    })
}

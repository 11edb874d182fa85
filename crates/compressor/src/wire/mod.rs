//! Readers of the wire formats: raw JSON in, spans and roles out.

mod anthropic;
mod chat;
pub(crate) mod compose;
mod events;
mod gemini;
mod responses;

use crate::{
    Format,
    format::Wire,
    item::{Part, Reading, Role, Span},
    json::Json,
};
use std::borrow::Cow;

/// What earlier items of the session say about how to read the next one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct State {
    /// Any item that a model sees came before.
    pub(crate) started: bool,
    /// The model has spoken.
    pub(crate) answered: bool,
    /// The last item of the model holds an action in words, whose observation comes next.
    pub(crate) action_open: bool,
    /// An item came before that is no sub-agent's.
    pub(crate) main: bool,
}

/// Reads one item.
pub(crate) fn read(value: Json<'_>, format: Format, state: &State) -> Reading {
    let mut reader = Reader::new(value);
    if !value.is_object() {
        return reader.bare();
    }
    match format.wire() {
        Wire::Chat => chat::read(&mut reader, format, state),
        Wire::Anthropic if format == Format::ClaudeCode => anthropic::read_record(&mut reader),
        Wire::Anthropic => anthropic::read(&mut reader, value),
        Wire::Responses => responses::read(&mut reader, state),
        Wire::Gemini => gemini::read(&mut reader),
        Wire::Events => events::read(&mut reader),
    }
    reader.settle();
    reader.reading
}

/// The item being read.
pub(crate) struct Reader<'a> {
    value: Json<'a>,
    reading: Reading,
}

impl<'a> Reader<'a> {
    fn new(value: Json<'a>) -> Self {
        Self {
            value,
            reading: Reading::of(Role::Meta),
        }
    }

    /// A string or an array in place of an item is a system prompt kept beside the messages.
    fn bare(mut self) -> Reading {
        if self.value.is_string() || self.value.is_array() {
            self.reading.role = Role::System;
            let span = self.span(self.value);
            self.push(Part::Text(span));
        }
        self.reading
    }

    fn span(&self, value: Json<'_>) -> Span {
        let start = value.text().as_ptr() as usize - self.value.text().as_ptr() as usize;
        Span {
            start: start as u32,
            end: (start + value.text().len()) as u32,
        }
    }

    fn maybe(&self, value: Option<Json<'_>>) -> Option<Span> {
        value.filter(|v| !v.is_null()).map(|v| self.span(v))
    }

    fn push(&mut self, part: Part) {
        self.reading.parts.push(part);
    }

    fn role(&mut self, role: Role) {
        self.reading.role = role;
    }

    /// A `content` that is a string, a typed block, or an array of them.
    fn content(&mut self, content: Json<'_>) {
        if content.is_string() {
            let span = self.span(content);
            return self.push(Part::Text(span));
        }
        if content.is_object() {
            return self.block(content);
        }
        for block in content.elements() {
            self.block(block);
        }
    }

    fn block(&mut self, block: Json<'_>) {
        let kind = block.get("type").and_then(Json::word).unwrap_or("");
        let text = ["text", "think", "thinking", "refusal"]
            .into_iter()
            .find_map(|key| block.get(key).filter(|v| v.is_string()));
        let whole = self.span(block);
        let part = match (kind, text) {
            ("think" | "thinking" | "reasoning", Some(text)) => Part::Thinking(self.span(text)),
            (_, Some(text)) => Part::Text(self.span(text)),
            _ if block.is_string() => Part::Text(whole),
            (
                "image_url" | "input_image" | "image" | "input_audio" | "audio" | "file"
                | "input_file" | "document" | "video_url",
                None,
            ) => media(block, whole),
            _ => Part::Opaque(whole),
        };
        self.push(part);
    }

    fn has_calls(&self) -> bool {
        let mut parts = self.reading.parts.iter();
        parts.any(|p| matches!(p, Part::Call { .. }))
    }

    /// Calls and results decide over a role that does not go with them.
    fn settle(&mut self) {
        let results = |p: &Part| matches!(p, Part::Result { .. });
        match self.reading.role {
            Role::Meta | Role::ToolCalls | Role::ToolResults => {}
            _ if self.has_calls() => self.role(Role::ToolCalls),
            _ if self.reading.parts.iter().any(results) => self.role(Role::ToolResults),
            _ => {}
        }
    }

    /// The role of a model's message, by whether it calls tools.
    fn model(&mut self) {
        let role = if self.has_calls() {
            Role::ToolCalls
        } else {
            Role::Assistant
        };
        self.role(role);
    }

    /// The role of what stands under `user`: a person, unless all of it is known machinery.
    fn user(&mut self) {
        let mut texts = self.reading.parts.iter().filter_map(|part| match part {
            Part::Text(span) => {
                let text = &self.value.text()[span.start as usize..span.end as usize];
                Some(text_of(Json::trusted(text)))
            }
            _ => None,
        });
        let machinery = texts.next().is_some_and(|text| injected(&text))
            && texts.all(|text| text.trim().is_empty() || injected(&text));
        self.role(if machinery {
            Role::Observation
        } else {
            Role::Human
        });
    }
}

/// An attachment; one without content is a placeholder that nobody would miss.
fn media(block: Json<'_>, span: Span) -> Part {
    let empty = block
        .fields()
        .all(|(key, value)| matches!(key, "type" | "detail") || value.is_null());
    if empty {
        Part::Opaque(span)
    } else {
        Part::Media(span)
    }
}

/// Beginnings of texts that runtimes put under the role of the user.
const INJECTED: [&str; 33] = [
    "<environment_context>",
    "<user_instructions>",
    "<turn_aborted>",
    "<permissions",
    "<collaboration_mode>",
    "<subagent_notification>",
    "<user_shell_command>",
    "<skill>",
    "# AGENTS.md instructions",
    "<system-reminder>",
    "<command-name>",
    "<command-message>",
    "<local-command-stdout>",
    "<local-command-caveat>",
    "<bash-stdout>",
    "<bash-stderr>",
    "<task-notification>",
    "Caveat: The messages below were generated",
    "[Request interrupted by user",
    "<tool_response>",
    "<tool_result>",
    "<function_results>",
    "<observation>",
    "Observation:",
    "OBSERVATION:",
    "EXECUTION RESULT of [",
    "[File: ",
    "<returncode>",
    "<output>",
    "Tool output:",
    "API output: ",
    "<system>CHECKPOINT ",
    "Here is a demonstration of how to correctly accomplish this task",
];

/// Whether a text under the role of the user is known to come from the runtime.
pub(crate) fn injected(text: &str) -> bool {
    let mut text = text.trim_start();
    // What follows a reminder is a person's, unless it is machinery, too.
    while let Some((reminder, rest)) = text.split_once("</system-reminder>") {
        if !reminder.starts_with("<system-reminder>") {
            break;
        }
        text = rest.trim_start();
        if text.is_empty() {
            return true;
        }
    }
    INJECTED.iter().any(|start| text.starts_with(start))
}

/// Whether such a text records an interruption.
fn interrupting(text: &str) -> bool {
    let text = text.trim_start();
    text.starts_with("<turn_aborted>") || text.starts_with("[Request interrupted by user")
}

/// A string decoded; of arrays and objects the texts inside them; else the JSON itself.
pub(crate) fn text_of(value: Json<'_>) -> Cow<'_, str> {
    if let Some(text) = value.string() {
        return text;
    }
    let mut out = String::new();
    if value.is_array() {
        for block in value.elements() {
            let text = block.string().or_else(|| block.get("text")?.string());
            if let Some(text) = text {
                if !out.is_empty() {
                    out.push('\n');
                }
                out.push_str(&text);
            }
        }
    } else if value.is_object()
        && let Some(text) = ["text", "output", "content"]
            .into_iter()
            .find_map(|key| value.get(key)?.string())
    {
        return text;
    }
    if out.is_empty() {
        Cow::Borrowed(value.text())
    } else {
        Cow::Owned(out)
    }
}

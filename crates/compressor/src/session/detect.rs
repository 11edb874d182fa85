//! Telling formats apart by what their records hold.

use crate::{Format, json::Json};

/// How many records are looked at, and more only until one of them tells.
const SAMPLE: usize = 64;

/// What one record gives away.
#[derive(Default)]
struct Traits {
    role: bool,
    codex: bool,
    claude_code: bool,
    openhands: bool,
    swe_agent: bool,
    anthropic: bool,
    chat: bool,
    responses: bool,
    gemini: bool,
    named: bool,
    control: bool,
}

impl Traits {
    fn note(&mut self, record: Json<'_>) {
        let mut kind = "";
        let (mut message, mut source, mut event) = (false, false, false);
        let (mut role, mut wrapped, mut linked) = (false, false, false);
        let (mut agent, mut action, mut thought) = (false, false, false);
        for (key, value) in record.fields() {
            match key {
                "role" => {
                    role = true;
                    self.role(value);
                }
                "type" => kind = value.word().unwrap_or(""),
                "payload" => wrapped |= value.is_object(),
                "record_type" => wrapped = true,
                "parentUuid" | "sessionId" | "isSidechain" | "isCompactSummary" => {
                    linked = true;
                }
                "message" => message = value.is_object(),
                "source" => source = true,
                "action" => (event, action) = (true, true),
                "observation" => event = true,
                "thought" => thought = true,
                "agent" => agent = true,
                "message_type" | "tool_call_ids" | "is_demo" => self.swe_agent = true,
                "tool_calls" | "tool_call_id" => self.chat = true,
                "name" => self.named = true,
                "parts" => self.gemini |= value.is_array(),
                "content" => self.blocks(value),
                _ => {}
            }
        }
        // Messages that carry such a field of their own are messages still.
        self.codex |= wrapped && !role;
        self.claude_code |= linked && !role;
        self.claude_code |= message && matches!(kind, "user" | "assistant" | "system");
        self.openhands |= source && event && !role;
        self.swe_agent |= action && (agent || thought);
        self.responses |= is_response(kind);
    }

    /// Whether there is more to go by than that messages have roles.
    fn tell(&self) -> bool {
        let logs = self.openhands || self.codex || self.claude_code || self.swe_agent;
        logs || self.gemini || self.chat || self.anthropic || self.responses
    }

    fn role(&mut self, value: Json<'_>) {
        self.role = true;
        match value.word().unwrap_or("") {
            "tool" | "function" => self.chat = true,
            "model" => self.gemini = true,
            role if role.starts_with('_') => self.control = true,
            _ => {}
        }
    }

    fn blocks(&mut self, content: Json<'_>) {
        for block in content.elements() {
            match block.get("type").and_then(Json::word) {
                Some(
                    "tool_use" | "tool_result" | "thinking" | "redacted_thinking" | "document",
                ) => {
                    self.anthropic = true;
                }
                Some("input_text" | "output_text") => self.responses = true,
                Some("text") if block.get("cache_control").is_some() => self.anthropic = true,
                Some("image") if block.get("source").is_some() => self.anthropic = true,
                _ => {}
            }
        }
    }
}

fn is_response(kind: &str) -> bool {
    matches!(
        kind,
        "message" | "reasoning" | "function_call" | "function_call_output"
    ) || kind.ends_with("_call")
        || kind.ends_with("_call_output")
}

fn observe<'a>(records: impl Iterator<Item = Json<'a>>) -> Traits {
    let mut traits = Traits::default();
    for (seen, record) in records.enumerate() {
        if seen >= SAMPLE && traits.tell() {
            break;
        }
        traits.note(record);
    }
    traits
}

/// Whether calls or results are spelled as in chat messages.
pub(super) fn is_chat<'a>(records: impl Iterator<Item = Json<'a>>) -> bool {
    observe(records).chat
}

/// The format of the elements of an array.
pub(super) fn messages<'a>(records: impl Iterator<Item = Json<'a>>) -> Option<Format> {
    let traits = observe(records);
    let format = match traits {
        Traits {
            openhands: true, ..
        } => Format::OpenHands,
        Traits { codex: true, .. } => Format::CodexRollout,
        Traits {
            claude_code: true, ..
        } => Format::ClaudeCode,
        Traits {
            swe_agent: true,
            role: true,
            ..
        } => Format::SweAgent,
        Traits { gemini: true, .. } => Format::Gemini,
        Traits { chat: true, .. } => Format::OpenAiChat,
        Traits {
            anthropic: true, ..
        } => Format::AnthropicMessages,
        Traits {
            responses: true, ..
        } => Format::OpenAiResponses,
        Traits { role: true, .. } => Format::OpenAiChat,
        _ => return None,
    };
    Some(format)
}

/// The format of a `history`, which agents of several runtimes write.
pub(super) fn history<'a>(records: impl Iterator<Item = Json<'a>> + Clone) -> Option<Format> {
    match messages(records.clone())? {
        Format::OpenAiChat if !is_chat(records) => Some(Format::MultiAgent),
        format => Some(format),
    }
}

/// The format of the records of a log, one a line.
pub(super) fn log<'a>(records: impl Iterator<Item = Json<'a>> + Clone) -> Option<Format> {
    match messages(records)? {
        Format::OpenAiChat => Some(Format::RoleLines),
        Format::OpenAiResponses => Some(Format::CodexRollout),
        format => Some(format),
    }
}

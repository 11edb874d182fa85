//! Items of OpenAI's responses API, and the rollout records that Codex wraps around them.

use super::{Reader, State, interrupting, text_of};
use crate::{
    item::{Part, Role, Span},
    json::Json,
};

pub(super) fn read(reader: &mut Reader<'_>, state: &State) {
    let record = reader.value;
    let kind = record.get("type").and_then(Json::word).unwrap_or("");
    let payload = record.get("payload").filter(|v| v.is_object());
    match (kind, payload) {
        ("response_item", Some(payload)) => item(reader, payload),
        ("event_msg", Some(payload)) => event(reader, payload),
        ("compacted", _) => reader.reading.interruption = Some("a compaction"),
        ("session_meta", _) if state.started => {
            reader.reading.interruption = Some("a new session in the same log");
        }
        ("session_meta" | "turn_context" | "world_state", _) => {}
        _ if payload.is_none() => item(reader, record),
        _ => {}
    }
}

fn event(reader: &mut Reader<'_>, payload: Json<'_>) {
    reader.reading.interruption = match payload.get("type").and_then(Json::word) {
        Some("context_compacted") => Some("a compaction"),
        Some("turn_aborted") => Some("an aborted turn"),
        Some("error" | "stream_error") => Some("an error of the provider"),
        Some("thread_rolled_back" | "undo_completed") => Some("a turn that was taken back"),
        _ => None,
    };
}

fn item(reader: &mut Reader<'_>, item: Json<'_>) {
    let kind = item.get("type").and_then(Json::word).unwrap_or("");
    match kind {
        "message" => message(reader, item),
        "" if item.get("role").is_some() => message(reader, item),
        "reasoning" => reasoning(reader, item),
        "function_call" | "custom_tool_call" | "tool_search_call" | "local_shell_call"
        | "computer_call" | "shell_call" | "apply_patch_call" => call(reader, item, kind),
        "function_call_output"
        | "custom_tool_call_output"
        | "tool_search_output"
        | "local_shell_call_output"
        | "computer_call_output"
        | "shell_call_output"
        | "apply_patch_call_output" => result(reader, item, kind),
        "agent_message" => {
            content(reader, item);
            reader.role(Role::Observation);
        }
        "web_search_call"
        | "image_generation_call"
        | "file_search_call"
        | "code_interpreter_call"
        | "mcp_call"
        | "mcp_list_tools"
        | "mcp_approval_request"
        | "mcp_approval_response"
        | "compaction"
        | "item_reference" => {
            let span = reader.span(item);
            reader.push(Part::Opaque(span));
            reader.role(Role::Assistant);
        }
        _ => reader.role(Role::Meta),
    }
}

fn content(reader: &mut Reader<'_>, item: Json<'_>) {
    if let Some(content) = item.get("content") {
        reader.content(content);
    }
}

fn message(reader: &mut Reader<'_>, item: Json<'_>) {
    content(reader, item);
    match item.get("role").and_then(Json::word).unwrap_or("") {
        "assistant" => reader.role(Role::Assistant),
        "system" | "developer" => reader.role(Role::System),
        "user" => {
            reader.user();
            let text = item.get("content").map(text_of).unwrap_or_default();
            if reader.reading.role == Role::Observation && interrupting(&text) {
                reader.reading.interruption = Some("an aborted turn");
            }
        }
        _ => reader.role(Role::Meta),
    }
}

fn reasoning(reader: &mut Reader<'_>, item: Json<'_>) {
    for list in ["summary", "content"] {
        for block in item.get(list).into_iter().flat_map(Json::elements) {
            if let Some(text) = block.get("text").filter(|v| v.is_string()) {
                let span = reader.span(text);
                reader.push(Part::Thinking(span));
            }
        }
    }
    if let Some(hidden) = item.get("encrypted_content").filter(|v| v.is_string()) {
        let span = reader.span(hidden);
        reader.push(Part::Opaque(span));
    }
    // The provider keeps it, and refuses what it led to without it.
    if reader.reading.parts.is_empty() {
        let span = reader.span(item);
        reader.push(Part::Opaque(span));
    }
    reader.role(Role::Assistant);
}

fn call(reader: &mut Reader<'_>, item: Json<'_>, kind: &str) {
    let id = reader.maybe(item.get("call_id"));
    let arguments = ["arguments", "input", "action", "operation"]
        .into_iter()
        .find_map(|key| item.get(key));
    let part = Part::Call {
        id,
        name: reader
            .maybe(item.get("name"))
            .or_else(|| reader.maybe(item.get("type")))
            .or(Some(Span::default())),
        arguments: reader.maybe(arguments).unwrap_or_default(),
        promised: id.is_some() || matches!(kind, "function_call" | "custom_tool_call"),
    };
    reader.push(part);
    reader.role(Role::ToolCalls);
}

fn result(reader: &mut Reader<'_>, item: Json<'_>, kind: &str) {
    let output = item.get("output").or_else(|| item.get("tools"));
    let content = reader.maybe(output);
    let failed = item.get("success").is_some_and(|v| v.text() == "false")
        || output.is_some_and(|o| o.get("success").is_some_and(|v| v.text() == "false"));
    let part = Part::Result {
        id: reader.maybe(item.get("call_id")),
        name: None,
        content: content.unwrap_or_default(),
        error: failed,
        replaceable: content.is_some()
            && matches!(
                kind,
                "function_call_output" | "custom_tool_call_output" | "local_shell_call_output"
            ),
    };
    reader.push(part);
    reader.role(Role::ToolResults);
}

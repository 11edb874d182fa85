//! Writing new items in the wire format of a session.

use crate::{Format, json::quoted};

/// A message that the runtime puts into the conversation, under the role of the user.
pub(crate) fn note(format: Format, text: &str) -> String {
    let text = quoted(text);
    match format {
        Format::ClaudeCode => format!(
            "{{\"type\":\"user\",\"isCompactSummary\":true,\"message\":{{\"role\":\"user\",\"content\":{text}}}}}"
        ),
        Format::OpenAiResponses => response_note(&text),
        Format::CodexRollout => format!(
            "{{\"type\":\"response_item\",\"payload\":{}}}",
            response_note(&text)
        ),
        Format::Gemini => format!("{{\"role\":\"user\",\"parts\":[{{\"text\":{text}}}]}}"),
        Format::OpenHands => format!("{{\"source\":\"environment\",\"message\":{text}}}"),
        _ => format!("{{\"role\":\"user\",\"content\":{text}}}"),
    }
}

fn response_note(text: &str) -> String {
    format!(
        "{{\"type\":\"message\",\"role\":\"user\",\"content\":[{{\"type\":\"input_text\",\"text\":{text}}}]}}"
    )
}

/// The value of a result's content that stands for `text`.
pub(crate) fn content(format: Format, text: &str) -> String {
    match format {
        Format::Gemini => format!("{{\"output\":{}}}", quoted(text)),
        _ => quoted(text),
    }
}

/// A result that answers a call which never got one. `id` is JSON as the call spells it.
pub(crate) fn result(format: Format, id: Option<&str>, name: &str, text: &str) -> String {
    let content = content(format, text);
    match format {
        Format::AnthropicMessages => format!(
            "{{\"role\":\"user\",\"content\":[{}]}}",
            anthropic_result(id, &content)
        ),
        Format::ClaudeCode => format!(
            "{{\"type\":\"user\",\"message\":{{\"role\":\"user\",\"content\":[{}]}}}}",
            anthropic_result(id, &content)
        ),
        Format::OpenAiResponses => response_result(id, name, &content),
        Format::CodexRollout => format!(
            "{{\"type\":\"response_item\",\"payload\":{}}}",
            response_result(id, name, &content)
        ),
        Format::Gemini => format!(
            "{{\"role\":\"user\",\"parts\":[{{\"functionResponse\":{{{}\"name\":{},\"response\":{content}}}}}]}}",
            field("id", id),
            quoted(name)
        ),
        Format::OpenHands => format!(
            "{{\"source\":\"environment\",\"observation\":\"error\",{}\"content\":{content}}}",
            field("cause", id)
        ),
        _ => format!(
            "{{\"role\":\"tool\",{}\"content\":{content}}}",
            field("tool_call_id", id)
        ),
    }
}

/// A field with a comma behind it, or nothing.
fn field(key: &str, value: Option<&str>) -> String {
    value.map_or_else(String::new, |value| format!("\"{key}\":{value},"))
}

pub(crate) fn anthropic_result(id: Option<&str>, content: &str) -> String {
    format!(
        "{{\"type\":\"tool_result\",{}\"content\":{content},\"is_error\":true}}",
        field("tool_use_id", id)
    )
}

fn response_result(id: Option<&str>, name: &str, content: &str) -> String {
    let kind = match name {
        "custom_tool_call" => "custom_tool_call_output",
        "local_shell_call" => "local_shell_call_output",
        _ => "function_call_output",
    };
    format!(
        "{{\"type\":\"{kind}\",{}\"output\":{content}}}",
        field("call_id", id)
    )
}

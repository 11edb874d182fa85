//! OpenHands events.

use super::Reader;
use crate::{
    item::{Part, Role},
    json::Json,
};

/// Actions whose observation names them as its cause.
const ANSWERED: [&str; 9] = [
    "run",
    "run_ipython",
    "read",
    "write",
    "edit",
    "browse",
    "browse_interactive",
    "call_tool_mcp",
    "task_tracking",
];

pub(super) fn read(reader: &mut Reader<'_>) {
    let event = reader.value;
    let person = event.get("source").and_then(Json::word) == Some("user");
    let action = event.get("action").filter(|v| v.is_string());
    let observation = event.get("observation").filter(|v| v.is_string());
    match (action, observation) {
        (Some(action), _) => self::action(reader, event, action, person),
        (None, Some(observation)) => self::observation(reader, event, observation),
        // A message alone, as a compaction writes it.
        (None, None) if event.get("message").is_some() => {
            text(reader, event.get("message"));
            reader.role(if person {
                Role::Human
            } else {
                Role::Observation
            });
        }
        _ => {}
    }
    if reader.reading.role != Role::ToolCalls {
        reader.reading.uuid = reader.maybe(event.get("id"));
    }
}

fn text(reader: &mut Reader<'_>, value: Option<Json<'_>>) {
    if let Some(value) = value.filter(|v| v.is_string()) {
        let span = reader.span(value);
        reader.push(Part::Text(span));
    }
}

fn action(reader: &mut Reader<'_>, event: Json<'_>, action: Json<'_>, person: bool) {
    let arguments = event.get("args");
    let field = |key| arguments.and_then(|a: Json<'_>| a.get(key));
    match action.word().unwrap_or("") {
        "message" => {
            text(reader, field("content").or_else(|| event.get("message")));
            if person {
                reader.user();
            } else {
                reader.role(Role::Assistant);
            }
        }
        "system" => {
            text(reader, field("content"));
            reader.role(Role::System);
        }
        "finish" | "think" | "reject" => {
            let said = field("final_thought").or_else(|| field("thought"));
            text(reader, said.or_else(|| event.get("message")));
            reader.role(Role::Assistant);
        }
        "condensation" | "condensation_request" => {
            reader.reading.interruption = Some("a compaction");
        }
        "change_agent_state" | "recall" | "null" | "pause" | "resume" | "start" => {}
        word => {
            text(reader, field("thought"));
            call(reader, event, action, arguments, ANSWERED.contains(&word));
        }
    }
}

fn call(
    reader: &mut Reader<'_>,
    event: Json<'_>,
    action: Json<'_>,
    arguments: Option<Json<'_>>,
    promised: bool,
) {
    let part = Part::Call {
        id: reader.maybe(event.get("id")),
        name: Some(reader.span(action)),
        arguments: reader.maybe(arguments).unwrap_or_default(),
        // Without an id no observation can name it.
        promised: promised && event.get("id").is_some_and(|id| !id.is_null()),
    };
    reader.push(part);
    reader.role(Role::ToolCalls);
}

fn observation(reader: &mut Reader<'_>, event: Json<'_>, observation: Json<'_>) {
    let kind = observation.word().unwrap_or("");
    let cause = event
        .get("cause")
        .filter(|cause| !cause.is_null() && cause.text() != "-1");
    let content = event.get("content").filter(|v| v.is_string());
    match (kind, cause) {
        ("agent_state_changed", _) => {
            let state = event.get("extras").and_then(|e| e.get("agent_state"));
            if matches!(
                state.and_then(Json::word),
                Some("error" | "stopped" | "paused" | "rejected")
            ) {
                reader.reading.interruption = Some("a stopped agent");
            }
        }
        ("null" | "recall" | "think" | "condense", _) => {}
        (_, Some(cause)) => {
            let error = kind == "error" || failed(event);
            let content = reader.maybe(content);
            let part = Part::Result {
                id: Some(reader.span(cause)),
                name: Some(reader.span(observation)),
                content: content.unwrap_or_default(),
                error,
                replaceable: content.is_some(),
            };
            reader.push(part);
            reader.role(Role::ToolResults);
        }
        (_, None) => {
            text(reader, content);
            reader.role(Role::Observation);
        }
    }
}

fn failed(event: Json<'_>) -> bool {
    let extras = event.get("extras");
    let code = extras.and_then(|e| {
        e.get("exit_code")
            .or_else(|| e.get("metadata")?.get("exit_code"))
    });
    code.is_some_and(|code| !matches!(code.text(), "0" | "-1" | "null"))
}

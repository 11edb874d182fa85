//! Chat messages: OpenAI's, and what SWE-agent, tau-bench and multi-agent runs make of them.

use super::{Reader, State};
use crate::{
    Format,
    item::{Part, Role, Span},
    json::Json,
};

#[derive(Default)]
struct Fields<'a> {
    role: &'a str,
    content: Option<Json<'a>>,
    refusal: Option<Json<'a>>,
    reasoning: Option<Json<'a>>,
    calls: Option<Json<'a>>,
    function: Option<Json<'a>>,
    answers: Option<Json<'a>>,
    responses: Option<Json<'a>>,
    answer: Option<Json<'a>>,
    name: Option<Json<'a>>,
    action: Option<Json<'a>>,
    kind: &'a str,
    demo: bool,
    error: bool,
}

impl<'a> Fields<'a> {
    fn of(value: Json<'a>) -> Self {
        let mut out = Self::default();
        for (key, field) in value.fields() {
            match key {
                "role" => out.role = field.word().unwrap_or(""),
                "content" => out.content = Some(field),
                "refusal" => out.refusal = Some(field).filter(|v| v.is_string()),
                "reasoning_content" | "reasoning" => out.reasoning = Some(field),
                "tool_calls" => out.calls = Some(field).filter(|v| v.is_array()),
                "function_call" => out.function = Some(field).filter(|v| v.is_object()),
                // AutoGen answers all calls of a message in one.
                "tool_responses" => out.responses = Some(field).filter(|v| v.is_array()),
                "tool_call_ids" => out.answers = Some(field).filter(|v| v.is_array()),
                "tool_call_id" => out.answer = Some(field),
                "name" => out.name = Some(field).filter(|v| v.is_string()),
                "action" => out.action = Some(field).filter(|v| v.is_string()),
                "message_type" => out.kind = field.word().unwrap_or(""),
                "is_demo" => out.demo = field.is_true(),
                "is_error" => out.error = field.is_true(),
                _ => {}
            }
        }
        out
    }
}

pub(super) fn read(reader: &mut Reader<'_>, format: Format, state: &State) {
    let fields = Fields::of(reader.value);
    match fields.role {
        "system" | "developer" | "_system_prompt" => {
            content(reader, &fields);
            reader.role(Role::System);
        }
        role if role.starts_with('_') || role.is_empty() => reader.role(Role::Meta),
        "tool" | "function" | "ipython" => results(reader, &fields),
        "user" | "human" => user(reader, &fields, format, state),
        role if format == Format::MultiAgent && role.eq_ignore_ascii_case("human") => {
            user(reader, &fields, format, state);
        }
        _ => assistant(reader, &fields, format, state),
    }
}

fn content(reader: &mut Reader<'_>, fields: &Fields<'_>) {
    if let Some(content) = fields.content {
        reader.content(content);
    }
}

fn results(reader: &mut Reader<'_>, fields: &Fields<'_>) {
    let ids: Vec<_> = match (fields.answer, fields.answers) {
        (Some(id), _) => vec![reader.maybe(Some(id))],
        (None, Some(ids)) if ids.elements().next().is_some() => {
            ids.elements().map(|id| reader.maybe(Some(id))).collect()
        }
        (None, _) => responses(reader, fields),
    };
    let content = reader.maybe(fields.content);
    for id in ids {
        let name = reader.maybe(fields.name);
        reader.push(Part::Result {
            id,
            name,
            content: content.unwrap_or_default(),
            error: fields.error,
            replaceable: content.is_some(),
        });
    }
    reader.role(Role::ToolResults);
}

fn responses(reader: &Reader<'_>, fields: &Fields<'_>) -> Vec<Option<Span>> {
    let responses = fields.responses.into_iter().flat_map(Json::elements);
    let ids: Vec<_> = responses
        .map(|response| reader.maybe(response.get("tool_call_id")))
        .collect();
    if ids.is_empty() { vec![None] } else { ids }
}

fn user(reader: &mut Reader<'_>, fields: &Fields<'_>, format: Format, state: &State) {
    if format == Format::SweAgent && state.action_open {
        return results(reader, fields);
    }
    content(reader, fields);
    let demonstration = fields.demo || fields.kind == "demonstration";
    if demonstration || (format == Format::SweAgent && state.answered) {
        return reader.role(Role::Observation);
    }
    match fields.name.and_then(Json::word) {
        Some(name) if format == Format::MultiAgent && state.started && !is_person(name) => {
            reader.role(Role::Observation);
        }
        _ => reader.user(),
    }
}

fn is_person(name: &str) -> bool {
    ["user", "human", "user_proxy"]
        .iter()
        .any(|person| name.eq_ignore_ascii_case(person))
}

/// Agents that only run things say what they saw, not what they think.
fn only_runs(name: &str) -> bool {
    ["terminal", "executor"]
        .iter()
        .any(|word| name.to_ascii_lowercase().contains(word))
}

fn assistant(reader: &mut Reader<'_>, fields: &Fields<'_>, format: Format, state: &State) {
    if let Some(reasoning) = fields.reasoning.filter(|v| v.is_string()) {
        let span = reader.span(reasoning);
        reader.push(Part::Thinking(span));
    }
    content(reader, fields);
    if let Some(refusal) = fields.refusal {
        let span = reader.span(refusal);
        reader.push(Part::Text(span));
    }
    if format == Format::MultiAgent {
        if !state.started {
            return reader.user();
        }
        if fields.name.and_then(Json::word).is_some_and(only_runs) {
            return reader.role(Role::Observation);
        }
    }
    for call in fields.calls.into_iter().flat_map(Json::elements) {
        tool_call(reader, call);
    }
    if let Some(function) = fields.function {
        function_call(reader, None, function);
    }
    if format == Format::SweAgent
        && let Some(action) = fields.action
        && !reader.has_calls()
        && action.word().is_some_and(|word| !word.trim().is_empty())
    {
        let arguments = reader.span(action);
        reader.push(Part::Call {
            id: None,
            name: None,
            arguments,
            promised: true,
        });
    }
    reader.model();
}

fn tool_call(reader: &mut Reader<'_>, call: Json<'_>) {
    let function = call
        .get("function")
        .or_else(|| call.get("custom"))
        .unwrap_or(call);
    function_call(reader, call.get("id"), function);
}

fn function_call(reader: &mut Reader<'_>, id: Option<Json<'_>>, function: Json<'_>) {
    let arguments = function.get("arguments").or_else(|| function.get("input"));
    let part = Part::Call {
        id: reader.maybe(id),
        // Only an action in words has no name at all.
        name: Some(reader.maybe(function.get("name")).unwrap_or_default()),
        arguments: reader.maybe(arguments).unwrap_or_default(),
        promised: true,
    };
    reader.push(part);
}

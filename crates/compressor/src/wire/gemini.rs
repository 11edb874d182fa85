//! Gemini contents.

use super::Reader;
use crate::{
    item::{Part, Role},
    json::Json,
};

pub(super) fn read(reader: &mut Reader<'_>) {
    let value = reader.value;
    for part in value.get("parts").into_iter().flat_map(Json::elements) {
        self::part(reader, part);
    }
    let results = |p: &Part| matches!(p, Part::Result { .. });
    match value.get("role").and_then(Json::word) {
        Some("model") => reader.model(),
        _ if reader.reading.parts.iter().any(results) => reader.role(Role::ToolResults),
        Some("user") => reader.user(),
        // A system instruction has parts and no role, or the role `system`.
        None | Some("system") if !reader.reading.parts.is_empty() => reader.role(Role::System),
        _ => reader.role(Role::Meta),
    }
}

fn either<'a>(part: Json<'a>, camel: &str, snake: &str) -> Option<Json<'a>> {
    part.get(camel).or_else(|| part.get(snake))
}

fn part(reader: &mut Reader<'_>, part: Json<'_>) {
    let whole = reader.span(part);
    if let Some(call) = either(part, "functionCall", "function_call") {
        let part = Part::Call {
            id: reader.maybe(call.get("id")),
            name: Some(reader.maybe(call.get("name")).unwrap_or_default()),
            arguments: reader.maybe(call.get("args")).unwrap_or_default(),
            promised: true,
        };
        return reader.push(part);
    }
    if let Some(result) = either(part, "functionResponse", "function_response") {
        let response = result.get("response");
        let part = Part::Result {
            id: reader.maybe(result.get("id")),
            name: reader.maybe(result.get("name")),
            content: reader.maybe(response).unwrap_or_default(),
            error: response.is_some_and(|r| r.get("error").is_some()),
            replaceable: response.is_some_and(Json::is_object),
        };
        return reader.push(part);
    }
    let media =
        either(part, "inlineData", "inline_data").or_else(|| either(part, "fileData", "file_data"));
    let piece = match part.get("text").filter(|v| v.is_string()) {
        Some(text) if part.get("thought").is_some_and(Json::is_true) => {
            Part::Thinking(reader.span(text))
        }
        Some(text) => Part::Text(reader.span(text)),
        None if media.is_some() => Part::Media(whole),
        None => Part::Opaque(whole),
    };
    reader.push(piece);
}

//! Inputs that are one JSON document.

use super::{Import, detect};
use crate::{Error, Format, json::Json};
use memchr::memchr_iter;

/// Most sessions of one input.
const MAX_SESSIONS: usize = 1 << 20;

pub(super) fn read(mut import: Import, value: Json<'_>) -> Result<Import, Error> {
    if value.is_array() {
        array(&mut import, value)?;
    } else if value.is_object() {
        if !session(&mut import, value)? {
            record(&mut import, value)?;
        }
    } else {
        return unknown("neither an array nor an object");
    }
    Ok(import)
}

fn unknown<T>(what: &str) -> Result<T, Error> {
    Err(Error::UnknownFormat {
        what: what.to_owned(),
    })
}

fn array(import: &mut Import, value: Json<'_>) -> Result<(), Error> {
    let Some(first) = value.elements().next() else {
        return unknown("an empty array");
    };
    let many = first.is_array() || (first.is_object() && body(first).is_some());
    if !many {
        return messages(import, value);
    }
    let source = import.source.clone();
    let (mut counted, mut line) = (0, 1);
    for element in value.elements() {
        if let Some(what) = one_of_many(import, element)? {
            let offset = import.range(element).start;
            line += memchr_iter(b'\n', &source[counted..offset]).count();
            counted = offset;
            import.put_aside(&source, offset, line, element.text().as_bytes(), what);
        }
    }
    Ok(())
}

/// Reads one of several sessions. What is none hides no other: the answer says why.
pub(super) fn one_of_many(import: &mut Import, value: Json<'_>) -> Result<Option<String>, Error> {
    if import.sessions().len() >= MAX_SESSIONS {
        return Err(Error::Limit {
            what: "the number of sessions",
            limit: MAX_SESSIONS,
            found: MAX_SESSIONS + 1,
        });
    }
    let items = match body(value) {
        Some((_, items)) => items,
        None if value.is_array() => value,
        None => return Ok(Some("it holds no messages".to_owned())),
    };
    // A run that failed before anything was said.
    if items.elements().next().is_none() {
        return Ok(None);
    }
    let read = if value.is_array() {
        messages(import, value)
    } else {
        session(import, value).map(|_| ())
    };
    match read {
        Err(Error::UnknownFormat { what }) => Ok(Some(what)),
        read => read.map(|()| None),
    }
}

fn messages(import: &mut Import, value: Json<'_>) -> Result<(), Error> {
    match detect::messages(value.elements()) {
        Some(format) => import.add(String::new(), format, value.elements()),
        None => unknown("an array of something else than messages"),
    }
}

/// The array of messages inside a session object, and the key under which it was found.
fn body(value: Json<'_>) -> Option<(&'static str, Json<'_>)> {
    [
        "loglines",
        "history",
        "traj",
        "messages",
        "contents",
        "input",
        "events",
        "trajectory",
    ]
    .into_iter()
    .find_map(|key| Some((key, value.get(key).filter(|v| v.is_array())?)))
}

/// Reads an object that holds a session; false when it holds none.
fn session(import: &mut Import, value: Json<'_>) -> Result<bool, Error> {
    let Some((key, items)) = body(value) else {
        return Ok(false);
    };
    let elements = || items.elements();
    let format = match key {
        "loglines" => Some(Format::ClaudeCode),
        "history" => detect::history(elements()),
        "traj" => detect::messages(elements()).map(|_| Format::TauBench),
        "contents" => Some(Format::Gemini),
        "input" => Some(Format::OpenAiResponses),
        _ => detect::messages(elements()),
    };
    let beside = system(value);
    let format = match format {
        Some(Format::OpenAiChat) if beside.is_some() && !detect::is_chat(elements()) => {
            Format::AnthropicMessages
        }
        Some(format) => format,
        None => return unknown("an object whose messages cannot be told"),
    };
    import.add(name(value), format, beside.into_iter().chain(elements()))?;
    Ok(true)
}

/// A system prompt that stands beside the messages.
fn system(value: Json<'_>) -> Option<Json<'_>> {
    [
        "system",
        "systemInstruction",
        "system_instruction",
        "instructions",
    ]
    .into_iter()
    .find_map(|key| value.get(key))
    .filter(|v| v.is_string() || v.is_array() || v.is_object())
}

fn name(value: Json<'_>) -> String {
    let text = |key: &str| {
        let value = value.get(key)?;
        let plain = !value.is_object() && !value.is_array() && !value.is_null();
        plain.then(|| {
            value
                .string()
                .map_or(value.text().to_owned(), |s| s.into_owned())
        })
    };
    let Some(id) = ["task_id", "session_id", "instance_id", "question_ID", "id"]
        .into_iter()
        .find_map(text)
    else {
        return String::new();
    };
    match text("trial") {
        Some(trial) => format!("{id}/{trial}"),
        None => id,
    }
}

/// A log of one record.
fn record(import: &mut Import, value: Json<'_>) -> Result<(), Error> {
    match detect::log(std::iter::once(value)) {
        Some(format) => import.add(String::new(), format, std::iter::once(value)),
        None => unknown("an object without messages"),
    }
}

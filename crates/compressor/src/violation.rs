//! What a provider would refuse about a request, besides calls without results.

use crate::{
    Error, Format,
    format::Wire,
    item::{Item, Role},
    json::Json,
    pairing::END,
    transcript::Transcript,
};
use std::{collections::BTreeMap, fmt};

/// Longest id of a tool call that OpenAI takes.
const LONGEST_CHAT_ID: usize = 40;
const LONGEST_ID: usize = 64;
/// Kinds of images that every provider takes.
const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// A rule of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// Calls and results answer each other, in place.
    Pairs,
    /// The conversation begins with the user, where the provider wants it.
    FirstRole,
    /// Results come before other content of their message, and reasoning before what it led to.
    Order,
    /// A message has content, and a text block a text.
    EmptyContent,
    /// A list of calls has calls, and each call and result an id that the provider takes.
    ToolId,
    /// Images stand with the user or in results, are of a known kind, and are not empty.
    Image,
}

impl Rule {
    fn what(self) -> &'static str {
        match self {
            Self::Pairs => "a call and its result do not go together",
            Self::FirstRole => "the conversation does not begin with the user",
            Self::Order => "its parts are in an order that the provider refuses",
            Self::EmptyContent => "it has no content",
            Self::ToolId => "a call without an id, or with one that the provider refuses",
            Self::Image => "an image where none may be, of an unknown kind, or without data",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what())
    }
}

/// An item that breaks a rule of its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Violation {
    /// Index of the item.
    pub item: usize,
    /// The rule.
    pub rule: Rule,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "item {}: {}", self.item, self.rule)
    }
}

/// Everything in these items that their provider would refuse, by item.
///
/// Pairs are checked for every format, as by [`crate::validate`]; the other rules for OpenAI chat and
/// responses, Anthropic messages and Gemini contents. Logs of other programs are no requests and have
/// no further rules. O(bytes).
#[must_use]
pub fn violations(transcript: &Transcript) -> Vec<Violation> {
    let findings = transcript.findings().into_iter();
    let unpaired = findings.filter(|finding| finding.explained_by != Some(END));
    let mut found: Vec<Violation> = unpaired
        .map(|finding| Violation {
            item: finding.item,
            rule: Rule::Pairs,
        })
        .collect();
    others(transcript, &mut found);
    found.sort_unstable();
    found.dedup();
    found
}

/// Refuses a result that breaks one of the other rules more often than the original.
pub(crate) fn no_new(original: &Transcript, result: &Transcript) -> Result<(), Error> {
    let of = |transcript: &Transcript| {
        let mut found = Vec::new();
        others(transcript, &mut found);
        found
    };
    let mut known: BTreeMap<Rule, usize> = BTreeMap::new();
    for violation in of(original) {
        *known.entry(violation.rule).or_default() += 1;
    }
    for violation in of(result) {
        match known.get_mut(&violation.rule) {
            Some(left) if *left > 0 => *left -= 1,
            _ => {
                return Err(Error::Invalid {
                    item: violation.item,
                    what: violation.rule.to_string(),
                });
            }
        }
    }
    Ok(())
}

fn others(transcript: &Transcript, found: &mut Vec<Violation>) {
    let format = transcript.format();
    let requests = [
        Format::OpenAiChat,
        Format::AnthropicMessages,
        Format::OpenAiResponses,
        Format::Gemini,
    ];
    if !requests.contains(&format) {
        return;
    }
    let items = transcript.items();
    let mut note = |item, rule| found.push(Violation { item, rule });
    let mut begun = false;
    for (at, item) in items.iter().enumerate() {
        if matches!(item.role(), Role::System | Role::Meta) {
            continue;
        }
        let value = Json::trusted(item.source());
        let begins = matches!(format.wire(), Wire::Anthropic | Wire::Gemini) && !begun;
        begun = true;
        if begins && value.get("role").and_then(Json::word) != Some("user") {
            note(at, Rule::FirstRole);
        }
        let mut broken = |rule| note(at, rule);
        match format.wire() {
            Wire::Chat => chat(value, &mut broken),
            Wire::Anthropic => anthropic(value, at + 1 == items.len(), &mut broken),
            Wire::Responses => responses(value, items.get(at + 1), &mut broken),
            _ => gemini(value, &mut broken),
        }
    }
}

fn chat(message: Json<'_>, broken: &mut dyn FnMut(Rule)) {
    let role = message.get("role").and_then(Json::word).unwrap_or("");
    let calls = message.get("tool_calls").filter(|v| !v.is_null());
    let said = ["function_call", "refusal", "audio"];
    let said = said
        .iter()
        .any(|key| message.get(key).is_some_and(|v| !v.is_null()));
    let content = message.get("content").filter(|v| !v.is_null());
    let empty = content.is_none_or(|v| v.is_array() && v.elements().next().is_none());
    if empty && calls.is_none() && !said {
        broken(Rule::EmptyContent);
    }
    if let Some(calls) = calls {
        let mut ids = calls.elements().map(|call| call.get("id")).peekable();
        if ids.peek().is_none() || ids.any(|id| !is_id(id, LONGEST_CHAT_ID)) {
            broken(Rule::ToolId);
        }
    }
    if role == "tool" && !is_id(message.get("tool_call_id"), LONGEST_CHAT_ID) {
        broken(Rule::ToolId);
    }
    for block in content.into_iter().flat_map(Json::elements) {
        if let Some(image) = block.get("image_url") {
            let url = image.get("url").or(Some(image)).and_then(Json::word);
            if role != "user" || !is_url(url) {
                broken(Rule::Image);
            }
        }
    }
}

fn is_id(id: Option<Json<'_>>, longest: usize) -> bool {
    let id = id.and_then(Json::word);
    id.is_some_and(|id| !id.is_empty() && id.len() <= longest)
}

/// An address, or data of a known kind.
fn is_url(url: Option<&str>) -> bool {
    let Some(url) = url else { return false };
    match url.strip_prefix("data:") {
        Some(data) => {
            let kind = IMAGES.iter().find_map(|kind| data.strip_prefix(kind));
            kind.and_then(|rest| rest.strip_prefix(";base64,"))
                .is_some_and(|bytes| !bytes.is_empty())
        }
        None => url.starts_with("http"),
    }
}

fn anthropic(message: Json<'_>, is_last: bool, broken: &mut dyn FnMut(Rule)) {
    let role = message.get("role").and_then(Json::word).unwrap_or("");
    let content = message.get("content").unwrap_or(Json::trusted("null"));
    let may_be_empty = is_last && role == "assistant";
    let nothing = match content.string() {
        Some(text) => text.trim().is_empty(),
        None => content.elements().next().is_none(),
    };
    if nothing && !may_be_empty {
        broken(Rule::EmptyContent);
    }
    let mut other = false;
    for block in content.elements() {
        match block.get("type").and_then(Json::word).unwrap_or("") {
            "text" if blank(block.get("text")) => broken(Rule::EmptyContent),
            "tool_use" if !is_plain_id(block.get("id")) => broken(Rule::ToolId),
            "tool_result" => {
                if !is_plain_id(block.get("tool_use_id")) {
                    broken(Rule::ToolId);
                }
                if other {
                    broken(Rule::Order);
                }
                let inner = block.get("content").into_iter().flat_map(Json::elements);
                inner.for_each(|inner| image(inner, true, broken));
                continue;
            }
            _ => {}
        }
        other = true;
        image(block, role == "user", broken);
    }
}

fn blank(text: Option<Json<'_>>) -> bool {
    let text = text.and_then(Json::string);
    text.is_none_or(|text| text.trim().is_empty())
}

fn is_plain_id(id: Option<Json<'_>>) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    is_id(id, LONGEST_ID)
        && id
            .and_then(Json::word)
            .is_some_and(|id| id.chars().all(plain))
}

fn image(block: Json<'_>, allowed: bool, broken: &mut dyn FnMut(Rule)) {
    if block.get("type").and_then(Json::word) != Some("image") {
        return;
    }
    let source = block.get("source");
    let field = |key| {
        source
            .and_then(|s: Json<'_>| s.get(key))
            .and_then(Json::word)
    };
    let good = match field("type") {
        Some("base64") => {
            field("media_type").is_some_and(|kind| IMAGES.contains(&kind))
                && field("data").is_some_and(|data| !data.is_empty())
        }
        Some("url") => is_url(field("url")),
        Some("file") => field("file_id").is_some_and(|id| !id.is_empty()),
        _ => false,
    };
    if !allowed || !good {
        broken(Rule::Image);
    }
}

fn responses(item: Json<'_>, next: Option<&Item>, broken: &mut dyn FnMut(Rule)) {
    let kind = item.get("type").and_then(Json::word).unwrap_or("message");
    if kind.ends_with("_call_output") || kind == "function_call" || kind == "custom_tool_call" {
        if !is_id(item.get("call_id"), LONGEST_ID) {
            broken(Rule::ToolId);
        }
        return;
    }
    if kind == "reasoning" {
        // What it led to is the model's; another reasoning may stand between.
        let led = next.is_some_and(|next| matches!(next.role(), Role::Assistant | Role::ToolCalls));
        if !led {
            broken(Rule::Order);
        }
        return;
    }
    if kind != "message" {
        return;
    }
    let content = item.get("content").filter(|v| !v.is_null());
    if content.is_none_or(|v| v.is_array() && v.elements().next().is_none()) {
        broken(Rule::EmptyContent);
    }
    let role = item.get("role").and_then(Json::word);
    for block in content.into_iter().flat_map(Json::elements) {
        if block.get("type").and_then(Json::word) == Some("input_image") {
            let file = block.get("file_id").is_some_and(Json::is_string);
            let url = block.get("image_url").and_then(Json::word);
            if role != Some("user") || !(file || is_url(url)) {
                broken(Rule::Image);
            }
        }
    }
}

fn gemini(content: Json<'_>, broken: &mut dyn FnMut(Rule)) {
    let role = content.get("role").and_then(Json::word);
    let mut parts = content
        .get("parts")
        .into_iter()
        .flat_map(Json::elements)
        .peekable();
    if parts.peek().is_none() {
        broken(Rule::EmptyContent);
    }
    for part in parts {
        let of = |camel: &str, snake: &str| part.get(camel).or_else(|| part.get(snake));
        let named = [
            of("functionCall", "function_call"),
            of("functionResponse", "function_response"),
        ];
        for call in named.into_iter().flatten() {
            if !is_id(call.get("name"), LONGEST_ID) {
                broken(Rule::ToolId);
            }
        }
        if let Some(data) = of("inlineData", "inline_data") {
            let kind = data.get("mimeType").or_else(|| data.get("mime_type"));
            let kind = kind.and_then(Json::word).unwrap_or("");
            let known =
                !kind.starts_with("image/") || IMAGES.contains(&kind) || role == Some("model");
            let empty = data
                .get("data")
                .and_then(Json::word)
                .is_none_or(str::is_empty);
            if kind.is_empty() || !known || empty {
                broken(Rule::Image);
            }
        }
    }
}

//! What the sessions talk about, from the seed.

use fastrand::Rng;
use mainspring::scheduler::ToolCall;
use serde_json::{Value, json};

const WORDS: [&str; 24] = [
    "schema", "index", "the", "of", "retry", "cursor", "parser", "a", "token", "buffer", "ledger",
    "über", "vector", "and", "shard", "replica", "quorum", "lease", "to", "epoch", "fence", "日本",
    "snapshot", "journal",
];
/// Documents that all sessions share.
pub(super) const DOCUMENTS: u32 = 64;

/// Some words; now and then many.
pub(super) fn text(rng: &mut Rng) -> String {
    let words = match rng.u8(..) {
        0..4 => rng.usize(400..1_200),
        4..40 => rng.usize(80..400),
        _ => rng.usize(5..80),
    };
    let mut text = String::new();
    for _ in 0..words {
        text.push_str(WORDS[rng.usize(..WORDS.len())]);
        text.push(if rng.u8(..) < 8 { '\n' } else { ' ' });
    }
    text.push_str(&format!("{:016x}", rng.u64(..)));
    text
}

pub(super) fn user(rng: &mut Rng) -> String {
    json!({"role": "user", "content": text(rng)}).to_string()
}

pub(super) fn assistant(rng: &mut Rng, calls: &[ToolCall]) -> String {
    let content = text(rng);
    if calls.is_empty() {
        return json!({"role": "assistant", "content": content}).to_string();
    }
    let function = |call: &ToolCall| json!({"name": call.name, "arguments": call.args.to_string()});
    let call =
        |call: &ToolCall| json!({"id": call.id, "type": "function", "function": function(call)});
    let calls: Vec<Value> = calls.iter().map(call).collect();
    json!({"role": "assistant", "content": content, "tool_calls": calls}).to_string()
}

pub(super) fn result(id: &str, text: &str) -> String {
    json!({"role": "tool", "tool_call_id": id, "content": text}).to_string()
}

/// A tool and its arguments: mostly readers, some writers, few that go wrong.
pub(super) fn call(rng: &mut Rng, id: String) -> ToolCall {
    let some = |rng: &mut Rng, most: u32| -> Vec<u32> {
        let mut docs: Vec<u32> = (0..rng.u32(1..=most)).map(|_| hot(rng)).collect();
        docs.sort_unstable();
        docs.dedup();
        docs
    };
    match rng.u8(..100) {
        0..60 => ToolCall::new(id, "read_doc", json!({"doc": hot(rng)})),
        60..92 => ToolCall::new(id, "write_docs", json!({"docs": some(rng, 3)})),
        92..94 => ToolCall::new(id, "write_tree", json!({"docs": some(rng, 6)})),
        94..97 => ToolCall::new(id, "unlucky", json!({"docs": some(rng, 2)})),
        97..98 => ToolCall::new(id, "endless", json!({"docs": some(rng, 2)})),
        _ => ToolCall::new(id, "no_such_tool", json!({})),
    }
}

/// Few documents are wanted often.
fn hot(rng: &mut Rng) -> u32 {
    match rng.bool() {
        true => rng.u32(..DOCUMENTS / 8),
        false => rng.u32(..DOCUMENTS),
    }
}

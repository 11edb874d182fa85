//! Inputs that nobody meant well.

use crate::compaction::generated;
use mainspring_compressor::{
    Budget, Compactor, Context, Estimate, Format, Import, Quality, Transcript, read_sessions,
    validate,
};
use mainspring_inputs::Profile;
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

/// Everything that can be asked of an import; nothing of it may panic.
fn exercise(import: &Import) {
    for session in import.sessions() {
        let t = &session.transcript;
        let _ = (t.turns(), t.damage(), validate(t).is_ok());
        for item in t.items() {
            let _ = (item.text(), item.thinking(), item.human_text().is_some());
            item.calls().for_each(|call| drop(call.access()));
            item.results().for_each(drop);
        }
        let (mended, _) = t.mend().unwrap();
        if let Err(error) = validate(&mended) {
            panic!("{}: {error}", t.format());
        }
        squeeze(t);
    }
}

fn squeeze(t: &Transcript) {
    let compactor = Compactor::default();
    let mut c = Context::new(t.format(), Budget::new(700), Arc::new(Estimate::new()));
    for item in t.items() {
        let _ = compactor.append(&mut c, item.raw().clone());
        assert!(c.tokens() <= 700);
    }
    let _ = compactor.compact(&mut c);
    let items: Vec<_> = c.items().cloned().collect();
    let _ = Quality::measure(t, &items);
    let saved = c.save();
    assert!(
        Context::resume(saved.clone(), Arc::new(Estimate::new()))
            .unwrap()
            .save()
            == saved
    );
}

static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let raws: Vec<String> = generated(31, 14, Profile::Adversarial)
        .items()
        .iter()
        .map(|i| String::from_utf8(i.raw().to_vec()).unwrap())
        .collect();
    let anthropic = r#"{"system":"s","messages":[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"read","input":{"path":"src/a.rs"}},{"type":"tool_use","id":"b","name":"bash","input":{"command":"ls"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"x"},{"type":"tool_result","tool_use_id":"b","content":[{"type":"text","text":"y"}],"is_error":true},{"type":"text","text":"also this"}]}]}"#;
    let gemini = r#"[{"role":"user","parts":[{"text":"q"},{"inlineData":{"mimeType":"image/png","data":"AA"}}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{}}}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"x"}}}]}]"#;
    let events = r#"[{"id":0,"source":"user","action":"message","args":{"content":"q"}},{"id":1,"source":"agent","action":"run","args":{"command":"ls -la"}},{"id":2,"source":"environment","observation":"run","cause":1,"content":"x","extras":{"exit_code":1}}]"#;
    let swe = r#"{"history":[{"role":"user","content":"q","agent":"m"},{"role":"assistant","content":"t","action":"ls","agent":"m"},{"role":"user","content":"a.py","agent":"m"},{"role":"assistant","content":"","tool_calls":[{"id":"1","function":{"name":"g","arguments":"{"}},{"id":"2","function":{"name":"g","arguments":"{}"}}]},{"role":"tool","content":"r","tool_call_ids":["1","2"]}]}"#;
    let codex = "{\"type\":\"session_meta\",\"payload\":{\"id\":\"x\"}}\n{\"type\":\"response_item\",\"payload\":{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"shell\",\"arguments\":\"{}\"}}\n{\"type\":\"response_item\",\"payload\":{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":{\"content\":\"x\",\"success\":false}}}\n";
    let claude = "{\"type\":\"user\",\"uuid\":\"u\",\"parentUuid\":null,\"message\":{\"role\":\"user\",\"content\":\"hi\"}}\n{\"type\":\"assistant\",\"uuid\":\"v\",\"parentUuid\":\"u\",\"message\":{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"name\":\"Bash\",\"input\":{}}]}}\n{\"type\":\"user\",\"uuid\":\"w\",\"parentUuid\":\"v\",\"message\":{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"content\":\"ok\"}]}}\n";
    let mut seeds = vec![format!("[{}]", raws.join(",")), raws.join("\n")];
    seeds.extend([anthropic, gemini, events, swe, codex, claude].map(str::to_owned));
    seeds.into_iter().map(String::into_bytes).collect()
});

#[test]
fn the_seeds_are_sessions() {
    for seed in SEEDS.iter() {
        let import = read_sessions(seed.clone()).unwrap();
        assert!(import.export() == *seed);
        exercise(&import);
    }
}

fn splice(seed: &[u8], at: usize, drop: usize, put: &[u8]) -> Vec<u8> {
    let at = at % (seed.len() + 1);
    let end = (at + drop).min(seed.len());
    [&seed[..at], put, &seed[end..]].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn mutated_files_never_panic(
        seed in 0usize..8,
        edits in prop::collection::vec((any::<usize>(), 0usize..12, prop_oneof![
            prop::collection::vec(any::<u8>(), 0..4),
            prop::sample::select(vec![
                &b"null"[..], b"[]", b"{}", b"\"\"", b"0", b",", b"\n", b"\"role\":", b"\\ud800",
                b"{\"role\":\"tool\"}", b"\"tool_calls\":[{}]", b"\"content\":[{\"type\":\"tool_result\"}]",
            ]).prop_map(<[u8]>::to_vec),
        ]), 1..6),
    ) {
        let mut bytes = SEEDS[seed % SEEDS.len()].clone();
        for (at, drop, put) in edits {
            bytes = splice(&bytes, at, drop, &put);
        }
        if let Ok(import) = read_sessions(bytes.clone()) {
            prop_assert!(import.export() == bytes);
            exercise(&import);
        }
    }

    #[test]
    fn values_dropped_into_fields_never_panic(
        key in prop::sample::select(vec![
            "role", "content", "tool_calls", "tool_call_id", "tool_call_ids", "type", "payload",
            "message", "parts", "args", "action", "observation", "cause", "id", "name", "history",
            "output", "arguments", "input", "function", "text", "call_id", "system", "extras",
        ]),
        value in prop::sample::select(vec![
            "null", "true", "0", "\"\"", "[]", "{}", "[null]", "[[]]", "[{}]", "\"x\"", "{\"a\":[]}",
        ]),
        seed in 0usize..8,
    ) {
        let text = String::from_utf8(SEEDS[seed % SEEDS.len()].clone()).unwrap();
        let from = format!("\"{key}\":");
        let changed = text.replace(&from, &format!("{from}{value},\"was_{key}\":"));
        if let Ok(import) = read_sessions(changed.clone().into_bytes()) {
            prop_assert!(import.export() == changed.as_bytes());
            exercise(&import);
        }
    }
}

#[test]
fn sizes_and_depths_are_bounded() {
    let deep = format!(
        "[{{\"role\":\"user\",\"content\":{}1{}}}]",
        "[".repeat(5_000),
        "]".repeat(5_000)
    );
    assert!(
        read_sessions(deep)
            .unwrap_err()
            .to_string()
            .contains("nested too deeply")
    );
    let mut t = Transcript::new(Format::OpenAiChat);
    assert!(t.push("{\"role\":\"user\"").is_err());
    assert!(t.push("{} {}").is_err());
    assert!(t.push(vec![b'"', 0xff, b'"']).is_err());
    assert!(t.is_empty(), "nothing is appended then");
    t.push("  {\"role\":\"user\",\"content\":\"x\"}\n").unwrap();
    assert_eq!(t.items()[0].raw(), "{\"role\":\"user\",\"content\":\"x\"}");
}

#[test]
fn the_same_session_gives_the_same_bytes_every_time() {
    let go = || {
        let compactor = Compactor::default();
        let mut c = Context::new(
            Format::OpenAiChat,
            Budget::new(9_000),
            Arc::new(Estimate::new()),
        );
        let mut blobs = Vec::new();
        for item in generated(33, 120, Profile::Coding).items() {
            let done = compactor.append(&mut c, item.raw().clone()).unwrap();
            blobs.extend(done.blobs);
            blobs.extend(done.compaction.into_iter().flat_map(|c| c.blobs));
        }
        (c.save(), blobs)
    };
    let (first, second) = (go(), go());
    assert!(first == second);
    let mut ids: Vec<&str> = first.1.iter().map(|blob| blob.id.as_str()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "blob ids are unique in a session");
}

//! Questions about the original, asked of the result.

use crate::{compaction::generated, data};
use bytes::Bytes;
use mainspring_compressor::{
    Blob, Budget, Compactor, Context, Estimate, Format, ProbeKind, Quality, Recall, Role,
    Tokenizer, Transcript, count_item, probes, recall,
};
use mainspring_inputs::Profile;
use std::sync::Arc;

/// A context of about `tokens`, and its original.
fn full(original: &Transcript, tokens: usize) -> (Context, Transcript) {
    let window = tokens * 100 / 86;
    let mut context = Context::new(
        original.format(),
        Budget::new(window),
        Arc::new(Estimate::new()),
    );
    let mut taken = Transcript::new(original.format());
    for item in original.items() {
        if context.tokens() >= tokens {
            break;
        }
        context.push(item.raw().clone()).unwrap();
        taken.push(item.raw().clone()).unwrap();
    }
    (context, taken)
}

fn tokens_of(transcript: &Transcript) -> usize {
    let estimate = Estimate::new();
    transcript
        .items()
        .iter()
        .map(|item| count_item(&estimate, item))
        .sum()
}

fn asked(original: &Transcript, context: &Context, blobs: &[Blob]) -> Recall {
    let items: Vec<Bytes> = context.items().cloned().collect();
    recall(
        &probes(original),
        original.format(),
        &items,
        blobs,
        &Estimate::new(),
    )
    .unwrap()
}

#[test]
fn a_generated_session_of_128_k_tokens_answers_its_probes() {
    for (seed, profile) in [
        (1, Profile::Coding),
        (2, Profile::Coding),
        (3, Profile::Support),
    ] {
        let (mut context, original) = full(&generated(seed, 2_400, profile), 128_000);
        assert!(context.tokens() >= 120_000, "{}", context.tokens());
        let done = Compactor::default().compact(&mut context).unwrap();
        let recall = asked(&original, &context, &done.blobs);
        println!(
            "{profile:?} {seed}: {} -> {} tokens, {recall}",
            done.before, done.after
        );
        for at in recall.missed.iter().take(8) {
            let probe = &probes(&original)[*at];
            println!(
                "   {:?} {} => {:?}",
                probe.kind, probe.question, probe.answers
            );
        }
        assert!(recall.asked > 50);
        assert!(recall.share() >= 0.95, "{profile:?} {seed}: {recall}");
        assert!(done.reduction() >= 0.75, "{}", done.reduction());
    }
}

#[test]
fn the_whole_original_answers_every_probe_directly() {
    for profile in [Profile::Coding, Profile::Support] {
        let (context, original) = full(&generated(5, 300, profile), 1_000_000);
        let recall = asked(&original, &context, &[]);
        assert_eq!((recall.missed.len(), recall.retrieved), (0, 0), "{recall}");
        assert!(recall.by_kind.len() >= 3, "{recall}");
    }
}

/// What a careless compactor does: the newest messages, and a sentence in place of the others.
fn lossy(original: &Transcript) -> Vec<Bytes> {
    let items = original.items();
    let head = items.iter().filter(|item| item.role() == Role::System);
    let mut out: Vec<Bytes> = head.map(|item| item.raw().clone()).collect();
    out.push(Bytes::from_static(
        b"{\"role\":\"user\",\"content\":\"Earlier messages were about several files.\"}",
    ));
    out.extend(
        items[items.len() - 12..]
            .iter()
            .map(|item| item.raw().clone()),
    );
    out
}

#[test]
fn a_lossy_compactor_fails_the_score_and_the_recall() {
    let original = generated(6, 500, Profile::Coding);
    let result = lossy(&original);
    let quality = Quality::measure(&original, &result).unwrap();
    assert!(quality.score < 0.85, "{quality}");
    let found = recall(
        &probes(&original),
        original.format(),
        &result,
        &[],
        &Estimate::new(),
    )
    .unwrap();
    assert!(found.share() < 0.5, "{found}");
}

#[test]
fn an_answer_that_is_stored_without_its_place_in_the_context_is_not_found() {
    let (mut context, original) = full(&generated(7, 900, Profile::Support), 60_000);
    let done = Compactor::default().compact(&mut context).unwrap();
    let with = asked(&original, &context, &done.blobs);
    let without = asked(&original, &context, &[]);
    assert!(with.retrieved > 0 && without.retrieved == 0);
    // The same blobs, but nothing in the context that names them.
    let items: Vec<Bytes> = context
        .items()
        .map(|raw| Bytes::from(String::from_utf8_lossy(raw).replace("stored as", "gone with")))
        .collect();
    let nameless = recall(
        &probes(&original),
        original.format(),
        &items,
        &done.blobs,
        &Estimate::new(),
    )
    .unwrap();
    assert_eq!(nameless.retrieved, 0, "{nameless}");
}

fn call(id: &str, name: &str, arguments: &str) -> serde_json::Value {
    serde_json::json!({"role":"assistant","content":null,"tool_calls":[{"id":id,"type":"function",
        "function":{"name":name,"arguments":arguments}}]})
}

fn result(id: &str, text: &str) -> serde_json::Value {
    serde_json::json!({"role":"tool","tool_call_id":id,"content":text})
}

#[test]
fn probes_ask_for_what_happened() {
    let mut original = Transcript::new(Format::OpenAiChat);
    for message in [
        serde_json::json!({"role":"user","content":"Mend the parser, please."}),
        call("1", "run_command", r#"{"command":"make test"}"#),
        result("1", "ValueError: odd input\n[exit code 2]"),
        call(
            "2",
            "edit_file",
            r#"{"path":"src/parse.py","old":"x","new":"def parse(text):\n    return text.strip()"}"#,
        ),
        result("2", "ok"),
        call("3", "run_command", r#"{"command":"make test"}"#),
        result("3", "all fine\n[exit code 0]"),
        call("4", "get_details", r#"{"id":"user_9"}"#),
        result("4", r#"{"mail":"a@example.org","age":41}"#),
        serde_json::json!({"role":"assistant","content":"TODO:\n- [ ] write the changelog"}),
    ] {
        original.push(message.to_string()).unwrap();
    }
    let found: Vec<(ProbeKind, String)> = probes(&original)
        .into_iter()
        .map(|probe| (probe.kind, probe.answers.join("|")))
        .collect();
    let expected = [
        (ProbeKind::UserMessage, "Mend the parser, please."),
        (ProbeKind::ChangedFiles, "src/parse.py"),
        (ProbeKind::ExitCode, "0"),
        (ProbeKind::Error, "ValueError: odd input"),
        (ProbeKind::Fix, "src/parse.py"),
        (ProbeKind::Value, "mail\":\"a@example.org\""),
        (ProbeKind::PendingTask, "write the changelog"),
        (ProbeKind::Code, "def parse(text):\n    return text.strip()"),
    ];
    let expected = expected.map(|(kind, answer)| (kind, answer.to_owned()));
    assert_eq!(found, expected);
}

#[test]
fn an_answer_is_found_as_whole_words_and_not_in_the_question() {
    let mut original = Transcript::new(Format::OpenAiChat);
    for message in [
        serde_json::json!({"role":"user","content":"12"}),
        call("1", "run_command", r#"{"command":"make test"}"#),
        result("1", "Error: cannot load src/parse.py\n[exit code 2]"),
        call("2", "edit_file", r#"{"path":"src/parse.py","new":"x"}"#),
        result("2", "ok"),
        call("3", "run_command", r#"{"command":"make test"}"#),
        result("3", "all fine\n[exit code 0]"),
        call("4", "get_details", r#"{"id":"user_9"}"#),
        result("4", r#"{"age":4,"mail":"a@example.org"}"#),
        serde_json::json!({"role":"user","content":[]}),
    ] {
        original.push(message.to_string()).unwrap();
    }
    let asked = probes(&original);
    let found = |text: &str| -> Vec<ProbeKind> {
        let note = serde_json::json!({"role":"user","content":text}).to_string();
        let items = [Bytes::from(note)];
        let recall = recall(&asked, Format::OpenAiChat, &items, &[], &Estimate::new()).unwrap();
        let known = recall
            .by_kind
            .iter()
            .filter(|(_, asked, found)| asked == found);
        known.map(|(kind, ..)| *kind).collect()
    };
    // Each fact is lost, and something that begins with it or holds it stands in its place.
    let near = "120\nmake test: exit code 20\nget_details({\"id\":\"user_9\"}) age\":41\n\
                After message [1] changed: src/parse.pyc, old/src/parse.py\n\
                - Error: cannot load src/parse.py (in make test)";
    assert_eq!(found(near), [ProbeKind::Error]);
    let whole = "12\nmake test: exit code 0\nget_details({\"id\":\"user_9\"}) age\":4\n\
                 After message [1] changed: src/parse.py\n\
                 - Error: cannot load src/parse.py (in make test; fixed in src/parse.py)";
    assert_eq!(found(whole).len(), 6);
    assert_eq!(asked.len(), 6);
}

#[test]
fn recorded_sessions_are_asked_too() {
    let (mut asked_all, mut found_all) = (0, 0);
    for (name, import) in data::imported() {
        for session in import.sessions() {
            let original = &session.transcript;
            let (mut context, original) = full(original, tokens_of(original));
            let Ok(done) = Compactor::default().compact(&mut context) else {
                continue;
            };
            let recall = asked(&original, &context, &done.blobs);
            println!(
                "{name} {}: {} -> {}, {recall}",
                session.name, done.before, done.after
            );
            asked_all += recall.asked;
            found_all += recall.direct + recall.retrieved;
        }
    }
    assert!(
        found_all * 100 >= asked_all * 90,
        "{found_all} of {asked_all}"
    );
}

#[test]
fn an_excerpt_is_bounded_and_holds_what_was_asked_for() {
    let text: String = (0..9_000).map(|n| format!("line {n} is plain\n")).collect();
    let text = text.replace("line 4711 is plain", "the widget_count is 42");
    let blob = Blob {
        id: "o1".to_owned(),
        label: "log".to_owned(),
        bytes: Bytes::from(text),
    };
    let estimate = Estimate::new();
    let part = blob.excerpt("What is widget_count?", 2_000, &estimate);
    assert!(estimate.count(&part) <= 2_000);
    assert!(part.starts_with("line 0 ") && part.ends_with("line 8999 is plain\n"));
    assert!(part.contains("the widget_count is 42"));
    for most in [0, 1, 2, 5, 20] {
        assert!(estimate.count(&blob.excerpt("widget_count", most, &estimate)) <= most);
    }
    let whole = blob.excerpt("", 1_000_000, &estimate);
    assert_eq!(whole.len(), blob.bytes.len());
}

#[test]
fn a_live_session_answers_after_many_compactions() {
    let compactor = Compactor::default();
    let original = generated(8, 1_200, Profile::Coding);
    let mut context = Context::new(
        original.format(),
        Budget::new(48_000),
        Arc::new(Estimate::new()),
    );
    let mut blobs = Vec::new();
    for item in original.items() {
        let done = compactor.append(&mut context, item.raw().clone()).unwrap();
        blobs.extend(done.blobs);
        blobs.extend(done.compaction.into_iter().flat_map(|done| done.blobs));
    }
    let recall = asked(&original, &context, &blobs);
    let compactions = context.stats().compactions;
    println!(
        "{compactions} compactions, {} tokens, {recall}",
        context.tokens()
    );
    assert!(compactions >= 5);
    // Where old outputs are stored gives way as the session outgrows its window; facts do not.
    assert!(recall.share() >= 0.75, "{recall}");
    let told = [ProbeKind::Value, ProbeKind::Code];
    for (kind, asked, found) in recall.by_kind.iter().filter(|(k, ..)| !told.contains(k)) {
        assert_eq!(asked, found, "{}", kind.name());
    }
}

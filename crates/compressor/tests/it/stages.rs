//! What each stage of a compaction does, and what a summary holds.

use crate::compaction::generated;
use bytes::Bytes;
use mainspring_compressor::{
    Blob, Budget, Compaction, Compactor, Context, Estimate, Format, ModelWindows, Quality, Role,
    Section, Strategy, Transcript,
};
use mainspring_inputs::Profile;
use serde_json::{Value, json};
use std::sync::Arc;

fn context(window: usize) -> Context {
    Context::new(
        Format::OpenAiChat,
        Budget::new(window),
        Arc::new(Estimate::new()),
    )
}

fn push(context: &mut Context, messages: impl IntoIterator<Item = Value>) {
    for message in messages {
        context.push(message.to_string()).unwrap();
    }
}

/// A call and its result.
fn exchange(id: usize, name: &str, arguments: Value, result: &str) -> [Value; 2] {
    let call = json!({"role":"assistant","content":null,"tool_calls":[{"id":format!("c{id}"),"type":"function",
        "function":{"name":name,"arguments":arguments.to_string()}}]});
    let result = json!({"role":"tool","tool_call_id":format!("c{id}"),"content":result});
    [call, result]
}

fn words(from: usize, count: usize) -> String {
    let words: Vec<String> = (from..from + count).map(|n| format!("word{n}")).collect();
    words.join(" ")
}

fn text(context: &Context) -> String {
    let items = context.transcript().items().iter();
    let texts = items.map(|item| {
        let results: String = item.results().map(|r| r.text.into_owned() + "\n").collect();
        format!("{}\n{results}", item.text())
    });
    texts.collect()
}

fn step(done: &Compaction, strategy: Strategy) -> usize {
    let step = done.steps.iter().find(|step| step.strategy == strategy);
    step.map_or(0, |step| step.replaced)
}

/// Enough newer outputs that the older ones are not protected.
fn filler(from: usize) -> impl Iterator<Item = Value> {
    (from..from + 6).flat_map(|n| {
        exchange(
            n,
            "search",
            json!({"pattern": format!("p{n}")}),
            &words(n * 1_000, 120),
        )
    })
}

#[test]
fn near_duplicates_are_compared_shingle_by_shingle() {
    let old = words(0, 200);
    let near = old.replace("word77 ", "other ");
    let far = (0..200)
        .map(|n| {
            if n % 40 == 7 {
                format!("x{n}")
            } else {
                format!("word{n}")
            }
        })
        .collect::<Vec<_>>()
        .join(" ");
    // 4 shingles of 197 lost against 20 of 197: (193/201 = 0.96) and (177/217 = 0.82).
    for (later, replaced) in [(near, 1), (far, 0)] {
        let mut c = context(6_000);
        push(
            &mut c,
            [json!({"role":"user","content":"Look around, please."})],
        );
        push(&mut c, exchange(1, "search", json!({"pattern":"a"}), &old));
        push(
            &mut c,
            exchange(2, "search", json!({"pattern":"b"}), &later),
        );
        push(&mut c, filler(3));
        let plan = Compactor::default().plan(&c).unwrap();
        let near = plan
            .steps
            .iter()
            .find(|s| s.strategy == Strategy::NearDuplicates);
        assert_eq!(near.map_or(0, |s| s.replaced), replaced);
    }
}

/// Outputs that a plan takes for superseded, given what happened before the filler.
fn superseded(happened: impl IntoIterator<Item = Value>) -> usize {
    let mut c = context(6_000);
    push(
        &mut c,
        [json!({"role":"user","content":"Look around, please."})],
    );
    push(&mut c, happened);
    push(&mut c, filler(13));
    let plan = Compactor::default().plan(&c).unwrap();
    let mut steps = plan.steps.iter();
    let step = steps.find(|step| step.strategy == Strategy::SupersededReads);
    step.map_or(0, |step| step.replaced)
}

/// Lines of a file as a tool shows them.
fn lines(from: usize, count: usize) -> String {
    let lines = (from..from + count).map(|n| format!("{n} let value_{n} = compute({n});\n"));
    lines.collect()
}

#[test]
fn a_read_of_lines_that_a_later_read_covers_is_superseded() {
    let read = |id, from: usize, count: usize| {
        let arguments = json!({"path":"src/a.rs","offset":from,"limit":count});
        exchange(id, "read_file", arguments, &lines(from, count))
    };
    let after = |later| superseded([read(1, 40, 20), later].concat());
    assert_eq!(after(read(2, 1, 100)), 1);
    assert_eq!(after(read(2, 45, 100)), 0);
    let whole = |id, text: &str| exchange(id, "read_file", json!({"path":"src/a.rs"}), text);
    assert_eq!(after(whole(2, &lines(1, 100))), 1);
    // The tool shows fewer lines than were asked for, or none: nobody else has the old ones.
    assert_eq!(after(whole(2, &lines(1, 30))), 0);
    let failed = format!("Error: no such file\n{}", words(0, 80));
    assert_eq!(after(whole(2, &failed)), 0);
    let again = [whole(1, &lines(1, 30)), whole(2, &failed)].concat();
    assert_eq!(superseded(again), 0);
}

#[test]
fn a_read_is_outdated_by_a_change_of_all_that_it_shows() {
    let read = exchange(1, "read_file", json!({"path":"src/a.rs"}), &lines(1, 30));
    let edit = |result| exchange(2, "edit_file", json!({"path":"src/a.rs","new":"x"}), result);
    assert_eq!(superseded([read.clone(), edit("ok")].concat()), 1);
    // The agent reads the file again in its mind before it tries again.
    let failed = edit("Error: old text not found");
    assert_eq!(superseded([read, failed].concat()), 0);
    let cat = |command: &str| exchange(1, "bash", json!({"command":command}), &lines(1, 30));
    for (command, outdated) in [
        ("cat src/a.rs", 1),
        ("sed -n '1,30p' src/a.rs", 1),
        ("cat src/a.rs src/b.rs", 0),
        ("cat src/a.rs; ls", 0),
        ("grep -rn value src/a.rs lib", 0),
    ] {
        let happened = [cat(command), edit("ok")].concat();
        assert_eq!(superseded(happened), outdated, "{command}");
    }
}

#[test]
fn outputs_are_optimised_before_the_summary_and_can_be_had_as_they_were() {
    let mut c = context(4_000);
    push(
        &mut c,
        [json!({"role":"user","content":"Watch the log, please."})],
    );
    let log = format!("{}\n{}", words(0, 60), "waiting for the lock\n".repeat(150));
    push(
        &mut c,
        exchange(1, "run_command", json!({"command":"tail log"}), &log),
    );
    push(
        &mut c,
        exchange(2, "run_command", json!({"command":"date"}), "today"),
    );
    push(
        &mut c,
        (0..8).map(|n| json!({"role":"assistant","content":words(n * 500, 100)})),
    );
    // All outputs are new enough to be protected from being cleared.
    let compactor = Compactor::builder()
        .protected_outputs(100_000)
        .target_reduction(0.2)
        .build()
        .unwrap();
    let done = compactor.compact(&mut c).unwrap();
    assert_eq!(
        step(&done, Strategy::OptimizedOutputs),
        1,
        "{:?}",
        done.steps
    );
    let shown = text(&c);
    assert!(shown.contains("times in all]"), "{shown}");
    let blob = done
        .blobs
        .iter()
        .find(|blob| blob.label == "tail log")
        .unwrap();
    assert_eq!(blob.bytes, log.as_bytes());
    assert!(shown.contains(&format!("stored as {}", blob.id)));
}

/// A session whose work is over, so that nearly all of it goes into the summary.
fn worked() -> (Context, Transcript, Compaction) {
    let mut c = context(7_000);
    push(
        &mut c,
        [json!({"role":"user","content":"Mend src/parse.py, please."})],
    );
    push(
        &mut c,
        exchange(
            1,
            "read_file",
            json!({"path":"src/parse.py","offset":10,"limit":40}),
            &words(0, 80),
        ),
    );
    push(
        &mut c,
        exchange(
            2,
            "run_command",
            json!({"command":"make test"}),
            "ValueError: odd input\n[exit code 2]",
        ),
    );
    let code = "def parse(text):\n    return text.strip()\n";
    push(
        &mut c,
        exchange(
            3,
            "edit_file",
            json!({"path":"src/parse.py","old":"x","new":"def parse(text): return text"}),
            "ok",
        ),
    );
    push(
        &mut c,
        exchange(
            4,
            "edit_file",
            json!({"path":"src/parse.py","old":"y","new":code}),
            "ok",
        ),
    );
    push(
        &mut c,
        exchange(
            5,
            "run_command",
            json!({"command":"make test"}),
            "all fine\n[exit code 0]",
        ),
    );
    push(
        &mut c,
        [
            json!({"role":"assistant","content":"The tool is this:\n```sh tools/run.sh\nset -e\nexec make test --quiet\n```\n"}),
            json!({"role":"user","content":"And now the writer."}),
        ],
    );
    push(&mut c, filler(10));
    push(
        &mut c,
        (0..24).map(|n| json!({"role":"assistant","content":words(n * 500, 60)})),
    );
    let original = c.transcript().clone();
    let compactor = Compactor::builder().target_reduction(0.7).build().unwrap();
    let done = compactor.compact(&mut c).unwrap();
    (c, original, done)
}

#[test]
fn outputs_that_leave_with_the_summary_can_be_had_one_by_one() {
    let mut c = context(6_000);
    push(
        &mut c,
        [json!({"role":"user","content":"Look things up, please."})],
    );
    let outputs: Vec<String> = (1..6).map(|n| words(n * 1_000, 90)).collect();
    for (n, output) in outputs.iter().enumerate() {
        push(
            &mut c,
            exchange(n, "search", json!({"pattern": format!("p{n}")}), output),
        );
    }
    push(
        &mut c,
        (0..20).map(|n| json!({"role":"assistant","content":words(n * 500, 60)})),
    );
    // Nothing is cleared before: all of them are protected.
    let compactor = Compactor::builder()
        .protected_outputs(1_000_000)
        .build()
        .unwrap();
    let done = compactor.compact(&mut c).unwrap();
    assert_eq!(step(&done, Strategy::ClearedOutputs), 0);
    let shown = text(&c);
    for (n, output) in outputs.iter().enumerate() {
        let blob = done
            .blobs
            .iter()
            .find(|blob| blob.bytes == output.as_bytes());
        let blob = blob.unwrap_or_else(|| panic!("output {n} is gone"));
        assert_eq!(blob.label, format!("search({{\"pattern\":\"p{n}\"}})"));
        assert!(
            shown.contains(&format!("- {}: stored as {}\n", blob.label, blob.id)),
            "{shown}"
        );
    }
    let history = done.blobs.last().unwrap();
    let history = std::str::from_utf8(&history.bytes).unwrap();
    assert!(history.contains("[stored as o2]") && !history.contains("word5085"));
}

#[test]
fn a_summary_says_what_was_read_changed_run_met_and_mended() {
    let (c, _, done) = worked();
    let summary = c
        .transcript()
        .items()
        .iter()
        .find(|i| i.role() == Role::Summary);
    let summary = summary.unwrap().text().into_owned();
    for wanted in [
        "- src/parse.py (lines 10-49 read; changed 2 times; read stored as o2)",
        "- ValueError: odd input (in make test; fixed in src/parse.py)",
        "- make test (exit code 0)",
        "After message [1] changed: src/parse.py",
        "[1] Mend src/parse.py, please.",
        // The latest state, whole, and not the one before.
        "Code of src/parse.py:\n```\ndef parse(text):\n    return text.strip()\n```",
        "Code of tools/run.sh:\n```\nset -e\nexec make test --quiet\n```",
    ] {
        assert!(summary.contains(wanted), "{wanted} is not in\n{summary}");
    }
    assert!(!summary.contains("return text\n"));
    let ids: Vec<&str> = done.blobs.iter().map(|blob: &Blob| &*blob.id).collect();
    assert!(ids.contains(&"o2"), "{ids:?}");
    assert!(
        done.blobs
            .iter()
            .any(|blob| blob.label == "code of src/parse.py")
    );
}

#[test]
fn a_result_carries_ratio_preserved_facts_strategies_and_quality() {
    let (c, original, done) = worked();
    assert!((done.ratio() + done.reduction() - 1.0).abs() < 1e-9);
    assert!(step(&done, Strategy::Summary) > 0);
    let items: Vec<Bytes> = c.items().cloned().collect();
    let quality = Quality::measure(&original, &items).unwrap();
    assert_eq!(quality.preserved.user_messages, (2, 2));
    assert_eq!(quality.preserved.errors, (1, 1));
    assert_eq!(quality, done.quality);
    let priorities: Vec<u8> = Section::ALL.iter().map(|s| s.priority()).collect();
    let mut sorted = priorities.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(Section::UserMessages.is_required() && !Section::Concepts.is_required());
}

#[test]
fn what_a_sub_agent_does_beside_the_session_is_not_sent() {
    let record = |side: bool, role: &str, content: Value| json!({"type":role,"isSidechain":side,"sessionId":"s","message":{"role":role,"content":content}});
    let used = |id: &str, name: &str, input: Value| json!([{"type":"tool_use","id":id,"name":name,"input":input}]);
    let back =
        |id: &str, text: &str| json!([{"type":"tool_result","tool_use_id":id,"content":text}]);
    let session = [
        record(false, "user", json!("Find out why it hangs.")),
        record(
            false,
            "assistant",
            used("t1", "Task", json!({"prompt":"look at src/lock.rs"})),
        ),
        record(true, "user", json!("look at src/lock.rs")),
        record(
            true,
            "assistant",
            used("t2", "Read", json!({"file_path":"src/hidden.rs"})),
        ),
        record(true, "user", back("t2", "fn lock() {}")),
        record(true, "assistant", json!("It takes the lock twice.")),
        record(false, "user", back("t1", "It takes the lock twice.")),
        record(false, "assistant", json!("The lock is taken twice.")),
    ];
    let mut c = Context::new(
        Format::ClaudeCode,
        Budget::new(9_000),
        Arc::new(Estimate::new()),
    );
    let mut original = Transcript::new(Format::ClaudeCode);
    for item in &session {
        c.push(item.to_string()).unwrap();
        original.push(item.to_string()).unwrap();
    }
    assert_eq!(c.items().len(), 4);
    assert_eq!(
        original
            .items()
            .iter()
            .filter(|item| item.is_aside())
            .count(),
        4
    );
    assert_eq!(original.damage(), []);
    let items: Vec<Bytes> = c.items().cloned().collect();
    let quality = Quality::measure(&original, &items).unwrap();
    assert!(quality.score >= 1.0, "{quality}");
    assert_eq!(quality.preserved.user_messages, (1, 1));
    // The log of the sub-agent alone is a session of its own.
    let mut own = Context::new(
        Format::ClaudeCode,
        Budget::new(9_000),
        Arc::new(Estimate::new()),
    );
    for item in &session[2..6] {
        own.push(item.to_string()).unwrap();
    }
    assert_eq!(own.items().len(), 4);
}

/// The log of a sub-agent is a session of its own, before a compaction and after it.
#[test]
fn the_session_of_a_sub_agent_goes_on_after_a_compaction() {
    let record = |role: &str, content: Value| {
        json!({"type":role,"isSidechain":true,"sessionId":"s","message":{"role":role,"content":content}}).to_string()
    };
    let tokenizer = || Arc::new(Estimate::new());
    let mut c = Context::new(Format::ClaudeCode, Budget::new(3_000), tokenizer());
    let mut compactions = 0;
    let mut take = |c: &mut Context, raw: String| {
        let done = Compactor::default().append(c, raw).unwrap();
        assert!(done.pushed.index.is_some(), "it is not sent");
        compactions += usize::from(done.compaction.is_some());
    };
    take(&mut c, record("user", json!("Look at src/lock.rs.")));
    for n in 0..40 {
        let id = format!("t{n}");
        let path = format!("src/f{n}.rs");
        let call = json!([{"type":"tool_use","id":id,"name":"Read","input":{"file_path":path}}]);
        let back = json!([{"type":"tool_result","tool_use_id":id,"content":words(n * 300, 60)}]);
        take(&mut c, record("assistant", call));
        take(&mut c, record("user", back));
        if n % 8 == 0 {
            c = Context::resume(c.save(), tokenizer()).unwrap();
        }
    }
    assert!(compactions >= 3, "{compactions}");
    assert!(c.transcript().items().iter().all(|item| !item.is_aside()));
}

#[test]
fn what_is_beside_the_session_takes_no_room() {
    let record = |side: bool, text: &str| {
        json!({"type":"user","isSidechain":side,"message":{"role":"user","content":text}})
            .to_string()
    };
    let tokenizer = Arc::new(Estimate::new());
    let mut c = Context::new(Format::ClaudeCode, Budget::new(1_000), tokenizer);
    let compactor = Compactor::default();
    compactor.append(&mut c, record(false, "Look.")).unwrap();
    let done = compactor.append(&mut c, record(true, &words(0, 2_000)));
    let done = done.unwrap();
    assert_eq!((done.pushed.index, done.pushed.tokens), (None, 0));
    assert!(done.blobs.is_empty() && done.compaction.is_none());
}

#[test]
fn many_compactions_keep_what_people_wrote_in_their_order() {
    let compactor = Compactor::default();
    let mut c = context(8_000);
    let original = generated(41, 700, Profile::Coding);
    for item in original.items() {
        compactor.append(&mut c, item.raw().clone()).unwrap();
    }
    assert!(c.stats().compactions >= 5);
    let sent = text(&c);
    let mut from = 0;
    for item in original.items().iter().filter_map(|item| item.human_text()) {
        let at = sent[from..].find(&*item);
        from += at.unwrap_or_else(|| panic!("lost or out of order: {item}")) + item.len();
    }
}

#[test]
fn a_plan_is_made_on_another_thread_while_the_agent_goes_on() {
    let compactor = Compactor::default();
    let mut c = context(12_000);
    let original = generated(42, 60, Profile::Coding);
    for item in original.items() {
        c.push(item.raw().clone()).unwrap();
    }
    let snapshot = c.clone();
    let planner = compactor.clone();
    let planning = std::thread::spawn(move || planner.plan(&snapshot).unwrap());
    let late = json!({"role":"user","content":"Also look at src/late.rs."}).to_string();
    c.push(late.clone()).unwrap();
    let plan = planning.join().unwrap();
    let (before, planned) = (c.tokens(), plan.after);
    compactor.commit(&mut c, plan).unwrap();
    assert!(c.tokens() < before);
    assert!(c.tokens() > planned);
    assert!(c.items().last().is_some_and(|raw| *raw == late));
    // The next summary knows what came late.
    let done = Compactor::builder()
        .target_reduction(0.9)
        .least_gain(0.0)
        .build()
        .unwrap();
    let _ = done.compact(&mut c);
    assert!(text(&c).contains("Also look at src/late.rs."));
}

#[test]
fn an_early_plan_is_made_only_when_it_pays() {
    let compactor = Compactor::default();
    let mut c = context(20_000);
    for item in generated(43, 80, Profile::Coding).items() {
        c.push(item.raw().clone()).unwrap();
    }
    c.mark_sent();
    assert!(compactor.plan_early(&c, 1, 0.1).is_none());
    assert!(compactor.plan_early(&c, 200, 0.1).is_some());
    assert!(compactor.plan_early(&context(1_000), 200, 0.1).is_none());
}

#[test]
fn windows_of_models_are_found_by_the_longest_name_and_can_be_extended() {
    let mut windows = ModelWindows::default();
    let of = |windows: &ModelWindows, name: &str| windows.get(name).map(|b| b.window);
    assert_eq!(of(&windows, "gpt-4"), Some(8_192));
    assert_eq!(of(&windows, "GPT-4o-mini"), Some(128_000));
    assert_eq!(of(&windows, "anthropic/claude-sonnet-4-5"), Some(200_000));
    assert_eq!(of(&windows, "mine"), None);
    windows.set("vendor/mine", Budget::new(50_000));
    assert_eq!(of(&windows, "vendor/mine-2"), Some(50_000));
    windows.set("gpt-4o-mini", Budget::new(64_000));
    assert_eq!(of(&windows, "gpt-4o-mini"), Some(64_000));
    assert_eq!(ModelWindows::empty().iter().count(), 0);
}

//! Variations of sessions that the recorded ones do not have.

use crate::compaction::run;
use mainspring_compressor::{
    Budget, Context, Estimate, Format, Import, Problem, Role, Tokenizer, Transcript, count_item,
    read_sessions, validate,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Instant};

fn import(file: &str) -> Import {
    let import = read_sessions(file.as_bytes().to_vec()).unwrap_or_else(|e| panic!("{e}\n{file}"));
    assert!(import.export() == file.as_bytes());
    import
}

fn only(file: &Value) -> Transcript {
    let import = import(&file.to_string());
    assert_eq!(import.sessions().len(), 1);
    import.into_sessions().remove(0).transcript
}

fn lines(records: &[Value]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}

fn roles(transcript: &Transcript) -> Vec<Role> {
    transcript.items().iter().map(|item| item.role()).collect()
}

fn asked(id: &str) -> Value {
    json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": [
        {"id": id, "type": "function", "function": {"name": "ls", "arguments": "{}"}}]})
}

fn answered(id: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": [{"type": "text", "text": "a.rs"}]})
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn codex() -> Vec<Value> {
    let item = |payload: Value| json!({"type": "response_item", "payload": payload});
    vec![
        json!({"type": "session_meta", "payload": {"id": "c-1"}}),
        item(
            json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]}),
        ),
        item(json!({"type": "function_call", "call_id": "a", "name": "shell", "arguments": "{}"})),
        item(json!({"type": "function_call_output", "call_id": "a", "output": "x"})),
    ]
}

#[test]
fn a_byte_order_mark_and_other_line_ends_cost_no_record() {
    let array = json!([user("q"), asked("a"), answered("a")]).to_string();
    let log = lines(&codex());
    for (text, items) in [(array, 3), (log, 4)] {
        let crlf = text.replace('\n', "\r\n");
        for text in [
            format!("\u{feff}{text}"),
            format!("\u{feff}{crlf}\r\n\r\n"),
            format!("\n\n{crlf}"),
            text.trim_end().to_owned(),
        ] {
            let import = import(&text);
            assert_eq!(import.quarantined(), [], "{text}");
            let transcript = &import.sessions()[0].transcript;
            assert_eq!(transcript.len(), items, "{text}");
            assert_eq!(transcript.damage(), []);
        }
    }
    let broken = read_sessions("\u{feff}[1,").unwrap_err().to_string();
    assert!(broken.contains("byte 6"), "{broken}");
}

#[test]
fn a_run_without_messages_hides_no_other() {
    let good = json!({"task_id": 1, "trial": 0, "traj": [user("q"), asked("a"), answered("a")]});
    let failed = json!({"task_id": 2, "trial": 0, "info": {"error": "timeout"}, "traj": []});
    let runs = import(&json!([good, failed, good]).to_string());
    assert_eq!(runs.sessions().len(), 2);
    assert_eq!(runs.quarantined(), [], "there is nothing to be missed");
    let runs = import(&json!([failed, good]).to_string());
    assert_eq!(runs.sessions()[0].name, "1/0");
    let one_a_line = lines(&[good.clone(), failed.clone(), good.clone()]);
    assert_eq!(import(&one_a_line).sessions().len(), 2);
    assert!(read_sessions(json!([failed]).to_string()).is_err());
}

#[test]
fn what_is_no_session_among_sessions_is_named() {
    let good = json!({"task_id": 1, "traj": [user("q")]});
    let strange = json!({"task_id": 2, "traj": [{"x": 1}]});
    let none = json!({"task_id": 3, "traj": null});
    let array = format!("[{good},\n{strange},\n{none},[4],\n7,{good}]");
    let runs = import(&array);
    assert_eq!(runs.sessions().len(), 2);
    let aside: Vec<_> = runs
        .quarantined()
        .iter()
        .map(|q| (q.line, &*q.raw))
        .collect();
    let (strange, none) = (strange.to_string(), none.to_string());
    assert_eq!(
        aside,
        [
            (2, strange.as_bytes()),
            (3, none.as_bytes()),
            (3, b"[4]"),
            (4, b"7")
        ]
    );
    for aside in runs.quarantined() {
        assert!(array.as_bytes()[aside.offset..].starts_with(&aside.raw));
    }
    let log = format!("{good}\n{strange}\nnonsense\n{none}\n{good}\n");
    let runs = import(&log);
    assert_eq!(runs.sessions().len(), 2);
    let aside: Vec<usize> = runs.quarantined().iter().map(|q| q.line).collect();
    assert_eq!(aside, [2, 3, 4]);
}

#[test]
fn records_that_tell_may_come_late() {
    let mut log: Vec<Value> = (0..200)
        .map(|n| json!({"type": "summary", "summary": "x", "leafUuid": format!("l{n}")}))
        .collect();
    log.push(json!({"type": "user", "uuid": "u", "parentUuid": null, "sessionId": "s", "message": user("q")}));
    let sessions = import(&lines(&log));
    let transcript = &sessions.sessions()[0].transcript;
    assert_eq!(transcript.format(), Format::ClaudeCode);
    assert_eq!(transcript.items()[200].role(), Role::Human);

    let mut talk: Vec<Value> = Vec::new();
    for n in 0..50 {
        talk.push(user(&format!("question {n}")));
        talk.push(json!({"role": "assistant", "content": "answer"}));
    }
    talk.push(user("look"));
    talk.push(json!({"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "ls", "input": {}}]}));
    talk.push(json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]}));
    let transcript = only(&Value::Array(talk));
    assert_eq!(transcript.format(), Format::AnthropicMessages);
    assert_eq!(transcript.exchanges().len(), 1);
}

#[test]
fn a_developer_does_not_make_items_into_chat_messages() {
    let item = |role: &str| json!({"type": "message", "role": role, "content": [{"type": "input_text", "text": "x"}]});
    let list = vec![
        item("developer"),
        item("user"),
        json!({"type": "function_call", "call_id": "a", "name": "ls", "arguments": "{}"}),
        json!({"type": "function_call_output", "call_id": "a", "output": "x"}),
    ];
    let expected = [
        Role::System,
        Role::Human,
        Role::ToolCalls,
        Role::ToolResults,
    ];
    let transcript = only(&Value::Array(list.clone()));
    assert_eq!(transcript.format(), Format::OpenAiResponses);
    assert_eq!(roles(&transcript), expected);
    let log = import(&lines(&list));
    assert_eq!(log.sessions()[0].format(), Format::CodexRollout);
    assert_eq!(roles(&log.sessions()[0].transcript), expected);
    let chat = only(&json!([{"role": "developer", "content": "x"}, user("q")]));
    assert_eq!(chat.format(), Format::OpenAiChat);
    assert_eq!(roles(&chat), [Role::System, Role::Human]);
}

#[test]
fn a_system_prompt_beside_chat_messages_leaves_them_chat_messages() {
    let list = [user("q"), asked("a"), answered("a"), user("r")];
    let transcript = only(&json!({"system": "be brief", "messages": list}));
    assert_eq!(transcript.format(), Format::OpenAiChat);
    let expected = [
        Role::System,
        Role::Human,
        Role::ToolCalls,
        Role::ToolResults,
        Role::Human,
    ];
    assert_eq!(roles(&transcript), expected);
    assert_eq!(transcript.damage(), []);
}

#[test]
fn fields_of_their_own_do_not_make_messages_into_another_log() {
    let mut list = [
        user("first"),
        asked("a"),
        answered("a"),
        user("second"),
        json!({"role": "assistant", "content": "done"}),
    ];
    for (key, value) in [
        ("agent", json!("planner")),
        ("thought", json!("hm")),
        ("action", json!("reply")),
        ("sessionId", json!("s")),
        ("payload", json!({})),
        ("source", json!("web")),
    ] {
        let mut marked = list.clone();
        for message in &mut marked {
            message[key] = value.clone();
        }
        let transcript = only(&json!(marked));
        assert_eq!(transcript.format(), Format::OpenAiChat, "{key}");
        let people = transcript.items().iter().filter_map(|i| i.human_text());
        assert_eq!(people.count(), 2, "{key}");
    }
    list[1]["action"] = json!("ls");
    list[1]["agent"] = json!("main");
    assert_eq!(only(&json!({"history": list})).format(), Format::SweAgent);
}

#[test]
fn words_of_a_person_beside_machinery_are_a_persons() {
    let reminder = "<system-reminder>\nThe list is empty.\n</system-reminder>";
    let blocks = |texts: &[&str]| -> Value {
        let list: Vec<_> = texts
            .iter()
            .map(|t| json!({"type": "text", "text": t}))
            .collect();
        json!([{"role": "user", "content": list}])
    };
    let role = |file: &Value| only(file).items()[0].role();
    assert_eq!(role(&blocks(&[reminder, "fix the parser"])), Role::Human);
    assert_eq!(role(&blocks(&["fix the parser", reminder])), Role::Human);
    assert_eq!(role(&blocks(&[reminder, reminder, " "])), Role::Observation);
    let joined = format!("{reminder}\n{reminder}\n\nfix the parser");
    assert_eq!(role(&json!([user(&joined)])), Role::Human);
    assert_eq!(role(&json!([user(reminder)])), Role::Observation);
    let cut = "<system-reminder>never closed";
    assert_eq!(role(&json!([user(cut)])), Role::Observation);

    let mut session = vec![blocks(&[reminder, "fix the parser in src/p.rs"])[0].clone()];
    for n in 0..80 {
        let said = format!("step {n}: {}", "looked at it again. ".repeat(30));
        session.push(json!({"role": "assistant", "content": said}));
    }
    let budget = Budget::new(4_000);
    let done = run(&only(&json!(session)), budget, Arc::new(Estimate::new())).unwrap();
    assert!(done.compactions > 0);
    let kept = done.items.iter().any(|raw| {
        let text = String::from_utf8_lossy(raw);
        text.contains("fix the parser in src/p.rs")
    });
    assert!(kept, "what a person wrote survives");
}

#[test]
fn observations_under_the_role_of_the_user_are_known() {
    for text in ["API output: {\"id\": 1}", "<system>CHECKPOINT 3</system>"] {
        let t = only(&json!([user("q"), {"role": "assistant", "content": "x"}, user(text)]));
        assert_eq!(t.items()[2].role(), Role::Observation, "{text}");
    }
}

#[test]
fn every_spelling_of_chat_content_is_read() {
    let t = only(&json!([
        {"role": "user", "content": {"type": "text", "text": "one object"}},
        {"role": "assistant", "content": null, "refusal": "I will not."},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "Nor this."}]},
        {"role": "assistant", "content": null, "function_call": {"name": "ls", "arguments": "{}"}, "tool_calls": null},
        {"role": "function", "name": "ls", "content": null},
        {"role": "assistant", "content": ""},
    ]));
    let texts: Vec<_> = t.items().iter().map(|item| item.text()).collect();
    assert_eq!(texts[..3], ["one object", "I will not.", "Nor this."]);
    assert!(count_item(&Estimate::new(), &t.items()[1]) > 5);
    assert_eq!(t.damage(), []);
    let exchange = t.exchanges()[0];
    assert!(exchange.call.is_some() && exchange.result.is_some());
}

#[test]
fn one_message_may_answer_all_calls_of_a_group_of_agents() {
    let mut both = asked("a");
    let second = asked("b")["tool_calls"][0].clone();
    both["tool_calls"].as_array_mut().unwrap().push(second);
    let answer = |ids: &[&str]| -> Value {
        let list: Vec<_> = ids
            .iter()
            .map(|id| json!({"tool_call_id": id, "role": "tool", "content": "x"}))
            .collect();
        json!({"role": "tool", "name": "executor", "content": "x\n\nx", "tool_responses": list})
    };
    let t = only(&json!({"history": [user("q"), both, answer(&["a", "b"]), user("go on")]}));
    assert_eq!(t.damage(), []);
    let t = only(&json!({"history": [user("q"), both, answer(&["b"]), user("go on")]}));
    let damage = t.damage();
    assert_eq!((damage.len(), damage[0].call_id.as_str()), (1, "a"));
    let t = only(&json!({"history": [user("q"), asked("a"), answer(&["a", "z"]), user("go on")]}));
    let (mended, _) = t.mend().unwrap();
    validate(&mended).unwrap();
    assert_eq!(mended.len(), 4, "the answer that fits stays");
}

#[test]
fn an_orphan_among_shared_results_leaves_their_text() {
    let shared = json!({"role": "tool", "message_type": "observation", "tool_call_ids": ["z", "a"],
        "content": [{"type": "text", "text": "found it"}]});
    let t = only(&json!({"history": [user("q"), asked("a"), shared, user("go on")]}));
    assert_eq!(t.format(), Format::SweAgent);
    let (mended, _) = t.mend().unwrap();
    validate(&mended).unwrap();
    let text: Vec<String> = mended.items()[2]
        .results()
        .map(|result| result.text.into_owned())
        .collect();
    assert_eq!(text, ["found it"]);
}

#[test]
fn a_result_in_the_message_of_a_call_is_mended() {
    let t = only(&json!([user("q"), {"role": "assistant", "content": [
        {"type": "tool_use", "id": "a", "name": "ls", "input": {}},
        {"type": "tool_result", "tool_use_id": "z", "content": "x"}]}, user("r")]));
    assert!(
        t.damage()
            .iter()
            .any(|f| f.problem == Problem::OrphanResult)
    );
    let (mended, _) = t.mend().unwrap();
    validate(&mended).unwrap();
}

#[test]
fn sessions_that_follow_one_another_in_a_log_explain_an_open_call() {
    let record = |session: &str, kind: &str, message: Value| json!({"type": kind, "sessionId": session, "message": message});
    let call = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "ls", "input": {}}]});
    let log = |second: &str| {
        let file = lines(&[
            record("s", "user", user("q")),
            record("s", "assistant", call.clone()),
            record(second, "user", user("again")),
        ]);
        import(&file).into_sessions().remove(0).transcript
    };
    assert_eq!(log("t").damage(), []);
    assert_eq!(
        log("t").findings()[0].explained_by,
        Some("a new session in the same log")
    );
    assert_eq!(log("s").damage().len(), 1);
}

#[test]
fn a_call_may_be_open_while_its_sub_agent_works() {
    let record = |aside: bool, kind: &str, content: Value| json!({"type": kind, "isSidechain": aside, "sessionId": "s", "message": {"role": kind, "content": content}});
    let call = |id: &str| json!([{"type": "tool_use", "id": id, "name": "Task", "input": {}}]);
    let result = |id: &str| json!([{"type": "tool_result", "tool_use_id": id, "content": "x"}]);
    let mut log = vec![
        record(false, "user", json!("q")),
        record(false, "assistant", call("a")),
        record(true, "user", json!("look for it")),
        record(true, "assistant", call("b")),
        record(true, "user", result("b")),
        record(true, "assistant", json!("found it")),
    ];
    let damage = |log: &[Value]| {
        let transcript = import(&lines(log)).into_sessions().remove(0).transcript;
        let ids = transcript.damage().into_iter().map(|found| found.call_id);
        ids.collect::<Vec<_>>()
    };
    assert!(damage(&log).is_empty(), "the session was ended meanwhile");
    log.push(record(false, "assistant", json!("so it is done")));
    assert_eq!(damage(&log), ["a"]);
    log.insert(6, record(false, "user", result("a")));
    assert!(damage(&log).is_empty());
    log.remove(4);
    assert_eq!(damage(&log), ["b"]);
}

#[test]
fn an_event_that_is_no_call_may_be_the_cause_of_an_observation() {
    let t = |cause: usize| {
        only(&json!([
            {"id": 0, "source": "user", "action": "message", "args": {"content": "q"}},
            {"id": 1, "source": "agent", "action": "think", "args": {"thought": "hm"}},
            {"id": 2, "source": "environment", "observation": "error", "cause": cause, "content": "no"},
            {"id": 3, "source": "agent", "action": "finish", "args": {"final_thought": "done"}},
        ]))
    };
    assert_eq!(t(1).damage(), []);
    assert_eq!(t(9).damage().len(), 1);
}

#[test]
fn crowded_items_are_read_in_linear_time() {
    let started = Instant::now();
    let calls = vec!["{}"; 50_000].join(",");
    let crowded = format!(r#"{{"role":"assistant","content":"x","tool_calls":[{calls}]}}"#);
    let tokenizer: Arc<dyn Tokenizer> = Arc::new(Estimate::new());
    let mut context = Context::new(Format::OpenAiChat, Budget::new(1 << 40), tokenizer);
    context.push(crowded).unwrap();
    let reasons: String = (0..30_000)
        .map(|n| format!("it fails because of reason number {n}\\n"))
        .collect();
    context
        .push(format!(r#"{{"role":"assistant","content":"{reasons}"}}"#))
        .unwrap();
    let open = r#"{"type":"function_call","call_id":"a","name":"f","arguments":""}"#;
    let mut log = Transcript::new(Format::OpenAiResponses);
    for _ in 0..30_000 {
        log.push(open).unwrap();
    }
    log.push(r#"{"type":"message","role":"user","content":"<turn_aborted>"}"#)
        .unwrap();
    log.push(r#"{"role":"user","content":"x"}"#).unwrap();
    assert_eq!(log.damage(), []);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

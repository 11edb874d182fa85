//! One generated session in every format: read, paired, damaged, mended, compacted.

use crate::compaction::run;
use bytes::Bytes;
use mainspring_compressor::{
    Budget, Estimate, ExchangeState, Format, Problem, Role, Transcript, read_sessions, validate,
};
use mainspring_inputs::{Profile, SessionSpec, generate};
use serde_json::{Value, json};
use std::sync::Arc;

fn chat(seed: u64, messages: usize) -> Vec<Value> {
    generate(&SessionSpec {
        seed,
        messages,
        profile: Profile::Coding,
    })
    .iter()
    .map(|raw| serde_json::from_str(raw).unwrap())
    .collect()
}

fn calls(message: &Value) -> Vec<(Value, Value, Value)> {
    let list = message["tool_calls"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    list.iter()
        .map(|c| {
            let f = &c["function"];
            let arguments = serde_json::from_str(f["arguments"].as_str().unwrap()).unwrap();
            (c["id"].clone(), f["name"].clone(), arguments)
        })
        .collect()
}

fn lines(values: Vec<Value>) -> String {
    values.iter().map(|v| format!("{v}\n")).collect()
}

fn anthropic(messages: &[Value]) -> (Value, Vec<Value>) {
    let mut out: Vec<Value> = Vec::new();
    let mut system = Value::Null;
    for m in messages {
        match m["role"].as_str().unwrap() {
            "system" => system = m["content"].clone(),
            "user" => out.push(json!({"role": "user", "content": m["content"]})),
            "assistant" => {
                let mut blocks =
                    vec![json!({"type": "thinking", "thinking": "hm", "signature": "c2ln"})];
                if let Some(text) = m["content"].as_str() {
                    blocks.push(json!({"type": "text", "text": text}));
                }
                for (id, name, input) in calls(m) {
                    blocks
                        .push(json!({"type": "tool_use", "id": id, "name": name, "input": input}));
                }
                out.push(json!({"role": "assistant", "content": blocks}));
            }
            _ => {
                let block = json!({"type": "tool_result", "tool_use_id": m["tool_call_id"],
                    "content": [{"type": "text", "text": m["content"]}]});
                match out.last_mut() {
                    Some(last) if last["content"][0]["type"] == "tool_result" => {
                        last["content"].as_array_mut().unwrap().push(block);
                    }
                    _ => out.push(json!({"role": "user", "content": [block]})),
                }
            }
        }
    }
    (system, out)
}

fn responses(messages: &[Value]) -> Vec<Value> {
    let mut out = Vec::new();
    for m in messages {
        match m["role"].as_str().unwrap() {
            role @ ("system" | "user") => out.push(json!({"type": "message", "role": role,
                "content": [{"type": "input_text", "text": m["content"]}]})),
            "assistant" => {
                out.push(json!({"type": "reasoning", "summary": [], "encrypted_content": "Z0FBQUFB"}));
                out.push(json!({"type": "message", "role": "assistant", "content":
                    [{"type": "output_text", "text": m["content"].as_str().unwrap_or("Working.")}]}));
                for (id, name, input) in calls(m) {
                    out.push(json!({"type": "function_call", "call_id": id, "name": name, "arguments": input.to_string()}));
                }
            }
            _ => out.push(json!({"type": "function_call_output", "call_id": m["tool_call_id"], "output": m["content"]})),
        }
    }
    out
}

fn gemini(messages: &[Value]) -> (Value, Vec<Value>) {
    let mut out: Vec<Value> = Vec::new();
    let mut system = Value::Null;
    for m in messages {
        match m["role"].as_str().unwrap() {
            "system" => system = json!({"parts": [{"text": m["content"]}]}),
            "user" => out.push(json!({"role": "user", "parts": [{"text": m["content"]}]})),
            "assistant" => {
                let mut parts = vec![json!({"text": m["content"].as_str().unwrap_or("Working.")})];
                for (_, name, args) in calls(m) {
                    parts.push(json!({"functionCall": {"name": name, "args": args}, "thoughtSignature": "c2ln"}));
                }
                out.push(json!({"role": "model", "parts": parts}));
            }
            _ => {
                let part = json!({"functionResponse": {"name": m["name"], "response": {"output": m["content"]}}});
                match out.last_mut() {
                    Some(last) if last["parts"][0].get("functionResponse").is_some() => {
                        last["parts"].as_array_mut().unwrap().push(part);
                    }
                    _ => out.push(json!({"role": "user", "parts": [part]})),
                }
            }
        }
    }
    (system, out)
}

fn openhands(messages: &[Value]) -> Vec<Value> {
    let mut out = Vec::new();
    let mut id = 0;
    let mut causes = Vec::new();
    for m in messages {
        match m["role"].as_str().unwrap() {
            "system" => out.push(json!({"id": id, "source": "agent", "action": "system", "args": {"content": m["content"]}})),
            "user" => out.push(json!({"id": id, "source": "user", "action": "message", "message": m["content"], "args": {"content": m["content"]}})),
            "assistant" if calls(m).is_empty() => {
                out.push(json!({"id": id, "source": "agent", "action": "message", "args": {"content": m["content"]}}));
            }
            "assistant" => {
                for (_, name, input) in calls(m) {
                    causes.push(id);
                    let action = match name.as_str().unwrap() { "read_file" => "read", "edit_file" => "edit", _ => "run" };
                    out.push(json!({"id": id, "source": "agent", "action": action, "args": input}));
                    id += 1;
                }
            }
            _ => {
                let cause = causes.remove(0);
                out.push(json!({"id": id, "source": "environment", "observation": "run", "cause": cause,
                    "content": m["content"], "extras": {"metadata": {"exit_code": 0}}}));
            }
        }
        id += 1;
    }
    out
}

fn claude_code(messages: &[Value]) -> Vec<Value> {
    let (_, list) = anthropic(messages);
    let mut out = vec![json!({"type": "summary", "summary": "x", "leafUuid": "u1"})];
    for (n, m) in list.into_iter().enumerate() {
        let parent = if n == 0 {
            Value::Null
        } else {
            json!(format!("u{}", n - 1))
        };
        out.push(
            json!({"type": m["role"], "uuid": format!("u{n}"), "parentUuid": parent,
            "sessionId": "s-1", "isSidechain": false, "message": m}),
        );
    }
    out
}

fn codex(messages: &[Value]) -> Vec<Value> {
    let mut out = vec![json!({"type": "session_meta", "payload": {"id": "c-1", "cwd": "/w"}})];
    for item in responses(messages) {
        if item["role"] == "user" {
            out.push(
                json!({"type": "event_msg", "payload": {"type": "user_message", "message": "x"}}),
            );
        }
        out.push(json!({"type": "response_item", "payload": item}));
    }
    out
}

fn role_lines(messages: &[Value]) -> Vec<Value> {
    let mut out = Vec::new();
    for (n, m) in messages.iter().enumerate() {
        if m["role"] == "user" {
            out.push(json!({"role": "_checkpoint", "id": n}));
        }
        out.push(m.clone());
        out.push(json!({"role": "_usage", "token_count": n * 100}));
    }
    out
}

/// The same session as a file of every format.
pub(crate) fn files(seed: u64, messages: usize) -> Vec<(Format, String)> {
    let chat = chat(seed, messages);
    let (system, list) = anthropic(&chat);
    let (instruction, contents) = gemini(&chat);
    vec![
        (
            Format::OpenAiChat,
            serde_json::to_string_pretty(&chat).unwrap(),
        ),
        (
            Format::OpenAiChat,
            json!({"model": "m", "messages": chat}).to_string(),
        ),
        (
            Format::AnthropicMessages,
            json!({"system": system, "messages": list}).to_string(),
        ),
        (Format::AnthropicMessages, Value::Array(list).to_string()),
        (
            Format::OpenAiResponses,
            json!({"input": responses(&chat)}).to_string(),
        ),
        (
            Format::Gemini,
            json!({"systemInstruction": instruction, "contents": contents}).to_string(),
        ),
        (
            Format::OpenHands,
            serde_json::to_string_pretty(&openhands(&chat)).unwrap(),
        ),
        (Format::ClaudeCode, lines(claude_code(&chat))),
        (
            Format::ClaudeCode,
            json!({"loglines": claude_code(&chat)}).to_string(),
        ),
        (Format::CodexRollout, lines(codex(&chat))),
        (Format::RoleLines, lines(role_lines(&chat))),
        (
            Format::TauBench,
            json!([{"task_id": 4, "trial": 1, "traj": chat}]).to_string(),
        ),
    ]
}

pub(crate) fn only(file: &str) -> Transcript {
    let import = read_sessions(file.as_bytes().to_vec()).unwrap();
    assert_eq!(import.export(), file.as_bytes());
    assert_eq!(import.sessions().len(), 1);
    import.into_sessions().remove(0).transcript
}

#[test]
fn every_format_reads_the_same_session() {
    let chat = chat(11, 120);
    let people = chat.iter().filter(|m| m["role"] == "user").count();
    let results = chat.iter().filter(|m| m["role"] == "tool").count();
    for (format, file) in files(11, 120) {
        let t = only(&file);
        assert_eq!(t.format(), format);
        let humans: Vec<_> = t.items().iter().filter_map(|i| i.human_text()).collect();
        assert_eq!(humans.len(), people, "{format}");
        let said = chat
            .iter()
            .filter(|m| m["role"] == "user")
            .map(|m| m["content"].as_str().unwrap());
        assert!(said.eq(humans.iter().map(|t| &**t)), "{format}");
        let complete = t
            .exchanges()
            .iter()
            .filter(|e| e.state() == ExchangeState::Complete)
            .count();
        assert_eq!(complete, results, "{format}");
        let texts: Vec<String> = t
            .items()
            .iter()
            .flat_map(|i| i.results().map(|r| r.text.into_owned()).collect::<Vec<_>>())
            .collect();
        let told = chat
            .iter()
            .filter(|m| m["role"] == "tool")
            .map(|m| m["content"].as_str().unwrap());
        assert!(told.eq(texts.iter().map(String::as_str)), "{format}");
        assert_eq!(t.damage(), [], "{format}");
        validate(&t).unwrap();
    }
}

#[test]
fn every_format_names_a_missing_result_and_is_mended() {
    for (format, file) in files(12, 24) {
        let t = only(&file);
        let last = t
            .items()
            .iter()
            .rposition(|i| i.in_context() && i.role() != Role::ToolResults)
            .unwrap();
        for at in (0..last).filter(|at| t.items()[*at].role() == Role::ToolResults) {
            let mut broken = Transcript::new(format);
            for (n, item) in t.items().iter().enumerate().filter(|(n, _)| *n != at) {
                let _ = n;
                broken.push(item.raw().clone()).unwrap();
            }
            let damage = broken.damage();
            assert!(
                damage
                    .iter()
                    .any(|f| f.problem == Problem::MissingResult && f.item < at),
                "{format} {at}"
            );
            let (mended, repairs) = broken.mend().unwrap();
            validate(&mended).unwrap();
            assert_eq!(mended.findings(), [], "{format} {at}");
            assert!(!repairs.is_empty());
        }
    }
}

#[test]
fn every_format_names_and_drops_an_orphan() {
    for (format, file) in files(13, 60) {
        let t = only(&file);
        let at = t
            .items()
            .iter()
            .position(|i| i.role() == Role::ToolCalls)
            .unwrap();
        let mut broken = Transcript::new(format);
        for (_, item) in t.items().iter().enumerate().filter(|(n, _)| *n != at) {
            broken.push(item.raw().clone()).unwrap();
        }
        assert!(
            broken
                .damage()
                .iter()
                .any(|f| f.problem == Problem::OrphanResult),
            "{format}"
        );
        let (mended, _) = broken.mend().unwrap();
        validate(&mended).unwrap();
        assert_eq!(mended.findings(), [], "{format}");
    }
}

#[test]
fn every_format_is_compacted_in_its_own_spelling() {
    for (format, file) in files(14, 120) {
        let t = only(&file);
        let run = run(&t, Budget::new(9_000), Arc::new(Estimate::new())).unwrap();
        assert!(run.compactions > 1, "{format}");
        assert!(run.quality.score >= 0.85, "{format} {}", run.quality);
        assert!(
            run.quality.user_messages_kept >= 1.0 && run.quality.pairs_intact,
            "{format}"
        );
        let own: Vec<&Bytes> = t.items().iter().map(|i| i.raw()).collect();
        assert!(
            run.items.iter().filter(|raw| own.contains(raw)).count() > 2,
            "{format} keeps raw items"
        );
        for raw in &run.items {
            assert!(serde_json::from_slice::<Value>(raw).is_ok(), "{format}");
        }
    }
}

/// codex#24425: one bad line hides a session.
#[test]
fn codex_24425_one_bad_line_is_put_aside_and_the_rest_opens() {
    let chat = chat(15, 30);
    let good = codex(&chat);
    let mut file: Vec<u8> = Vec::new();
    for (n, value) in good.iter().enumerate() {
        if n == 7 {
            file.extend_from_slice(b"{\"type\":\"response_item\",\"payl\n");
        }
        if n == 9 {
            file.extend_from_slice(b"\xff\xfe broken\n");
        }
        file.extend_from_slice(format!("{value}\n").as_bytes());
    }
    file.extend_from_slice(b"{\"type\":\"event_msg\",\"pay");
    let import = read_sessions(file.clone()).unwrap();
    assert_eq!(import.sessions()[0].transcript.len(), good.len());
    let lines: Vec<usize> = import.quarantined().iter().map(|q| q.line).collect();
    assert_eq!(lines, [8, 11, good.len() + 3]);
    assert!(
        import.quarantined()[0].what.contains("ends inside"),
        "{:?}",
        import.quarantined()[0]
    );
    assert!(import.export() == file);
}

#[test]
fn agents_of_a_group_are_told_from_the_person_who_asked() {
    let crafted = json!({"question": "q", "history": [
        {"role": "human", "content": "Find the oldest of these."},
        {"role": "Orchestrator (thought)", "content": "Let me plan."},
        {"role": "WebSurfer", "content": "I looked."},
        {"role": "Orchestrator (-> WebSurfer)", "content": "Go on."}]});
    let t = only(&crafted.to_string());
    assert_eq!(t.format(), Format::MultiAgent);
    let roles: Vec<Role> = t.items().iter().map(|i| i.role()).collect();
    assert_eq!(
        roles,
        [
            Role::Human,
            Role::Assistant,
            Role::Assistant,
            Role::Assistant
        ]
    );
    let named = json!({"history": [
        {"role": "assistant", "name": "Excel_Expert", "content": "You are given a task: count."},
        {"role": "user", "name": "Computer_terminal", "content": "exitcode: 0"},
        {"role": "user", "name": "Excel_Expert", "content": "It is 3."}]});
    let roles: Vec<Role> = only(&named.to_string())
        .items()
        .iter()
        .map(|i| i.role())
        .collect();
    assert_eq!(roles, [Role::Human, Role::Observation, Role::Observation]);
}

#[test]
fn what_explains_a_gap_is_named() {
    let call = |id: &str| json!({"type": "response_item", "payload": {"type": "function_call", "call_id": id, "name": "shell", "arguments": "{}"}});
    let out = |id: &str| json!({"type": "response_item", "payload": {"type": "function_call_output", "call_id": id, "output": "x"}});
    let user = |text: &str| json!({"type": "response_item", "payload": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}});
    let event = |kind: &str| json!({"type": "event_msg", "payload": {"type": kind}});
    let meta = json!({"type": "session_meta", "payload": {"id": "1"}});
    let damage = |list: Vec<Value>| -> Vec<bool> {
        let t = only(&lines(list));
        t.findings().iter().map(|f| f.is_damage()).collect()
    };
    let q = user("do it");
    assert_eq!(
        damage(vec![
            meta.clone(),
            q.clone(),
            call("a"),
            event("turn_aborted"),
            user("again")
        ]),
        [false]
    );
    assert_eq!(
        damage(vec![
            meta.clone(),
            q.clone(),
            call("a"),
            user("again"),
            event("turn_aborted")
        ]),
        [true]
    );
    assert_eq!(
        damage(vec![
            meta.clone(),
            q.clone(),
            call("a"),
            json!({"type": "compacted", "payload": {"message": ""}}),
            user("x")
        ]),
        [false]
    );
    assert_eq!(
        damage(vec![
            meta.clone(),
            q.clone(),
            call("a"),
            meta.clone(),
            user("x")
        ]),
        [false]
    );
    assert_eq!(
        damage(vec![
            meta.clone(),
            q.clone(),
            call("a"),
            call("b"),
            out("b")
        ]),
        [false]
    );
    assert_eq!(
        damage(vec![
            meta.clone(),
            q.clone(),
            call("a"),
            call("b"),
            out("b"),
            out("a"),
            user("x")
        ]),
        [false; 0]
    );
    assert_eq!(
        damage(vec![
            meta.clone(),
            q.clone(),
            call("a"),
            out("a"),
            out("a"),
            user("x")
        ]),
        [true]
    );
    assert_eq!(
        damage(vec![
            meta.clone(),
            q.clone(),
            call("a"),
            out("a"),
            call("a"),
            out("a")
        ]),
        [false; 0]
    );
    assert_eq!(
        damage(vec![
            meta,
            q,
            call("a"),
            event("context_compacted"),
            event("token_count"),
            out("a"),
            user("x")
        ]),
        [false; 0]
    );
}

#[test]
fn unknown_and_damaged_inputs_say_what_and_where() {
    let error = |input: &str| {
        read_sessions(input.as_bytes().to_vec())
            .unwrap_err()
            .to_string()
    };
    assert!(error("").contains("byte 0"));
    assert!(error("[]").contains("empty array"));
    assert!(error("[1,2]").contains("something else than messages"));
    assert!(error("{\"a\":1}").contains("without messages"));
    assert!(error("hello").contains("byte 0"));
    let cut = "[\n{\"role\":\"user\",\"content\":\"x\"},\n{\"role\":";
    assert!(error(cut).contains("line 3"), "{}", error(cut));
    assert!(error(&"[".repeat(100_000)).contains("nested too deeply"));
    assert!(error("{\"messages\":[]}").contains("messages"));
}

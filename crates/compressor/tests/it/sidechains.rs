//! Sub-agents in the log of the session that called them.

use mainspring_compressor::{
    Budget, Compactor, Context, Error, Estimate, Format, Transcript, read_sessions,
};
use serde_json::{Value, json};
use std::sync::Arc;

fn record(side: bool, role: &str, content: Value) -> String {
    json!({"type":role,"isSidechain":side,"sessionId":"s","message":{"role":role,"content":content}})
        .to_string()
}

fn call(side: bool, id: &str) -> String {
    let input = json!({"file_path":"src/hidden.rs"});
    record(
        side,
        "assistant",
        json!([{"type":"tool_use","id":id,"name":"Read","input":input}]),
    )
}

fn result(side: bool, id: &str) -> String {
    let text = "fn hidden() {}\n".repeat(60);
    record(
        side,
        "user",
        json!([{"type":"tool_result","tool_use_id":id,"content":text}]),
    )
}

/// A sub-agent that was at work before the log's first record of the session itself.
fn sub_agent() -> Vec<String> {
    vec![
        record(true, "user", json!("Look at src/hidden.rs.")),
        call(true, "t1"),
        result(true, "t1"),
        record(true, "assistant", json!("It is hidden.")),
    ]
}

fn session() -> Vec<String> {
    vec![
        record(false, "user", json!("Find out why it hangs.")),
        record(false, "assistant", json!("The lock is taken twice.")),
    ]
}

fn context() -> Context {
    Context::new(
        Format::ClaudeCode,
        Budget::new(9_000),
        Arc::new(Estimate::new()),
    )
}

fn asides(transcript: &Transcript) -> usize {
    let items = transcript.items().iter();
    items.filter(|item| item.is_aside()).count()
}

#[test]
fn a_log_that_begins_with_a_sub_agent_keeps_the_conversations_apart() {
    let log = [sub_agent(), session(), sub_agent()].concat();
    let file = log.join("\n");
    let import = read_sessions(file.clone()).unwrap();
    assert_eq!(import.export(), file.as_bytes());
    let transcript = &import.sessions()[0].transcript;
    assert_eq!(asides(transcript), 8);
    assert!(!transcript.items()[4].is_aside() && !transcript.items()[5].is_aside());
    let (mended, repairs) = transcript.mend().unwrap();
    assert_eq!((mended.len(), repairs.len()), (2, 0));

    let mut alone = context();
    let mut pushed = context();
    let mut appended = context();
    for raw in session() {
        alone.push(raw).unwrap();
    }
    for raw in log {
        pushed.push(raw.clone()).unwrap();
        Compactor::default().append(&mut appended, raw).unwrap();
    }
    for context in [pushed, appended] {
        assert!(context.items().eq(alone.items()));
        assert_eq!(context.tokens(), alone.tokens());
        assert_eq!(asides(context.transcript()), 0);
    }
}

/// What the sub-agent was told is no word of a person in the session, whatever was summarised of it.
#[test]
fn nothing_of_a_sub_agent_comes_into_the_summaries_of_the_session() {
    let compactor = Compactor::default();
    let mut c = context();
    let log = sub_agent().into_iter().cycle().take(200);
    let mut before = 0;
    for raw in log {
        let done = compactor.append(&mut c, raw).unwrap();
        before += usize::from(done.compaction.is_some());
    }
    assert!(before > 0);
    for n in 0..60 {
        let said = format!("Step {n}: {}", format!("looked at part {n}. ").repeat(40));
        let raw = match n {
            0 => session().remove(0),
            _ => record(false, "assistant", json!(said)),
        };
        compactor.append(&mut c, raw).unwrap();
    }
    assert!(c.stats().compactions > before as u64);
    let items: Vec<&str> = c
        .items()
        .map(|raw| std::str::from_utf8(raw).unwrap())
        .collect();
    assert!(
        items
            .iter()
            .any(|raw| raw.contains("Find out why it hangs."))
    );
    assert!(!items.iter().any(|raw| raw.contains("hidden")));
}

#[test]
fn a_plan_for_what_has_left_is_stale() {
    let compactor = Compactor::default();
    let mut c = context();
    for raw in sub_agent().into_iter().cycle().take(40) {
        c.push(raw).unwrap();
    }
    let plan = compactor.plan(&c).unwrap();
    for n in 0..60 {
        c.push(record(false, "user", json!(format!("Question {n}."))))
            .unwrap();
    }
    assert!(matches!(
        compactor.commit(&mut c, plan),
        Err(Error::StalePlan)
    ));
    assert_eq!(c.items().len(), 60);
}

/// A log of nothing else is a session, also when a lost result of it was made up.
#[test]
fn a_mended_log_of_a_sub_agent_stays_its_session() {
    let mut log = sub_agent();
    log.remove(2);
    log.push(record(true, "user", json!("And now?")));
    let import = read_sessions(log.join("\n")).unwrap();
    let (mended, repairs) = import.sessions()[0].transcript.mend().unwrap();
    assert_eq!((mended.len(), repairs.len()), (5, 1));
    assert_eq!(asides(&mended), 0);
    let mut c = context();
    for item in mended.items() {
        assert!(c.push(item.raw().clone()).unwrap().index.is_some());
    }
    assert_eq!(c.items().len(), 5);
}

/// What begins no session by itself may be all that a compaction of one leaves beside the summary.
#[test]
fn a_session_that_has_begun_keeps_its_summary() {
    let words = "Looked at src/main.rs, where the lock is taken. ".repeat(20);
    let boundary = json!({"type":"user","isSidechain":false,"sessionId":"s","isCompactSummary":true,
        "message":{"role":"user","content":"What was before."}});
    let compactor = Compactor::default();
    let mut c = context();
    for n in 0..60 {
        let said = json!(format!("Step {n}: {words}"));
        compactor
            .append(&mut c, record(false, "assistant", said))
            .unwrap();
    }
    compactor.append(&mut c, boundary.to_string()).unwrap();
    while c.items().len() > 2 {
        compactor.compact(&mut c).unwrap();
    }
    let resumed = Context::resume(c.save(), Arc::new(Estimate::new())).unwrap();
    let kept: Vec<_> = c.items().cloned().collect();
    assert!(c.push(call(true, "t1")).unwrap().index.is_none());
    for mut c in [c, resumed] {
        c.push(record(false, "assistant", json!("Done."))).unwrap();
        assert_eq!(c.items().len(), 3);
        assert!(c.items().take(2).eq(&kept));
    }
}

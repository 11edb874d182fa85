//! A coding agent's loop with a recorded model: context in, calls out, results back, checkpoints.
//!
//! `cargo run -p mainspring --features full --example coding_agent`

use std::sync::Arc;

use mainspring::{
    Profile, Runtime, Session,
    compressor::{Format, Transcript},
    scheduler::{Access, FnTool, Tool, ToolCall, ToolOutput},
};
use serde_json::{Value, json};

/// What the model says, turn by turn; a live agent would send `session.context()` instead.
fn model(turn: usize) -> Option<Value> {
    let call = |id: &str, name: &str, arguments: Value| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments.to_string()}});
    match turn {
        0 => Some(json!({"role": "assistant", "content": null, "tool_calls": [
            call("c1", "read_file", json!({"path": "Cargo.toml"})),
            call("c2", "read_file", json!({"path": "src/lib.rs"})),
        ]})),
        1 => Some(json!({"role": "assistant", "content": "Both are there; nothing to change."})),
        _ => None,
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let runtime = Runtime::open(dir.path(), Profile::Laptop).await?;
    let read = FnTool::new("read_file", |args: Value, _| async move {
        let path = args["path"].as_str().unwrap_or_default().to_owned();
        Ok(ToolOutput::text(std::fs::read_to_string(path)?))
    })
    .schema(json!({"type": "object", "required": ["path"]}))
    .access(|args| Access::read(args["path"].as_str().unwrap_or_default()));

    let mut session = runtime.session("demo", Format::OpenAiChat)?;
    session.set_tools(runtime.toolbox([Arc::new(read) as Arc<dyn Tool>])?);
    session.append(json!({"role": "user", "content": "Is this a library?"}).to_string())?;
    for turn in 0.. {
        let Some(answer) = model(turn) else { break };
        let answer = answer.to_string();
        session.append(answer.clone())?;
        for result in results(&session, answer).await? {
            session.append(result)?;
        }
        session.checkpoint(&json!({"turn": turn}).to_string())?;
    }
    println!(
        "{} messages, {} tokens",
        session.messages(),
        session.context().tokens()
    );
    drop(session);
    runtime.close().await?;
    Ok(())
}

/// Runs the calls of an answer side by side; one message a result, in call order.
async fn results(
    session: &Session,
    answer: String,
) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut transcript = Transcript::new(Format::OpenAiChat);
    transcript.push(answer)?;
    let mut calls = Vec::new();
    for call in transcript.items()[0].calls() {
        let id = call.id.as_deref().unwrap_or_default();
        calls.push(ToolCall::new(
            id,
            &*call.name,
            serde_json::from_str(&call.arguments)?,
        ));
    }
    let outcomes = session.run_tools(calls).await;
    let message = |outcome: &mainspring::scheduler::ToolOutcome| {
        json!({"role": "tool", "tool_call_id": outcome.id, "content": outcome.to_text()})
            .to_string()
    };
    Ok(outcomes.iter().map(message).collect())
}

//! Five agents side by side on one runtime: each its own session and purse, ten slots for all.
//!
//! `cargo run -p mainspring --features full --example multi_agent`

use std::sync::Arc;

use mainspring::{
    Profile, Runtime,
    compressor::Format,
    scheduler::{Access, Budget, Cost, FnTool, Tool, ToolCall, ToolOutput},
};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let runtime = Runtime::open(dir.path(), Profile::Server).await?;
    let day = Budget::new("day", 500);
    let mut agents = Vec::new();
    for number in 0..5 {
        let purse = day.carve(&format!("agent-{number}"), 25)?;
        agents.push(tokio::spawn(agent(runtime.clone(), number, purse)));
    }
    for agent in agents {
        println!("{}", agent.await??);
    }
    println!("{} of 500 left for the day", day.left());
    println!(
        "at most {} calls at once",
        runtime.scheduler().stats().max_running
    );
    runtime.close().await?;
    Ok(())
}

/// Looks three things up, of which its purse pays two, and writes one down.
async fn agent(
    runtime: Runtime,
    number: usize,
    purse: Budget,
) -> Result<String, mainspring::Error> {
    let look = FnTool::new("look", |args: Value, _| async move {
        Ok(ToolOutput::text(format!("seen {}", args["what"])))
    })
    .access(|args| Access::read(args["what"].as_str().unwrap_or_default()))
    .cost(|_| Cost {
        tokens: 0,
        money: 10,
    });
    let note = FnTool::new("note", |_, _| async { Ok(ToolOutput::text("noted")) })
        .access(|_| Access::write("shared/notes"));

    let mut session = runtime.session(&format!("agent-{number}"), Format::OpenAiChat)?;
    let tools = [Arc::new(look) as Arc<dyn Tool>, Arc::new(note)];
    session.set_tools(runtime.toolbox(tools)?);
    let task = json!({"role": "user", "content": format!("Task {number}")});
    session.append(task.to_string())?;
    let look = |n: usize| ToolCall::new(format!("l{n}"), "look", json!({"what": format!("{n}")}));
    let mut calls: Vec<ToolCall> = (0..3).map(|n| look(n).budget(purse.clone())).collect();
    calls.push(ToolCall::new("n", "note", json!({})));
    let outcomes = session.run_tools(calls).await;
    let done = outcomes
        .iter()
        .filter(|outcome| outcome.result.is_ok())
        .count();
    let answer = json!({"role": "assistant", "content": format!("{done} of 4 done")});
    session.append(answer.to_string())?;
    session.checkpoint(&json!({"agent": number}).to_string())?;
    Ok(format!("{}: {done} of 4 calls done", session.name()))
}

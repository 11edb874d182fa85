//! A tool runner: reads side by side, writes to one file in order, whatever the model asks for at once.

use std::error::Error;

use mainspring_scheduler::{
    Access, FnTool, ResourceKey, Scheduler, ToolCall, ToolError, ToolOutput, Toolbox,
};
use serde_json::{Value, json};

fn path(args: &Value) -> &str {
    args["path"].as_str().unwrap_or_default()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let schema =
        json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]});
    let read = FnTool::new("read", |args, _| async move {
        Ok(ToolOutput::text(std::fs::read_to_string(path(&args))?))
    })
    .schema(schema.clone())
    .access(|args| Access::read(ResourceKey::file(path(args))));
    let append = FnTool::new("append", |args, _| async move {
        let text = args["text"]
            .as_str()
            .ok_or(ToolError::permanent("no text"))?;
        let before = std::fs::read_to_string(path(&args)).unwrap_or_default();
        std::fs::write(path(&args), before + text)?;
        Ok(ToolOutput::text("done"))
    })
    .schema(schema)
    .access(|args| Access::write(ResourceKey::file(path(args))));

    let scheduler = Scheduler::builder()
        .toolbox(Toolbox::new().with(read)?.with(append)?)
        .build()?;
    let file = std::env::temp_dir().join(format!("tool-runner-{}.txt", std::process::id()));
    let append = |n: usize| json!({"path": file, "text": format!("line {n}\n")});
    let mut calls: Vec<ToolCall> = (0..3)
        .map(|n| ToolCall::new(format!("{n}"), "append", append(n)))
        .collect();
    calls.push(ToolCall::new("3", "read", json!({"path": file})));
    calls.push(ToolCall::new("4", "read", json!({"file": file})));
    for outcome in scheduler.run(calls).await {
        println!(
            "{} {}: {}",
            outcome.id,
            outcome.tool,
            outcome.to_text().trim_end()
        );
    }
    std::fs::remove_file(file)?;
    Ok(())
}

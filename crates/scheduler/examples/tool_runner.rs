//! A tool runner: reads side by side, writes to one file in order, whatever the model asks for.

use mainspring_scheduler::*;
use serde_json::{Value, json};
use std::fs;

fn path(args: &Value) -> &str {
    args["path"].as_str().unwrap_or_default()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let schema = json!({"properties": {"path": {"type": "string"}}, "required": ["path"]});
    let read = FnTool::blocking(
        "read",
        |args, _| Ok(fs::read_to_string(path(&args))?.into()),
    )
    .schema(schema.clone())
    .access(|args| Access::read(ResourceKey::file(path(args))));
    let append = FnTool::blocking("append", |args, _| {
        let before = fs::read_to_string(path(&args)).unwrap_or_default();
        let text = args["text"].as_str().ok_or("no text")?;
        fs::write(path(&args), before + text)?;
        Ok("done".into())
    })
    .schema(schema)
    .access(|args| Access::write(ResourceKey::file(path(args))));
    let tools = Toolbox::new().with(read)?.with(append)?;
    let scheduler = Scheduler::builder().toolbox(tools).build()?;
    let file = std::env::temp_dir().join(format!("tool-runner-{}", std::process::id()));
    let call = |tool: &str, args| ToolCall::new("", tool, args);
    let mut calls = vec![call("read", json!({"file": file}))];
    calls.push(call("append", json!({"path": file, "text": "a\n"})));
    calls.push(call("append", json!({"path": file, "text": "b\n"})));
    calls.push(call("read", json!({"path": file})));
    for outcome in scheduler.run(calls).await {
        println!("{}: {}", outcome.tool, outcome.to_text().trim_end());
    }
    Ok(fs::remove_file(file)?)
}

//! The types of `rmcp`, in and out.

use std::sync::Arc;

use mainspring_scheduler::*;
use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ContentBlock, JsonObject, Tool as Listed,
    ToolAnnotations,
};
use serde_json::{Value, json};

fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is no object"),
    }
}

fn listed(name: &'static str) -> Listed {
    let schema =
        json!({"type": "object", "required": ["path"], "properties": {"path": {"type": "string"}}});
    Listed::new(name, "a tool", object(schema))
}

/// A server that answers by the path it is asked for.
async fn server(params: CallToolRequestParams) -> Result<CallToolResult, ErrorData> {
    let arguments = params.arguments.unwrap_or_default();
    match arguments["path"].as_str() {
        Some("text") => Ok(CallToolResult::success(vec![
            ContentBlock::text("a"),
            ContentBlock::text("b"),
        ])),
        Some("image") => Ok(CallToolResult::success(vec![
            ContentBlock::text("a"),
            ContentBlock::image("aGk=", "image/png"),
        ])),
        Some("structured") => Ok(CallToolResult::structured(json!({"n": 7}))),
        Some("unfit") => Ok(CallToolResult::structured(json!({"n": "seven"}))),
        Some("broken") => Ok(CallToolResult::error(vec![ContentBlock::text(
            "the disk is full",
        )])),
        Some("inner") => Err(ErrorData::internal_error("crashed", None)),
        _ => Err(ErrorData::invalid_params("no such path", None)),
    }
}

fn tool(listed: Listed) -> McpTool {
    McpTool::new(listed, |params, _| server(params))
}

async fn run(tool: McpTool, args: Value) -> ToolOutcome {
    let name = tool.name().to_owned();
    let builder = Scheduler::builder().toolbox(Toolbox::new().with(tool).unwrap());
    let scheduler = builder.build().unwrap();
    let params = CallToolRequestParams::new(name).with_arguments(object(args));
    scheduler
        .run(vec![ToolCall::from_mcp("1", params)])
        .await
        .remove(0)
}

#[tokio::test(start_paused = true)]
async fn results_of_a_server_become_outputs_and_errors() {
    let ask = |path: &str| run(tool(listed("look")), json!({"path": path}));
    let content = |outcome: ToolOutcome| outcome.result.unwrap().content;
    assert_eq!(content(ask("text").await), json!("a\nb"));
    assert_eq!(content(ask("structured").await), json!({"n": 7}));
    assert_eq!(
        content(ask("image").await),
        json!([{"type": "text", "text": "a"}, {"type": "image", "data": "aGk=", "mimeType": "image/png"}])
    );
    let broken = ask("broken").await;
    assert_eq!(
        (broken.to_text(), broken.attempts),
        ("Error: execute failed: the disk is full".into(), 1)
    );
    // What went wrong inside the server may pass, but nobody knows what was done before.
    let inner = ask("inner").await;
    assert!(inner.to_text().contains("crashed") && inner.attempts == 1);
    let idempotent = ToolAnnotations::new().idempotent(true);
    let put = || tool(listed("put").with_annotations(idempotent.clone()));
    let args = json!({"path": "inner"});
    assert_eq!(run(put(), args.clone()).await.attempts, 1);
    assert!(run(put().trusted(), args.clone()).await.attempts > 1);
    let look = tool(listed("look")).access(|_| Access::read("x"));
    assert!(run(look, args).await.attempts > 1);
    let wrong = ask("nowhere").await;
    assert!(wrong.to_text().contains("no such path") && wrong.attempts == 1);
}

#[tokio::test]
async fn schemas_are_the_servers() {
    let outcome = run(tool(listed("look")), json!({"file": "text"})).await;
    assert!(matches!(
        outcome.result,
        Err(CallError {
            kind: CallErrorKind::InvalidInput,
            ..
        })
    ));
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let strict = || tool(listed("look").with_raw_output_schema(Arc::new(object(schema.clone()))));
    let fit = run(strict(), json!({"path": "structured"})).await;
    assert!(fit.result.is_ok(), "{fit:?}");
    let unfit = run(strict(), json!({"path": "unfit"})).await;
    assert!(matches!(
        unfit.result,
        Err(CallError {
            kind: CallErrorKind::InvalidOutput,
            ..
        })
    ));
}

#[test]
fn hints_count_when_the_server_is_trusted_only() {
    let hints = ToolAnnotations::new().read_only(true).open_world(false);
    let look = || tool(listed("look").with_annotations(hints.clone()));
    let args = json!({"path": "text"});
    assert_eq!(
        look().access(|_| Access::none()).access_of(&args),
        Access::none()
    );
    assert_eq!(look().access_of(&args), Access::exclusive());
    assert_eq!(look().trusted().access_of(&args), Access::read_all());
    assert_eq!(
        tool(listed("edit")).trusted().access_of(&args),
        Access::exclusive()
    );
    let annotations = Annotations::from(&hints);
    assert!(annotations.read_only && annotations.destructive && !annotations.open_world);
    assert_eq!(
        Annotations::from(&ToolAnnotations::new()),
        Annotations::default()
    );
}

trait AccessOf {
    fn access_of(&self, args: &Value) -> Access;
}

impl AccessOf for McpTool {
    fn access_of(&self, args: &Value) -> Access {
        Tool::access(self, args)
    }
}

#[tokio::test]
async fn outcomes_become_results_of_a_server() {
    let text = run(tool(listed("look")), json!({"path": "text"})).await;
    assert_eq!(
        CallToolResult::from(text),
        CallToolResult::success(vec![ContentBlock::text("a\nb")])
    );
    let structured = run(tool(listed("look")), json!({"path": "structured"})).await;
    assert_eq!(
        CallToolResult::from(structured),
        CallToolResult::structured(json!({"n": 7}))
    );
    let failed = CallToolResult::from(run(tool(listed("look")), json!({})).await);
    assert_eq!(failed.is_error, Some(true));
    let said = failed.content[0].as_text().unwrap().text.as_str();
    assert!(said.contains("validate failed"), "{said}");
    // Without arguments at all.
    let call = ToolCall::from_mcp("7", CallToolRequestParams::new("look"));
    assert_eq!(
        (call.id.as_str(), call.name.as_str(), call.args),
        ("7", "look", json!({}))
    );
}

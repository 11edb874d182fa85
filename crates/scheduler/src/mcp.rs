//! The Model Context Protocol's types, as the crate `rmcp` has them: tools and calls in, results out.

use std::fmt;
use std::future::Future;

use rmcp::ErrorData;
use rmcp::model::{
    self, CallToolRequestParams, CallToolResult, ContentBlock, ErrorCode, ToolAnnotations,
};
use serde_json::Value;

use crate::{
    Access, Annotations, BoxFuture, Tool, ToolCall, ToolContext, ToolError, ToolOutcome, ToolOutput,
};

impl From<&ToolAnnotations> for Annotations {
    fn from(hints: &ToolAnnotations) -> Self {
        let default = Self::default();
        Self {
            read_only: hints.read_only_hint.unwrap_or(default.read_only),
            destructive: hints.destructive_hint.unwrap_or(default.destructive),
            idempotent: hints.idempotent_hint.unwrap_or(default.idempotent),
            open_world: hints.open_world_hint.unwrap_or(default.open_world),
        }
    }
}

type Run = dyn Fn(CallToolRequestParams, ToolContext) -> BoxFuture<'static, Result<CallToolResult, ErrorData>>
    + Send
    + Sync;
type OfArgs = Box<dyn Fn(&Value) -> Access + Send + Sync>;

/// A tool of an MCP server as a [`Tool`]: name and schemas are the server's, calls go where `run` sends them.
///
/// What the server says about itself are hints: the tool is exclusive until [`trusted`](Self::trusted) or
/// [`access`](Self::access) says more. A server's inner error is tried again only where the call only reads, or a
/// trusted server says that the tool is idempotent. Its arguments are checked against its input schema before it is called. A server
/// that states an output schema must answer with structured content that fits it.
///
/// ```
/// use mainspring_scheduler::{McpTool, Toolbox};
/// use rmcp::model::{CallToolResult, ContentBlock, Tool, ToolAnnotations};
/// let listed = Tool::new_with_raw("look", None, serde_json::Map::new())
///     .with_annotations(ToolAnnotations::new().read_only(true));
/// let look = McpTool::new(listed, |params, _context| async move {
///     // Usually: peer.call_tool(params).await
///     Ok(CallToolResult::success(vec![ContentBlock::text(format!("{} was called", params.name))]))
/// })
/// .trusted();
/// let tools = Toolbox::new().with(look)?;
/// # Ok::<(), mainspring_scheduler::BuildError>(())
/// ```
pub struct McpTool {
    tool: model::Tool,
    trusted: bool,
    access: Option<OfArgs>,
    endpoint: Option<String>,
    run: Box<Run>,
}

impl McpTool {
    /// The tool as its server lists it, and how it is called.
    pub fn new<F, Fut>(tool: model::Tool, run: F) -> Self
    where
        F: Fn(CallToolRequestParams, ToolContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<CallToolResult, ErrorData>> + Send + 'static,
    {
        Self {
            tool,
            trusted: false,
            access: None,
            endpoint: None,
            run: Box::new(move |params, context| Box::pin(run(params, context))),
        }
    }

    /// Believes the hints: a tool that says it only reads runs beside others that only read.
    #[must_use]
    pub fn trusted(mut self) -> Self {
        self.trusted = true;
        self
    }

    /// Says what a call reads and writes, whatever the hints say.
    #[must_use]
    pub fn access(mut self, access: impl Fn(&Value) -> Access + Send + Sync + 'static) -> Self {
        self.access = Some(Box::new(access));
        self
    }

    /// The server that calls go to: those of one endpoint share its cooldown and its rate limit.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// The tool as its server lists it.
    #[must_use]
    pub fn listed(&self) -> &model::Tool {
        &self.tool
    }

    fn hints(&self) -> Annotations {
        let hints = self.tool.annotations.as_ref();
        hints.map(Annotations::from).unwrap_or_default()
    }
}

impl Tool for McpTool {
    fn name(&self) -> &str {
        &self.tool.name
    }

    fn schema(&self) -> Option<Value> {
        Some(self.tool.schema_as_json_value())
    }

    fn output_schema(&self) -> Option<Value> {
        let schema = self.tool.output_schema.as_ref()?;
        Some(Value::Object(schema.as_ref().clone()))
    }

    fn access(&self, args: &Value) -> Access {
        if let Some(access) = &self.access {
            return access(args);
        }
        Access::from_annotations(self.hints(), self.trusted)
    }

    fn endpoint(&self, _args: &Value) -> Option<String> {
        self.endpoint.clone()
    }

    fn call<'a>(
        &'a self,
        args: &'a Value,
        context: &'a ToolContext,
    ) -> BoxFuture<'a, Result<ToolOutput, ToolError>> {
        let mut params = CallToolRequestParams::new(self.tool.name.clone());
        params.arguments = args.as_object().cloned();
        let called = (self.run)(params, context.clone());
        let access = self.access(args);
        let only_reads = access.writes.is_empty() && !access.exclusive;
        let repeatable = only_reads || self.trusted && self.hints().idempotent;
        Box::pin(async move {
            match called.await {
                Ok(result) => output(result),
                // What the server did before it failed, it does not say.
                Err(error) if !repeatable => Err(ToolError::permanent(error.message)),
                Err(error) => Err(error.into()),
            }
        })
    }
}

impl fmt::Debug for McpTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpTool")
            .field("tool", &self.tool)
            .field("trusted", &self.trusted)
            .finish_non_exhaustive()
    }
}

/// An error is what the server calls one. Structured content goes first; texts are joined by line breaks; other blocks
/// (images, sounds, resources) stay JSON, in a list of all blocks.
fn output(result: CallToolResult) -> Result<ToolOutput, ToolError> {
    let failed = result.is_error == Some(true);
    let content = match result.structured_content {
        Some(content) if !failed => content,
        _ => plain(result.content)?,
    };
    if !failed {
        return Ok(ToolOutput::json(content));
    }
    Err(ToolError::permanent(match content {
        Value::String(text) => text,
        other => other.to_string(),
    }))
}

fn plain(blocks: Vec<ContentBlock>) -> Result<Value, ToolError> {
    let texts: Option<Vec<&str>> = blocks.iter().map(text).collect();
    match texts {
        Some(texts) => Ok(Value::String(texts.join("\n"))),
        None => serde_json::to_value(&blocks)
            .map_err(|why| ToolError::permanent(format!("the server's answer is no JSON: {why}"))),
    }
}

fn text(block: &ContentBlock) -> Option<&str> {
    match block {
        ContentBlock::Text(text) => Some(&text.text),
        _ => None,
    }
}

impl From<ErrorData> for ToolError {
    /// A server's inner error may pass; a request that it does not understand will not.
    fn from(error: ErrorData) -> Self {
        match error.code {
            ErrorCode::INTERNAL_ERROR => Self::transient(error.message),
            _ => Self::permanent(error.message),
        }
    }
}

impl ToolCall {
    /// The call that an MCP request asks for. Requests have no id of their own: give the message's. Without arguments it
    /// is called with an empty object.
    #[must_use]
    pub fn from_mcp(id: impl Into<String>, params: CallToolRequestParams) -> Self {
        let args = Value::Object(params.arguments.unwrap_or_default());
        Self::new(id, params.name, args)
    }
}

impl From<ToolOutput> for CallToolResult {
    /// A text stays a text; anything else is structured content, with its JSON as text for clients that know only that.
    fn from(output: ToolOutput) -> Self {
        match output.content {
            Value::String(text) => Self::success(vec![ContentBlock::text(text)]),
            other => Self::structured(other),
        }
    }
}

impl From<ToolOutcome> for CallToolResult {
    /// An error of the call is a result that says so, which is what a model gets to read: not a protocol error.
    fn from(outcome: ToolOutcome) -> Self {
        match outcome.result {
            Ok(output) => output.into(),
            Err(error) => Self::error(vec![ContentBlock::text(error.to_string())]),
        }
    }
}

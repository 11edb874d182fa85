//! Tools and calls of them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::hold::Holds;
use crate::{Access, Budget, Cost, Hold, ToolError, ToolOutput};

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something a model can call. Object-safe; [`FnTool`] makes one from a closure.
///
/// Everything but `call` must be quick and must not block: it runs on the caller's thread when a call is submitted
/// (`access` may do the few `lstat` calls of [`ResourceKey::file`](crate::ResourceKey::file)). A panic anywhere in
/// a tool becomes that call's error.
pub trait Tool: Send + Sync + 'static {
    /// The name it is called by.
    fn name(&self) -> &str;

    /// JSON Schema of the arguments; read once, at registration. Default: anything goes.
    fn schema(&self) -> Option<Value> {
        None
    }

    /// JSON Schema of a result's content; read once, at registration. Default: anything goes.
    fn output_schema(&self) -> Option<Value> {
        None
    }

    /// What a call with these arguments reads and writes. Default: exclusive.
    fn access(&self, _args: &Value) -> Access {
        Access::exclusive()
    }

    /// The server that a call goes to: calls of one endpoint share its cooldown and its rate limit.
    fn endpoint(&self, _args: &Value) -> Option<String> {
        None
    }

    /// An upper bound of what a call costs; that much is reserved before it runs.
    fn cost(&self, _args: &Value) -> Cost {
        Cost::default()
    }

    /// Longest time of one run; default: the scheduler's.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// Runs the call. Dropping the future must stop it.
    fn call<'a>(
        &'a self,
        args: &'a Value,
        context: &'a ToolContext,
    ) -> BoxFuture<'a, Result<ToolOutput, ToolError>>;
}

/// What a running call knows about itself. Clones are the same call.
#[derive(Debug, Clone)]
pub struct ToolContext {
    pub(crate) inner: Arc<ContextInner>,
    pub(crate) attempt: u32,
}

#[derive(Debug)]
pub(crate) struct ContextInner {
    pub(crate) id: String,
    pub(crate) tool: String,
    pub(crate) session: String,
    pub(crate) index: usize,
    pub(crate) cancellation: CancellationToken,
    pub(crate) output: Option<mpsc::Sender<OutputChunk>>,
    pub(crate) holds: Holds,
}

impl ToolContext {
    /// The call's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// The tool's name.
    #[must_use]
    pub fn tool(&self) -> &str {
        &self.inner.tool
    }

    /// The session the call belongs to.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.inner.session
    }

    /// Which run of the call this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Cancelled when the call is stopped: hand it to whatever the tool starts elsewhere.
    #[must_use]
    pub fn cancellation(&self) -> &CancellationToken {
        &self.inner.cancellation
    }

    /// Keeps the call from being over, stopped or not, until the hold is dropped: for work on a thread or elsewhere that
    /// dropping the call's future does not end. Until then nothing that conflicts with the call starts.
    pub fn hold(&self) -> Hold {
        Hold::new(&self.inner)
    }

    /// Passes a piece of output on while the call still runs; waits while the receiver is behind. Returns false
    /// when nobody listens.
    pub async fn emit(&self, text: impl Into<String>) -> bool {
        let Some(output) = &self.inner.output else {
            return false;
        };
        let chunk = OutputChunk {
            index: self.inner.index,
            text: text.into(),
        };
        output.send(chunk).await.is_ok()
    }
}

/// A piece of output from a call that still runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputChunk {
    /// Position of the call in its run.
    pub index: usize,
    /// The piece.
    pub text: String,
}

/// One call of a tool. Fields other than the first three have setters.
#[derive(Debug, Clone)]
pub struct ToolCall {
    /// The id that the model gave it.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments.
    pub args: Value,
    pub(crate) session: String,
    pub(crate) priority: i8,
    pub(crate) deadline: Option<Duration>,
    pub(crate) cancellation: Option<CancellationToken>,
    pub(crate) budget: Option<Budget>,
    pub(crate) output: Option<mpsc::Sender<OutputChunk>>,
}

impl ToolCall {
    /// A call in the unnamed session, of priority 0, without a deadline of its own.
    #[must_use]
    pub fn new(id: impl Into<String>, name: impl Into<String>, args: Value) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            args,
            session: String::new(),
            priority: 0,
            deadline: None,
            cancellation: None,
            budget: None,
            output: None,
        }
    }

    /// The session (or user) it belongs to: turns and limits are kept per session.
    #[must_use]
    pub fn session(mut self, session: impl Into<String>) -> Self {
        self.session = session.into();
        self
    }

    /// From -8 to 8, higher first. Default 0.
    #[must_use]
    pub fn priority(mut self, priority: i8) -> Self {
        self.priority = priority;
        self
    }

    /// Time from submission to the end, queueing and retries included. Default: none.
    #[must_use]
    pub fn deadline(mut self, within: Duration) -> Self {
        self.deadline = Some(within);
        self
    }

    /// Stops the call when this token is cancelled.
    #[must_use]
    pub fn cancellation(mut self, token: CancellationToken) -> Self {
        self.cancellation = Some(token);
        self
    }

    /// Who pays. Default: the scheduler's budget, if it has one.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Where pieces of output go while the call runs.
    #[must_use]
    pub fn output_to(mut self, output: mpsc::Sender<OutputChunk>) -> Self {
        self.output = Some(output);
        self
    }
}

type Run =
    dyn Fn(Value, ToolContext) -> BoxFuture<'static, Result<ToolOutput, ToolError>> + Send + Sync;
type OfArgs<T> = Box<dyn Fn(&Value) -> T + Send + Sync>;

/// A tool made from closures.
///
/// ```
/// use mainspring_scheduler::{Access, FnTool, ToolOutput};
/// use serde_json::json;
/// let grep = FnTool::new("grep", |args, _context| async move {
///     Ok(ToolOutput::text(format!("nothing like {}", args["pattern"])))
/// })
/// .schema(json!({"type": "object", "required": ["pattern"]}))
/// .access(|args| Access::read(args["path"].as_str().unwrap_or("")));
/// ```
pub struct FnTool {
    name: String,
    schema: Option<Value>,
    output_schema: Option<Value>,
    timeout: Option<Duration>,
    access: Option<OfArgs<Access>>,
    endpoint: Option<OfArgs<Option<String>>>,
    cost: Option<OfArgs<Cost>>,
    run: Box<Run>,
}

impl FnTool {
    /// A tool that runs `run`, exclusive and unchecked until it says more.
    pub fn new<F, Fut>(name: impl Into<String>, run: F) -> Self
    where
        F: Fn(Value, ToolContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<ToolOutput, ToolError>> + Send + 'static,
    {
        Self {
            name: name.into(),
            schema: None,
            output_schema: None,
            timeout: None,
            access: None,
            endpoint: None,
            cost: None,
            run: Box::new(move |args, context| Box::pin(run(args, context))),
        }
    }

    /// A tool that runs `run` on a thread for blocking work. A thread cannot be stopped: a call that is cancelled or out of
    /// time keeps its slot and its keys, and has its outcome, when `run` has returned; long work should look at
    /// [`ToolContext::cancellation`] now and then. One that still waits for a thread does not begin.
    ///
    /// ```
    /// use mainspring_scheduler::{Access, FnTool, ResourceKey, ToolOutput};
    /// let read = FnTool::blocking("read", |args, _context| {
    ///     Ok(ToolOutput::text(std::fs::read_to_string(args["path"].as_str().unwrap_or(""))?))
    /// })
    /// .access(|args| Access::read(ResourceKey::file(args["path"].as_str().unwrap_or(""))));
    /// ```
    pub fn blocking<F>(name: impl Into<String>, run: F) -> Self
    where
        F: Fn(Value, ToolContext) -> Result<ToolOutput, ToolError> + Send + Sync + 'static,
    {
        let run = Arc::new(run);
        Self::new(name, move |args, context| {
            let (run, hold) = (run.clone(), context.hold());
            let work = tokio::task::spawn_blocking(move || {
                let result = match context.cancellation().is_cancelled() {
                    true => Err(ToolError::permanent("stopped before it began")),
                    false => run(args, context),
                };
                drop(hold);
                result
            });
            async move {
                match work.await {
                    Ok(result) => result,
                    Err(why) => match why.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(why) => Err(ToolError::permanent(why.to_string())),
                    },
                }
            }
        })
    }

    /// JSON Schema of the arguments.
    #[must_use]
    pub fn schema(mut self, schema: Value) -> Self {
        self.schema = Some(schema);
        self
    }

    /// JSON Schema of the result's content.
    #[must_use]
    pub fn output_schema(mut self, schema: Value) -> Self {
        self.output_schema = Some(schema);
        self
    }

    /// What a call reads and writes.
    #[must_use]
    pub fn access(mut self, access: impl Fn(&Value) -> Access + Send + Sync + 'static) -> Self {
        self.access = Some(Box::new(access));
        self
    }

    /// The server a call goes to.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        let endpoint = endpoint.into();
        self.endpoint = Some(Box::new(move |_| Some(endpoint.clone())));
        self
    }

    /// An upper bound of what a call costs.
    #[must_use]
    pub fn cost(mut self, cost: impl Fn(&Value) -> Cost + Send + Sync + 'static) -> Self {
        self.cost = Some(Box::new(cost));
        self
    }

    /// Longest time of one run.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl Tool for FnTool {
    fn name(&self) -> &str {
        &self.name
    }

    fn schema(&self) -> Option<Value> {
        self.schema.clone()
    }

    fn output_schema(&self) -> Option<Value> {
        self.output_schema.clone()
    }

    fn access(&self, args: &Value) -> Access {
        self.access
            .as_ref()
            .map_or_else(Access::exclusive, |access| access(args))
    }

    fn endpoint(&self, args: &Value) -> Option<String> {
        self.endpoint.as_ref().and_then(|endpoint| endpoint(args))
    }

    fn cost(&self, args: &Value) -> Cost {
        self.cost
            .as_ref()
            .map_or_else(Cost::default, |cost| cost(args))
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    fn call<'a>(
        &'a self,
        args: &'a Value,
        context: &'a ToolContext,
    ) -> BoxFuture<'a, Result<ToolOutput, ToolError>> {
        (self.run)(args.clone(), context.clone())
    }
}

impl fmt::Debug for FnTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnTool")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

//! The tools of the sessions: readers and writers of documents, a model, and some that go wrong.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mainspring::{
    agents::{Answer, Error as ProviderError, Provider, Request},
    scheduler::{
        Access, Cost, FnTool, RetryAfter, Tool, ToolContext, ToolError, ToolOutput, Toolbox,
    },
};
use mainspring_soak_checker::{Line, digest};
use serde_json::{Value, json};
use std::time::Instant;

use super::{
    Server, backend,
    tell::{Tell, took},
};

/// What a call of the model may cost, and what nonsense does.
pub(crate) const MOST: u64 = 50;
const NONSENSE: u64 = 5;
/// Largest answer taken.
const MAX_ANSWER: usize = 1 << 20;

/// Tells when resources are touched, and when not any more, whatever ends it.
struct Touch {
    tell: Arc<Tell>,
    x: u64,
}

impl Touch {
    fn new(tell: &Arc<Tell>, access: &Access) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let x = NEXT.fetch_add(1, Ordering::Relaxed);
        let names = |keys: &[mainspring::scheduler::ResourceKey]| {
            keys.iter().map(|key| key.as_str().to_owned()).collect()
        };
        let (reads, writes) = (names(&access.reads), names(&access.writes));
        tell.line(Line::Begin { x, reads, writes });
        Self {
            tell: Arc::clone(tell),
            x,
        }
    }
}

impl Drop for Touch {
    fn drop(&mut self) {
        self.tell.line(Line::End { x: self.x });
    }
}

pub(crate) fn toolbox(server: &Arc<Server>) -> Result<Toolbox, mainspring::Error> {
    let tools: [Arc<dyn Tool>; 6] = [
        Arc::new(read_doc(server)),
        Arc::new(write_docs(server, "write_docs", written)),
        // All of them at once: a directory covers what lies in it.
        Arc::new(write_docs(server, "write_tree", |_| Access::write("doc"))),
        Arc::new(unlucky(server)),
        Arc::new(endless(server)),
        Arc::new(ask(server)),
    ];
    server.runtime.toolbox(tools)
}

fn document(args: &Value) -> u32 {
    args["doc"].as_u64().map_or(0, |doc| doc as u32)
}

fn documents(args: &Value) -> Vec<u32> {
    let listed = args["docs"].as_array().map_or(&[][..], Vec::as_slice);
    listed
        .iter()
        .filter_map(|doc| doc.as_u64().map(|doc| doc as u32))
        .collect()
}

fn key(document: u32) -> String {
    format!("doc/{document}")
}

fn read(args: &Value) -> Access {
    Access::read(&*key(document(args)))
}

fn written(args: &Value) -> Access {
    documents(args)
        .into_iter()
        .fold(Access::none(), |access, doc| access.and_write(&*key(doc)))
}

fn read_doc(server: &Arc<Server>) -> FnTool {
    let (tell, socket) = (Arc::clone(&server.tell), server.arguments.backend.clone());
    FnTool::new("read_doc", move |args, _| {
        let (tell, socket) = (Arc::clone(&tell), socket.clone());
        async move {
            let _touch = Touch::new(&tell, &read(&args));
            let saw = backend::read(&socket, document(&args)).await;
            let saw = saw.map_err(|error| ToolError::transient(error.to_string()))?;
            Ok(ToolOutput::json(json!({ "saw": saw })))
        }
    })
    .access(read)
    .timeout(Duration::from_secs(2))
}

fn write_docs(server: &Arc<Server>, name: &str, access: fn(&Value) -> Access) -> FnTool {
    let (tell, socket) = (Arc::clone(&server.tell), server.arguments.backend.clone());
    FnTool::new(name, move |args, _| {
        let (tell, socket) = (Arc::clone(&tell), socket.clone());
        async move {
            let _touch = Touch::new(&tell, &access(&args));
            let wrote = backend::write(&socket, &documents(&args)).await;
            let wrote = wrote.map_err(|error| ToolError::permanent(error.to_string()))?;
            Ok(ToolOutput::json(json!({ "wrote": wrote })))
        }
    })
    .access(access)
    .timeout(Duration::from_secs(2))
}

/// Panics while it holds what it writes.
fn unlucky(server: &Arc<Server>) -> FnTool {
    let tell = Arc::clone(&server.tell);
    FnTool::new("unlucky", move |args, _| {
        let tell = Arc::clone(&tell);
        async move {
            let _touch = Touch::new(&tell, &written(&args));
            tokio::task::yield_now().await;
            panic!("{}", super::EXPECTED_PANIC)
        }
    })
    .access(written)
}

/// Runs until it is stopped.
fn endless(server: &Arc<Server>) -> FnTool {
    let tell = Arc::clone(&server.tell);
    FnTool::new("endless", move |args, _| {
        let tell = Arc::clone(&tell);
        async move {
            let _touch = Touch::new(&tell, &written(&args));
            std::future::pending().await
        }
    })
    .access(written)
    .timeout(Duration::from_millis(80))
}

fn ask(server: &Arc<Server>) -> FnTool {
    let server = Arc::downgrade(server);
    FnTool::new("ask", move |args, context| {
        let server = server.upgrade();
        async move {
            let server = server.ok_or_else(|| ToolError::permanent("the server is gone"))?;
            asked(&server, args, context).await
        }
    })
    .access(|_| Access::none())
    .endpoint("provider")
    .cost(|_| Cost {
        tokens: 0,
        money: MOST,
    })
    .timeout(Duration::from_secs(2))
}

async fn asked(
    server: &Server,
    mut args: Value,
    context: ToolContext,
) -> Result<ToolOutput, ToolError> {
    let id = format!("{}#{}", context.id(), context.attempt());
    let messages = match args["messages"].take() {
        Value::String(messages) => messages,
        _ => return Err(ToolError::permanent("there are no messages")),
    };
    let started = Instant::now();
    let answer = async {
        let stream = server.provider.stream(Request::new(&*id, messages)).await?;
        Answer::collect(stream, MAX_ANSWER).await
    };
    let charge = |money| {
        server.charge(context.session(), money);
        Cost { tokens: 0, money }
    };
    match answer.await {
        Ok(answer) if answer.finish == "stop" => {
            let dg = digest(answer.text.as_bytes());
            let us = took(started);
            server.tell.line(Line::Answered { id, dg, us });
            let tokens = answer.usage.map_or(0, |usage| usage.output_tokens);
            let usage = charge(tokens.min(MOST));
            Ok(ToolOutput::text(answer.text).with_usage(usage))
        }
        Ok(_) => Err(ToolError::transient("the answer broke off")),
        Err(ProviderError::RateLimited { retry_after }) => {
            let after = retry_after.map(RetryAfter::Delay);
            Err(ToolError::rate_limited("too many requests", after))
        }
        Err(error @ ProviderError::Damaged { .. }) => {
            Err(ToolError::permanent(error.to_string()).with_usage(charge(NONSENSE)))
        }
        Err(error) => Err(ToolError::transient(error.to_string())),
    }
}

//! Reads are remembered, writes invalidate them, per session.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use mainspring::{
    adapters::CachedTool,
    cache_tier::{BytesCodec, TieredCache},
    scheduler::{
        Access, Budget, Cost, FnTool, Scheduler, Tool, ToolCall, ToolError, ToolOutput, Toolbox,
    },
};
use serde_json::{Value, json};

struct World {
    scheduler: Scheduler,
    reads: Arc<AtomicUsize>,
}

/// One file that `read` shows and `write` changes; `read` fails while the file is empty.
async fn world() -> World {
    let cache = TieredCache::<Bytes>::builder(BytesCodec)
        .memory(100)
        .open()
        .await
        .unwrap();
    let (file, reads) = (
        Arc::new(Mutex::new("one".to_owned())),
        Arc::new(AtomicUsize::new(0)),
    );
    let (shown, counter) = (Arc::clone(&file), Arc::clone(&reads));
    let read = FnTool::new("read", move |_, _| {
        counter.fetch_add(1, Ordering::Relaxed);
        let text = shown.lock().unwrap().clone();
        async move {
            if text.is_empty() {
                return Err(ToolError::permanent("the file is empty"));
            }
            Ok(ToolOutput::text(text))
        }
    })
    .access(|args| Access::read(args["path"].as_str().unwrap_or_default()));
    let write = FnTool::new("write", move |args: Value, _| {
        *file.lock().unwrap() = args["text"].as_str().unwrap_or_default().to_owned();
        async { Ok(ToolOutput::text("done")) }
    })
    .access(|args| Access::write(args["path"].as_str().unwrap_or_default()));
    let shell = FnTool::new("shell", |_, _| async { Ok(ToolOutput::text("ran")) });
    let mut toolbox = Toolbox::new();
    for tool in [
        Arc::new(read) as Arc<dyn Tool>,
        Arc::new(write),
        Arc::new(shell),
    ] {
        toolbox.add(CachedTool::new(tool, cache.clone())).unwrap();
    }
    World {
        scheduler: Scheduler::builder().toolbox(toolbox).build().unwrap(),
        reads,
    }
}

impl World {
    async fn call(&self, session: &str, name: &str, args: Value) -> String {
        let call = ToolCall::new("1", name, args).session(session);
        self.scheduler.run(vec![call]).await.remove(0).to_text()
    }

    async fn read(&self, session: &str) -> String {
        self.call(session, "read", json!({"path": "src/a.rs"}))
            .await
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_read_is_remembered_until_a_write_touches_it() {
    let world = world().await;
    assert_eq!(world.read("a").await, "one");
    assert_eq!(world.read("a").await, "one");
    assert_eq!(world.reads(), 1);

    world
        .call("a", "write", json!({"path": "src/b.rs", "text": "two"}))
        .await;
    assert_eq!(world.read("a").await, "one", "another file was written");
    assert_eq!(world.reads(), 1);

    world
        .call("a", "write", json!({"path": "src", "text": "three"}))
        .await;
    assert_eq!(
        world.read("a").await,
        "three",
        "a directory covers its files"
    );
    assert_eq!(world.reads(), 2);
}

#[tokio::test]
async fn an_undeclared_tool_invalidates_everything() {
    let world = world().await;
    world.read("a").await;
    world.call("a", "shell", json!({"command": "make"})).await;
    world.read("a").await;
    assert_eq!(world.reads(), 2);
}

#[tokio::test]
async fn sessions_do_not_see_each_others_results() {
    let world = world().await;
    world.read("a").await;
    world.read("b").await;
    assert_eq!(world.reads(), 2);
}

#[tokio::test]
async fn errors_are_the_tools_own_and_are_not_remembered() {
    let world = world().await;
    world
        .call("a", "write", json!({"path": "src/a.rs", "text": ""}))
        .await;
    assert!(world.read("a").await.contains("the file is empty"));
    assert!(world.read("a").await.contains("the file is empty"));
    assert_eq!(world.reads(), 2);
}

#[tokio::test]
async fn a_tool_that_is_wrapped_twice_is_cached_once() {
    let builder = TieredCache::<Bytes>::builder(BytesCodec).memory(100);
    let cache = builder.open().await.unwrap();
    let reads = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reads);
    let read = FnTool::new("read", move |_, _| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { Ok(ToolOutput::text("text")) }
    })
    .access(|_| Access::read("file"));
    let once = CachedTool::new(Arc::new(read), cache.clone());
    let mut toolbox = Toolbox::new();
    toolbox
        .add(CachedTool::new(Arc::new(once), cache.clone()))
        .unwrap();
    let scheduler = Scheduler::builder().toolbox(toolbox).build().unwrap();
    for _ in 0..3 {
        let call = ToolCall::new("1", "read", json!({})).session("s");
        let outcome = scheduler.run(vec![call]).await.remove(0);
        assert_eq!(outcome.to_text(), "text");
    }
    assert_eq!(reads.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn whoever_waits_for_anothers_call_does_not_pay_for_its_failure() {
    let cache = TieredCache::<Bytes>::builder(BytesCodec).memory(10);
    let cache = cache.open().await.unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&runs);
    let fetch = FnTool::new("fetch", move |_, _| {
        counter.fetch_add(1, Ordering::Relaxed);
        async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            Err(ToolError {
                usage: Some(Cost {
                    tokens: 1,
                    money: 10,
                }),
                ..ToolError::permanent("it broke off")
            })
        }
    })
    .access(|_| Access::read("page"));
    let mut toolbox = Toolbox::new();
    toolbox
        .add(CachedTool::new(Arc::new(fetch), cache))
        .unwrap();
    let scheduler = Scheduler::builder().toolbox(toolbox).build().unwrap();
    let budget = Budget::new("run", 1_000);
    let calls =
        ["1", "2", "3", "4"].map(|id| ToolCall::new(id, "fetch", json!({})).budget(budget.clone()));
    let outcomes = scheduler.run(calls.into()).await;
    assert!(outcomes.iter().all(|outcome| outcome.result.is_err()));
    let runs = runs.load(Ordering::Relaxed);
    assert!(runs < 4, "nobody waited");
    assert_eq!(budget.spent(), 10 * runs as u64);
}

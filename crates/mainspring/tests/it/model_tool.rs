//! A model behind the scheduler: retried when it may be, paid for once.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use mainspring::{
    adapters::ModelTool,
    agents::{BoxFuture, Chunk, ChunkStream, Error, Provider, RecordedProvider, Request, Usage},
    scheduler::{
        Budget, ModelRouter, Prices, Retry, Scheduler, Tier, Tool, ToolCall, ToolOutcome, Toolbox,
    },
};
use serde_json::json;

const MESSAGES: &str = r#"[{"role":"user", "content":"Rename  this."}]"#;

fn answer() -> Vec<Chunk> {
    vec![
        Chunk::Text("Done.".to_owned()),
        Chunk::ToolCall {
            index: 0,
            id: Some("c1".to_owned()),
            name: Some("read".to_owned()),
            arguments: "{}".to_owned(),
        },
        Chunk::Usage(Usage::new(1_000, 0, 200)),
        Chunk::Finished("tool_calls".to_owned()),
    ]
}

async fn ask(provider: Arc<RecordedProvider>, budget: &Budget, tier: Tier) -> ToolOutcome {
    let retry = Retry {
        base: Duration::ZERO,
        ..Retry::default()
    };
    let tool = ModelTool::new(Arc::clone(&provider) as Arc<dyn Provider>, "small")
        .tier(Tier::Quality, "large")
        .router(ModelRouter::new().pin("lead", tier))
        .watch(budget.clone());
    let mut tools = Toolbox::new();
    let name = tool.name().to_owned();
    tools.add(tool).unwrap();
    let scheduler = Scheduler::builder()
        .retry(retry)
        .toolbox(tools)
        .build()
        .unwrap();
    let args = json!({"messages": MESSAGES, "agent": "lead", "max_output_tokens": 500});
    let call = ToolCall::new("1", name, args).budget(budget.clone());
    scheduler.run(vec![call]).await.remove(0)
}

#[tokio::test]
async fn a_model_is_asked_again_when_that_may_help_and_paid_for_once() {
    let refused = |status| Error::Refused {
        status,
        message: "no".to_owned(),
    };
    let limited = Error::RateLimited {
        retry_after: Some(Duration::ZERO),
    };
    let whole = || Ok(answer().into_iter().map(Ok).collect());
    let answers = [Err(limited), Err(refused(503)), whole()];
    let provider = Arc::new(RecordedProvider::with_failures(answers));
    let budget = Budget::new("run", 10_000_000);
    let outcome = ask(Arc::clone(&provider), &budget, Tier::Quality).await;
    assert_eq!(outcome.attempts, 3);
    let output = outcome.result.unwrap();
    let wanted = json!({
        "text": "Done.",
        "tool_calls": [{"id": "c1", "name": "read", "arguments": "{}"}],
        "finish": "tool_calls",
        "model": "large",
    });
    assert_eq!(output.content, wanted);
    assert_eq!(budget.spent(), Prices::default().cost(Tier::Quality, 1_200));
    let asked = provider.requests();
    assert_eq!(asked.len(), 3);
    assert!(
        asked.iter().all(|asked| asked.messages == MESSAGES),
        "byte for byte"
    );
    assert!(
        asked
            .iter()
            .all(|asked| asked.max_output_tokens == Some(500))
    );

    // What is refused is asked once, and costs nothing.
    let provider = Arc::new(RecordedProvider::with_failures([
        Err(refused(400)),
        whole(),
    ]));
    let outcome = ask(Arc::clone(&provider), &budget, Tier::Fast).await;
    assert_eq!((outcome.attempts, provider.remaining()), (1, 1));
    assert!(outcome.result.is_err());
    assert_eq!(budget.spent(), Prices::default().cost(Tier::Quality, 1_200));
}

#[tokio::test]
async fn a_budget_that_is_too_small_for_what_may_come_is_not_overrun() {
    let provider = Arc::new(RecordedProvider::new([answer()]));
    let budget = Budget::new("run", Prices::default().cost(Tier::Quality, 100));
    let outcome = ask(Arc::clone(&provider), &budget, Tier::Quality).await;
    assert!(outcome.result.is_err());
    assert_eq!((provider.requests().len(), budget.spent()), (0, 0));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_paid_for_before_it_is_asked_for_again() {
    let broken = || Error::Timeout {
        what: "the next piece of the answer",
        allowed: Duration::ZERO,
    };
    let cut = vec![Ok(Chunk::Text("Do".to_owned())), Err(broken())];
    let whole = answer().into_iter().map(Ok).collect();
    let provider = Arc::new(RecordedProvider::with_failures([
        Err(broken()),
        Ok(cut),
        Ok(whole),
    ]));
    let budget = Budget::new("run", 10_000_000);
    let outcome = ask(Arc::clone(&provider), &budget, Tier::Quality).await;
    assert_eq!(outcome.attempts, 3);
    assert!(outcome.result.is_ok());
    let reserved = MESSAGES.len().div_ceil(4) as u64 + 500;
    let prices = Prices::default();
    let paid = prices.cost(Tier::Quality, reserved) + prices.cost(Tier::Quality, 1_200);
    assert_eq!((budget.spent(), budget.stats().reserved), (paid, 0));
}

/// Begins its answers, and never ends one.
struct Stalling(Arc<tokio::sync::Notify>);

impl Provider for Stalling {
    fn name(&self) -> &str {
        "stalling"
    }

    fn stream(&self, _: Request) -> BoxFuture<'_, Result<ChunkStream, Error>> {
        let stream: ChunkStream = Box::pin(Stalled(Arc::clone(&self.0)));
        Box::pin(std::future::ready(Ok(stream)))
    }
}

struct Stalled(Arc<tokio::sync::Notify>);

impl futures_core::Stream for Stalled {
    type Item = Result<Chunk, Error>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.notify_one();
        Poll::Pending
    }
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_any_more_is_paid_for() {
    let begun = Arc::new(tokio::sync::Notify::new());
    let budget = Budget::new("run", 1_000_000_000_000);
    let tool = ModelTool::new(Arc::new(Stalling(Arc::clone(&begun))), "small")
        .router(ModelRouter::new().pin("lead", Tier::Quality))
        .watch(budget.clone());
    let mut tools = Toolbox::new();
    tools.add(tool).unwrap();
    let scheduler = Scheduler::builder().toolbox(tools).build().unwrap();
    // Without a bound of its own, 4,096 tokens.
    let args = json!({"messages": MESSAGES, "agent": "lead"});
    let call = ToolCall::new("1", "stalling", args).budget(budget.clone());
    tokio::select! {
        ended = scheduler.run(vec![call]) => panic!("it never ends: {ended:?}"),
        () = begun.notified() => {}
    }
    let most = MESSAGES.len().div_ceil(4) as u64 + 4_096;
    let paid = Prices::default().cost(Tier::Quality, most);
    let settled = async {
        while (budget.spent(), budget.stats().reserved) != (paid, 0) {
            assert!(budget.spent() <= paid);
            tokio::task::yield_now().await;
        }
    };
    let settled = tokio::time::timeout(Duration::from_secs(20), settled).await;
    assert!(settled.is_ok(), "{:?}", budget.stats());
}

#[tokio::test]
async fn an_answer_is_bounded_by_what_was_reserved_for_it() {
    let provider = Arc::new(RecordedProvider::new([answer()]));
    let tool = ModelTool::new(Arc::clone(&provider) as Arc<dyn Provider>, "small");
    let mut tools = Toolbox::new();
    let name = tool.name().to_owned();
    tools.add(tool).unwrap();
    let scheduler = Scheduler::builder().toolbox(tools).build().unwrap();
    let call = ToolCall::new("1", name, json!({"messages": MESSAGES}));
    assert!(scheduler.run(vec![call]).await[0].result.is_ok());
    assert_eq!(provider.requests()[0].max_output_tokens, Some(4_096));
}

//! What stands between an agent and its provider.

use std::{convert::Infallible, hint::black_box, time::Instant};

use anyhow::Result;
use mainspring::{
    agents::{Answer, BoxFuture, Chunk, ChunkStream, Error, Provider, Request, Usage},
    pool::{Manager, ResourcePool},
    scheduler::{Budget, ModelRequest, ModelRouter, Prices, Retry},
};

use crate::{Bench, Contest, Interval, Measured, check};

/// Tokens that a call may cost, reserved before it.
const RESERVED: u64 = 4_000;

/// Answers at once: what is left is what lies before it.
struct AtOnce;

impl Provider for AtOnce {
    fn name(&self) -> &str {
        "instant"
    }

    fn stream(&self, _: Request) -> BoxFuture<'_, Result<ChunkStream, Error>> {
        let chunks = [
            Chunk::Text("Done; the tests pass.".to_owned()),
            Chunk::Usage(Usage::new(1_000, 0, 200)),
            Chunk::Finished("stop".to_owned()),
        ];
        let stream = futures_util::stream::iter(chunks.map(Ok));
        Box::pin(async move { Ok(Box::pin(stream) as ChunkStream) })
    }
}

/// Connections that cost nothing to open.
struct Lines;

impl Manager for Lines {
    type Resource = ();
    type Error = Infallible;

    async fn connect(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Everything in front of the provider. The parts come from the crates; that they follow one another is
/// glue, written here as an application would write it.
struct Front {
    provider: AtOnce,
    router: ModelRouter,
    prices: Prices,
    budget: Budget,
    retry: Retry,
    lines: ResourcePool<Lines>,
}

impl Front {
    fn new() -> Result<Self> {
        Ok(Self {
            provider: AtOnce,
            router: ModelRouter::new(),
            prices: Prices::default(),
            budget: Budget::new("run", u64::MAX >> 8),
            retry: Retry::default(),
            lines: ResourcePool::builder(Lines).for_connections().build()?,
        })
    }

    /// Routed, paid for, on a pooled connection, tried again when it may be.
    async fn call(&self, prompt: &str) -> Result<Answer> {
        let request = ModelRequest {
            agent: "coder",
            prompt,
            tools: 8,
        };
        let route = self.router.route(&request, self.budget.level());
        let reserved = self
            .budget
            .reserve(self.prices.cost(route.tier, RESERVED))?;
        let started = Instant::now();
        let mut attempt = 0;
        let answer = loop {
            attempt += 1;
            let line = self.lines.get().await?;
            let answered = self.ask(prompt).await;
            drop(line);
            match answered {
                Ok(answer) => break answer,
                Err(error) => match self.retry.delay(attempt, started.elapsed(), None, 0.5) {
                    Some(delay) => tokio::time::sleep(delay).await,
                    None => return Err(error.into()),
                },
            }
        };
        let used = answer
            .usage
            .map_or(RESERVED, |usage| usage.input_tokens + usage.output_tokens);
        reserved.settle(self.prices.cost(route.tier, used));
        Ok(answer)
    }

    /// The provider alone.
    async fn ask(&self, prompt: &str) -> Result<Answer, Error> {
        let stream = self.provider.stream(Request::new("model", prompt)).await?;
        Answer::collect(stream, 1 << 20).await
    }
}

pub(super) fn measure(bench: &Bench) -> Result<Measured> {
    let tokio = super::tokio()?;
    // The pool's timers live on the runtime that it is built in.
    let _inside = tokio.enter();
    let front = Front::new()?;
    let prompt =
        mainspring_inputs::generate(&mainspring_inputs::SessionSpec::coding(1, 1)).concat();
    let answer = tokio.block_on(front.call(&prompt))?;
    let direct = tokio.block_on(front.ask(&prompt))?;
    check(
        bench.answer(answer.text) == direct.text,
        "another answer came through",
    )?;
    let spent = bench.answer(front.budget.spent());
    let tier = front.router.route(
        &ModelRequest {
            agent: "coder",
            prompt: &prompt,
            tools: 8,
        },
        front.budget.level(),
    );
    check(
        spent == front.prices.cost(tier.tier, 1_200),
        "the budget was charged otherwise",
    )?;
    let lent = bench.answer(front.lines.stats().in_use);
    check(lent == 0, "a connection did not come back")?;
    let calls = bench.scale().pick(4, 64, 64);
    let standing = Contest::new(bench, calls)
        .side("routed, budgeted, retried, pooled", "", || {
            tokio.block_on(async {
                for _ in 0..calls {
                    black_box(front.call(&prompt).await).expect("the call succeeds");
                }
            });
        })
        .side("the provider alone", "", || {
            tokio.block_on(async {
                for _ in 0..calls {
                    black_box(front.ask(&prompt).await).expect("the call succeeds");
                }
            });
        })
        .run();
    Ok(added(standing.time(1.0), prompt.len()))
}

/// What is more on our side than on the other, in microseconds.
fn added(mut measured: Measured, prompt: usize) -> Measured {
    let alone = measured.peers[0].samples.iter();
    let more = measured.own_samples.iter().zip(alone);
    measured.samples = more.map(|(ours, alone)| (ours - alone) / 1e3).collect();
    measured.value = Interval::of(&measured.samples);
    measured.noting(format!(
        "a prompt of {prompt} bytes; a provider that answers at once; router, budget, retry policy and \
         pool are the crates', the 30 lines around them are written here: the facade has no such call"
    ))
}

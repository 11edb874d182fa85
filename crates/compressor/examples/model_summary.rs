//! A model writes the prose of a summary; facts come from the record, inventions are refused.
//!
//! `cargo run --example model_summary`

use mainspring_compressor::{
    Budget, Compactor, Context, Estimate, Format, Summarizer, SummarizerError, SummaryRequest,
};
use mainspring_inputs::{SessionSpec, generate};
use std::{
    error::Error,
    future::{Future, pending},
    pin::pin,
    sync::Arc,
    task::{Context as Task, Poll, Waker},
};

/// Stands where a client of a provider would be.
struct Canned(&'static str);

impl Summarizer for Canned {
    async fn summarize(&self, request: SummaryRequest) -> Result<String, SummarizerError> {
        println!("asked for at most {} tokens", request.max_tokens);
        Ok(self.0.to_owned())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let compactor = Compactor::builder().target_reduction(0.9).build()?;
    let budget = Budget::new(200_000);
    let mut context = Context::new(Format::OpenAiChat, budget, Arc::new(Estimate::new()));
    for message in generate(&SessionSpec::coding(3, 200)) {
        context.push(message)?;
    }
    for model in [
        Canned("## 8. Current work\nMaking the loader handle empty files."),
        Canned("## 8. Current work\nRewrote src/never_seen.rs."),
    ] {
        // A real caller passes a timer of its runtime instead of `pending`.
        let advised = run(compactor.plan_with(&context, &model, pending()))?;
        match advised.rejected {
            Some(why) => println!("not taken: {why}"),
            None => println!("taken\n{}", advised.plan),
        }
    }
    Ok(())
}

/// The smallest executor: enough for futures that never wait.
fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut task = Task::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut task) {
            return output;
        }
    }
}

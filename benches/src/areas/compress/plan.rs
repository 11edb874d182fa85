//! Planning alone, without counting.

use std::{hint::black_box, sync::Arc};

use anyhow::Result;
use mainspring_compressor::{Budget, Compactor, Context, Format, Tally, Tokenizer};
use mainspring_inputs::{SessionSpec, generate};

use crate::{Bench, Contest, Measured, check};

/// Counts for nothing, so that the row times the planning.
#[derive(Debug)]
struct Quarter;

impl Tokenizer for Quarter {
    fn count(&self, text: &str) -> usize {
        text.len().div_ceil(4)
    }

    fn append(&self, _: &mut Tally, _: &str) {
        unreachable!("planning appends to no running count")
    }
}

pub(super) fn measure(bench: &Bench) -> Result<Measured> {
    let tokens = bench.scale().pick(10_000, 200_000, 200_000);
    let budget = Budget::new(tokens * 100 / 92);
    let mut context = Context::new(Format::OpenAiChat, budget, Arc::new(Quarter));
    for message in generate(&SessionSpec::coding(5, tokens / 50)) {
        if context.tokens() >= tokens {
            break;
        }
        context.push(message)?;
    }
    let compactor = Compactor::default();
    let plan = compactor.plan(&context)?;
    let printed = bench.answer(plan.to_string());
    check(
        printed == compactor.plan(&context)?.to_string(),
        "two plans of one context differ",
    )?;
    let intact = bench.answer(plan.quality.pairs_intact);
    check(
        intact && plan.quality.score >= 0.85,
        "the plan misses the quality floor",
    )?;
    let standing = Contest::new(bench, 1)
        .side("mainspring-compressor", "", || {
            drop(black_box(compactor.plan(&context)));
        })
        .run();
    let note = format!(
        "{} tokens in {} messages, {:.0} % to go",
        context.tokens(),
        context.items().len(),
        plan.reduction() * 100.0
    );
    Ok(standing.time(1e6).noting(note))
}

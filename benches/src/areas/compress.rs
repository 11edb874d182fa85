//! Compaction.

use std::sync::Arc;

use anyhow::Result;
use mainspring_compressor::{Budget, Compactor, Context, Format, OpenAi, Quality, Transcript};
use mainspring_inputs::{SessionSpec, generate};

use super::Benchmark;
use crate::{Bench, Interval, Measured, PerInput, check};

pub(super) const ROWS: &[(&str, Benchmark)] = &[("compress.reduction", reduction)];

/// Tokens removed by one compaction of full generated contexts, every check of quality passing.
fn reduction(bench: &Bench) -> Result<Measured> {
    let (seeds, window) = bench.scale().pick((1, 24_000), (3, 128_000), (8, 128_000));
    let mut per_input = Vec::new();
    for seed in 0..seeds {
        let mut transcript = Transcript::new(Format::OpenAiChat);
        let budget = Budget::new(window);
        let mut context = Context::new(Format::OpenAiChat, budget, Arc::new(OpenAi::o200k()));
        for message in generate(&SessionSpec::coding(seed, 2_000)) {
            if context.tokens() >= window * 86 / 100 {
                break;
            }
            context.push(message.clone())?;
            transcript.push(message)?;
        }
        let before = context.tokens();
        Compactor::default().compact(&mut context)?;
        let kept: Vec<_> = context.items().cloned().collect();
        let quality = Quality::measure(&transcript, &kept)?;
        let score = quality.score;
        let intact = bench.answer(quality.pairs_intact);
        let users_kept = bench.answer(1.0 - quality.user_messages_kept);
        check(score >= 0.85, "the quality floor was missed")?;
        check(intact, "a call and its result were parted")?;
        check(users_kept <= 0.0, "something a person wrote was lost")?;
        let after = context.tokens();
        per_input.push(PerInput::new(
            format!("coding, seed {seed}"),
            [
                ("tokens before", before as f64),
                ("tokens after", after as f64),
                ("reduction", 1.0 - after as f64 / before as f64),
                ("score", score),
            ],
        ));
    }
    let removed: Vec<f64> = per_input
        .iter()
        .map(|input| input.values["reduction"])
        .collect();
    let value = Interval {
        median: removed.iter().sum::<f64>() / removed.len() as f64,
        low: removed.iter().copied().fold(f64::INFINITY, f64::min),
        high: removed.iter().copied().fold(0.0, f64::max),
    };
    Ok(Measured::from_interval(value)
        .on_inputs(per_input)
        .noting("the mean, and the worst and the best session as its interval"))
}

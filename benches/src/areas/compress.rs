//! Compaction.

use std::sync::Arc;

use anyhow::Result;
use mainspring_compressor::{Budget, Compactor, Context, Format, OpenAi, Quality, Transcript};
use mainspring_inputs::{SessionSpec, generate};

use super::{Settings, check};
use crate::{Interval, Measured};

/// Tokens removed by one compaction of full generated contexts, every check of quality passing.
pub(super) fn reduction(settings: &Settings) -> Result<Measured> {
    let seeds = if settings.quick { 3 } else { 8 };
    let mut removed = Vec::new();
    for seed in 0..seeds {
        let mut transcript = Transcript::new(Format::OpenAiChat);
        let budget = Budget::new(128_000);
        let mut context = Context::new(Format::OpenAiChat, budget, Arc::new(OpenAi::o200k()));
        for message in generate(&SessionSpec::coding(seed, 2_000)) {
            if context.tokens() >= 110_000 {
                break;
            }
            context.push(message.clone())?;
            transcript.push(message)?;
        }
        let before = context.tokens();
        Compactor::default().compact(&mut context)?;
        let kept: Vec<_> = context.items().cloned().collect();
        let quality = Quality::measure(&transcript, &kept)?;
        check(quality.score >= 0.85, "the quality floor was missed")?;
        check(quality.pairs_intact, "a call and its result were parted")?;
        check(
            quality.user_messages_kept >= 1.0,
            "something a person wrote was lost",
        )?;
        removed.push(1.0 - context.tokens() as f64 / before as f64);
    }
    let median = removed.iter().sum::<f64>() / removed.len() as f64;
    let low = removed.iter().copied().fold(f64::INFINITY, f64::min);
    let high = removed.iter().copied().fold(0.0, f64::max);
    Ok(Measured::Value {
        value: Interval { median, low, high },
        peers: Vec::new(),
    })
}

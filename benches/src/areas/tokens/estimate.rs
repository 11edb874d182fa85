//! How far the estimate is off once it has seen ten requests.

use anyhow::Result;
use mainspring_compressor::{Estimate, OpenAi, Tokenizer};

use super::{
    speed::PUBLISHED,
    texts::{Texts, requests},
};
use crate::{Bench, Measured, Peer, PerInput, check};

/// Requests that the estimate learns from.
const OBSERVED: usize = 10;

/// Mean errors over held-out requests of one class.
struct Errors {
    ours: f64,
    fixed: f64,
    smoothed: f64,
}

pub(super) fn measure(bench: &Bench) -> Result<Measured> {
    let texts = Texts::of(bench)?;
    let classes = [
        ("code", texts.code()?),
        ("prose", texts.prose()?),
        ("JSON", texts.json()?),
        ("mixed", texts.messages()?.concat()),
    ];
    let mut all = Vec::new();
    let mut per_input = Vec::new();
    for (name, text) in &classes {
        let errors = errors(bench, text)?;
        per_input.push(PerInput::new(
            *name,
            [
                ("estimate", errors.ours),
                ("bytes / 4", errors.fixed),
                ("bytes / 4, smoothed", errors.smoothed),
            ],
        ));
        all.push(errors);
    }
    let worst = |of: fn(&Errors) -> f64| all.iter().map(of).fold(0.0, f64::max);
    let ours = worst(|errors| errors.ours);
    let peers = vec![
        Peer::counted("bytes / 4", "fixed", worst(|errors| errors.fixed), ours),
        Peer::counted(
            "bytes / 4 corrected by usage",
            "EMA 0.2, clamped 0.5-2.0",
            worst(|errors| errors.smoothed),
            ours,
        ),
    ];
    Ok(Measured::counted(ours)
        .beside("fraction", ours, peers)
        .on_inputs(per_input)
        .noting(format!("worst class; {}", texts.note())))
}

/// Ten requests to learn from, drawn from all of the text, and the rest to be tried on.
fn errors(bench: &Bench, text: &str) -> Result<Errors> {
    let size = (text.len() / 40).clamp(200, 8_000);
    let requests = requests(text, size);
    let apart = (requests.len() / OBSERVED).max(2);
    let tokenizer = OpenAi::o200k();
    let counts: Vec<usize> = requests.iter().map(|text| tokenizer.count(text)).collect();
    let total: usize = bench.answer(counts.iter().sum());
    let others: usize = requests.iter().map(|text| (PUBLISHED[0].count)(text)).sum();
    check(total == others, "the exact counts differ")?;
    let estimate = Estimate::new();
    let mut factor = 1.0;
    let learnt = |at: usize| at.is_multiple_of(apart) && at / apart < OBSERVED;
    for (at, request) in requests.iter().enumerate().filter(|(at, _)| learnt(*at)) {
        estimate.observe(request, counts[at]);
        let seen = counts[at] as f64 / quarter(request);
        factor = (0.8 * factor + 0.2 * seen).clamp(0.5, 2.0);
    }
    let held = || (0..requests.len()).filter(|at| !learnt(*at));
    let mean = |guess: &dyn Fn(&str) -> f64| {
        let off = |at: usize| (guess(requests[at]) / counts[at] as f64 - 1.0).abs();
        held().map(off).sum::<f64>() / held().count().max(1) as f64
    };
    Ok(Errors {
        ours: mean(&|text| estimate.count(text) as f64),
        fixed: mean(&quarter),
        smoothed: mean(&|text| quarter(text) * factor),
    })
}

fn quarter(text: &str) -> f64 {
    text.len() as f64 / 4.0
}

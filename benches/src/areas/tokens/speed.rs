//! Bytes counted a second, beside the published tokenizers.

use std::hint::black_box;

use anyhow::Result;
use mainspring_compressor::{OpenAi, Tokenizer};

use super::texts::{self, Texts};
use crate::{Bench, Clock, Contest, Measured, PerInput, Scale, Standing, check};

const OURS: &str = "mainspring-compressor";

/// A tokenizer that is published, by its `o200k_base`.
pub(super) struct Published {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) count: fn(&str) -> usize,
}

pub(super) const PUBLISHED: [Published; 3] = [
    Published {
        name: "tiktoken",
        version: "3.8",
        count: |text| tiktoken::get_encoding("o200k_base").map_or(0, |bpe| bpe.count(text)),
    },
    Published {
        name: "bpe-openai",
        version: "0.3",
        count: |text| bpe_openai::o200k_base().count(text),
    },
    Published {
        name: "tiktoken-rs",
        version: "0.9",
        count: |text| {
            tiktoken_rs::o200k_base_singleton()
                .encode_ordinary(text)
                .len()
        },
    },
];

pub(super) fn code(bench: &Bench) -> Result<Measured> {
    let texts = Texts::of(bench)?;
    long(bench, &texts.code()?, texts.note())
}

pub(super) fn prose(bench: &Bench) -> Result<Measured> {
    let texts = Texts::of(bench)?;
    long(bench, &texts.prose()?, texts.note())
}

pub(super) fn json(bench: &Bench) -> Result<Measured> {
    let texts = Texts::of(bench)?;
    long(bench, &texts.json()?, texts.note())
}

pub(super) fn messages(bench: &Bench) -> Result<Measured> {
    let texts = Texts::of(bench)?;
    let messages = texts.messages()?;
    let standing = standing(bench, &messages, usize::MAX)?;
    let note = format!("{} messages of 2 KiB; {}", messages.len(), texts.note());
    Ok(against_the_fastest(&standing).noting(note))
}

/// One long text.
fn long(bench: &Bench, text: &str, kind: &str) -> Result<Measured> {
    let standing = standing(bench, &[text.to_owned()], usize::MAX)?;
    let note = format!("{} KB in one piece; {kind}", text.len() / 1_000);
    Ok(against_the_fastest(&standing).noting(note))
}

/// The worst of several kinds of hostile text, in MB/s.
pub(super) fn adversarial(bench: &Bench) -> Result<Measured> {
    let bytes = bench.scale().pick(600, 10_000, 40_000);
    let mut worst: Option<Measured> = None;
    let mut per_input = Vec::new();
    for (at, (name, text)) in texts::adversarial(bytes).into_iter().enumerate() {
        let measured = rates(standing(bench, &[text], 5)?.time(1.0));
        let mut figures = PerInput::new(name, [(OURS, measured.value.median)]);
        if bench.scale() == Scale::Full {
            figures
                .values
                .insert(format!("{OURS}, 2 MB"), large_rate(at));
        }
        for peer in &measured.peers {
            figures.values.insert(peer.name.clone(), peer.value);
        }
        per_input.push(figures);
        let slowest = worst.as_ref().map(|worst| worst.value.median);
        if slowest.is_none_or(|slowest| measured.value.median < slowest) {
            let note = format!("{name}, {bytes} bytes; the slowest of the kinds");
            worst = Some(measured.noting(note));
        }
    }
    let worst = worst.ok_or_else(|| anyhow::anyhow!("there is no hostile text"))?;
    Ok(worst.on_inputs(per_input))
}

/// MB/s of ours on 2 MB of the same kind, which would show what is worse than linear.
fn large_rate(kind: usize) -> f64 {
    let (_, text) = texts::adversarial(2_000_000).swap_remove(kind);
    let spent = Clock::Thread.time(|| {
        black_box(OpenAi::o200k().count(&text));
    });
    text.len() as f64 * 1e3 / spent
}

/// All tokenizers over the same texts, after they agreed on their tokens.
fn standing(bench: &Bench, texts: &[String], rounds: usize) -> Result<Standing> {
    let ours = OpenAi::o200k();
    let bytes: usize = texts.iter().map(String::len).sum();
    for text in texts {
        let counted = bench.answer(ours.count(text));
        for published in &PUBLISHED {
            let theirs = bench.answer((published.count)(text));
            check(
                theirs == counted,
                &format!("{} counts other tokens", published.name),
            )?;
        }
    }
    let mut contest = Contest::new(bench, bytes as u64)
        .at_most(rounds)
        .side(OURS, "", || {
            let tokens: usize = texts.iter().map(|text| ours.count(text)).sum();
            black_box(tokens);
        });
    for published in &PUBLISHED {
        contest = contest.side(published.name, published.version, || {
            let tokens: usize = texts.iter().map(|text| (published.count)(text)).sum();
            black_box(tokens);
        });
    }
    Ok(contest.run())
}

/// The row: how many times as many bytes a second as the fastest of the others.
fn against_the_fastest(standing: &Standing) -> Measured {
    let time = |published: &Published| standing.nanoseconds(published.name).median;
    let fastest = PUBLISHED
        .iter()
        .min_by(|a, b| time(a).total_cmp(&time(b)))
        .map_or("", |published| published.name);
    let row = standing.faster(fastest);
    let rates = rates(standing.time(1.0));
    Measured {
        value: row.value,
        samples: row.samples,
        ..rates
    }
}

/// Nanoseconds a byte as MB/s, for the row, ourselves and the others.
fn rates(mut measured: Measured) -> Measured {
    let rate = |ns: &f64| 1e3 / ns.max(1e-9);
    let all = |samples: &[f64]| samples.iter().map(rate).collect::<Vec<f64>>();
    measured.value = measured.value.map(|ns| rate(&ns));
    measured.samples = all(&measured.samples);
    measured.own = measured.own.as_ref().map(rate);
    measured.own_samples = all(&measured.own_samples);
    for peer in &mut measured.peers {
        peer.value = rate(&peer.value);
        peer.ratio = 1.0 / peer.ratio;
        peer.samples = all(&peer.samples);
    }
    measured.peer_unit = "MB/s".to_owned();
    measured.more_is_better()
}

//! Paths of the context: counting, planning, packing.

use std::{hint::black_box, sync::Arc};

use anyhow::Result;
use mainspring_compressor::{Budget, Compactor, Context, Estimate, Format, Tokenizer};
use mainspring_inputs::{SessionSpec, generate};

use super::{HotPath, Operations};

pub(super) const PATHS: &[HotPath] = &[
    HotPath {
        name: "tokens.estimate",
        burst: 100,
        prepare: tokens_estimate,
    },
    HotPath {
        name: "compress.push",
        burst: 400,
        prepare: compress_push,
    },
    HotPath {
        name: "compress.plan",
        burst: 20,
        prepare: compress_plan,
    },
];

fn tokens_estimate() -> Result<Operations> {
    let messages = generate(&SessionSpec::coding(7, 100));
    let estimate = Estimate::new();
    let mut at = 0;
    Ok(Box::new(move |count| {
        for _ in 0..count {
            at = (at + 1) % messages.len();
            black_box(estimate.count(&messages[at]));
        }
    }))
}

fn context() -> Context {
    let budget = Budget::new(400_000);
    Context::new(Format::OpenAiChat, budget, Arc::new(Estimate::new()))
}

fn compress_push() -> Result<Operations> {
    let messages = generate(&SessionSpec::coding(7, 400));
    let (mut live, mut at) = (context(), 0);
    Ok(Box::new(move |count| {
        for _ in 0..count {
            if at == messages.len() {
                (live, at) = (context(), 0);
            }
            live.push(messages[at].clone())
                .expect("a generated message is a message");
            at += 1;
        }
    }))
}

fn compress_plan() -> Result<Operations> {
    let mut live = context();
    for message in generate(&SessionSpec::coding(7, 60)) {
        live.push(message)?;
    }
    let compactor = Compactor::default();
    Ok(Box::new(move |count| {
        for _ in 0..count {
            black_box(compactor.plan(&live).expect("there is something to gain"));
        }
    }))
}

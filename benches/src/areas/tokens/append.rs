//! A running count against counting each message alone.

use std::hint::black_box;

use anyhow::Result;
use mainspring_compressor::{OpenAi, Tally, Tokenizer};

use super::texts::Texts;
use crate::{Bench, Contest, Measured, check};

pub(super) fn measure(bench: &Bench) -> Result<Measured> {
    let texts = Texts::of(bench)?;
    let messages = texts.messages()?;
    let tokenizer = OpenAi::o200k();
    let appended = || {
        let mut tally = Tally::new();
        messages
            .iter()
            .for_each(|message| tokenizer.append(&mut tally, message));
        tally.tokens()
    };
    let whole = tokenizer.count(&messages.concat());
    check(
        bench.answer(appended()) == whole,
        "the running count is another one",
    )?;
    let standing = Contest::new(bench, messages.len() as u64)
        .side("appended to a running count", "", || {
            black_box(appended());
        })
        .side("each message alone", "mainspring-compressor", || {
            let tokens: usize = messages.iter().map(|text| tokenizer.count(text)).sum();
            black_box(tokens);
        })
        .run();
    let note = format!("{} messages of 2 KiB; {}", messages.len(), texts.note());
    Ok(standing.ratio("each message alone").noting(note))
}

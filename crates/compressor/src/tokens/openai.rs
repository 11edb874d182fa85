//! Exact counts for the OpenAI encodings.

use super::exact::{Exact, Quick, counts_with, kept_by_thread, loaded_once};
use super::pieces::Pattern;
use super::{Tally, Tokenizer};
use tiktoken::encoding;

/// The exact tokenizer of an OpenAI encoding.
///
/// Texts are cut into pieces by hand as far as they are ASCII, pieces of up to 15 bytes are counted once
/// while they stay in a memo, and what is new is counted by a published tokenizer: runs of one class of
/// characters over 128 bytes and more, on which the quickest one is slow, by a linear one with the same
/// tokens. Each vocabulary is loaded on first use, once per process: 0.1-0.4 s and some 30 MB, twice
/// that after the first such run. The memo takes 512 KiB for each thread that counts.
#[derive(Debug, Clone, Copy)]
pub struct OpenAi(Exact);

impl OpenAi {
    /// `o200k_base`: GPT-4o and later.
    #[must_use]
    pub fn o200k() -> Self {
        Self(Exact {
            name: "o200k_base",
            encoding: loaded_once!(encoding::o200k_base),
            quick: Some(Quick {
                pattern: Pattern::Cased,
                linear: Some(|text| bpe_openai::o200k_base().count(text)),
                memo: kept_by_thread!(),
            }),
        })
    }

    /// `cl100k_base`: GPT-4 and GPT-3.5.
    #[must_use]
    pub fn cl100k() -> Self {
        Self(Exact {
            name: "cl100k_base",
            encoding: loaded_once!(encoding::cl100k_base),
            quick: Some(Quick {
                pattern: Pattern::Plain,
                linear: Some(|text| bpe_openai::cl100k_base().count(text)),
                memo: kept_by_thread!(),
            }),
        })
    }
}

counts_with!(OpenAi);

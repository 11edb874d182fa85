//! Exact counts for the OpenAI encodings.

use super::exact::{Exact, counts_with, loaded_once};
use super::{Tally, Tokenizer};
use tiktoken::encoding;

/// The exact tokenizer of an OpenAI encoding.
///
/// Texts are counted by the quickest published tokenizer; runs of one class of characters over 128
/// bytes and more, on which that one is slow, by a linear one with the same tokens. Each vocabulary is
/// loaded on first use, once per process: 0.1-0.4 s and some 30 MB, twice that after the first such
/// run.
#[derive(Debug, Clone, Copy)]
pub struct OpenAi(Exact);

impl OpenAi {
    /// `o200k_base`: GPT-4o and later.
    #[must_use]
    pub fn o200k() -> Self {
        Self(Exact {
            name: "o200k_base",
            encoding: loaded_once!(encoding::o200k_base),
            linear: Some(|text| bpe_openai::o200k_base().count(text)),
        })
    }

    /// `cl100k_base`: GPT-4 and GPT-3.5.
    #[must_use]
    pub fn cl100k() -> Self {
        Self(Exact {
            name: "cl100k_base",
            encoding: loaded_once!(encoding::cl100k_base),
            linear: Some(|text| bpe_openai::cl100k_base().count(text)),
        })
    }
}

counts_with!(OpenAi);

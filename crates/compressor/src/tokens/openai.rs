//! Exact counts for the OpenAI encodings.

use super::{Tally, Tokenizer};
use std::fmt;

/// Pieces at the end of a text that more text may still change: a run of blanks is up to two, a
/// word with its contraction one more.
const HELD: usize = 3;
/// A tail longer than this is settled although a single endless word might still grow.
const LONGEST_TAIL: usize = 64 << 10;

/// The exact tokenizer of an OpenAI encoding.
///
/// The vocabulary is loaded on first use: 0.1-0.4 s and some 30 MB, once per process.
#[derive(Clone, Copy)]
pub struct OpenAi {
    name: &'static str,
    encoding: fn() -> &'static bpe_openai::Tokenizer,
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenAi").field(&self.name).finish()
    }
}

impl OpenAi {
    /// `o200k_base`: GPT-4o and later.
    #[must_use]
    pub fn o200k() -> Self {
        Self {
            name: "o200k_base",
            encoding: bpe_openai::o200k_base,
        }
    }

    /// `cl100k_base`: GPT-4 and GPT-3.5.
    #[must_use]
    pub fn cl100k() -> Self {
        Self {
            name: "cl100k_base",
            encoding: bpe_openai::cl100k_base,
        }
    }

    /// The name of the encoding.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl Tokenizer for OpenAi {
    fn count(&self, text: &str) -> usize {
        (self.encoding)().count(text)
    }

    fn count_up_to(&self, text: &str, limit: usize) -> Option<usize> {
        let encoding = (self.encoding)();
        encoding.count_till_limit(&encoding.normalize(text), limit)
    }

    fn append(&self, tally: &mut Tally, text: &str) {
        let encoding = (self.encoding)();
        tally.tail.push_str(text);
        let pieces: Vec<(usize, usize)> = encoding
            .split(&tally.tail)
            .map(|piece| (piece.len(), encoding.bpe.count(piece.as_bytes())))
            .collect();
        let held = if tally.tail.len() > LONGEST_TAIL {
            0
        } else {
            HELD
        };
        let (settled, open) = pieces.split_at(pieces.len().saturating_sub(held));
        let tokens = |pieces: &[(usize, usize)]| pieces.iter().map(|p| p.1).sum::<usize>() as f64;
        tally.settled += tokens(settled);
        tally.open = tokens(open);
        let bytes: usize = settled.iter().map(|piece| piece.0).sum();
        tally.tail.drain(..bytes);
    }
}

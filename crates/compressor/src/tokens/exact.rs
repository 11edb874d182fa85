//! Exact counts with a published vocabulary.

use super::cuts::{has_long_run, last_cut, parts};
use super::{Tally, Tokenizer};
use std::fmt;

/// A tail longer than this is settled although a single endless word might still grow.
const LONGEST_TAIL: usize = 64 << 10;
/// What is looked at in one go where a count may stop early, or is hostile in places.
const PART: usize = 2 << 10;

/// One vocabulary, and a second counter for what the first is slow at.
#[derive(Clone, Copy)]
pub(super) struct Exact {
    pub(super) name: &'static str,
    /// Quick on text, repeated or not; long pieces cost it more than their share.
    pub(super) encoding: fn() -> &'static tiktoken::CoreBpe,
    /// Linear in whatever it is given.
    pub(super) linear: Option<fn(&str) -> usize>,
}

impl fmt::Debug for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Exact {
    fn part(&self, text: &str) -> usize {
        match self.linear {
            Some(linear) if has_long_run(text) => linear(text),
            _ => (self.encoding)().count(text),
        }
    }
}

impl Tokenizer for Exact {
    fn count(&self, text: &str) -> usize {
        if self.linear.is_none() || !has_long_run(text) {
            return (self.encoding)().count(text);
        }
        parts(text, PART).map(|part| self.part(part)).sum()
    }

    fn count_up_to(&self, text: &str, limit: usize) -> Option<usize> {
        let mut tokens = 0usize;
        for part in parts(text, PART) {
            tokens += self.part(part);
            if tokens > limit {
                return None;
            }
        }
        Some(tokens)
    }

    fn append(&self, tally: &mut Tally, text: &str) {
        tally.tail.push_str(text);
        let mut cut = last_cut(&tally.tail);
        if tally.tail.len() - cut > LONGEST_TAIL {
            cut = tally.tail.len();
        }
        let (settled, open) = tally.tail.split_at(cut);
        tally.settled += self.count(settled) as f64;
        tally.open = self.count(open) as f64;
        tally.tail.drain(..cut);
    }
}

/// Hands a tokenizer over to the vocabulary inside it.
macro_rules! counts_with {
    ($tokenizer:ident) => {
        impl Tokenizer for $tokenizer {
            fn count(&self, text: &str) -> usize {
                self.0.count(text)
            }

            fn count_up_to(&self, text: &str, limit: usize) -> Option<usize> {
                self.0.count_up_to(text, limit)
            }

            fn append(&self, tally: &mut Tally, text: &str) {
                self.0.append(tally, text);
            }
        }

        impl $tokenizer {
            /// The name of the encoding.
            #[must_use]
            pub fn name(&self) -> &'static str {
                self.0.name
            }
        }
    };
}
pub(super) use counts_with;

/// A function that loads a vocabulary once and keeps it.
macro_rules! loaded_once {
    ($vocabulary:path) => {{
        fn load() -> &'static tiktoken::CoreBpe {
            static LOADED: std::sync::OnceLock<tiktoken::CoreBpe> = std::sync::OnceLock::new();
            LOADED.get_or_init($vocabulary)
        }
        load
    }};
}
pub(super) use loaded_once;

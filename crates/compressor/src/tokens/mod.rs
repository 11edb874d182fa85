//! Counting tokens: exact where the vocabulary is public, calibrated where it is not.

#[cfg(any(feature = "openai", feature = "open-models"))]
mod cuts;
mod estimate;
#[cfg(any(feature = "openai", feature = "open-models"))]
mod exact;
#[cfg(any(feature = "openai", feature = "open-models"))]
mod memo;
#[cfg(feature = "open-models")]
mod open_model;
#[cfg(feature = "openai")]
mod openai;
#[cfg(any(feature = "openai", feature = "open-models"))]
mod pieces;

pub use estimate::{ContentClass, Estimate, Profile};
#[cfg(feature = "open-models")]
pub use open_model::OpenModel;
#[cfg(feature = "openai")]
pub use openai::OpenAi;

use crate::item::{Item, Part};
use std::fmt;

/// Tokens that the frame of a message costs, besides its texts.
const MESSAGE: usize = 4;
/// Tokens of an image, sound or file, which no text tokenizer can count.
const MEDIA: usize = 1_600;

/// Counts the tokens of texts.
pub trait Tokenizer: Send + Sync + fmt::Debug {
    /// Tokens of `text`.
    fn count(&self, text: &str) -> usize;

    /// Tokens of `text` when they are at most `limit`, else `None`, sooner than a full count where
    /// the implementation can stop early.
    fn count_up_to(&self, text: &str, limit: usize) -> Option<usize> {
        Some(self.count(text)).filter(|tokens| *tokens <= limit)
    }

    /// Share by which a count may be too low; 0 for exact counts.
    fn error_bound(&self) -> f64 {
        0.0
    }

    /// Adds `text` to the end of a running count: the cost is that of `text` and a short tail.
    fn append(&self, tally: &mut Tally, text: &str);
}

/// The count of a text that grows at its end.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Tokens that no further text can change.
    settled: f64,
    /// The end of the text, which further text may still join.
    tail: String,
    /// Tokens of the tail.
    open: f64,
}

impl Tally {
    /// An empty text.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tokens so far.
    #[must_use]
    pub fn tokens(&self) -> usize {
        (self.settled + self.open).ceil() as usize
    }
}

/// Tokens that an item costs in a request; 0 for records that no model sees.
///
/// Texts, calls and results are counted as the model reads them, the frame of a message as 4
/// tokens, an attachment as 1,600, encrypted reasoning by a quarter of its bytes.
pub fn count_item(tokenizer: &dyn Tokenizer, item: &Item) -> usize {
    if !item.in_context() {
        return 0;
    }
    let mut tokens = MESSAGE;
    let mut last = None;
    let unnamed = |part: &Part| !matches!(part, Part::Call { id: Some(_), .. });
    let without_ids = item.parts().iter().all(unnamed);
    for part in item.parts() {
        tokens += match part {
            Part::Text(span) | Part::Thinking(span) => tokenizer.count(&item.text_of(*span)),
            Part::Media(_) => MEDIA,
            Part::Opaque(span) => (span.end - span.start) as usize / 4,
            Part::Call {
                name, arguments, ..
            } => {
                let name = name.map_or(0, |name| tokenizer.count(&item.text_of(name)));
                // An action in words is part of the text already.
                if without_ids && name == 0 {
                    0
                } else {
                    MESSAGE + name + tokenizer.count(&item.text_of(*arguments))
                }
            }
            // Several calls may be answered by one text.
            Part::Result { content, .. } if last == Some(*content) => 0,
            Part::Result { content, .. } => {
                last = Some(*content);
                tokenizer.count(&item.text_of(*content))
            }
        };
    }
    tokens
}

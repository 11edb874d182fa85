//! Making a single text cost fewer tokens.

mod bodies;
mod code;
mod patterns;
mod sections;

use crate::tokens::Tokenizer;

/// A way to make a text shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TextStrategy {
    /// Sections that resemble an earlier one give way to a reference.
    DuplicateSections,
    /// Comments and blank lines of long code blocks go, and the bodies of functions that the text has
    /// shown before just so.
    CodeBlocks,
    /// Lines and groups of lines that repeat at once are counted instead.
    RepetitivePatterns,
    /// Blanks at line ends and runs of empty lines go.
    WhiteSpace,
}

impl TextStrategy {
    /// All, in the order in which they are tried.
    pub const ALL: [Self; 4] = [
        Self::DuplicateSections,
        Self::CodeBlocks,
        Self::RepetitivePatterns,
        Self::WhiteSpace,
    ];
}

/// A shortened text, and what made it so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Optimized {
    /// The text.
    pub text: String,
    /// Tokens before.
    pub before: usize,
    /// Tokens after; never more than before.
    pub after: usize,
    /// The strategies that helped, with the tokens that each saved.
    pub applied: Vec<(TextStrategy, usize)>,
}

impl Optimized {
    /// Tokens after, as a share of those before.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        if self.before == 0 {
            return 1.0;
        }
        self.after as f64 / self.before as f64
    }
}

/// Shortens texts that crowd a window: above 0.8 of it, strategies run in order until the text is
/// at 0.9 of its tokens or below.
///
/// File paths, error lines and tasks in what is removed keep it from being removed.
///
/// ```
/// use mainspring_compressor::{Estimate, TokenOptimizer};
///
/// let log = "waiting for the lock\n".repeat(2_000);
/// let short = TokenOptimizer::new(10_000).optimize(&log, &Estimate::new());
/// assert!(short.after < 50);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TokenOptimizer {
    window: usize,
    start: f64,
    stop: f64,
    similarity: f64,
    code_block: usize,
    code_ratio: f64,
}

impl TokenOptimizer {
    /// The smallest of the usual windows.
    pub const SMALL: usize = 32_768;
    /// The middle one.
    pub const MEDIUM: usize = 100_000;
    /// The largest.
    pub const LARGE: usize = 200_000;

    /// For a window of so many tokens, with the documented thresholds.
    #[must_use]
    pub fn new(window: usize) -> Self {
        Self {
            window,
            start: 0.8,
            stop: 0.9,
            similarity: 0.85,
            code_block: 500,
            code_ratio: 0.8,
        }
    }

    /// Share of the window above which a text is shortened at all; default 0.8.
    #[must_use]
    pub fn start_above(mut self, share: f64) -> Self {
        self.start = share;
        self
    }

    /// Share of the text's own tokens at which the strategies stop; default 0.9.
    #[must_use]
    pub fn stop_at(mut self, share: f64) -> Self {
        self.stop = share;
        self
    }

    /// Everything that can be tried, whatever has been gained before.
    pub(crate) fn hardest(mut self) -> Self {
        self.start = 0.0;
        self.stop = 0.0;
        self.code_block = 0;
        self.code_ratio = 1.0;
        self
    }

    /// Similarity above which sections are duplicates; default 0.85.
    #[must_use]
    pub fn similarity(mut self, share: f64) -> Self {
        self.similarity = share;
        self
    }

    /// Shortens a text, when it is above the threshold. Linear in the text, but for counting it
    /// once per strategy.
    pub fn optimize(&self, text: &str, tokenizer: &dyn Tokenizer) -> Optimized {
        let before = tokenizer.count(text);
        let mut out = Optimized {
            text: text.to_owned(),
            before,
            after: before,
            applied: Vec::new(),
        };
        if before as f64 <= self.start * self.window as f64 {
            return out;
        }
        for strategy in TextStrategy::ALL {
            if out.after as f64 <= self.stop * before as f64 {
                break;
            }
            let shorter = self.apply(strategy, &out.text, tokenizer);
            let tokens = tokenizer.count(&shorter);
            if tokens < out.after {
                out.applied.push((strategy, out.after - tokens));
                out.text = shorter;
                out.after = tokens;
            }
        }
        out
    }

    fn apply(&self, strategy: TextStrategy, text: &str, tokenizer: &dyn Tokenizer) -> String {
        match strategy {
            TextStrategy::DuplicateSections => sections::without_duplicates(text, self.similarity),
            TextStrategy::CodeBlocks => {
                code::compressed(text, tokenizer, self.code_block, self.code_ratio)
            }
            TextStrategy::RepetitivePatterns => patterns::counted(text),
            TextStrategy::WhiteSpace => patterns::trimmed(text),
        }
    }
}

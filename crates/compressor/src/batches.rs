//! A text that arrives bit by bit, shortened batch by batch.

use crate::{
    optimizer::{Optimized, TokenOptimizer},
    tokens::Tokenizer,
};
use std::sync::Arc;

const BATCH: usize = 1_000;
/// A batch larger than this many times its size is compressed again.
const TOO_LARGE: f64 = 1.2;

/// A batch that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    /// Its number, from 0.
    pub number: usize,
    /// The shortened text, with its tokens before and after, and what made it so.
    pub done: Optimized,
    /// Whether it was compressed a second time because it was still too large.
    pub again: bool,
}

/// Collects a text that arrives in pieces, and shortens it in batches of 1,000 tokens.
///
/// A batch is given out once it has its tokens; pieces are not cut, so one that is large makes its
/// batch large. A batch that is above 1.2 × its size after optimising is compressed again, as hard as
/// the optimiser can without losing a path, an error or a task: each strategy is tried whatever the ones
/// before have gained, and every code block counts as long. [`TokenBatches::finish`] gives the rest.
///
/// Costs counting each piece once, and optimising each batch once or twice.
///
/// ```
/// use mainspring_compressor::{Estimate, TokenBatches};
/// use std::sync::Arc;
///
/// let mut batches = TokenBatches::new(Arc::new(Estimate::new()));
/// let mut done = Vec::new();
/// for _ in 0..3_000 {
///     done.extend(batches.push("waiting for the lock\n"));
/// }
/// done.extend(batches.finish());
/// assert!(done.iter().all(|batch| batch.done.after < 100));
/// ```
#[derive(Debug, Clone)]
pub struct TokenBatches {
    tokenizer: Arc<dyn Tokenizer>,
    optimizer: TokenOptimizer,
    size: usize,
    text: String,
    tokens: usize,
    next: usize,
}

impl TokenBatches {
    /// Batches of 1,000 tokens.
    #[must_use]
    pub fn new(tokenizer: Arc<dyn Tokenizer>) -> Self {
        Self::with_size(tokenizer, BATCH)
    }

    /// Batches of another size, in tokens; at least 1.
    #[must_use]
    pub fn with_size(tokenizer: Arc<dyn Tokenizer>, tokens: usize) -> Self {
        Self {
            tokenizer,
            optimizer: TokenOptimizer::new(0),
            size: tokens.max(1),
            text: String::new(),
            tokens: 0,
            next: 0,
        }
    }

    /// Takes a piece; returns the batch that it completes.
    pub fn push(&mut self, piece: &str) -> Option<TokenBatch> {
        self.text.push_str(piece);
        self.tokens += self.tokenizer.count(piece);
        (self.tokens >= self.size).then(|| self.batch())
    }

    /// What is left, as a smaller batch.
    pub fn finish(&mut self) -> Option<TokenBatch> {
        (!self.text.is_empty()).then(|| self.batch())
    }

    fn batch(&mut self) -> TokenBatch {
        let text = std::mem::take(&mut self.text);
        self.tokens = 0;
        let number = self.next;
        self.next += 1;
        let mut done = self.optimizer.optimize(&text, &*self.tokenizer);
        let again = done.after as f64 > TOO_LARGE * self.size as f64;
        if again {
            let harder = self.optimizer.clone().hardest();
            let further = harder.optimize(&done.text, &*self.tokenizer);
            done.text = further.text;
            done.after = further.after;
            for (strategy, saved) in further.applied {
                match done
                    .applied
                    .iter_mut()
                    .find(|(known, _)| *known == strategy)
                {
                    Some((_, all)) => *all += saved,
                    None => done.applied.push((strategy, saved)),
                }
            }
        }
        TokenBatch {
            number,
            done,
            again,
        }
    }
}

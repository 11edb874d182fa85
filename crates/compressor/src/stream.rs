//! A text in pieces of so many tokens.

use crate::tokens::Tokenizer;
use std::ops::Range;

const BATCH: usize = 1_000;
const CHUNK: usize = 100;

/// A piece of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenChunk<'a> {
    /// The text of the piece.
    pub text: &'a str,
    /// Its tokens.
    pub tokens: usize,
    /// Tokens before it.
    pub position: usize,
    /// Tokens of all pieces together.
    pub total: usize,
    /// Number of its batch, from 0.
    pub batch: usize,
}

/// Gives a text out in chunks of at most 100 tokens, ten to a batch of 1,000.
///
/// Chunks are cut at blanks where there are any, between characters where not; put together they
/// are the text. Cutting costs about two counts of the text, up front, so that every chunk knows
/// the total.
///
/// ```
/// use mainspring_compressor::{Estimate, TokenStream};
///
/// let text = "one two three four ".repeat(200);
/// let stream = TokenStream::new(&text, &Estimate::new());
/// assert_eq!(stream.map(|chunk| chunk.text).collect::<String>(), text);
/// ```
#[derive(Debug, Clone)]
pub struct TokenStream<'a> {
    text: &'a str,
    chunks: std::vec::IntoIter<(Range<usize>, usize)>,
    position: usize,
    total: usize,
    batch: usize,
}

impl<'a> TokenStream<'a> {
    /// Chunks of 100 tokens, batches of 1,000.
    pub fn new(text: &'a str, tokenizer: &dyn Tokenizer) -> Self {
        Self::with_sizes(text, tokenizer, CHUNK, BATCH)
    }

    /// Other sizes, in tokens; each at least 1.
    pub fn with_sizes(
        text: &'a str,
        tokenizer: &dyn Tokenizer,
        chunk: usize,
        batch: usize,
    ) -> Self {
        let chunk = chunk.max(1);
        let mut chunks = Vec::new();
        let (mut at, mut total) = (0, 0);
        let mut guess = chunk * 4;
        while at < text.len() {
            let (end, tokens) = cut(&text[at..], tokenizer, chunk, guess);
            guess = (end / tokens.max(1)).clamp(1, 64) * chunk;
            chunks.push((at..at + end, tokens));
            total += tokens;
            at += end;
        }
        Self {
            text,
            chunks: chunks.into_iter(),
            position: 0,
            total,
            batch: batch.max(1),
        }
    }

    /// Tokens of all pieces together.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }
}

/// Bytes and tokens of the first piece of at most `most` tokens; at least one character.
fn cut(text: &str, tokenizer: &dyn Tokenizer, most: usize, guess: usize) -> (usize, usize) {
    let mut end = boundary(text, guess);
    loop {
        if let Some(tokens) = tokenizer.count_up_to(&text[..end], most) {
            return (end, tokens);
        }
        let least = text.chars().next().map_or(text.len(), char::len_utf8);
        if end <= least {
            return (end, tokenizer.count(&text[..end]));
        }
        end = boundary(text, end * 3 / 4).max(least);
    }
}

/// The last blank before `limit`, or the last character boundary.
fn boundary(text: &str, limit: usize) -> usize {
    if limit >= text.len() {
        return text.len();
    }
    let cut = crate::extract::clip(text, limit);
    match cut.rfind([' ', '\n']) {
        Some(at) if at > cut.len() / 2 => at,
        _ if cut.is_empty() => text.chars().next().map_or(0, char::len_utf8),
        _ => cut.len(),
    }
}

impl<'a> Iterator for TokenStream<'a> {
    type Item = TokenChunk<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (range, tokens) = self.chunks.next()?;
        let position = self.position;
        self.position += tokens;
        Some(TokenChunk {
            text: &self.text[range],
            tokens,
            position,
            total: self.total,
            batch: position / self.batch,
        })
    }
}

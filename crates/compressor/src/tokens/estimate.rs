//! An estimate for tokenizers that are not public, learnt from the usage that providers report.

use super::{Tally, Tokenizer};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Kinds of content whose tokens have different lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentClass {
    /// Sentences in Latin letters.
    Prose,
    /// Program text.
    Code,
    /// JSON and other dense markup.
    Json,
    /// Letters without words: base64, hashes, noise.
    Noise,
    /// Text in other than Latin letters.
    NonLatin,
}

const CLASSES: usize = 5;
/// Tokens per byte before anything is observed.
const PRIOR: [f64; CLASSES] = [1.0 / 4.3, 1.0 / 3.2, 1.0 / 2.6, 1.0 / 1.75, 1.0 / 2.6];
/// Longest piece of a line that is classified as one.
const PIECE: usize = 512;
/// Residuals that the error bound looks at.
const RECENT: usize = 10;
const FIRST_BOUND: f64 = 0.25;
const LEAST_BOUND: f64 = 0.02;

/// Bytes of each class in a text.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Profile([f64; CLASSES]);

impl Profile {
    /// Classifies a text piece by piece. Linear.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut profile = Self::default();
        profile.add(text);
        profile
    }

    /// Adds the bytes of another text.
    pub fn add(&mut self, text: &str) {
        for line in text.split_inclusive('\n') {
            for piece in pieces(line) {
                self.0[classify(piece) as usize] += piece.len() as f64;
            }
        }
    }

    /// Bytes of one class.
    #[must_use]
    pub fn bytes(&self, class: ContentClass) -> f64 {
        self.0[class as usize]
    }
}

/// A line in pieces of at most [`PIECE`] bytes, cut between characters.
fn pieces(mut line: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if line.is_empty() {
            return None;
        }
        let (piece, rest) = line.split_at(cut(line));
        line = rest;
        Some(piece)
    })
}

fn cut(line: &str) -> usize {
    let mut at = line.len().min(PIECE);
    while !line.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// What the bytes of a piece look like.
#[derive(Default)]
struct Shape {
    spaces: usize,
    wide: usize,
    quotes: usize,
    symbols: usize,
    digits: usize,
    run: usize,
    longest: usize,
}

impl Shape {
    fn of(piece: &str) -> Self {
        let mut shape = Self::default();
        for byte in piece.bytes() {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => shape.spaces += 1,
                0x80.. => shape.wide += 1,
                b'"' => shape.quotes += 1,
                b'0'..=b'9' => shape.digits += 1,
                b'a'..=b'z' | b'A'..=b'Z' | b'.' | b',' | b'\'' => {}
                _ => shape.symbols += 1,
            }
            let word = byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
            shape.run = if word { shape.run + 1 } else { 0 };
            shape.longest = shape.longest.max(shape.run);
        }
        shape
    }
}

fn classify(piece: &str) -> ContentClass {
    let shape = Shape::of(piece);
    let len = piece.len();
    if shape.wide * 3 > len {
        ContentClass::NonLatin
    } else if shape.longest >= 40 && shape.longest * 2 > len {
        ContentClass::Noise
    } else if shape.quotes * 25 > len && (shape.symbols + shape.quotes) * 7 > len {
        ContentClass::Json
    } else if shape.symbols * 14 > len || shape.digits * 6 > len || piece.starts_with("    ") {
        ContentClass::Code
    } else {
        ContentClass::Prose
    }
}

/// Tokens per byte for each class, fitted by recursive least squares.
#[derive(Debug, Clone)]
struct Fit {
    rates: [f64; CLASSES],
    covariance: [[f64; CLASSES]; CLASSES],
    residuals: Vec<f64>,
    seen: u64,
}

impl Fit {
    fn new() -> Self {
        let mut covariance = [[0.0; CLASSES]; CLASSES];
        for (class, row) in covariance.iter_mut().enumerate() {
            row[class] = (PRIOR[class] * 0.35).powi(2);
        }
        Self {
            rates: PRIOR,
            covariance,
            residuals: Vec::new(),
            seen: 0,
        }
    }

    fn tokens(&self, profile: &Profile) -> f64 {
        self.rates.iter().zip(profile.0).map(|(r, b)| r * b).sum()
    }

    fn learn(&mut self, profile: &Profile, actual: f64) {
        let estimate = self.tokens(profile);
        if estimate <= 0.0 || actual <= 0.0 {
            return;
        }
        self.remember(actual / estimate - 1.0);
        // The noise of a request is taken as 2 % of its size.
        let noise = (0.02 * actual).powi(2);
        let spread: [f64; CLASSES] = std::array::from_fn(|row| {
            let row = &self.covariance[row];
            row.iter().zip(profile.0).map(|(c, b)| c * b).sum()
        });
        let scale: f64 = noise
            + spread
                .iter()
                .zip(profile.0)
                .map(|(s, b)| s * b)
                .sum::<f64>();
        for (class, rate) in self.rates.iter_mut().enumerate() {
            *rate += spread[class] / scale * (actual - estimate);
            *rate = rate.clamp(PRIOR[class] * 0.4, PRIOR[class] * 2.5);
        }
        for row in 0..CLASSES {
            for column in 0..CLASSES {
                self.covariance[row][column] -= spread[row] * spread[column] / scale;
            }
        }
    }

    fn remember(&mut self, residual: f64) {
        if self.residuals.len() == RECENT {
            self.residuals.remove(0);
        }
        self.residuals.push(residual);
        self.seen += 1;
    }

    /// The first guesses count less and less: half of the recent ones decide.
    fn bound(&self) -> f64 {
        if self.residuals.len() < 3 {
            return FIRST_BOUND;
        }
        let recent = &self.residuals[self.residuals.len() / 2..];
        let worst = recent.iter().fold(0.0f64, |worst, r| worst.max(r.abs()));
        (worst * 1.5).clamp(LEAST_BOUND, FIRST_BOUND)
    }
}

/// A token count from bytes and kind of content, which learns from reported usage.
///
/// Classes: prose, code, JSON, noise, non-Latin. Before any observation the error bound is 25 %;
/// it narrows with [`Estimate::observe`]. The fit is recursive least squares over the five rates.
///
/// ```
/// use mainspring_compressor::{Estimate, Tokenizer};
///
/// let estimate = Estimate::new();
/// let text = "The quick brown fox jumps over the lazy dog. ".repeat(50);
/// for _ in 0..10 {
///     estimate.observe(&text, 501); // as the provider reported
/// }
/// assert!(estimate.count(&text).abs_diff(501) <= 25);
/// assert!(estimate.error_bound() <= 0.05);
/// ```
#[derive(Debug)]
pub struct Estimate {
    fit: Mutex<Fit>,
}

impl Default for Estimate {
    fn default() -> Self {
        Self::new()
    }
}

impl Estimate {
    /// An estimate that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            fit: Mutex::new(Fit::new()),
        }
    }

    fn fit(&self) -> MutexGuard<'_, Fit> {
        self.fit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns that `text` had `actual` tokens.
    pub fn observe(&self, text: &str, actual: usize) {
        self.observe_profile(&Profile::of(text), actual);
    }

    /// Learns that texts of this profile had `actual` tokens together.
    pub fn observe_profile(&self, profile: &Profile, actual: usize) {
        self.fit().learn(profile, actual as f64);
    }

    /// Observations so far.
    #[must_use]
    pub fn observations(&self) -> u64 {
        self.fit().seen
    }
}

impl Tokenizer for Estimate {
    fn count(&self, text: &str) -> usize {
        self.fit().tokens(&Profile::of(text)).ceil() as usize
    }

    fn error_bound(&self) -> f64 {
        self.fit().bound()
    }

    fn append(&self, tally: &mut Tally, text: &str) {
        tally.tail.push_str(text);
        let settled = settled(&tally.tail);
        let fit = self.fit();
        tally.settled += fit.tokens(&Profile::of(&tally.tail[..settled]));
        tally.tail.drain(..settled);
        tally.open = fit.tokens(&Profile::of(&tally.tail));
    }
}

/// The pieces of a text that more text cannot change: whole lines, and whole pieces of the last.
fn settled(text: &str) -> usize {
    let line = text.rfind('\n').map_or(0, |at| at + 1);
    let mut at = line;
    for piece in pieces(&text[line..]) {
        if piece.len() + 4 <= PIECE {
            break;
        }
        at += piece.len();
    }
    // The last full piece may have been cut short by the end of the text.
    if at == text.len() && at > line {
        at = line + (at - line).saturating_sub(PIECE);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at = line.max(aligned(&text[line..], at - line) + line);
    }
    at
}

/// The largest boundary of pieces at or before `limit`.
fn aligned(line: &str, limit: usize) -> usize {
    let mut at = 0;
    for piece in pieces(line) {
        if at + piece.len() > limit {
            break;
        }
        at += piece.len();
    }
    at
}

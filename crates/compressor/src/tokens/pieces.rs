//! The pieces that the patterns of the GPT family cut a text into.
//!
//! What is ASCII is cut here by hand, as the published patterns say, rule by rule and in their order.
//! Where a character that is not ASCII may have a say, the text up to the next place that is surely
//! between two pieces is handed over as one.

use std::ops::Range;

/// Which of the patterns cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    /// `cl100k`: words whatever their case, contractions apart.
    Plain,
    /// `o200k`: words begin at capitals, and contractions stay with them.
    Cased,
}

const UPPER: u8 = 1;
const LOWER: u8 = 2;
const LETTER: u8 = UPPER | LOWER;
const DIGIT: u8 = 4;
const BLANK: u8 = 8;
const BREAK: u8 = 16;
const SIGN: u8 = 32;
const WIDE: u8 = 64;

/// The class of each byte; nothing is of class 0.
const CLASS: [u8; 256] = {
    let mut classes = [WIDE; 256];
    let mut byte = 0;
    while byte < 128 {
        classes[byte] = match byte as u8 {
            b'A'..=b'Z' => UPPER,
            b'a'..=b'z' => LOWER,
            b'0'..=b'9' => DIGIT,
            b' ' | b'\t' | 0x0b | 0x0c => BLANK,
            b'\n' | b'\r' => BREAK,
            _ => SIGN,
        };
        byte += 1;
    }
    classes
};

/// The class at a place; 0 at the end.
#[inline(always)]
fn class(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).map_or(0, |byte| CLASS[*byte as usize])
}

/// The end of a run of classes.
#[inline(always)]
fn run(bytes: &[u8], mut at: usize, classes: u8) -> usize {
    while class(bytes, at) & classes != 0 {
        at += 1;
    }
    at
}

/// The end of a run of letters, eight at a time: where words end, a branch cannot foresee.
#[inline(always)]
fn letters(bytes: &[u8], mut at: usize, kind: Letters) -> usize {
    while let Some(window) = bytes.get(at..at + 8) {
        let window = u64::from_le_bytes(window.try_into().unwrap_or_default());
        let others = !kind.among(window) & TOPS;
        if others != 0 {
            return at + others.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    run(bytes, at, kind.classes())
}

/// The topmost bit of each byte.
const TOPS: u64 = ONES << 7;
const ONES: u64 = u64::MAX / 255;

#[derive(Clone, Copy)]
enum Letters {
    All,
    Small,
}

impl Letters {
    fn classes(self) -> u8 {
        match self {
            Self::All => LETTER,
            Self::Small => LOWER,
        }
    }

    /// The top bits of those of eight bytes that are such letters; other bits mean nothing.
    #[inline(always)]
    fn among(self, bytes: u64) -> u64 {
        let case = match self {
            Self::All => ONES * 0x20,
            Self::Small => 0,
        };
        // Without their top bits no sum reaches into the next byte.
        let low = (bytes & !TOPS) | case;
        let from_a = low + ONES * u64::from(0x80 - b'a');
        let past_z = low + ONES * u64::from(0x7f - b'z');
        from_a & !past_z & !bytes
    }
}

/// Consecutive parts of a text whose counts add up; parts in ASCII are single pieces.
pub(super) struct Pieces<'a, const CASED: bool> {
    text: &'a str,
    at: usize,
}

impl<'a, const CASED: bool> Pieces<'a, CASED> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }
}

impl<const CASED: bool> Iterator for Pieces<'_, CASED> {
    type Item = Range<usize>;

    #[inline(always)]
    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        if start >= self.text.len() {
            return None;
        }
        let end = piece::<CASED>(self.text.as_bytes(), start);
        self.at = end.unwrap_or_else(|| between(self.text, start));
        Some(start..self.at)
    }
}

/// Up to where the pieces of a text stay as they are, whatever follows it. No rule looks further than
/// three characters beyond a piece, but for the blanks: they stay together to their end.
pub(super) fn stable(text: &str) -> usize {
    let blank = |byte: &u8| CLASS[*byte as usize] & (BLANK | BREAK) != 0;
    let said = text.as_bytes().iter().rposition(|byte| !blank(byte));
    said.map_or(0, |last| (last + 1).saturating_sub(3))
}

/// The end of the piece that begins at `at`, unless what is not ASCII may decide.
#[inline(always)]
fn piece<const CASED: bool>(bytes: &[u8], at: usize) -> Option<usize> {
    let first = class(bytes, at);
    if !CASED && let Some(end) = contraction(bytes, at) {
        return Some(end);
    }
    // One sign or blank may lead a word.
    let leads = first & (SIGN | BLANK) != 0 && class(bytes, at + 1) & LETTER != 0;
    if leads || first & LETTER != 0 {
        return word::<CASED>(bytes, at + usize::from(leads));
    }
    if first == DIGIT {
        return digits(bytes, at);
    }
    let signs = at + usize::from(bytes[at] == b' ');
    if class(bytes, signs) == SIGN {
        return settled(bytes, run(bytes, signs, SIGN)).map(|end| tail::<CASED>(bytes, end));
    }
    blanks(bytes, at)
}

/// An end that what follows cannot move.
#[inline(always)]
fn settled(bytes: &[u8], end: usize) -> Option<usize> {
    (class(bytes, end) != WIDE).then_some(end)
}

#[inline(always)]
fn word<const CASED: bool>(bytes: &[u8], at: usize) -> Option<usize> {
    if !CASED {
        return settled(bytes, letters(bytes, at, Letters::All));
    }
    let end = settled(bytes, letters(bytes, run(bytes, at, UPPER), Letters::Small))?;
    if bytes.get(end) != Some(&b'\'') {
        return Some(end);
    }
    // A long s closes a contraction, too.
    settled(bytes, end + 1)?;
    Some(contraction(bytes, end).unwrap_or(end))
}

/// The end of `'s`, `'t`, `'m`, `'d`, `'re`, `'ve` or `'ll`, whatever the case.
#[inline(always)]
fn contraction(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'\'') {
        return None;
    }
    let letter = |place: usize| bytes.get(place).map(u8::to_ascii_lowercase);
    match (letter(at + 1)?, letter(at + 2)) {
        (b's' | b't' | b'm' | b'd', _) => Some(at + 2),
        (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) => Some(at + 3),
        _ => None,
    }
}

/// Three digits at most.
#[inline(always)]
fn digits(bytes: &[u8], at: usize) -> Option<usize> {
    let mut end = at + 1;
    while end < at + 3 && class(bytes, end) == DIGIT {
        end += 1;
    }
    if end == at + 3 {
        return Some(end);
    }
    settled(bytes, end)
}

/// What may follow signs.
#[inline(always)]
fn tail<const CASED: bool>(bytes: &[u8], mut at: usize) -> usize {
    while bytes
        .get(at)
        .is_some_and(|byte| matches!(byte, b'\n' | b'\r') || CASED && *byte == b'/')
    {
        at += 1;
    }
    at
}

/// Blanks up to the last line's end among them; else all but the last, which leads what follows.
#[inline(always)]
fn blanks(bytes: &[u8], at: usize) -> Option<usize> {
    let end = settled(bytes, run(bytes, at, BLANK | BREAK))?;
    let broken = bytes[at..end]
        .iter()
        .rposition(|byte| CLASS[*byte as usize] == BREAK);
    Some(match broken {
        Some(last) => at + last + 1,
        None if end == bytes.len() || end == at + 1 => end,
        None => end - 1,
    })
}

/// The first place after the next character that is not ASCII where surely no piece reaches over.
#[cold]
fn between(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let mut end = run(bytes, at, !WIDE) + 1;
    while end < bytes.len() && !parts(text, bytes, end) {
        end += 1;
    }
    end.min(bytes.len())
}

fn parts(text: &str, bytes: &[u8], at: usize) -> bool {
    let (before, after) = (class(bytes, at - 1), class(bytes, at));
    match before {
        UPPER | LOWER => after & (LETTER | WIDE) == 0 && bytes[at] != b'\'',
        DIGIT => after & (DIGIT | WIDE) == 0,
        SIGN => after & (DIGIT | BLANK) != 0,
        // A blank may join blanks before it, but nothing else.
        WIDE if after == BLANK => text[..at]
            .chars()
            .next_back()
            .is_some_and(|c| !c.is_whitespace()),
        _ => false,
    }
}

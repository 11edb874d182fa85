//! Where a text can be counted in parts, and which parts are hostile.
//!
//! The pre-tokenisers of the GPT family and of those modelled on it never let a piece reach from a
//! character that is not blank over a space, nor from a line's end to what is neither blank nor a
//! slash. Counts of the parts on both sides of such a place add up, whatever follows later.

/// A run of one class of characters over a whole window of this many bytes is long: somewhere in it
/// is a piece that costs more than its share to merge.
const WINDOW: usize = 128;

/// The last place in `text` at or before which everything is settled; 0 when there is none.
pub(super) fn last_cut(text: &str) -> usize {
    let bytes = text.as_bytes();
    let cut = |at: &usize| is_cut(text, bytes, *at);
    (1..bytes.len()).rev().find(cut).unwrap_or(0)
}

/// The parts of a text, each of at least `least` bytes where the text can be cut.
pub(super) fn parts(text: &str, least: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let bytes = rest.as_bytes();
        let cut = (least.max(1)..bytes.len()).find(|at| is_cut(rest, bytes, *at));
        let (part, after) = rest.split_at(cut.unwrap_or(rest.len()));
        rest = after;
        Some(part)
    })
}

fn is_cut(text: &str, bytes: &[u8], at: usize) -> bool {
    let (before, after) = (bytes[at - 1], bytes[at]);
    if after == b' ' {
        // The common case needs no decoding.
        return before.is_ascii_alphanumeric() || !ends_blank(&text[..at]);
    }
    before == b'\n'
        && after != b'/'
        && text[at..]
            .chars()
            .next()
            .is_some_and(|c| !c.is_whitespace())
}

fn ends_blank(text: &str) -> bool {
    text.chars().next_back().is_none_or(char::is_whitespace)
}

/// Whether a run of one class of characters fills a window somewhere. O(windows) on ordinary text:
/// a window is left at its first change.
pub(super) fn has_long_run(text: &str) -> bool {
    let starts = (0..text.len().saturating_sub(WINDOW)).step_by(WINDOW);
    starts
        .map(|at| &text[text.floor_char_boundary(at)..])
        .any(|rest| {
            let window = &rest[..rest.floor_char_boundary(WINDOW)];
            let mut classes = window.chars().map(class);
            let first = classes.next();
            // Digits never join: at most three are a piece.
            first != Some(Class::Digit) && classes.all(|class| Some(class) == first)
        })
}

#[derive(PartialEq, Clone, Copy)]
enum Class {
    Letter,
    Digit,
    Blank,
    Other,
}

fn class(c: char) -> Class {
    match c {
        _ if c.is_alphabetic() => Class::Letter,
        _ if c.is_numeric() => Class::Digit,
        _ if c.is_whitespace() => Class::Blank,
        _ => Class::Other,
    }
}

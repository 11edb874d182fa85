//! Finding the end of a JSON value, with and without checking it.

use super::{Fault, fault};
use memchr::memchr2;

/// Deepest nesting that is read, in levels.
pub(super) const MAX_DEPTH: usize = 256;

/// The first byte at or after `at` that is not a blank.
pub(super) fn blanks(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// The end of a value known to be valid.
pub(super) fn skip(bytes: &[u8], start: usize) -> usize {
    match bytes[start] {
        b'"' => skip_string(bytes, start),
        b'{' | b'[' => skip_container(bytes, start),
        _ => bytes[start..]
            .iter()
            .position(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'))
            .map_or(bytes.len(), |n| start + n),
    }
}

fn skip_container(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = skip_string(bytes, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

fn skip_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(n) = memchr2(b'"', b'\\', &bytes[at..]) {
        at += n;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at = (at + 2).min(bytes.len());
    }
    bytes.len()
}

/// Kinds of the open containers, one bit a level.
#[derive(Default)]
struct Stack {
    bits: [u64; MAX_DEPTH / 64],
    depth: usize,
}

impl Stack {
    fn push(&mut self, object: bool, at: usize) -> Result<(), Fault> {
        if self.depth == MAX_DEPTH {
            return fault(at, "nested too deeply");
        }
        let (word, bit) = (self.depth / 64, self.depth % 64);
        self.bits[word] &= !(1 << bit);
        self.bits[word] |= u64::from(object) << bit;
        self.depth += 1;
        Ok(())
    }

    fn top_is_object(&self) -> bool {
        let level = self.depth - 1;
        self.bits[level / 64] >> (level % 64) & 1 == 1
    }
}

/// Checks the value that begins at `at` and returns its end.
pub(super) fn validate(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    let mut stack = Stack::default();
    let mut at = at;
    loop {
        at = blanks(bytes, at);
        let opened = match bytes.get(at) {
            Some(b'{') => {
                stack.push(true, at)?;
                open_object(bytes, at)?
            }
            Some(b'[') => {
                stack.push(false, at)?;
                let next = blanks(bytes, at + 1);
                (next, bytes.get(next) != Some(&b']'))
            }
            Some(_) => (scalar(bytes, at)?, false),
            None => return fault(at, "the text ends where a value should be"),
        };
        at = opened.0;
        if opened.1 {
            continue;
        }
        match close(bytes, at, &mut stack)? {
            (end, true) => return Ok(end),
            (next, false) => at = next,
        }
    }
}

/// After `{`: the place of the first value, or of the closing brace.
fn open_object(bytes: &[u8], at: usize) -> Result<(usize, bool), Fault> {
    let next = blanks(bytes, at + 1);
    if bytes.get(next) == Some(&b'}') {
        return Ok((next, false));
    }
    Ok((key(bytes, next)?, true))
}

/// After a value: to the next value, or through the closing brackets to the end.
fn close(bytes: &[u8], mut at: usize, stack: &mut Stack) -> Result<(usize, bool), Fault> {
    loop {
        if stack.depth == 0 {
            return Ok((at, true));
        }
        at = blanks(bytes, at);
        match (bytes.get(at), stack.top_is_object()) {
            (Some(b','), true) => return Ok((key(bytes, blanks(bytes, at + 1))?, false)),
            (Some(b','), false) => return Ok((at + 1, false)),
            (Some(b'}'), true) | (Some(b']'), false) => {
                stack.depth -= 1;
                at += 1;
            }
            (None, _) => return fault(at, "the text ends inside a value"),
            _ => return fault(at, "expected a comma or a closing bracket"),
        }
    }
}

fn key(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    if bytes.get(at) != Some(&b'"') {
        return fault(at, "expected a field name");
    }
    let colon = blanks(bytes, string(bytes, at)?);
    if bytes.get(colon) != Some(&b':') {
        return fault(colon, "expected a colon");
    }
    Ok(colon + 1)
}

fn scalar(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    match bytes[at] {
        b'"' => string(bytes, at),
        b't' => literal(bytes, at, b"true"),
        b'f' => literal(bytes, at, b"false"),
        b'n' => literal(bytes, at, b"null"),
        b'-' | b'0'..=b'9' => number(bytes, at),
        _ => fault(at, "not a JSON value"),
    }
}

fn literal(bytes: &[u8], at: usize, word: &[u8]) -> Result<usize, Fault> {
    if bytes[at..].starts_with(word) {
        Ok(at + word.len())
    } else {
        fault(at, "not a JSON value")
    }
}

fn digits(bytes: &[u8], mut at: usize) -> Result<usize, Fault> {
    let start = at;
    while matches!(bytes.get(at), Some(b'0'..=b'9')) {
        at += 1;
    }
    if at == start {
        return fault(at, "expected a digit");
    }
    Ok(at)
}

fn number(bytes: &[u8], mut at: usize) -> Result<usize, Fault> {
    if bytes[at] == b'-' {
        at += 1;
    }
    at = if bytes.get(at) == Some(&b'0') {
        at + 1
    } else {
        digits(bytes, at)?
    };
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1;
        if matches!(bytes.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        at = digits(bytes, at)?;
    }
    Ok(at)
}

fn string(bytes: &[u8], start: usize) -> Result<usize, Fault> {
    let mut at = start + 1;
    loop {
        let Some(n) = memchr2(b'"', b'\\', &bytes[at..]) else {
            return fault(start, "the text ends inside a string");
        };
        if let Some(bad) = bytes[at..at + n].iter().position(|b| *b < 0x20) {
            return fault(at + bad, "a control character inside a string");
        }
        at += n;
        if bytes[at] == b'"' {
            return Ok(at + 1);
        }
        at = escape(bytes, at)?;
    }
}

fn escape(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match bytes.get(at + 2..at + 6) {
            Some(hex) if hex.iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
            _ => fault(at, "an incomplete \\u escape"),
        },
        _ => fault(at, "an unknown escape"),
    }
}

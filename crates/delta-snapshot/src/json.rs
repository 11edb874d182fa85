//! A scanner that finds where JSON values begin and end and never changes a byte of them.

use std::ops::Range;

use crate::error::{Error, Result};

/// Containers inside containers, at most.
pub(crate) const MAX_DEPTH: usize = 256;

const fn invalid(offset: usize, what: &'static str) -> Error {
    Error::InvalidJson { offset, what }
}

/// How many bytes at the front may stand in a string as they are: no quote, no backslash, no control character.
fn plain(text: &[u8]) -> usize {
    const STEP: usize = 64;
    // Without an exit in the middle, so that the compiler looks at many bytes at once.
    let stops = |part: &[u8; STEP]| part.iter().fold(false, |any, &b| any | is_stop(b));
    let (parts, _) = text.as_chunks::<STEP>();
    let clean = parts.iter().take_while(|part| !stops(part)).count() * STEP;
    clean + plain_words(&text[clean..])
}

fn is_stop(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// The same eight at a time: the lowest flagged byte of a word is exact, which is all that is asked.
fn plain_words(text: &[u8]) -> usize {
    const EACH: u64 = u64::MAX / 255;
    const HIGH: u64 = EACH << 7;
    let zero = |word: u64| word.wrapping_sub(EACH) & !word & HIGH;
    let (words, rest) = text.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(EACH * 0x20) & !word & HIGH;
        let stops = control
            | zero(word ^ (EACH * u64::from(b'"')))
            | zero(word ^ (EACH * u64::from(b'\\')));
        if stops != 0 {
            return at * 8 + stops.trailing_zeros() as usize / 8;
        }
    }
    let rest = rest.iter().take_while(|&&b| !is_stop(b));
    words.len() * 8 + rest.count()
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Checks that `text` is exactly one JSON value (RFC 8259), white space around it allowed. Linear time, no recursion.
/// Gives the insides of the string values that are at least `long` bytes.
pub(crate) fn validate(text: &[u8], long: usize) -> Result<Vec<Range<usize>>> {
    if let Err(error) = std::str::from_utf8(text) {
        return Err(invalid(error.valid_up_to(), "UTF-8"));
    }
    let mut scan = Scan {
        text,
        at: 0,
        long,
        found: Vec::new(),
    };
    scan.space();
    scan.value()?;
    scan.space();
    if scan.at != text.len() {
        return Err(invalid(scan.at, "the end of the text"));
    }
    Ok(scan.found)
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    long: usize,
    found: Vec<Range<usize>>,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<()> {
        if self.peek() != Some(byte) {
            return Err(invalid(self.at, what));
        }
        self.at += 1;
        Ok(())
    }

    /// One value; open containers are kept on a stack of booleans (true: object).
    fn value(&mut self) -> Result<()> {
        let mut open: Vec<bool> = Vec::new();
        loop {
            self.space();
            match self.peek() {
                Some(byte @ (b'{' | b'[')) => {
                    if open.len() >= MAX_DEPTH {
                        return Err(invalid(self.at, "fewer nested containers"));
                    }
                    self.at += 1;
                    self.space();
                    let object = byte == b'{';
                    let close = if object { b'}' } else { b']' };
                    if self.peek() == Some(close) {
                        self.at += 1;
                    } else {
                        open.push(object);
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                Some(b'"') => self.string()?,
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word(b"true")?,
                Some(b'f') => self.word(b"false")?,
                Some(b'n') => self.word(b"null")?,
                _ => return Err(invalid(self.at, "a value")),
            }
            if !self.after_value(&mut open)? {
                return Ok(());
            }
        }
    }

    /// Closes what closes here; false when the outermost value is complete.
    fn after_value(&mut self, open: &mut Vec<bool>) -> Result<bool> {
        while let Some(&object) = open.last() {
            self.space();
            match (self.peek(), object) {
                (Some(b','), _) => {
                    self.at += 1;
                    if object {
                        self.space();
                        self.key()?;
                    }
                    return Ok(true);
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.at += 1;
                    open.pop();
                }
                (_, true) => return Err(invalid(self.at, "`,` or `}`")),
                (_, false) => return Err(invalid(self.at, "`,` or `]`")),
            }
        }
        Ok(false)
    }

    /// Keys stay where they are, however long: an object is searched by them without reading blocks.
    fn key(&mut self) -> Result<()> {
        let found = self.found.len();
        self.string()?;
        self.found.truncate(found);
        self.space();
        self.expect(b':', "`:`")
    }

    fn string(&mut self) -> Result<()> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        loop {
            self.at += plain(&self.text[self.at..]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                _ => return Err(invalid(self.at, "the rest of a string")),
            }
        }
        if self.at - start >= self.long {
            self.found.push(start..self.at);
        }
        self.at += 1;
        Ok(())
    }

    fn escape(&mut self) -> Result<()> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let digits = self.text.get(self.at + 1..self.at + 5);
                if !digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(invalid(self.at, "four hexadecimal digits"));
                }
                self.at += 5;
            }
            _ => return Err(invalid(self.at, "an escape")),
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<()> {
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return Err(invalid(self.at, "a digit"));
        }
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn word(&mut self, word: &'static [u8]) -> Result<()> {
        if !self.text[self.at..].starts_with(word) {
            return Err(invalid(self.at, "true, false or null"));
        }
        self.at += word.len();
        Ok(())
    }
}

/// Where one child of a container lies: its white space (and key) before, the value, white space after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) all: Range<usize>,
    pub(crate) value: Range<usize>,
}

/// A container taken apart one level deep.
#[derive(Debug)]
pub(crate) struct Children {
    pub(crate) object: bool,
    pub(crate) list: Vec<Child>,
    /// White space inside an empty container.
    pub(crate) bare: Range<usize>,
}

/// Takes a container apart. `text` starts with its opening bracket and ends with the closing one.
pub(crate) fn children(text: &[u8]) -> Result<Children> {
    let object = match text.first() {
        Some(b'{') => true,
        Some(b'[') => false,
        _ => return Err(invalid(0, "a container")),
    };
    let mut walk = Walk { text, at: 1 };
    let mut list = Vec::new();
    walk.space();
    if walk.peek()? == (if object { b'}' } else { b']' }) {
        let bare = 1..walk.at;
        return walk.close(Children { object, list, bare });
    }
    let mut start = 1;
    loop {
        walk.space();
        if object {
            walk.skip_string()?;
            walk.space();
            walk.step(b':')?;
            walk.space();
        }
        let from = walk.at;
        walk.skip_value()?;
        let value = from..walk.at;
        walk.space();
        list.push(Child {
            all: start..walk.at,
            value,
        });
        match walk.peek()? {
            b',' => walk.at += 1,
            b'}' if object => break,
            b']' if !object => break,
            _ => return Err(invalid(walk.at, "`,` or the end of the container")),
        }
        start = walk.at;
    }
    let bare = 0..0;
    walk.close(Children { object, list, bare })
}

/// The member of an object that begins at `at`: its whole place, and the end of its colon.
pub(crate) fn member(text: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let mut walk = Walk { text, at };
    walk.space();
    walk.skip_string().ok()?;
    walk.space();
    walk.step(b':').ok()?;
    let colon = walk.at;
    walk.space();
    walk.skip_value().ok()?;
    walk.space();
    Some((at..walk.at, colon))
}

struct Walk<'a> {
    text: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn peek(&self) -> Result<u8> {
        let byte = self.text.get(self.at).copied();
        byte.ok_or_else(|| invalid(self.at, "the rest of a container"))
    }

    fn space(&mut self) {
        while self.text.get(self.at).copied().is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn step(&mut self, byte: u8) -> Result<()> {
        if self.peek()? != byte {
            return Err(invalid(self.at, "punctuation"));
        }
        self.at += 1;
        Ok(())
    }

    fn close(&self, children: Children) -> Result<Children> {
        if self.at + 1 != self.text.len() {
            return Err(invalid(self.at, "the end of the container"));
        }
        Ok(children)
    }

    fn skip_string(&mut self) -> Result<()> {
        self.step(b'"')?;
        loop {
            self.at += self.text.get(self.at..).map_or(0, plain);
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Ok(())
    }

    /// Only brackets and strings matter: what is inside was validated when it came in.
    fn skip_value(&mut self) -> Result<()> {
        let start = self.at;
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.skip_string()?;
                    if depth == 0 {
                        return Ok(());
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 0 => break,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return Ok(());
                    }
                }
                b',' if depth == 0 => break,
                byte if depth == 0 && is_space(byte) => break,
                _ => {}
            }
            self.at += 1;
        }
        if self.at == start {
            return Err(invalid(start, "a value"));
        }
        Ok(())
    }
}

/// The string that a quoted JSON string stands for. Lone surrogates become U+FFFD.
pub(crate) fn unquote(quoted: &[u8]) -> String {
    let inside = quoted
        .get(1..quoted.len().saturating_sub(1))
        .unwrap_or_default();
    let text = String::from_utf8_lossy(inside);
    if !text.contains('\\') {
        return text.into_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut units: Vec<u16> = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        if escaped == Some('u') {
            let hex: String = chars.by_ref().take(4).collect();
            units.push(u16::from_str_radix(&hex, 16).unwrap_or(0xfffd));
            continue;
        }
        out.push_str(&String::from_utf16_lossy(&std::mem::take(&mut units)));
        out.push(match escaped {
            None => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some(other) => other,
        });
    }
    out.push_str(&String::from_utf16_lossy(&units));
    out
}

/// Quotes a string as JSON, escaping only what must be.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

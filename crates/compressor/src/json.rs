//! JSON as byte spans: one validating scan, then navigation without copies.
//!
//! Nothing is turned into a tree, so unknown fields, spellings of numbers and the order of keys
//! survive because they are never touched. The scan does not recurse; its depth is bounded.

use memchr::memchr2;
use std::borrow::Cow;

/// Deepest nesting that is read, in levels.
pub(crate) const MAX_DEPTH: usize = 256;

/// Where and why a text is not JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) offset: usize,
    pub(crate) what: &'static str,
}

fn fault<T>(offset: usize, what: &'static str) -> Result<T, Fault> {
    Err(Fault { offset, what })
}

/// One validated JSON value, without blanks around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// Validates `text` as exactly one value, blanks around it allowed.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Fault> {
        let bytes = text.as_bytes();
        let start = blanks(bytes, 0);
        let end = validate(bytes, start)?;
        let rest = blanks(bytes, end);
        if rest != bytes.len() {
            return fault(rest, "more text after the value");
        }
        Ok(Self(&text[start..end]))
    }

    /// A value that was validated before.
    pub(crate) fn trusted(text: &'a str) -> Self {
        Self(text)
    }

    pub(crate) fn text(self) -> &'a str {
        self.0
    }

    fn first(self) -> u8 {
        self.0.as_bytes().first().copied().unwrap_or(b' ')
    }

    pub(crate) fn is_object(self) -> bool {
        self.first() == b'{'
    }

    pub(crate) fn is_array(self) -> bool {
        self.first() == b'['
    }

    pub(crate) fn is_string(self) -> bool {
        self.first() == b'"'
    }

    pub(crate) fn is_null(self) -> bool {
        self.0 == "null"
    }

    pub(crate) fn is_true(self) -> bool {
        self.0 == "true"
    }

    /// The text of a string, decoded; `None` for other values.
    pub(crate) fn string(self) -> Option<Cow<'a, str>> {
        self.is_string()
            .then(|| decode(&self.0[1..self.0.len() - 1]))
    }

    /// The text of a string without decoding, for comparisons with plain words.
    pub(crate) fn word(self) -> Option<&'a str> {
        self.is_string().then(|| &self.0[1..self.0.len() - 1])
    }

    /// The value of the last field called `key`, when this is an object.
    pub(crate) fn get(self, key: &str) -> Option<Json<'a>> {
        self.fields()
            .filter(|(name, _)| *name == key)
            .last()
            .map(|(_, value)| value)
    }

    /// The fields of an object; none for other values.
    pub(crate) fn fields(self) -> Fields<'a> {
        Fields(Walk::new(self, b'{'))
    }

    /// The elements of an array; none for other values.
    pub(crate) fn elements(self) -> Elements<'a> {
        Elements(Walk::new(self, b'['))
    }
}

#[derive(Debug, Clone)]
struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    fn new(value: Json<'a>, open: u8) -> Self {
        if value.first() == open {
            Self {
                text: value.0,
                at: 1,
            }
        } else {
            Self { text: "", at: 0 }
        }
    }

    /// The next value, skipping blanks, commas and colons before it.
    fn next(&mut self) -> Option<Json<'a>> {
        let bytes = self.text.as_bytes();
        while matches!(
            bytes.get(self.at),
            Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b':')
        ) {
            self.at += 1;
        }
        match bytes.get(self.at)? {
            b'}' | b']' => None,
            _ => {
                let start = self.at;
                self.at = skip(bytes, start);
                Some(Json(&self.text[start..self.at]))
            }
        }
    }
}

/// Fields of an object, in the order of the text.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a>(Walk<'a>);

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, Json<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.next()?.word()?;
        Some((key, self.0.next()?))
    }
}

/// Elements of an array.
#[derive(Debug, Clone)]
pub(crate) struct Elements<'a>(Walk<'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = Json<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

/// The first byte at or after `at` that is not a blank.
pub(crate) fn blanks(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// The end of a value known to be valid.
fn skip(bytes: &[u8], start: usize) -> usize {
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
pub(crate) fn validate(bytes: &[u8], at: usize) -> Result<usize, Fault> {
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

/// Decodes the inside of a valid string; a lone surrogate becomes U+FFFD.
fn decode(inner: &str) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', inner.as_bytes()) else {
        return Cow::Borrowed(inner);
    };
    let mut out = String::with_capacity(inner.len());
    out.push_str(&inner[..first]);
    let mut rest = &inner[first..];
    while let Some(escaped) = rest.strip_prefix('\\') {
        rest = unescape(escaped, &mut out);
        let plain = memchr::memchr(b'\\', rest.as_bytes()).unwrap_or(rest.len());
        out.push_str(&rest[..plain]);
        rest = &rest[plain..];
    }
    Cow::Owned(out)
}

/// One escape, its backslash already taken; returns what follows it.
fn unescape<'a>(escaped: &'a str, out: &mut String) -> &'a str {
    let mut chars = escaped.chars();
    match chars.next() {
        Some('n') => out.push('\n'),
        Some('t') => out.push('\t'),
        Some('r') => out.push('\r'),
        Some('b') => out.push('\u{8}'),
        Some('f') => out.push('\u{c}'),
        Some('u') => return unicode(&escaped[1..], out),
        Some(c) => out.push(c),
        None => {}
    }
    chars.as_str()
}

fn hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text.get(..4)?, 16).ok()
}

fn unicode<'a>(digits: &'a str, out: &mut String) -> &'a str {
    let rest = digits.get(4..).unwrap_or("");
    let Some(unit) = hex(digits) else {
        out.push(char::REPLACEMENT_CHARACTER);
        return rest;
    };
    if (0xD800..0xDC00).contains(&unit)
        && let Some(low) = rest.strip_prefix("\\u").and_then(hex)
        && (0xDC00..0xE000).contains(&low)
    {
        let code = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
        out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        return &rest[6..];
    }
    out.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
    rest
}

/// Appends `text` as a JSON string.
pub(crate) fn quote(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let code = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        out.push_str(code);
        if code.is_empty() {
            out.push_str(&format!("\\u{byte:04x}"));
        }
        plain = at + 1;
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    quote(&mut out, text);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_refuses_as_the_grammar_says() {
        for good in [
            "{}",
            "[]",
            " [1, -0.5e+3, true, null, \"\\u00e9\\n\"] ",
            "{\"a\":{\"b\":[{}]}}",
            "0",
        ] {
            assert!(Json::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "tru",
            "01",
            "\"\\x\"",
            "\"\n\"",
            "[1}",
            "1 2",
            "\"\\u12\"",
            "-",
        ] {
            assert!(Json::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn depth_is_bounded_without_recursion() {
        let deep = "[".repeat(1_000_000);
        assert_eq!(Json::parse(&deep).unwrap_err().what, "nested too deeply");
        let fine = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(Json::parse(&fine).is_ok());
    }

    #[test]
    fn strings_decode_and_encode() {
        let value = Json::parse(r#""a\"b\\\n\u00e9\ud83d\ude00\ud800""#).unwrap();
        assert_eq!(value.string().unwrap(), "a\"b\\\né😀\u{fffd}");
        let text = "a\"b\\\n\u{1}é";
        assert_eq!(Json::parse(&quoted(text)).unwrap().string().unwrap(), text);
    }
}

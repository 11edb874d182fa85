//! JSON as byte spans: one validating scan, then navigation without copies.
//!
//! Nothing is turned into a tree, so unknown fields, spellings of numbers and the order of keys
//! survive because they are never touched. The scan does not recurse; its depth is bounded.

mod scan;
mod text;

pub(crate) use text::quoted;

use scan::{blanks, skip, validate};
use std::borrow::Cow;
use text::decode;

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

#[cfg(test)]
mod tests {
    use super::{scan::MAX_DEPTH, *};

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

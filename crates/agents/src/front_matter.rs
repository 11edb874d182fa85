//! The part of YAML that agent definitions use, read line by line.
//!
//! Understood: `key: value` with plain, single- and double-quoted scalars; lists in flow form
//! (`[a, b]`) and block form (`- a`); block scalars (`|`, `>`, with `-` and `+`); nested mappings;
//! comments. A plain value runs to the end of its line, colons included, since descriptions are
//! written so. Anchors, aliases, tags, flow mappings and mappings inside lists are refused.

use std::collections::BTreeMap;

/// A value of the front matter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// A scalar, as text: `true` and `3` are left as they are written.
    Text(String),
    /// A list of scalars.
    List(Vec<String>),
    /// A nested mapping.
    Map(BTreeMap<String, Value>),
}

/// Bytes of memory that a text of its own takes, about.
pub(crate) fn weight(text: &str) -> usize {
    48 + text.len()
}

/// Bytes of memory that a mapping takes, about.
pub(crate) fn map_weight(map: &BTreeMap<String, Value>) -> usize {
    let value_weight = |value: &Value| match value {
        Value::Text(text) => weight(text),
        Value::List(items) => items.iter().map(|item| weight(item)).sum(),
        Value::Map(map) => map_weight(map),
    };
    map.iter()
        .map(|(key, value)| weight(key) + value_weight(value))
        .sum()
}

/// Most levels of nested mappings.
const MAX_DEPTH: usize = 8;
/// Most keys and list items of one definition.
const MAX_ITEMS: usize = 4_096;

/// A complaint about a line, counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// The lines between the fences, the text behind them, and how many lines came first.
pub(crate) fn split(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text.split_inclusive('\n').next()?;
    if first.trim_end() != "---" {
        return None;
    }
    let mut end = first.len();
    for line in text[first.len()..].split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Some((&text[first.len()..end], &text[end + line.len()..]));
        }
        end += line.len();
    }
    None
}

/// Whether the text begins as a definition does.
pub(crate) fn has_opening_fence(text: &str) -> bool {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines()
        .next()
        .is_some_and(|line| line.trim_end() == "---")
}

/// The mapping that the lines between the fences spell.
pub(crate) fn parse(front: &str) -> Result<BTreeMap<String, Value>, Complaint> {
    let lines: Vec<&str> = front.lines().collect();
    let mut parser = Parser {
        lines,
        at: 0,
        items: 0,
    };
    let map = parser.map(0, 0)?;
    match parser.peek() {
        Some(_) => {
            Err(parser
                .complain("this line is indented less than its mapping or more than it may be"))
        }
        None => Ok(map),
    }
}

struct Parser<'a> {
    lines: Vec<&'a str>,
    /// The line that is read next.
    at: usize,
    items: usize,
}

impl<'a> Parser<'a> {
    /// The next line that says something: its indentation and its text.
    fn peek(&mut self) -> Option<(usize, &'a str)> {
        while let Some(line) = self.lines.get(self.at) {
            let text = line.trim();
            if !text.is_empty() && !text.starts_with('#') {
                return Some((indent_of(line), line.trim_start_matches(' ').trim_end()));
            }
            self.at += 1;
        }
        None
    }

    /// The opening fence is line 1.
    fn complain(&self, what: impl Into<String>) -> Complaint {
        Complaint {
            line: self.at + 2,
            what: what.into(),
        }
    }

    fn count_item(&mut self) -> Result<(), Complaint> {
        self.items += 1;
        if self.items > MAX_ITEMS {
            return Err(self.complain(format!("more than {MAX_ITEMS} keys and list items")));
        }
        Ok(())
    }

    fn map(&mut self, indent: usize, depth: usize) -> Result<BTreeMap<String, Value>, Complaint> {
        let mut map = BTreeMap::new();
        while let Some((own, text)) = self.peek() {
            if own < indent {
                break;
            }
            if own > indent {
                return Err(self.complain("this line is indented more than its mapping"));
            }
            self.count_item()?;
            let (key, rest) = self.key(text)?;
            if map.contains_key(&key) {
                return Err(self.complain(format!("the key `{key}` is given twice")));
            }
            let value = self.value(rest, indent, depth)?;
            map.insert(key, value);
        }
        Ok(map)
    }

    fn key(&self, text: &'a str) -> Result<(String, &'a str), Complaint> {
        if text.starts_with('\t') {
            return Err(self.complain("indent with spaces, not with tabs"));
        }
        let quoted = text.starts_with(['"', '\'']);
        let (key, rest) = if quoted {
            self.quoted(text)?
        } else {
            self.plain_key(text)?
        };
        let rest = if quoted {
            rest.strip_prefix(':')
                .ok_or(self.complain("a colon is missing after the key"))?
        } else {
            rest
        };
        if key.is_empty() {
            return Err(self.complain("the key is empty"));
        }
        Ok((key, rest.trim()))
    }

    fn plain_key(&self, text: &'a str) -> Result<(String, &'a str), Complaint> {
        let colon = text.char_indices().find(|&(at, c)| {
            c == ':'
                && text[at + 1..]
                    .chars()
                    .next()
                    .is_none_or(char::is_whitespace)
        });
        let Some((colon, _)) = colon else {
            return Err(self.complain("expected `key: value`"));
        };
        let key = text[..colon].trim_end();
        if key.starts_with(['&', '*', '!', '{', '[', '-', '?', '|', '>', '%', '@', '`']) {
            return Err(
                self.complain("this part of YAML is not understood here; write `key: value`")
            );
        }
        Ok((key.to_owned(), &text[colon + 1..]))
    }

    /// The value behind a key; `self.at` is the key's line and ends behind the value.
    fn value(&mut self, rest: &'a str, indent: usize, depth: usize) -> Result<Value, Complaint> {
        match rest.chars().next() {
            Some('|' | '>') => self.block_scalar(rest, indent).map(Value::Text),
            Some('[') => self.flow_list(rest).map(Value::List),
            Some('{' | '&' | '*' | '!') => Err(self.complain(
                "this part of YAML is not understood here; quote the value to have it as text",
            )),
            None | Some('#') => {
                self.at += 1;
                self.nested(indent, depth)
            }
            Some(_) => {
                let text = self.scalar(rest)?;
                self.at += 1;
                self.continued(text, rest, indent).map(Value::Text)
            }
        }
    }

    /// What follows a key without a value on its line: a list, a mapping, or nothing.
    fn nested(&mut self, indent: usize, depth: usize) -> Result<Value, Complaint> {
        match self.peek() {
            Some((own, text)) if own >= indent && is_item(text) => {
                self.block_list(own).map(Value::List)
            }
            Some((own, _)) if own > indent => {
                if depth + 1 >= MAX_DEPTH {
                    return Err(self.complain(format!("more than {MAX_DEPTH} levels of mappings")));
                }
                self.map(own, depth + 1).map(Value::Map)
            }
            _ => Ok(Value::Text(String::new())),
        }
    }

    /// A plain scalar goes on over deeper lines, folded with spaces.
    fn continued(
        &mut self,
        mut text: String,
        first: &str,
        indent: usize,
    ) -> Result<String, Complaint> {
        let quoted = first.starts_with(['"', '\'']);
        while let Some((own, more)) = self.peek().filter(|&(own, _)| own > indent) {
            let _ = own;
            if quoted {
                return Err(self.complain("a quoted value ends on its line"));
            }
            text.push(' ');
            text.push_str(strip_comment(more));
            self.at += 1;
        }
        Ok(text)
    }

    fn block_list(&mut self, indent: usize) -> Result<Vec<String>, Complaint> {
        let mut list = Vec::new();
        while let Some((own, text)) = self.peek() {
            if own < indent || !is_item(text) {
                break;
            }
            if own > indent {
                return Err(self.complain("lists of lists and of mappings are not understood here"));
            }
            self.count_item()?;
            list.push(self.scalar(text[1..].trim())?);
            self.at += 1;
        }
        match self.peek() {
            Some((own, _)) if own > indent => {
                Err(self.complain("lists of lists and of mappings are not understood here"))
            }
            _ => Ok(list),
        }
    }

    fn flow_list(&mut self, text: &'a str) -> Result<Vec<String>, Complaint> {
        let mut rest = text[1..].trim_start();
        let mut list = Vec::new();
        loop {
            if let Some(after) = rest.strip_prefix(']') {
                let after = after.trim_start();
                if !after.is_empty() && !after.starts_with('#') {
                    return Err(self.complain("text behind the closing bracket"));
                }
                self.at += 1;
                return Ok(list);
            }
            self.count_item()?;
            let (item, after) = if rest.starts_with(['"', '\'']) {
                self.quoted(rest)?
            } else {
                let end = rest
                    .find([',', ']'])
                    .ok_or(self.complain("a list in brackets ends on its line"))?;
                (rest[..end].trim().to_owned(), &rest[end..])
            };
            list.push(item);
            rest = after.trim_start();
            rest = match rest.strip_prefix(',') {
                Some(more) => more.trim_start(),
                None if rest.starts_with(']') => rest,
                None => return Err(self.complain("a list in brackets ends on its line")),
            };
        }
    }

    fn scalar(&self, text: &str) -> Result<String, Complaint> {
        if !text.starts_with(['"', '\'']) {
            return Ok(strip_comment(text).to_owned());
        }
        let (value, rest) = self.quoted(text)?;
        if !rest.is_empty() && !rest.starts_with('#') {
            return Err(self.complain("text behind the closing quote"));
        }
        Ok(value)
    }

    /// A quoted scalar and the trimmed text behind it.
    fn quoted<'t>(&self, text: &'t str) -> Result<(String, &'t str), Complaint> {
        let quote = if text.starts_with('"') { '"' } else { '\'' };
        let mut value = String::new();
        let mut chars = text.char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '\'' if quote == '\'' && chars.peek().is_some_and(|&(_, next)| next == '\'') => {
                    chars.next();
                    value.push('\'');
                }
                c if c == quote => return Ok((value, text[at + 1..].trim_start())),
                '\\' if quote == '"' => {
                    let escaped = chars.next().map(|(_, c)| c);
                    value.push(escape(escaped).ok_or(self.complain(
                        "this escape is not understood; use \\n, \\t, \\r, \\\", \\\\ or \\/",
                    ))?);
                }
                c => value.push(c),
            }
        }
        Err(self.complain("the closing quote is missing on this line"))
    }

    fn block_scalar(&mut self, header: &str, indent: usize) -> Result<String, Complaint> {
        let folded = header.starts_with('>');
        let keep = match header[1..].split('#').next().unwrap_or("").trim() {
            "" => Chomp::Clip,
            "-" => Chomp::Strip,
            "+" => Chomp::Keep,
            _ => {
                return Err(
                    self.complain("only `|`, `>`, `|-`, `>-`, `|+` and `>+` are understood")
                );
            }
        };
        self.at += 1;
        let lines = self.block_lines(indent);
        let text = if folded {
            fold(&lines)
        } else {
            lines.join("\n")
        };
        Ok(match keep {
            Chomp::Strip => text.trim_end_matches('\n').to_owned(),
            Chomp::Keep => text + "\n",
            Chomp::Clip if text.trim_end_matches('\n').is_empty() => String::new(),
            Chomp::Clip => text.trim_end_matches('\n').to_owned() + "\n",
        })
    }

    /// The lines of a block scalar, without their common indentation.
    fn block_lines(&mut self, indent: usize) -> Vec<&'a str> {
        let start = self.at;
        let belongs = |line: &&&str| line.trim().is_empty() || indent_of(line) > indent;
        let lines: Vec<&'a str> = self.lines[start..]
            .iter()
            .take_while(belongs)
            .copied()
            .collect();
        self.at += lines.len();
        let own = lines
            .iter()
            .find(|line| !line.trim().is_empty())
            .map_or(0, |line| indent_of(line));
        lines
            .iter()
            .map(|line| {
                line.get(own.min(indent_of(line))..)
                    .unwrap_or("")
                    .trim_end_matches('\r')
            })
            .collect()
    }
}

enum Chomp {
    Clip,
    Strip,
    Keep,
}

/// Single line breaks become spaces, empty lines become breaks.
fn fold(lines: &[&str]) -> String {
    let mut text = String::new();
    for line in lines {
        match line.trim().is_empty() {
            true => text.push('\n'),
            false => {
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push(' ');
                }
                text.push_str(line.trim_end());
            }
        }
    }
    text
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

fn strip_comment(text: &str) -> &str {
    text.find(" #").map_or(text, |at| &text[..at]).trim_end()
}

fn escape(c: Option<char>) -> Option<char> {
    Some(match c? {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        '0' => '\0',
        same @ ('"' | '\\' | '/' | ' ') => same,
        _ => return None,
    })
}

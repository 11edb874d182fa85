//! Code that a session produced, in the state in which it was left.

use crate::{access::Access, extract, item::ToolCall, json::Json};

/// Longer pieces are files, not snippets.
const LONGEST: usize = 16 << 10;
/// Shorter ones say nothing that the rest of a summary does not say.
const SHORTEST: usize = 24;
/// Most snippets, and most bytes of them together.
const MOST: usize = 256;
const BYTES: usize = 256 << 10;

/// Fields in which calls that change a file carry its new text.
const TEXTS: [&str; 9] = [
    "new_string",
    "new_str",
    "new",
    "new_text",
    "replacement",
    "content",
    "file_text",
    "contents",
    "text",
];

/// A complete piece of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snippet {
    /// The item that holds it.
    pub(crate) seq: u64,
    /// Which of the snippets of its item it is.
    pub(crate) number: u32,
    /// The file that it went into, or the first line of it.
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Snippet {
    /// Id of the blob that holds it once its item is gone.
    pub(crate) fn id(&self) -> String {
        match self.number {
            0 => format!("c{}", self.seq),
            number => format!("c{}.{number}", self.seq),
        }
    }
}

/// The newest state of each named piece, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snippets(Vec<Snippet>);

impl Snippets {
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Snippet> {
        self.0.iter()
    }

    pub(crate) fn push(&mut self, seq: u64, name: &str, text: &str) {
        self.0.retain(|old| old.name != name);
        let of_item = self.0.iter().filter(|old| old.seq == seq);
        self.0.push(Snippet {
            seq,
            number: of_item
                .map(|old| old.number.saturating_add(1))
                .max()
                .unwrap_or(0),
            name: name.to_owned(),
            text: text.to_owned(),
        });
        let mut bytes: usize = self.0.iter().map(|old| old.text.len()).sum();
        while self.0.len() > MOST || bytes > BYTES {
            bytes -= self.0.remove(0).text.len();
        }
    }

    pub(crate) fn from_list(list: Vec<Snippet>) -> Self {
        Self(list)
    }

    pub(crate) fn list(&self) -> &[Snippet] {
        &self.0
    }
}

/// The new text that a call puts into a file.
pub(crate) fn written(call: &ToolCall<'_>, access: &Access) -> Option<(String, String)> {
    let path = access.path.clone()?;
    let fields = Json::parse(call.arguments.trim()).ok()?;
    let text = TEXTS
        .iter()
        .find_map(|key| fields.get(key)?.string())
        .filter(|text| fits(text))?;
    Some((path, text.into_owned()))
}

/// The fenced blocks of a text: each with the path that its fence or the line above names, else with
/// its own first line.
pub(crate) fn fenced(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    let mut above = "";
    std::iter::from_fn(move || {
        loop {
            let (line, after) = split_line(rest)?;
            let Some(info) = line.trim_start().strip_prefix("```") else {
                if !line.trim().is_empty() {
                    above = line;
                }
                rest = after;
                continue;
            };
            let (block, next) = close(after)?;
            rest = next;
            let named = extract::paths(info).last();
            let named = named.or_else(|| extract::paths(above).last());
            let name = named.unwrap_or_else(|| extract::clip(extract::first_line(block), 80));
            above = "";
            if fits(block) {
                return Some((name, block));
            }
        }
    })
}

fn fits(text: &str) -> bool {
    (SHORTEST..=LONGEST).contains(&text.len()) && !text.trim().is_empty()
}

fn split_line(text: &str) -> Option<(&str, &str)> {
    if text.is_empty() {
        return None;
    }
    let end = text.find('\n').map_or(text.len(), |at| at + 1);
    Some((&text[..end], &text[end..]))
}

/// The block up to its closing fence, and what follows; a block without an end is not complete.
fn close(text: &str) -> Option<(&str, &str)> {
    let mut at = 0;
    while let Some((line, after)) = split_line(&text[at..]) {
        if line.trim() == "```" {
            return Some((&text[..at], after));
        }
        at += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_the_name_that_stands_by_them() {
        let text = "In `src/a.rs`:\n\n```rust\nfn a() { one(); two(); three() }\n```\n\
                    and\n```py b.py\ndef b():\n    return one, two, three\n```\n\
                    ```\nfn unnamed() { one(); two() }\n```\n```rust\nfn cut_off() { one();";
        let found: Vec<_> = fenced(text)
            .map(|(name, code)| (name, code.len()))
            .collect();
        assert_eq!(
            found,
            [
                ("src/a.rs", 33),
                ("b.py", 36),
                ("fn unnamed() { one(); two() }", 30)
            ]
        );
    }

    #[test]
    fn the_newest_state_of_a_name_is_kept_within_bounds() {
        let mut snippets = Snippets::default();
        for seq in 0..200 {
            snippets.push(seq, &format!("f{}", seq % 100), &"x".repeat(5_000));
        }
        let kept: Vec<u64> = snippets.iter().map(|s| s.seq).collect();
        assert_eq!(kept.last(), Some(&199));
        assert!(kept.len() * 5_000 <= BYTES && kept.is_sorted());
    }
}

//! Functions whose bodies were shown before.

use std::collections::HashSet;
use xxhash_rust::xxh3::xxh3_64;

/// Bodies with fewer lines are cheaper than a remark.
const SHORT: usize = 3;

/// How a language says where a body begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Braces,
    Indentation,
}

/// The functions that a text has shown so far, by head and body.
#[derive(Debug, Default)]
pub(super) struct Shown(HashSet<u64>);

impl Shown {
    /// The code with the body of each function that stood before, head and body the same, replaced by a
    /// remark in the language's comments; every other function is remembered. `must_stay` says which
    /// lines keep their body.
    pub(super) fn without_bodies(
        &mut self,
        code: &str,
        layout: Layout,
        comment: &str,
        must_stay: &dyn Fn(&str) -> bool,
    ) -> String {
        let lines: Vec<&str> = code.split_inclusive('\n').collect();
        let mut out = String::with_capacity(code.len());
        let mut at = 0;
        while at < lines.len() {
            let body = is_head(lines[at])
                .then(|| body(&lines, at, layout))
                .flatten();
            let Some((from, to)) = body.filter(|(from, to)| to - from >= SHORT) else {
                out.push_str(lines[at]);
                at += 1;
                continue;
            };
            let whole: String = lines[at..to].concat();
            let seen = !self.0.insert(xxh3_64(whole.as_bytes()));
            lines[at..from].iter().for_each(|line| out.push_str(line));
            if seen && !lines[from..to].iter().any(|line| must_stay(line)) {
                let indent = lines[from].len() - lines[from].trim_start().len();
                out.push_str(&lines[from][..indent]);
                out.push_str(&format!(
                    "{comment} unchanged, {} lines as above\n",
                    to - from
                ));
                at = to;
            } else {
                // Functions inside are looked at by themselves.
                at = from;
            }
        }
        out
    }
}

/// A line that begins a function, in the languages whose fences are known.
fn is_head(line: &str) -> bool {
    const WORDS: [&str; 7] = [
        "fn ",
        "def ",
        "function ",
        "func ",
        "fun ",
        "sub ",
        "async def ",
    ];
    let line = line.trim_start();
    let bare = [
        "pub(crate) ",
        "pub(super) ",
        "pub ",
        "export ",
        "default ",
        "async ",
        "const ",
        "unsafe ",
        "static ",
        "public ",
        "private ",
        "protected ",
        "override ",
        "inline ",
    ];
    let mut rest = line;
    while let Some(after) = bare.iter().find_map(|word| rest.strip_prefix(word)) {
        rest = after;
    }
    let typed = rest.len() < line.len() && rest.contains('(') && rest.trim_end().ends_with('{');
    WORDS.iter().any(|word| rest.starts_with(word)) || typed
}

/// The lines of the body of the function whose head is at `at`, without the line that closes it.
fn body(lines: &[&str], at: usize, layout: Layout) -> Option<(usize, usize)> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let own = indent(lines[at]);
    let opens = match layout {
        Layout::Braces => "{",
        Layout::Indentation => ":",
    };
    let near = at..lines.len().min(at + 8);
    let head = near
        .clone()
        .find(|n| lines[*n].trim_end().ends_with(opens))?;
    let from = head + 1;
    let blank = |line: &str| line.trim().is_empty();
    let inside = |line: &&&str| blank(line) || indent(line) > own;
    let mut to = from + lines[from..].iter().take_while(inside).count();
    while to > from && blank(lines[to - 1]) {
        to -= 1;
    }
    match layout {
        // A body that is laid out in another way is left alone.
        Layout::Braces
            if !lines
                .get(to)
                .is_some_and(|line| line.trim_start().starts_with('}')) =>
        {
            None
        }
        _ => Some((from, to)),
    }
}

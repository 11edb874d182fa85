//! Long code blocks without what only people need, and without what they show again.

use super::bodies::{Layout, Shown};
use crate::{extract, tokens::Tokenizer};

/// The text with its long fenced blocks compressed, each taken only when it is much shorter.
pub(super) fn compressed(
    text: &str,
    tokenizer: &dyn Tokenizer,
    longer_than: usize,
    ratio: f64,
) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut shown = Shown::default();
    while let Some(block) = Block::next(rest) {
        out.push_str(block.before);
        let tokens = tokenizer.count(block.body);
        let short = shortened(block.body, block.language, &mut shown);
        let taken =
            tokens > longer_than && (tokenizer.count(&short) as f64) < ratio * tokens as f64;
        out.push_str(if taken { &short } else { block.body });
        out.push_str(block.close);
        rest = block.after;
    }
    out.push_str(rest);
    out
}

/// The first fenced block of a text and what is around it.
struct Block<'a> {
    /// Up to the end of the line with the opening fence.
    before: &'a str,
    language: &'a str,
    body: &'a str,
    /// The line with the closing fence.
    close: &'a str,
    after: &'a str,
}

impl<'a> Block<'a> {
    fn next(text: &'a str) -> Option<Self> {
        let open = find_fence(text, 0)?;
        let start = open + text[open..].find('\n')? + 1;
        let end = find_fence(text, start)?;
        let after = text[end..].find('\n').map_or(text.len(), |n| end + n + 1);
        Some(Self {
            before: &text[..start],
            language: text[open..start].trim().trim_start_matches('`'),
            body: &text[start..end],
            close: &text[end..after],
            after: &text[after..],
        })
    }
}

fn find_fence(text: &str, from: usize) -> Option<usize> {
    let mut at = from;
    for line in text[from..].split_inclusive('\n') {
        if line.trim_start().starts_with("```") {
            return Some(at);
        }
        at += line.len();
    }
    None
}

fn shortened(body: &str, language: &str, shown: &mut Shown) -> String {
    let comment = comment_of(language);
    let lean: String = body
        .split_inclusive('\n')
        .filter(|line| {
            let line = line.trim();
            !line.is_empty() && !comment.is_some_and(|start| is_idle_comment(line, start))
        })
        .collect();
    match (comment, layout_of(language)) {
        (Some(comment), Some(layout)) => shown.without_bodies(&lean, layout, comment, &must_stay),
        _ => lean,
    }
}

fn layout_of(language: &str) -> Option<Layout> {
    match language {
        "python" | "py" => Some(Layout::Indentation),
        "rust" | "rs" | "c" | "cpp" | "c++" | "java" | "js" | "javascript" | "ts"
        | "typescript" | "tsx" | "jsx" | "go" | "kotlin" | "swift" | "scala" | "php" | "csharp"
        | "cs" => Some(Layout::Braces),
        _ => None,
    }
}

/// A line with what is always kept: a path, an error, a task.
fn must_stay(line: &str) -> bool {
    extract::paths(line).next().is_some()
        || ["TODO", "FIXME", "SAFETY", "error", "Error"]
            .iter()
            .any(|word| line.contains(word))
}

fn comment_of(language: &str) -> Option<&'static str> {
    match language {
        "rust" | "rs" | "c" | "cpp" | "c++" | "java" | "js" | "javascript" | "ts"
        | "typescript" | "tsx" | "jsx" | "go" | "kotlin" | "swift" | "scala" | "php" | "csharp"
        | "cs" => Some("//"),
        "python" | "py" | "sh" | "bash" | "shell" | "ruby" | "rb" | "yaml" | "yml" | "toml"
        | "perl" | "r" => Some("#"),
        "sql" | "lua" | "haskell" | "hs" => Some("--"),
        _ => None,
    }
}

/// A whole-line comment that names no file, error or task, and is no directive.
fn is_idle_comment(line: &str, start: &str) -> bool {
    line.starts_with(start)
        && !line.starts_with("#!")
        && !line.starts_with("#[")
        && !must_stay(line)
}

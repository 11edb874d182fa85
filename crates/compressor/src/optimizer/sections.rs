//! Sections that repeat.

use crate::{
    extract,
    similar::{self, Signature},
};
use std::collections::HashMap;

/// Sections shorter than this are cheaper than a reference.
const SHORT: usize = 160;

/// The text with sections that resemble an earlier one replaced by a reference to it.
///
/// A section ends at an empty line outside of code.
pub(super) fn without_duplicates(text: &str, similarity: f64) -> String {
    let mut out = String::with_capacity(text.len());
    let mut buckets: HashMap<(usize, u64), Vec<usize>> = HashMap::new();
    let mut kept: Vec<(Signature, &str)> = Vec::new();
    for section in sections(text) {
        if section.len() < SHORT {
            out.push_str(section);
            continue;
        }
        let signature = Signature::of(section);
        let twin = signature.bands().find_map(|band| {
            let list = buckets.get(&band)?.iter().take(16);
            list.copied().find(|at| {
                kept[*at].0.may_exceed(&signature, similarity)
                    && similar::similarity(kept[*at].1, section) > similarity
                    && covers(kept[*at].1, section)
            })
        });
        match twin {
            Some(at) => {
                let begins = extract::clip(extract::first_line(kept[at].1), 48);
                out.push_str(&format!("[as above: {begins}]\n\n"));
            }
            None => {
                for band in signature.bands() {
                    buckets.entry(band).or_default().push(kept.len());
                }
                kept.push((signature, section));
                out.push_str(section);
            }
        }
    }
    out
}

/// Whether the earlier section has every path, error and task of the later one.
fn covers(earlier: &str, later: &str) -> bool {
    extract::paths(later).all(|path| earlier.contains(path))
        && extract::tasks(later).all(|(task, _)| earlier.contains(task))
        && extract::error_line(later, false).is_none_or(|line| earlier.contains(line))
}

fn sections(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (section, after) = rest.split_at(section_end(rest));
        rest = after;
        Some(section)
    })
}

fn section_end(text: &str) -> usize {
    let mut at = 0;
    let mut code = false;
    for line in text.split_inclusive('\n') {
        at += line.len();
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if line.trim().is_empty() && !code {
            return at;
        }
    }
    text.len()
}

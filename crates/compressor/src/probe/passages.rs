//! A context cut into what belongs together.

use crate::{item::Role, json::Json, quality, transcript::Transcript};

/// Bytes behind an error in which its fix is looked for: about one retrieval.
const BEHIND: usize = 8_000;

/// The texts of a context, by what belongs together.
#[derive(Debug)]
pub(super) struct Passages {
    /// Everything that a model reads.
    pub(super) all: String,
    /// The lines of all texts and results.
    pub(super) lines: Vec<String>,
    /// Each call with its result.
    pub(super) exchanges: Vec<String>,
    /// Each message of a person with all that follows up to the next.
    pub(super) turns: Vec<(String, String)>,
}

impl Passages {
    pub(super) fn of(transcript: &Transcript) -> Self {
        let mut all = quality::text(transcript.items());
        let mut lines = Vec::new();
        let mut turns: Vec<(String, String)> = Vec::new();
        for item in transcript.items().iter().filter(|item| item.is_sent()) {
            lines.extend(item.text().lines().map(str::to_owned));
            for result in item.results() {
                lines.extend(result.text.lines().map(str::to_owned));
            }
            match (item.role(), item.human_text()) {
                (Role::Human, Some(text)) => turns.push((text.into_owned(), String::new())),
                _ => {
                    if let Some((_, done)) = turns.last_mut() {
                        done.push_str(&quality::text(std::slice::from_ref(item)));
                    }
                }
            }
            for call in item.calls() {
                strings(&call.arguments, &mut all);
            }
        }
        Self {
            all,
            lines,
            exchanges: exchanges(transcript),
            turns,
        }
    }

    /// What stands behind each place of a text.
    pub(super) fn behind<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let places = self.all.match_indices(text);
        places.map(|(at, _)| crate::extract::clip(&self.all[at + text.len()..], BEHIND))
    }

    /// The lines that say where something is stored, with the id.
    pub(super) fn references(&self) -> impl Iterator<Item = (&str, &str)> {
        const WORDS: &str = "stored as ";
        self.lines.iter().filter_map(|line| {
            let (_, id) = line.rsplit_once(WORDS)?;
            let end = id.find(|c: char| !c.is_ascii_alphanumeric() && c != '.');
            let id = id[..end.unwrap_or(id.len())].trim_end_matches('.');
            Some((line.as_str(), id))
        })
    }
}

/// Every string in the arguments of a call, as it was meant.
fn strings(arguments: &str, out: &mut String) {
    let Ok(arguments) = Json::parse(arguments.trim()) else {
        return;
    };
    for (_, value) in arguments.fields() {
        if let Some(text) = value.string() {
            out.push_str(&text);
            out.push('\n');
        }
    }
}

fn exchanges(transcript: &Transcript) -> Vec<String> {
    let mut out = Vec::new();
    for (at, item) in transcript.items().iter().enumerate() {
        if !item.is_sent() {
            continue;
        }
        for (result, call) in item.results().zip(transcript.answered(at)) {
            let Some(call) = call else { continue };
            let mut text = format!("{}({})\n", call.name, call.arguments);
            text.push_str(&crate::ledger::label(&call, &call.access()));
            text.push('\n');
            strings(&call.arguments, &mut text);
            text.push_str(&result.text);
            out.push(text);
        }
    }
    out
}

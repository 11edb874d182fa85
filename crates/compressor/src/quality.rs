//! What a compaction kept: a score that anybody can recompute from original and result.

use crate::{Error, item::Item, ledger::Ledger, transcript::Transcript, validate::no_worse};
use bytes::Bytes;
use memchr::memmem;
use std::fmt;

/// Shares of facts of the original that the result still holds, word for word.
///
/// `score = 0.30 user messages + 0.20 paths + 0.15 commands + 0.15 errors + 0.10 pending tasks +
/// 0.10 pairs`, where a class without facts counts as kept and `pairs` is 1 or 0. Facts:
///
/// * user messages: everything that a person wrote, verbatim;
/// * paths: the path of every tool call, and every path-like word that a person wrote;
/// * commands: the first line of every command run, and every call that changes something without
///   naming a path, cut to 160 bytes;
/// * errors: of every failed output the line that names the error, cut to 160 bytes;
/// * pending tasks: unticked boxes, `TODO:` lines, open entries of the last plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quality {
    /// The weighted mean.
    pub score: f64,
    /// Share of what people wrote.
    pub user_messages_kept: f64,
    /// Share of paths.
    pub paths_kept: f64,
    /// Share of commands.
    pub commands_kept: f64,
    /// Share of errors.
    pub errors_kept: f64,
    /// Share of pending tasks.
    pub pending_tasks_kept: f64,
    /// Whether every result still has its call, and every call its result, but for those that the
    /// original has already without.
    pub pairs_intact: bool,
    /// How many facts of each class are there still.
    pub preserved: Preserved,
}

/// Facts that a result still holds, by class, as (kept, of all).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Preserved {
    /// What people wrote.
    pub user_messages: (u32, u32),
    /// Paths.
    pub paths: (u32, u32),
    /// Commands.
    pub commands: (u32, u32),
    /// Errors.
    pub errors: (u32, u32),
    /// Pending tasks.
    pub pending_tasks: (u32, u32),
}

impl Quality {
    /// Compares a result with the transcript that it stands for.
    ///
    /// O(facts × result); the facts are gathered from the original anew.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] when an item of the result is no JSON.
    pub fn measure(original: &Transcript, result: &[Bytes]) -> Result<Self, Error> {
        let mut ledger = Ledger::default();
        let items = original.items().iter().enumerate();
        for (at, item) in items.filter(|(_, item)| item.is_sent()) {
            ledger.observe(at as u64, item, &original.answered(at));
        }
        let mut compacted = Transcript::new(original.format());
        for raw in result {
            compacted.push(raw.clone())?;
        }
        Ok(Self::of(&ledger, original, &compacted))
    }

    pub(crate) fn of(ledger: &Ledger, original: &Transcript, result: &Transcript) -> Self {
        let text = text(result.items());
        let kept = |facts: &mut dyn Iterator<Item = &str>| kept(facts, &text);
        let preserved = Preserved {
            user_messages: kept(&mut ledger.people.iter().map(|p| p.text.as_str())),
            paths: kept(&mut ledger.files.list.iter().map(|(t, _)| &**t)),
            commands: kept(&mut ledger.commands.list.iter().map(|(t, _)| &**t)),
            errors: kept(&mut ledger.errors.list.iter().map(|(t, _)| &**t)),
            pending_tasks: kept(&mut ledger.pending()),
        };
        let user_messages_kept = share(preserved.user_messages);
        let paths_kept = share(preserved.paths);
        let commands_kept = share(preserved.commands);
        let errors_kept = share(preserved.errors);
        let pending_tasks_kept = share(preserved.pending_tasks);
        let pairs_intact = no_worse(original, result).is_ok();
        let score = 0.30 * user_messages_kept
            + 0.20 * paths_kept
            + 0.15 * commands_kept
            + 0.15 * errors_kept
            + 0.10 * pending_tasks_kept
            + 0.10 * f64::from(u8::from(pairs_intact));
        Self {
            score,
            user_messages_kept,
            paths_kept,
            commands_kept,
            errors_kept,
            pending_tasks_kept,
            pairs_intact,
            preserved,
        }
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "score {:.3} (user messages {:.2}, paths {:.2}, commands {:.2}, errors {:.2}, tasks {:.2}, pairs {})",
            self.score,
            self.user_messages_kept,
            self.paths_kept,
            self.commands_kept,
            self.errors_kept,
            self.pending_tasks_kept,
            if self.pairs_intact {
                "intact"
            } else {
                "broken"
            },
        )
    }
}

/// Everything that a model reads in these items.
pub(crate) fn text(items: &[Item]) -> String {
    let mut out = String::new();
    for item in items.iter().filter(|item| item.is_sent()) {
        out.push_str(&item.text());
        out.push('\n');
        for call in item.calls() {
            out.push_str(&call.name);
            out.push('(');
            out.push_str(&call.arguments);
            out.push_str(")\n");
            // Commands and paths are looked for as they are, not as JSON spells them.
            let access = call.access();
            for text in [access.command, access.path].into_iter().flatten() {
                out.push_str(&text);
                out.push('\n');
            }
        }
        for result in item.results() {
            out.push_str(&result.text);
            out.push('\n');
        }
    }
    out
}

fn kept(facts: &mut dyn Iterator<Item = &str>, text: &str) -> (u32, u32) {
    let (mut kept, mut all) = (0, 0);
    for fact in facts {
        all += 1;
        kept += u32::from(memmem::find(text.as_bytes(), fact.as_bytes()).is_some());
    }
    (kept, all)
}

fn share((kept, all): (u32, u32)) -> f64 {
    if all == 0 {
        1.0
    } else {
        f64::from(kept) / f64::from(all)
    }
}

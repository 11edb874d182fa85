//! Questions about a session, and whether a compacted context can still answer them.

mod passages;
mod questions;

use crate::{Error, Format, context::Blob, extract, tokens::Tokenizer, transcript::Transcript};
use bytes::Bytes;
use passages::Passages;
use std::{collections::HashMap, fmt};

/// Tokens that one retrieval may bring back.
const RETRIEVAL: usize = 2_000;

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ProbeKind {
    /// What a person wrote.
    UserMessage,
    /// Which files a message of a person led to change.
    ChangedFiles,
    /// The exit code of the last run of a command.
    ExitCode,
    /// What went wrong when a call failed last.
    Error,
    /// What was changed before a call went well that had failed.
    Fix,
    /// A value in the newest result of a call that only looked.
    Value,
    /// What is still to do.
    PendingTask,
    /// The newest state of a named piece of code, complete.
    Code,
}

impl ProbeKind {
    /// All, in order.
    pub const ALL: [Self; 8] = [
        Self::UserMessage,
        Self::ChangedFiles,
        Self::ExitCode,
        Self::Error,
        Self::Fix,
        Self::Value,
        Self::PendingTask,
        Self::Code,
    ];

    /// A short name, fit for a table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UserMessage => "user messages",
            Self::ChangedFiles => "changed files",
            Self::ExitCode => "exit codes",
            Self::Error => "errors",
            Self::Fix => "fixes",
            Self::Value => "values",
            Self::PendingTask => "pending tasks",
            Self::Code => "code",
        }
    }
}

/// A question about a session, with its answer. Made by [`probes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What it is about.
    pub kind: ProbeKind,
    /// The question as a person would ask it.
    pub question: String,
    /// What the question names: a command, a path, a message. Empty when the answer stands for itself.
    pub subject: String,
    /// What must be found, all of it.
    pub answers: Vec<String>,
    /// The number of the message, from 1.
    message: usize,
}

/// Questions about a transcript, with their answers: the same ones every time, by code that sees
/// nothing but the original.
///
/// One for each message of a person, for each message that led to changed files, for each command whose
/// last exit code is known, for each call that failed, each failure that was mended, each look at
/// something that showed a named value, each pending task and each named piece of code of at most 6,000
/// bytes; of each kind 64 at most, spread evenly (user messages: all). O(bytes of the transcript).
#[must_use]
pub fn probes(original: &Transcript) -> Vec<Probe> {
    questions::of(original)
}

/// How many questions a context answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recall {
    /// Questions asked.
    pub asked: usize,
    /// Answered by what stands in the context.
    pub direct: usize,
    /// Answered by one retrieval.
    pub retrieved: usize,
    /// For each kind that was asked about: questions, and how many of them were answered.
    pub by_kind: Vec<(ProbeKind, usize, usize)>,
    /// Indexes of the questions that were not answered.
    pub missed: Vec<usize>,
}

impl Recall {
    /// Share of the questions that are answered; 1 when there are none.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.asked == 0 {
            return 1.0;
        }
        (self.direct + self.retrieved) as f64 / self.asked as f64
    }

    fn note(&mut self, at: usize, kind: ProbeKind, answered: bool) {
        self.asked += 1;
        if !answered {
            self.missed.push(at);
        }
        let known = self.by_kind.iter_mut().find(|(other, ..)| *other == kind);
        match known {
            Some((_, asked, found)) => {
                *asked += 1;
                *found += usize::from(answered);
            }
            None => self.by_kind.push((kind, 1, usize::from(answered))),
        }
    }
}

impl fmt::Display for Recall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "recall {:.3} ({} directly, {} by a retrieval, of {}",
            self.share(),
            self.direct,
            self.retrieved,
            self.asked
        )?;
        for (kind, asked, found) in &self.by_kind {
            write!(f, "; {} {found}/{asked}", kind.name())?;
        }
        f.write_str(")")
    }
}

/// Asks the questions of a compacted context.
///
/// A question is answered *directly* when its answer stands in the context where the subject is: in the
/// same line, in the same exchange, in the same turn; what a person wrote, tasks and code stand for
/// themselves, and a fix is looked for within 8,000 bytes behind its error. An answer is found as whole
/// words: `12` does not stand in `120`, nor `a.rs` in `data.rs`. It is answered *by one
/// retrieval* when a line of the context holds the subject and `stored as ID`, and the
/// [`Blob::excerpt`] of that blob for the question, 2,000 tokens at most, has the answer. When several
/// lines do, the one that shares most words with the question is taken, the last of equals, and no
/// other is tried. `blobs` are all that the session has given out so far.
///
/// O(questions × context).
///
/// # Errors
///
/// [`Error::Malformed`] when an item of the context is no JSON.
pub fn recall<'a>(
    probes: &[Probe],
    format: Format,
    context: &[Bytes],
    blobs: impl IntoIterator<Item = &'a Blob>,
    tokenizer: &dyn Tokenizer,
) -> Result<Recall, Error> {
    let mut transcript = Transcript::new(format);
    for raw in context {
        transcript.push(raw.clone())?;
    }
    let passages = Passages::of(&transcript);
    let blobs: HashMap<&str, &Blob> = blobs.into_iter().map(|b| (b.id.as_str(), b)).collect();
    let mut recall = Recall::default();
    for (at, probe) in probes.iter().enumerate() {
        let direct = probe.direct(&passages);
        let retrieved = !direct && probe.retrieved(&passages, &blobs, tokenizer);
        recall.direct += usize::from(direct);
        recall.retrieved += usize::from(retrieved);
        recall.note(at, probe.kind, direct || retrieved);
    }
    Ok(recall)
}

impl Probe {
    fn direct(&self, passages: &Passages) -> bool {
        match self.kind {
            ProbeKind::UserMessage | ProbeKind::PendingTask | ProbeKind::Code => {
                self.answered_by(&passages.all)
            }
            ProbeKind::ChangedFiles => {
                let told = format!("message [{}] ", self.message);
                let mut lines = passages.lines.iter();
                let mut turns = passages.turns.iter();
                lines.any(|line| line.contains(&told) && self.answered_by(line))
                    || turns.any(|(asked, done)| *asked == self.subject && self.answered_by(done))
            }
            ProbeKind::Fix => passages
                .behind(&self.subject)
                .any(|text| self.answered_by(text)),
            ProbeKind::ExitCode | ProbeKind::Error | ProbeKind::Value => {
                let said = |text: &String| text.contains(&self.subject) && self.answered_by(text);
                passages.lines.iter().any(said) || passages.exchanges.iter().any(said)
            }
        }
    }

    fn answered_by(&self, text: &str) -> bool {
        if self.kind == ProbeKind::ExitCode {
            return self.answers.iter().all(|code| tells_exit_code(text, code));
        }
        let paths = matches!(self.kind, ProbeKind::ChangedFiles | ProbeKind::Fix);
        // A line that was cut to its limit goes on where it stands.
        let cut = matches!(self.kind, ProbeKind::Error | ProbeKind::PendingTask);
        self.answers.iter().all(|answer| {
            let cut = cut && answer.len() + 4 > extract::LINE;
            let mut places = text.match_indices(&**answer);
            places.any(|(at, _)| {
                let end = at + answer.len();
                let before = text[..at].chars().next_back();
                let mut after = text[end..].chars();
                let (next, second) = (after.next(), after.next());
                let begins = !(joins(answer.chars().next(), paths) && joins(before, paths));
                // A full stop behind a path ends a sentence, unless a name goes on behind it.
                let dot = paths && next == Some('.') && joins(second, false);
                let ends = !(joins(answer.chars().next_back(), paths) && joins(next, paths));
                begins && (cut || ends && !dot)
            })
        })
    }

    fn retrieved(
        &self,
        passages: &Passages,
        blobs: &HashMap<&str, &Blob>,
        tokenizer: &dyn Tokenizer,
    ) -> bool {
        if self.subject.is_empty() {
            return false;
        }
        let references = passages.references();
        let about = references.filter(|(line, _)| line.contains(&self.subject));
        let best = about.max_by_key(|(line, _)| {
            let words = crate::similar::words(&self.question);
            words.filter(|word| line.contains(word)).count()
        });
        let blob = best.and_then(|(_, id)| blobs.get(id));
        blob.is_some_and(|blob| {
            let read = blob.excerpt(&self.question, RETRIEVAL, tokenizer);
            self.answered_by(&read)
        })
    }
}

/// Whether a character makes one word, or one path, with another such beside it.
fn joins(c: Option<char>, paths: bool) -> bool {
    c.is_some_and(|c| c.is_alphanumeric() || c == '_' || paths && matches!(c, '/' | '-'))
}

/// As a summary says it, or as the output does.
fn tells_exit_code(text: &str, code: &str) -> bool {
    let said = format!("exit code {code}");
    let ends = |at: usize| !text[at..].starts_with(|c: char| c.is_ascii_digit());
    text.match_indices(&*said)
        .any(|(at, _)| ends(at + said.len()))
        || extract::exit_code(text).is_some_and(|found| found.to_string() == code)
}

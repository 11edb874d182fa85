//! Contexts about to be compacted.

use std::sync::Arc;

use anyhow::Result;
use mainspring_compressor::{Budget, Context, Format, OpenAi, Tokenizer, Transcript, count_item};
use mainspring_inputs::{Profile, SessionSpec, generate};

use crate::{Bench, Sessions, areas::Unavailable};

/// Share of the window that a context fills before it is compacted.
const FULL: f64 = 0.86;
/// Tokens of the window of a generated session.
const WINDOW: usize = 128_000;

/// A context about to be compacted, and the items that it was made of.
pub(super) struct Full {
    pub(super) name: String,
    pub(super) context: Context,
    pub(super) original: Transcript,
}

/// Recorded sessions, each in a window that it fills or in the one that was asked for; else generated
/// ones. Second what there is to say about them.
pub(super) fn all(bench: &Bench) -> Result<(Vec<Full>, String)> {
    let window = bench.options().window;
    if bench.options().sessions.is_some() {
        return recorded(bench, window);
    }
    let (seeds, usual) = bench.scale().pick((1, 12_000), (2, WINDOW), (8, WINDOW));
    let window = window.unwrap_or(usual);
    let full = (0..seeds).map(|seed| generated(seed, window));
    let note = format!("{seeds} generated contexts of {window} tokens");
    Ok((full.collect::<Result<_>>()?, note))
}

/// Every fourth is a support agent's session, whose results are records; the others are coding ones.
fn generated(seed: u64, window: usize) -> Result<Full> {
    let profile = if seed % 4 == 3 {
        Profile::Support
    } else {
        Profile::Coding
    };
    let messages = generate(&SessionSpec {
        seed,
        messages: window / 40,
        profile,
    });
    let mut original = Transcript::new(Format::OpenAiChat);
    for message in messages {
        original.push(message)?;
    }
    let name = format!("{profile:?}, seed {seed}").to_lowercase();
    filled(name, &original, window)
}

fn recorded(bench: &Bench, window: Option<usize>) -> Result<(Vec<Full>, String)> {
    let sessions = Sessions::of(bench)?;
    let (mut all, mut short) = (Vec::new(), 0);
    for session in &sessions.all {
        let tokens = tokens(&session.transcript);
        match window {
            Some(window) if (tokens as f64) < window as f64 * FULL => short += 1,
            _ => {
                let window = window.unwrap_or((tokens as f64 / FULL) as usize + 1);
                all.push(filled(session.name.clone(), &session.transcript, window)?);
            }
        }
    }
    let mut note = sessions.note();
    if short > 0 {
        note.push_str(&format!(
            "; {short} do not fill the window and are left out"
        ));
    }
    if all.is_empty() {
        return Err(Unavailable("no session fills the window".to_owned()).into());
    }
    Ok((all, note))
}

/// A context with as much of a session as fills the window.
fn filled(name: String, session: &Transcript, window: usize) -> Result<Full> {
    let tokenizer = Arc::new(OpenAi::o200k());
    let budget = Budget::new(window);
    let mut context = Context::new(session.format(), budget, tokenizer);
    let mut original = Transcript::new(session.format());
    for item in session.items() {
        if context.tokens() as f64 >= window as f64 * FULL {
            break;
        }
        context.push(item.raw().clone())?;
        original.push(item.raw().clone())?;
    }
    context.mark_sent();
    Ok(Full {
        name,
        context,
        original,
    })
}

/// The tokens of what would be sent, counted anew.
pub(super) fn tokens(transcript: &Transcript) -> usize {
    let tokenizer = OpenAi::o200k();
    let items = transcript.items().iter();
    items
        .filter(|item| !item.is_aside())
        .map(|item| count_item(&tokenizer as &dyn Tokenizer, item))
        .sum()
}

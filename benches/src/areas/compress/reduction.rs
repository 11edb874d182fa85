//! What one compaction of a full context takes away, and what it keeps.

use std::sync::Arc;

use anyhow::Result;
use mainspring_compressor::{
    Budget, Compactor, Context, Error, OpenAi, Quality, Tokenizer, Transcript,
};
use mainspring_inputs::{SessionSpec, generate};

use super::baselines::{self, BASELINES};
use crate::{Bench, Measured, Peer, PerInput, Sessions, check};

/// Share of the window that a context fills before it is compacted.
const FULL: f64 = 0.86;

/// A context about to be compacted, and all that it holds.
struct Full {
    name: String,
    context: Context,
}

/// What became of one context, by us and by each baseline.
struct Outcome {
    figures: PerInput,
    removed: f64,
    baselines: Vec<baselines::Outcome>,
}

pub(super) fn measure(bench: &Bench) -> Result<Measured> {
    let (contexts, note) = contexts(bench)?;
    let mut outcomes = Vec::new();
    for full in contexts {
        outcomes.push(compact(bench, full)?);
    }
    let mean = |of: &dyn Fn(&Outcome) -> f64| {
        outcomes.iter().map(of).sum::<f64>() / outcomes.len().max(1) as f64
    };
    let removed = mean(&|outcome| outcome.removed);
    let worst = outcomes.iter().map(|o| o.removed).fold(1.0, f64::min);
    let mut notes = vec![format!("{note}; the mean, worst {worst:.2}")];
    let mut peers = Vec::new();
    for (at, baseline) in BASELINES.iter().enumerate() {
        let theirs = mean(&|outcome| outcome.baselines[at].removed);
        peers.push(Peer::counted(
            baseline.name,
            baseline.version,
            theirs,
            removed,
        ));
        let users = mean(&|outcome| outcome.baselines[at].users_kept);
        let score = mean(&|outcome| outcome.baselines[at].score);
        let torn = outcomes.iter().filter(|o| !o.baselines[at].pairs).count();
        notes.push(format!(
            "{} keeps {:.0} % of what people wrote, score {score:.2}, tears pairs in {torn} of {}",
            baseline.name,
            users * 100.0,
            outcomes.len()
        ));
    }
    Ok(Measured::counted(removed)
        .beside("fraction", removed, peers)
        .more_is_better()
        .on_inputs(
            outcomes
                .into_iter()
                .map(|outcome| outcome.figures)
                .collect(),
        )
        .noting(notes.join("; ")))
}

/// Recorded sessions, each in a window that it fills; else generated ones of one window.
fn contexts(bench: &Bench) -> Result<(Vec<Full>, String)> {
    if bench.options().sessions.is_some() {
        let sessions = Sessions::of(bench)?;
        let full = sessions.all.iter().map(|session| {
            let context = filled(&session.transcript)?;
            let name = session.name.clone();
            anyhow::Ok(Full { name, context })
        });
        return Ok((full.collect::<Result<_>>()?, sessions.note()));
    }
    let (seeds, window) = bench.scale().pick((1, 12_000), (2, 128_000), (8, 128_000));
    let full = (0..seeds).map(|seed| {
        let mut context = empty(
            &Transcript::new(mainspring_compressor::Format::OpenAiChat),
            window,
        );
        for message in generate(&SessionSpec::coding(seed, 2_000)) {
            if context.tokens() as f64 >= window as f64 * FULL {
                break;
            }
            context.push(message)?;
        }
        let name = format!("coding, seed {seed}");
        anyhow::Ok(Full { name, context })
    });
    let note = format!("{seeds} generated contexts of {window} tokens");
    Ok((full.collect::<Result<_>>()?, note))
}

fn empty(like: &Transcript, window: usize) -> Context {
    Context::new(
        like.format(),
        Budget::new(window),
        Arc::new(OpenAi::o200k()),
    )
}

fn filled(transcript: &Transcript) -> Result<Context> {
    let tokenizer = OpenAi::o200k();
    let items = transcript.items().iter();
    let tokens: usize = items
        .map(|item| mainspring_compressor::count_item(&tokenizer as &dyn Tokenizer, item))
        .sum();
    let mut context = empty(transcript, (tokens as f64 / FULL) as usize + 1);
    for item in transcript.items() {
        context.push(item.raw().clone())?;
    }
    Ok(context)
}

fn compact(bench: &Bench, full: Full) -> Result<Outcome> {
    let Full { name, mut context } = full;
    let original = context.transcript().clone();
    let before = context.tokens();
    let refused = match Compactor::default().compact(&mut context) {
        Ok(_) => false,
        Err(Error::NoProgress { .. } | Error::QualityFloor { .. } | Error::DoesNotFit { .. }) => {
            true
        }
        Err(error) => return Err(error.into()),
    };
    let kept: Vec<_> = context.items().cloned().collect();
    let quality = Quality::measure(&original, &kept)?;
    let intact = bench.answer(quality.pairs_intact);
    let users_lost = bench.answer(1.0 - quality.user_messages_kept);
    check(quality.score >= 0.85, "the quality floor was missed")?;
    check(intact, "a call and its result were parted")?;
    check(users_lost <= 0.0, "something a person wrote was lost")?;
    let counted = bench.answer(recounted(&context));
    check(counted == context.tokens(), "the context miscounts itself")?;
    let removed = 1.0 - context.tokens() as f64 / before.max(1) as f64;
    let baselines = baselines::all(&original, before)?;
    let mut figures = PerInput::new(
        name,
        [
            ("tokens before", before as f64),
            ("tokens after", context.tokens() as f64),
            ("reduction", removed),
            ("score", quality.score),
            ("refused", f64::from(u8::from(refused))),
        ],
    );
    for (baseline, outcome) in BASELINES.iter().zip(&baselines) {
        let named = format!("{}: reduction", baseline.name);
        figures.values.insert(named, outcome.removed);
        let named = format!("{}: score", baseline.name);
        figures.values.insert(named, outcome.score);
    }
    Ok(Outcome {
        figures,
        removed,
        baselines,
    })
}

/// The tokens of what would be sent, counted anew.
fn recounted(context: &Context) -> usize {
    let tokenizer = OpenAi::o200k();
    let items = context.transcript().items().iter();
    items
        .map(|item| mainspring_compressor::count_item(&tokenizer, item))
        .sum()
}

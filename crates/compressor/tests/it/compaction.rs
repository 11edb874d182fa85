//! Whole sessions through small windows.

use crate::data;
use mainspring_compressor::{
    Budget, Compactor, Context, Error, Estimate, Format, Quality, Tokenizer, Transcript, validate,
};
use mainspring_inputs::{Profile, SessionSpec, generate};
use std::sync::Arc;

/// What a session went through.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) original: usize,
    pub(crate) compactions: usize,
    pub(crate) quality: Quality,
    pub(crate) stats: mainspring_compressor::ContextStats,
    pub(crate) items: Vec<bytes::Bytes>,
}

pub(crate) fn run(
    original: &Transcript,
    budget: Budget,
    tokenizer: Arc<dyn Tokenizer>,
) -> Result<Run, Error> {
    let compactor = Compactor::default();
    let mut context = Context::new(original.format(), budget, tokenizer);
    let valid = validate(original).is_ok();
    let (mut total, mut compactions) = (0, 0);
    for item in original.items() {
        total += item.raw().len();
        let done = compactor.append(&mut context, item.raw().clone())?;
        if let Some(done) = done.compaction {
            compactions += 1;
            assert!(done.after < done.before);
            if valid {
                validate(context.transcript()).expect("valid after a compaction");
            }
        }
        assert!(context.tokens() <= budget.usable());
    }
    let items: Vec<_> = context.items().cloned().collect();
    Ok(Run {
        original: total,
        compactions,
        quality: Quality::measure(original, &items)?,
        stats: context.stats(),
        items,
    })
}

fn good(name: &str, run: &Run, window: usize) {
    println!(
        "{name}: {} bytes -> {} tokens, peak {}, {} compactions, {}",
        run.original, run.stats.tokens, run.stats.peak_tokens, run.compactions, run.quality
    );
    assert!(run.quality.score >= 0.85, "{name}: {}", run.quality);
    assert!(run.quality.user_messages_kept >= 1.0, "{name}");
    assert!(run.quality.pairs_intact, "{name}");
    assert!(run.stats.peak_tokens < window, "{name}");
}

#[test]
fn recorded_sessions_fit_a_small_window() {
    for (name, import) in data::imported() {
        for session in import.sessions() {
            let name = format!("{name} {}", session.name);
            for window in [16_000, 9_000] {
                match run(
                    &session.transcript,
                    Budget::new(window),
                    Arc::new(Estimate::new()),
                ) {
                    Ok(run) => good(&name, &run, window),
                    Err(e) => panic!("{name}: {e}"),
                }
            }
        }
    }
}

pub(crate) fn generated(seed: u64, messages: usize, profile: Profile) -> Transcript {
    let mut transcript = Transcript::new(Format::OpenAiChat);
    for raw in generate(&SessionSpec {
        seed,
        messages,
        profile,
    }) {
        transcript.push(raw).unwrap();
    }
    transcript
}

#[test]
fn generated_sessions_fit_a_small_window() {
    for profile in [
        Profile::Coding,
        Profile::Support,
        Profile::Incompressible,
        Profile::Adversarial,
    ] {
        let longest = if profile == Profile::Coding { 500 } else { 250 };
        for messages in [60, longest] {
            let original = generated(7, messages, profile);
            match run(&original, Budget::new(16_000), Arc::new(Estimate::new())) {
                Ok(run) => good(&format!("{profile:?} {messages}"), &run, 16_000),
                Err(e) => panic!("{profile:?} {messages}: {e}"),
            }
        }
    }
}

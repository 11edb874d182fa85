//! Whether a compacted context still answers questions about what it was made of.

use anyhow::Result;

use super::{baselines::BASELINES, outcomes::Outcomes};
use crate::{Bench, Measured, PerInput, check};

pub(super) fn measure(bench: &Bench) -> Result<Measured> {
    let outcomes = Outcomes::of(bench)?;
    let share = outcomes.mean(&|outcome| outcome.ours.recall.share());
    let asked: usize = outcomes.all.iter().map(|o| o.ours.recall.asked).sum();
    let by_retrieval: usize = outcomes.all.iter().map(|o| o.ours.recall.retrieved).sum();
    let asked = bench.answer(asked);
    let each = outcomes.all.iter();
    let each: usize = each
        .map(|o| {
            o.ours
                .recall
                .by_kind
                .iter()
                .map(|(_, all, _)| all)
                .sum::<usize>()
        })
        .sum();
    check(asked == each, "probes were counted wrongly")?;
    let mut notes = vec![format!(
        "{}; {asked} probes, {by_retrieval} answered by one retrieval of at most 2,000 tokens",
        outcomes.note
    )];
    let cost = outcomes.mean(&|outcome| outcome.ours.cost());
    notes.push(format!(
        "20 requests cost {cost:.0} tokens read anew by ours"
    ));
    for (at, baseline) in BASELINES.iter().enumerate() {
        let cost = outcomes.mean(&|outcome| outcome.baselines[at].cost());
        notes.push(format!("{cost:.0} by {}", baseline.name));
    }
    let peers = outcomes.peers(share, &|figures| figures.recall.share());
    Ok(Measured::counted(share)
        .beside("fraction", share, peers)
        .more_is_better()
        .on_inputs(kinds(&outcomes))
        .noting(notes.join("; ")))
}

/// Each strategy, kind of question by kind of question.
fn kinds(outcomes: &Outcomes) -> Vec<PerInput> {
    let mut names = vec!["ours"];
    names.extend(BASELINES.iter().map(|baseline| baseline.name));
    let strategies = names.into_iter().enumerate().map(|(at, name)| {
        let mut figures = PerInput::new(name, []);
        for kind in mainspring_compressor::ProbeKind::ALL {
            let (mut asked, mut found) = (0, 0);
            for outcome in &outcomes.all {
                let recall = match at {
                    0 => &outcome.ours.recall,
                    _ => &outcome.baselines[at - 1].recall,
                };
                for (_, all, good) in recall.by_kind.iter().filter(|(k, ..)| *k == kind) {
                    asked += all;
                    found += good;
                }
            }
            if asked > 0 {
                let share = found as f64 / asked as f64;
                figures
                    .values
                    .insert(format!("{} of {asked}", kind.name()), share);
            }
        }
        figures
    });
    strategies.collect()
}

//! What one compaction of a full context takes away, and what it keeps.

use anyhow::Result;

use super::{baselines::BASELINES, outcomes::Outcomes};
use crate::{Bench, Measured};

pub(super) fn measure(bench: &Bench) -> Result<Measured> {
    let outcomes = Outcomes::of(bench)?;
    let removed = outcomes.mean(&|outcome| outcome.ours.reduction());
    let worst = outcomes.all.iter().map(|o| o.ours.reduction());
    let worst = worst.fold(1.0, f64::min);
    let mut notes = vec![format!("{}; the mean, worst {worst:.2}", outcomes.note)];
    for (at, baseline) in BASELINES.iter().enumerate() {
        let users = outcomes.mean(&|o| o.baselines[at].quality.user_messages_kept);
        let score = outcomes.mean(&|o| o.baselines[at].quality.score);
        let all = outcomes.all.iter();
        let torn = all.filter(|o| !o.baselines[at].quality.pairs_intact);
        notes.push(format!(
            "{} keeps {:.0} % of what people wrote, score {score:.2}, tears pairs in {} of {}",
            baseline.name,
            users * 100.0,
            torn.count(),
            outcomes.all.len()
        ));
    }
    let peers = outcomes.peers(removed, &|figures| figures.reduction());
    Ok(Measured::counted(removed)
        .beside("fraction", removed, peers)
        .more_is_better()
        .on_inputs(outcomes.per_input())
        .noting(notes.join("; ")))
}

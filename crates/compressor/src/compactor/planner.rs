//! Running the stages until the goal is reached.

use super::{
    builder::Settings,
    cut::{Cut, planned},
    plan::{Plan, PlanStep, Planned, Strategy},
    quality,
    section::Section,
    stages,
    summary::DETAILS,
    work::Work,
};
use crate::{
    Error,
    context::Context,
    item::{Item, Role},
    prompt_cache::CacheReport,
    quality::Quality,
};

/// What a plan has to reach.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    /// Tokens that the result may have at most.
    pub(super) most: usize,
    /// Tokens that it should have.
    pub(super) target: usize,
    /// Tokens that it must save.
    pub(super) least_gain: usize,
}

/// Plans with the deterministic stages; `written` are sections that a model wrote.
pub(super) fn plan(
    settings: &Settings,
    context: &Context,
    goal: Goal,
    written: &[(Section, String)],
) -> Result<Plan, Error> {
    let mut work = Work::new(context);
    let mut steps = Vec::new();
    outputs(settings, &mut work, goal, &mut steps);
    if work.tokens <= goal.target {
        return accept(settings, &work, light(&work), goal, steps);
    }
    match summarise(settings, &mut work, goal, written, &mut steps) {
        Ok(done) => accept(settings, &work, done, goal, steps),
        // What the lighter stages gained may be enough; a summary that failed left their work as it was.
        Err(error) => accept(settings, &work, light(&work), goal, Vec::new()).map_err(|_| error),
    }
}

/// A candidate for the new context.
struct Candidate {
    entries: Vec<Planned>,
    tokens: usize,
    quality: Quality,
}

/// The context after the stages that replace outputs.
fn light(work: &Work<'_>) -> Candidate {
    let entries: Vec<Planned> = (0..work.context.entries.len())
        .map(|at| planned(work, at))
        .collect();
    Candidate {
        quality: quality(work.context, &entries),
        tokens: work.tokens,
        entries,
    }
}

fn outputs(settings: &Settings, work: &mut Work<'_>, goal: Goal, steps: &mut Vec<PlanStep>) {
    let protect = settings.protected(work.context.budget.usable());
    for strategy in [
        Strategy::ExactDuplicates,
        Strategy::NearDuplicates,
        Strategy::SupersededReads,
        Strategy::ClearedOutputs,
        Strategy::OptimizedOutputs,
    ] {
        if work.tokens <= goal.target {
            break;
        }
        let saved = match strategy {
            Strategy::ExactDuplicates => stages::exact_duplicates(work),
            Strategy::NearDuplicates => stages::near_duplicates(work, settings.similarity),
            Strategy::SupersededReads => stages::superseded(work),
            Strategy::ClearedOutputs => stages::clear_old(work, goal.target, protect),
            _ => stages::optimized(work, goal.target, settings.similarity),
        };
        if saved.tokens > 0 {
            steps.push(PlanStep {
                strategy,
                replaced: saved.outputs,
                tokens_saved: saved.tokens,
            });
        }
    }
}

/// Tries summaries from rich to bare; takes the first that reaches the target, else the smallest.
fn summarise(
    settings: &Settings,
    work: &mut Work<'_>,
    goal: Goal,
    written: &[(Section, String)],
    steps: &mut Vec<PlanStep>,
) -> Result<Candidate, Error> {
    let before = work.tokens;
    let modest = goal.target.max(goal.most / 2);
    let mut best: Option<(Candidate, Cut, usize)> = None;
    let mut unsqueezed = None;
    let mut worst_score = f64::INFINITY;
    for (detail, squeeze) in attempts() {
        if squeeze {
            unsqueezed.get_or_insert_with(|| work.state());
            stages::clear_old(work, 0, 0);
        }
        let cut = cut(work, goal, detail);
        if cut.is_empty() {
            continue;
        }
        let done = cut.summarise(work, detail, written);
        let quality = quality(work.context, &done.entries);
        if quality.score < settings.floor || quality.user_messages_kept < 1.0 {
            worst_score = worst_score.min(quality.score);
            continue;
        }
        let enough = done.tokens <= modest;
        let candidate = Candidate {
            entries: done.entries,
            tokens: done.tokens,
            quality,
        };
        // What says where outputs are gives way only when that gains much.
        let gains = |from: usize, to: usize| from > goal.most / 5 * 3 && to + before / 8 < from;
        let keeps = DETAILS[detail].places == 0
            && best
                .as_ref()
                .is_some_and(|(b, ..)| !gains(b.tokens, candidate.tokens));
        if !keeps
            && best
                .as_ref()
                .is_none_or(|(b, ..)| candidate.tokens < b.tokens)
        {
            best = Some((candidate, cut, done.removed));
            // What is cleared for it is part of it.
            unsqueezed = unsqueezed.filter(|_| !squeeze);
        }
        if enough {
            break;
        }
    }
    if let Some(state) = unsqueezed {
        work.restore(state);
    }
    let Some((candidate, cut, replaced)) = best else {
        return Err(refusal(settings, work, goal, worst_score));
    };
    steps.push(PlanStep {
        strategy: Strategy::Summary,
        replaced,
        tokens_saved: before.saturating_sub(candidate.tokens),
    });
    let mut blobs = cut.blobs(work);
    work.blobs.append(&mut blobs);
    Ok(candidate)
}

/// Levels of detail, then the barest with every output cleared, however new.
fn attempts() -> impl Iterator<Item = (usize, bool)> {
    let levels = (0..DETAILS.len()).map(|detail| (detail, false));
    levels.chain([(6, true), (DETAILS.len() - 1, true)])
}

/// The tail takes what the summary leaves of the target.
fn cut(work: &Work<'_>, goal: Goal, detail: usize) -> Cut {
    let least = Cut::new(work, 0);
    let bare = least.summarise(work, detail, &[]).tokens;
    match goal.target.checked_sub(bare) {
        Some(room) if room > 0 => Cut::new(work, room),
        _ => least,
    }
}

fn refusal(settings: &Settings, work: &Work<'_>, goal: Goal, score: f64) -> Error {
    if score.is_finite() {
        return Error::QualityFloor {
            score,
            floor: settings.floor,
        };
    }
    no_progress(work, work.tokens, goal)
}

fn no_progress(work: &Work<'_>, after: usize, goal: Goal) -> Error {
    if after > goal.most
        && let Some(error) = largest(work, goal)
    {
        return error;
    }
    Error::NoProgress {
        before: work.context.tokens,
        after,
    }
}

/// Names what alone is larger than the room.
fn largest(work: &Work<'_>, goal: Goal) -> Option<Error> {
    let sum = |wanted: &dyn Fn(&Item) -> bool| -> usize {
        let items = work.context.transcript.items().iter().enumerate();
        items
            .filter(|(_, item)| wanted(item))
            .map(|(at, _)| work.tokens_of(at))
            .sum()
    };
    let system = sum(&|item| item.role() == Role::System);
    let people: usize = work
        .context
        .ledger
        .people
        .iter()
        .map(|person| work.context.tokenizer.count(&person.text))
        .sum();
    let pinned: usize = work
        .context
        .entries
        .iter()
        .filter(|e| e.pinned)
        .map(|e| e.tokens)
        .sum();
    let parts = [
        ("the system prompt", system),
        ("what people wrote", people),
        ("what is pinned", pinned),
    ];
    let (what, tokens) = parts.into_iter().max_by_key(|(_, tokens)| *tokens)?;
    let total = system + people + pinned;
    (total > goal.most).then(|| Error::DoesNotFit {
        what: format!("{what}, kept with all else that must be kept"),
        tokens: tokens.max(total),
        room: goal.most,
    })
}

fn accept(
    settings: &Settings,
    work: &Work<'_>,
    candidate: Candidate,
    goal: Goal,
    steps: Vec<PlanStep>,
) -> Result<Plan, Error> {
    let context = work.context;
    let after = candidate.tokens;
    if after > goal.most || context.tokens.saturating_sub(after) < goal.least_gain.max(1) {
        return Err(no_progress(work, after, goal));
    }
    if candidate.quality.score < settings.floor {
        return Err(Error::QualityFloor {
            score: candidate.quality.score,
            floor: settings.floor,
        });
    }
    let mut plan = Plan {
        compactions: context.compactions,
        covers: context.entries.len(),
        newest: context.entries.last().map(|entry| entry.seq),
        kept: 0,
        entries: candidate.entries,
        blobs: work.blobs.clone(),
        before: context.tokens,
        after,
        steps,
        quality: candidate.quality,
        cache: CacheReport::default(),
    };
    plan.kept = plan
        .entries
        .iter()
        .filter(|planned| matches!(planned, Planned::Keep(_)))
        .count();
    plan.cache = cache(context, &plan);
    Ok(plan)
}

fn cache(context: &Context, plan: &Plan) -> CacheReport {
    let tokens: Vec<usize> = plan
        .entries
        .iter()
        .map(|planned| match planned {
            Planned::Keep(at) => context.entries[*at].tokens,
            Planned::Replace { tokens, .. } | Planned::Insert { tokens, .. } => *tokens,
        })
        .collect();
    let items = plan.items(context.transcript.items());
    CacheReport::compare(&context.sent, items.map(|(item, _)| item.raw()), |at| {
        tokens[at]
    })
}

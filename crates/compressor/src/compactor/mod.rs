//! Keeping a context within its window.

mod builder;
mod cut;
mod ingest;
mod model;
mod plan;
mod planner;
mod section;
mod stages;
mod summary;
mod work;

pub use builder::{BuildError, CompactorBuilder};
pub use model::{Advised, Summarizer, SummarizerError, SummaryRequest};
pub use plan::{Compaction, Plan, PlanStep, Strategy};
pub use section::Section;

use crate::{
    Error,
    context::{Blob, Context, Entry, Pushed},
    item::Role,
    quality::Quality,
    transcript::Transcript,
    validate::no_worse,
    violation,
};
use builder::Settings;
use bytes::Bytes;
use plan::Planned;

/// Keeps contexts within their windows: decides when, plans, and does it.
///
/// It holds settings alone, so one serves any number of contexts. See [`CompactorBuilder`] for the
/// settings and their defaults.
#[derive(Debug, Clone, Default)]
pub struct Compactor {
    settings: Settings,
}

/// What became of an appended item.
#[derive(Debug, Clone)]
pub struct Appended {
    /// Tokens and place of the item.
    pub pushed: Pushed,
    /// The compaction that was due before it, if one was.
    pub compaction: Option<Compaction>,
    /// What was taken out of the item because it was too large, to be stored by the caller.
    pub blobs: Vec<Blob>,
}

impl Compactor {
    /// Settings to choose.
    pub fn builder() -> CompactorBuilder {
        CompactorBuilder::default()
    }

    /// Tokens at which a compaction is due: 0.92 of what the window has after the room for the
    /// answer and the error bound of the count.
    #[must_use]
    pub fn trigger_at(&self, context: &Context) -> usize {
        let sure = 1.0 - context.tokenizer.error_bound().clamp(0.0, 0.9);
        (context.budget.usable() as f64 * sure * self.settings.trigger) as usize
    }

    /// Whether a compaction is due now. True once per crossing of the trigger: after that not
    /// before the context was below it, or, when the compaction failed, has grown further.
    pub fn due(&self, context: &mut Context) -> bool {
        self.due_with(context, 0)
    }

    /// The same for a context that is about to get `incoming` tokens.
    fn due_with(&self, context: &mut Context, incoming: usize) -> bool {
        let tokens = context.tokens + incoming;
        if tokens < self.trigger_at(context) {
            context.asked = false;
            return false;
        }
        let again = context.failures > 0 && tokens >= context.retry_at;
        if context.asked && !again {
            return false;
        }
        context.asked = true;
        true
    }

    /// Plans a compaction and changes nothing but the context's count of failures.
    ///
    /// # Errors
    ///
    /// [`Error::NoProgress`] when too little would be gained, [`Error::DoesNotFit`] when what must
    /// be kept is larger than the window, [`Error::QualityFloor`] when every strategy loses too
    /// much, [`Error::BreakerOpen`] after several failures until the context has grown.
    pub fn plan(&self, context: &Context) -> Result<Plan, Error> {
        self.breaker(context)?;
        planner::plan(&self.settings, context, self.goal(context, 0), &[])
    }

    fn breaker(&self, context: &Context) -> Result<(), Error> {
        if context.failures >= self.settings.breaker && context.tokens < context.retry_at {
            return Err(Error::BreakerOpen {
                failures: context.failures,
                retry_at: context.retry_at,
            });
        }
        Ok(())
    }

    fn goal(&self, context: &Context, incoming: usize) -> planner::Goal {
        let trigger = self.trigger_at(context);
        planner::Goal {
            most: trigger.saturating_sub(incoming),
            target: (context.tokens as f64 * (1.0 - self.settings.reduction)) as usize,
            least_gain: (context.tokens as f64 * self.settings.least_gain) as usize,
        }
    }

    /// A plan for a compaction before the trigger, when it pays: when the tokens that it saves over the
    /// expected requests outweigh what the provider's prompt cache loses by it ([`Plan::pays`]). At the
    /// trigger a compaction is due in any case, and this is not asked. `None` when waiting is cheaper,
    /// or when there is nothing to gain.
    #[must_use]
    pub fn plan_early(
        &self,
        context: &Context,
        expected_requests: u32,
        cached_price: f64,
    ) -> Option<Plan> {
        let plan = self.plan(context).ok()?;
        plan.pays(expected_requests, cached_price).then_some(plan)
    }

    /// Does what was planned. Items appended since stay behind what the plan covers.
    ///
    /// # Errors
    ///
    /// [`Error::StalePlan`] when the context was compacted since, or lost what the plan covers because
    /// its session began only then; [`Error::Invalid`] when the
    /// result would break a rule of its format that the context keeps. Nothing is changed
    /// then.
    pub fn commit(&self, context: &mut Context, plan: Plan) -> Result<Compaction, Error> {
        let newest = plan.covers.checked_sub(1);
        let newest = newest.and_then(|at| Some(context.entries.get(at)?.seq));
        if plan.compactions != context.compactions || plan.newest != newest {
            return Err(Error::StalePlan);
        }
        let (transcript, entries) = applied(context, &plan);
        no_worse(&context.transcript, &transcript)?;
        violation::no_new(&context.transcript, &transcript)?;
        context.tokens = entries.iter().map(|e| e.tokens).sum();
        context.transcript = transcript;
        context.entries = entries;
        context.compactions += 1;
        context.failures = 0;
        context.retry_at = 0;
        context.asked = false;
        Ok(Compaction {
            before: plan.before,
            after: plan.after,
            steps: plan.steps,
            quality: plan.quality,
            cache: plan.cache,
            blobs: plan.blobs,
        })
    }

    /// Plans and does it; a failure counts towards the breaker.
    ///
    /// # Errors
    ///
    /// As [`Compactor::plan`] and [`Compactor::commit`].
    pub fn compact(&self, context: &mut Context) -> Result<Compaction, Error> {
        self.compact_for(context, 0)
    }

    fn compact_for(&self, context: &mut Context, incoming: usize) -> Result<Compaction, Error> {
        self.breaker(context)?;
        let goal = self.goal(context, incoming);
        let done = planner::plan(&self.settings, context, goal, &[])
            .and_then(|plan| self.commit(context, plan));
        if done.is_err() {
            self.failed(context, incoming);
        }
        done
    }

    /// The next attempt waits until the context has grown by a fiftieth of the window.
    fn failed(&self, context: &mut Context, incoming: usize) {
        context.failures = context.failures.saturating_add(1);
        context.retry_at = context.tokens + incoming + (context.budget.window / 50).max(1);
    }

    /// Appends an item, bounded when it is a large output, after compacting when it would take the
    /// context past the trigger. This is the whole cycle of a live session.
    ///
    /// # Errors
    ///
    /// Those of [`Context::push`]; [`Error::DoesNotFit`] when the item does not fit the window
    /// even after a compaction. The item is not appended then.
    pub fn append(&self, context: &mut Context, raw: impl Into<Bytes>) -> Result<Appended, Error> {
        let bounded = ingest::bound(
            &self.settings,
            self.trigger_at(context),
            context,
            raw.into(),
        )?;
        let tokens = bounded.tokens;
        context.make_way(&bounded.item);
        let mut compaction = None;
        if tokens > 0 && self.due_with(context, tokens) {
            compaction = match self.make_room(context, tokens) {
                Err(Error::NoProgress { .. }) => {
                    return Err(self.too_large(context, &bounded.item, tokens));
                }
                // What is to come takes more room than all that must be kept.
                Err(Error::DoesNotFit { .. }) if tokens > context.budget.usable() / 2 => {
                    return Err(self.too_large(context, &bounded.item, tokens));
                }
                done => done?,
            };
        }
        if tokens > 0 && context.tokens + tokens > context.budget.usable() {
            return Err(self.too_large(context, &bounded.item, tokens));
        }
        let pushed = ingest::push(
            context,
            bounded.item,
            tokens,
            bounded.original,
            bounded.stored,
        );
        Ok(Appended {
            pushed,
            compaction,
            blobs: bounded.blobs,
        })
    }

    /// Compacts; a failure is an error only when the item does not fit without it.
    fn make_room(&self, context: &mut Context, tokens: usize) -> Result<Option<Compaction>, Error> {
        match self.compact_for(context, tokens) {
            Ok(done) => Ok(Some(done)),
            Err(_) if context.tokens + tokens <= context.budget.usable() => Ok(None),
            Err(Error::NoProgress { .. } | Error::BreakerOpen { .. }) => {
                let goal = planner::Goal {
                    most: context.budget.usable().saturating_sub(tokens),
                    least_gain: 1,
                    ..self.goal(context, tokens)
                };
                let plan = planner::plan(&self.settings, context, goal, &[])?;
                self.commit(context, plan).map(Some)
            }
            Err(error) => Err(error),
        }
    }

    fn too_large(&self, context: &Context, item: &crate::Item, tokens: usize) -> Error {
        let what = match item.role() {
            Role::System => "a system prompt",
            Role::Human => "a user message",
            Role::Assistant | Role::ToolCalls => "a message of the model",
            _ => "an item",
        };
        Error::DoesNotFit {
            what: what.to_owned(),
            tokens,
            room: context.budget.usable().saturating_sub(context.tokens),
        }
    }
}

/// The items and entries after a plan.
fn applied(context: &Context, plan: &Plan) -> (Transcript, Vec<Entry>) {
    let mut transcript = context.transcript.fresh();
    let mut entries = Vec::with_capacity(plan.entries.len());
    for planned in &plan.entries {
        let (item, entry) = match planned {
            Planned::Keep(at) => (
                context.transcript.items()[*at].clone(),
                context.entries[*at].clone(),
            ),
            Planned::Replace {
                entry,
                item,
                tokens,
                stored,
            } => {
                let entry = Entry {
                    tokens: *tokens,
                    stored: stored.clone(),
                    ..context.entries[*entry].clone()
                };
                (item.clone(), entry)
            }
            Planned::Insert { item, tokens } => {
                let entry = Entry {
                    seq: u64::MAX,
                    tokens: *tokens,
                    pinned: false,
                    stored: Vec::new(),
                };
                (item.clone(), entry)
            }
        };
        transcript.append(item);
        entries.push(entry);
    }
    for at in plan.covers..context.entries.len() {
        transcript.append(context.transcript.items()[at].clone());
        entries.push(context.entries[at].clone());
    }
    (transcript, entries)
}

/// Quality of a plan's result.
fn quality(context: &Context, entries: &[Planned]) -> Quality {
    let mut result = Transcript::new(context.transcript.format());
    for planned in entries {
        let item = match planned {
            Planned::Keep(at) => &context.transcript.items()[*at],
            Planned::Replace { item, .. } | Planned::Insert { item, .. } => item,
        };
        result.append(item.clone());
    }
    Quality::of(&context.ledger, &context.transcript, &result)
}

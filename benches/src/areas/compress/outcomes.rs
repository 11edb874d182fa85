//! What became of each context: by ours, and by each of the simple ways.

use std::rc::Rc;

use anyhow::Result;
use bytes::Bytes;
use mainspring_compressor::{
    Blob, CacheReport, Compactor, Context, Error, OpenAi, Probe, Quality, Recall, Transcript,
    probes, recall,
};

use super::{
    baselines::BASELINES,
    contexts::{self, Full},
};
use crate::{Bench, Peer, PerInput, check};

/// Requests that are expected to follow a compaction.
const REQUESTS: u32 = 20;
/// Price of a cached token, relative to one that is read anew.
const CACHED: f64 = 0.1;

/// What one strategy made of one context.
pub(super) struct Figures {
    before: usize,
    after: usize,
    pub(super) quality: Quality,
    pub(super) recall: Recall,
    cache: CacheReport,
}

/// One context, by every strategy.
pub(super) struct Outcome {
    name: String,
    refused: bool,
    pub(super) ours: Figures,
    pub(super) baselines: Vec<Figures>,
}

/// All contexts of a run.
pub(super) struct Outcomes {
    pub(super) all: Vec<Outcome>,
    pub(super) note: String,
}

impl Outcomes {
    pub(super) fn of(bench: &Bench) -> Result<Rc<Self>> {
        bench.fixture(|| {
            let (contexts, note) = contexts::all(bench)?;
            let all = contexts.into_iter().map(|full| Outcome::of(bench, full));
            Ok(Self {
                all: all.collect::<Result<_>>()?,
                note,
            })
        })
    }

    pub(super) fn mean(&self, of: &dyn Fn(&Outcome) -> f64) -> f64 {
        self.all.iter().map(of).sum::<f64>() / self.all.len().max(1) as f64
    }

    /// A figure of each of the simple ways, as the mean over all contexts.
    pub(super) fn peers(&self, ours: f64, of: &dyn Fn(&Figures) -> f64) -> Vec<Peer> {
        let peers = BASELINES.iter().enumerate().map(|(at, baseline)| {
            let theirs = self.mean(&|outcome| of(&outcome.baselines[at]));
            Peer::counted(baseline.name, baseline.version, theirs, ours)
        });
        peers.collect()
    }

    /// Every figure, context by context and strategy by strategy.
    pub(super) fn per_input(&self) -> Vec<PerInput> {
        let mut list = Vec::new();
        for outcome in &self.all {
            let mut ours = outcome.ours.named(&outcome.name, "ours");
            let refused = f64::from(u8::from(outcome.refused));
            ours.values.insert("refused".to_owned(), refused);
            list.push(ours);
            for (baseline, figures) in BASELINES.iter().zip(&outcome.baselines) {
                list.push(figures.named(&outcome.name, baseline.name));
            }
        }
        list
    }
}

impl Figures {
    fn of(
        original: &Transcript,
        asked: &[Probe],
        before: usize,
        result: &[Bytes],
        blobs: &[Blob],
    ) -> Result<Self> {
        let mut after = Transcript::new(original.format());
        for raw in result {
            after.push(raw.clone())?;
        }
        let tokenizer = OpenAi::o200k();
        Ok(Self {
            before,
            after: contexts::tokens(&after),
            quality: Quality::measure(original, result)?,
            recall: recall(asked, original.format(), result, blobs, &tokenizer)?,
            cache: cache(original, &after),
        })
    }

    pub(super) fn reduction(&self) -> f64 {
        1.0 - self.after as f64 / self.before.max(1) as f64
    }

    /// What the next requests cost, in prices of a token that is read anew: the first with what the
    /// provider's cache has lost, the others with all of it cached.
    pub(super) fn cost(&self) -> f64 {
        let further = f64::from(REQUESTS - 1) * self.after as f64 * CACHED;
        self.cache.cost(CACHED) + further
    }

    fn named(&self, context: &str, strategy: &str) -> PerInput {
        let quality = &self.quality;
        PerInput::new(
            format!("{context}: {strategy}"),
            [
                ("tokens before", self.before as f64),
                ("tokens after", self.after as f64),
                ("reduction", self.reduction()),
                ("score", quality.score),
                ("user messages", quality.user_messages_kept),
                ("paths", quality.paths_kept),
                ("commands", quality.commands_kept),
                ("errors", quality.errors_kept),
                ("pending tasks", quality.pending_tasks_kept),
                ("pairs intact", f64::from(u8::from(quality.pairs_intact))),
                ("recall", self.recall.share()),
                ("probes", self.recall.asked as f64),
                ("probes by retrieval", self.recall.retrieved as f64),
                (
                    "first divergent byte",
                    self.cache.first_divergent_byte.map_or(-1.0, |at| at as f64),
                ),
                ("cost of 20 requests", self.cost()),
                (
                    "cost without",
                    f64::from(REQUESTS) * self.before as f64 * CACHED,
                ),
            ],
        )
    }
}

/// How much of the original the provider still has.
fn cache(original: &Transcript, after: &Transcript) -> CacheReport {
    let (old, new) = (original.items(), after.items());
    let old: Vec<_> = old.iter().filter(|item| is_sent(item)).collect();
    let mut report = CacheReport::default();
    let same = old.iter().zip(new).take_while(|(a, b)| a.raw() == b.raw());
    report.same_items = same.count();
    let (kept, lost) = old.split_at(report.same_items);
    let sum = |items: &mut dyn Iterator<Item = &mainspring_compressor::Item>| {
        items.map(counted).sum::<usize>() as u64
    };
    report.reused_tokens = sum(&mut kept.iter().copied());
    report.lost_tokens = sum(&mut lost.iter().copied());
    report.new_tokens = sum(&mut new[report.same_items..].iter());
    let prefix: usize = kept.iter().map(|item| item.raw().len()).sum();
    report.first_divergent_byte = lost.first().map(|item| {
        let next = new.get(report.same_items).map_or(&[][..], |n| &n.raw()[..]);
        let common = item.raw().iter().zip(next).take_while(|(a, b)| a == b);
        (prefix + common.count()) as u64
    });
    report
}

/// Whether a model sees it: neither a record of the log alone nor what a sub-agent does beside.
fn is_sent(item: &mainspring_compressor::Item) -> bool {
    item.in_context() && !item.is_aside()
}

fn counted(item: &mainspring_compressor::Item) -> usize {
    mainspring_compressor::count_item(&OpenAi::o200k(), item)
}

impl Outcome {
    fn of(bench: &Bench, full: Full) -> Result<Self> {
        let Full {
            name,
            mut context,
            original,
        } = full;
        let before = context.tokens();
        let (refused, blobs) = compacted(&mut context)?;
        let kept: Vec<_> = context.items().cloned().collect();
        let asked = probes(&original);
        let ours = Figures::of(&original, &asked, before, &kept, &blobs)?;
        let intact = bench.answer(ours.quality.pairs_intact);
        let users_lost = bench.answer(1.0 - ours.quality.user_messages_kept);
        check(ours.quality.score >= 0.85, "the quality floor was missed")?;
        check(intact, "a call and its result were parted")?;
        check(users_lost <= 0.0, "something a person wrote was lost")?;
        let counted = bench.answer(ours.after);
        check(counted == context.tokens(), "the context miscounts itself")?;
        let lossy = bench.answer(careless(&original, &asked, before)?);
        check(lossy < 0.5, "a careless compactor answers the probes")?;
        let mut sent = Transcript::new(original.format());
        for item in original.items().iter().filter(|item| is_sent(item)) {
            sent.push(item.raw().clone())?;
        }
        let baselines = BASELINES.iter().map(|baseline| {
            let result = baseline.shorten(&sent, before);
            Figures::of(&original, &asked, before, &result, &[])
        });
        Ok(Self {
            name,
            refused,
            ours,
            baselines: baselines.collect::<Result<_>>()?,
        })
    }
}

/// Whether it was refused, and what was taken out.
fn compacted(context: &mut Context) -> Result<(bool, Vec<Blob>)> {
    match Compactor::default().compact(context) {
        Ok(done) => Ok((false, done.blobs)),
        Err(Error::NoProgress { .. } | Error::QualityFloor { .. } | Error::DoesNotFit { .. }) => {
            Ok((true, Vec::new()))
        }
        Err(error) => Err(error.into()),
    }
}

/// What the probes find when nothing but the last item is kept, although most of them should fail.
fn careless(original: &Transcript, asked: &[Probe], before: usize) -> Result<f64> {
    if asked.len() < 8 {
        return Ok(0.0);
    }
    let last = original.items().last().map(|item| item.raw().clone());
    let last: Vec<Bytes> = last.into_iter().collect();
    let figures = Figures::of(original, asked, before, &last, &[])?;
    Ok(figures.recall.share())
}

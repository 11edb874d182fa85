//! Asked once a crossing, and never above the window.

use std::{collections::HashMap, sync::Arc};

use anyhow::Result;
use bytes::Bytes;
use mainspring_compressor::{
    Budget, Compactor, Context, Estimate, Format, Item, OpenAi, Tokenizer, Transcript, count_item,
};
use mainspring_inputs::{SessionSpec, generate};

use crate::{Bench, Measured, PerInput, check};

pub(super) fn measure(bench: &Bench) -> Result<Measured> {
    let crossings = crossings(bench)?;
    let exact = live(bench, Arc::new(OpenAi::o200k()), None)?;
    let estimate = Arc::new(Estimate::new());
    let estimated = live(bench, Arc::clone(&estimate) as _, Some(&estimate))?;
    let share = crossings.once as f64 / crossings.all.max(1) as f64;
    let note = format!(
        "{} crossings; real tokens reached {:.1} % of the usable window counted exactly, {:.1} % by the estimate",
        crossings.all,
        exact * 100.0,
        estimated * 100.0
    );
    Ok(Measured::counted(share)
        .on_inputs(vec![PerInput::new(
            "scripted growth",
            [
                ("crossings", crossings.all as f64),
                ("asked once", crossings.once as f64),
                ("peak of the window, exact", exact),
                ("peak of the window, estimated", estimated),
            ],
        )])
        .noting(note))
}

struct Crossings {
    all: u64,
    once: u64,
}

/// Grows a context past its trigger again and again, asking after each message and going on for a
/// while after it was told.
fn crossings(bench: &Bench) -> Result<Crossings> {
    let (messages, window) = bench
        .scale()
        .pick((70, 6_000), (2_000, 40_000), (8_000, 100_000));
    let compactor = Compactor::default();
    let budget = Budget::new(window).with_max_output(window / 8);
    let mut context = Context::new(Format::OpenAiChat, budget, Arc::new(OpenAi::o200k()));
    let trigger = (budget.usable() as f64 * 0.92) as usize;
    let mut counts = Counts::default();
    let (mut all, mut once, mut asked) = (0, 0, 0);
    let mut above = 0;
    for message in generate(&SessionSpec::coding(3, messages)) {
        context.push(message)?;
        let due = compactor.due(&mut context);
        let real = bench.answer(counts.of(context.transcript()));
        check(
            real == context.tokens(),
            "the context has other tokens than it says",
        )?;
        if context.tokens() < trigger {
            check(!due, "asked below the trigger")?;
            continue;
        }
        above += 1;
        // Asked at the first message above, not at the next ones.
        asked += u64::from(due == (above == 1));
        if above == 4 {
            all += 1;
            once += u64::from(asked == 4);
            (above, asked) = (0, 0);
            context = restarted(&context, budget)?;
        }
    }
    Ok(Crossings { all, once })
}

/// A context that begins anew with the system prompt, as after a compaction that took everything.
fn restarted(context: &Context, budget: Budget) -> Result<Context> {
    let mut fresh = Context::new(Format::OpenAiChat, budget, Arc::new(OpenAi::o200k()));
    if let Some(first) = context.items().next() {
        fresh.push(first.clone())?;
    }
    Ok(fresh)
}

/// A live session that compacts itself; its peak of real tokens as a share of the usable window.
/// The tokenizer learns from what a provider would report.
fn live(bench: &Bench, tokenizer: Arc<dyn Tokenizer>, learns: Option<&Estimate>) -> Result<f64> {
    let (messages, window) = bench
        .scale()
        .pick((90, 9_000), (700, 32_000), (3_000, 128_000));
    let budget = Budget::new(window).with_max_output(window / 8);
    let compactor = Compactor::default();
    let mut context = Context::new(Format::OpenAiChat, budget, tokenizer);
    let mut counts = Counts::default();
    let (mut peak, mut over) = (0, 0_u64);
    for (at, message) in generate(&SessionSpec::coding(4, messages))
        .into_iter()
        .enumerate()
    {
        compactor.append(&mut context, message)?;
        let real = counts.of(context.transcript());
        peak = peak.max(real);
        over += u64::from(real > budget.usable());
        if let Some(estimate) = learns.filter(|_| at % 8 == 7) {
            let sent: Vec<_> = context.transcript().items().iter().collect();
            let text: String = sent.iter().map(|item| counts.text(item)).collect();
            estimate.observe(&text, real);
            context.recount();
        }
    }
    let over = bench.answer(over);
    check(over == 0, "real tokens passed the window")?;
    let compactions = context.stats().compactions;
    check(compactions > 0, "the script never filled the window")?;
    Ok(peak as f64 / budget.usable() as f64)
}

/// Exact counts of items, each counted once. They are told apart by where they lie; each is held
/// here, so that no other comes to lie there.
#[derive(Default)]
struct Counts(HashMap<(usize, usize), (Bytes, usize)>);

impl Counts {
    fn of(&mut self, transcript: &Transcript) -> usize {
        let count = |item: &Item| {
            let raw = item.raw();
            let place = (raw.as_ptr().addr(), raw.len());
            let known = self.0.entry(place);
            let counted = || (raw.clone(), count_item(&OpenAi::o200k(), item));
            known.or_insert_with(counted).1
        };
        transcript.items().iter().map(count).sum()
    }

    /// What a model reads of an item.
    fn text(&self, item: &Item) -> String {
        let mut text = item.text().into_owned();
        item.calls().for_each(|call| text.push_str(&call.arguments));
        item.results()
            .for_each(|result| text.push_str(&result.text));
        text
    }
}

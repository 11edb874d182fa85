//! What it costs to ask the model that a request needs.

use anyhow::Result;
use mainspring_scheduler::{BudgetLevel, ModelRequest, ModelRouter, Prices, Tier};

use super::prompts::{Request, requests};
use crate::{Bench, Measured, Peer, PerInput, check};

/// The share of requests that may go to a tier below the one they need.
const TOO_LOW: f64 = 0.05;

/// What a way of routing comes to.
struct Outcome {
    /// Of the cost of asking the balanced tier for everything.
    saved: f64,
    too_low: f64,
    too_high: f64,
}

impl Outcome {
    fn of<'a>(routed: impl Iterator<Item = (&'a Request, Tier)> + Clone) -> Self {
        let prices = Prices::default();
        let cost = |tier, request: &Request| prices.cost(tier, request.tokens) as f64;
        let spent: f64 = routed.clone().map(|(r, tier)| cost(tier, r)).sum();
        let balanced: f64 = routed.clone().map(|(r, _)| cost(Tier::Balanced, r)).sum();
        let count = routed.clone().count() as f64;
        let low = routed.clone().filter(|(r, tier)| *tier < r.needs).count();
        let high = routed.filter(|(r, tier)| *tier > r.needs).count();
        Self {
            saved: 1.0 - spent / balanced,
            too_low: low as f64 / count,
            too_high: high as f64 / count,
        }
    }

    fn on(&self, input: &str) -> PerInput {
        PerInput::new(
            input,
            [
                ("saved", self.saved),
                ("routed too low", self.too_low),
                ("routed too high", self.too_high),
            ],
        )
    }

    /// Nothing is saved by asking models that cannot answer.
    fn counted(&self) -> f64 {
        if self.too_low > TOO_LOW {
            0.0
        } else {
            self.saved
        }
    }
}

/// Cost saved by the default scorer and bounds against the balanced tier for everything.
pub(super) fn saving(bench: &Bench) -> Result<Measured> {
    let requests = requests(bench.scale().pick(400, 5_000, 50_000));
    let router = ModelRouter::new();
    let mut routed = Vec::with_capacity(requests.len());
    for request in &requests {
        let route = router.route(
            &ModelRequest {
                agent: "agent",
                prompt: &request.prompt,
                tools: request.tools,
            },
            BudgetLevel::Normal,
        );
        let (tier, documented) = (bench.answer(route.tier as u8), tier_of(route.complexity));
        check(
            tier == documented as u8,
            "the tier does not follow from the complexity",
        )?;
        let cost = bench.answer(Prices::default().cost(route.tier, request.tokens));
        check(
            cost == price(documented, request.tokens),
            "a price is not the documented one",
        )?;
        routed.push((request, route.tier));
    }
    let always = |tier| Outcome::of(requests.iter().map(move |request| (request, tier)));
    let fast = always(Tier::Fast);
    check(
        fast.too_low > TOO_LOW,
        "the set does not tell routing from asking the fast tier for everything",
    )?;
    let by_label = Outcome::of(requests.iter().map(|request| (request, request.needs)));
    let ours = Outcome::of(routed.iter().copied());
    let only = |attached: bool| {
        let some = routed.iter().copied();
        Outcome::of(some.filter(move |(request, _)| request.attached == attached))
    };
    let inputs = vec![
        ours.on("all"),
        only(false).on("without attachments"),
        only(true).on("with attachments"),
        fast.on("always fast"),
        always(Tier::Balanced).on("always balanced"),
        by_label.on("by label: what can be had"),
    ];
    let peer = |name: &str, outcome: &Outcome| Peer {
        ratio: ours.counted() / outcome.counted().max(1e-9),
        ..Peer::counted(name, "", outcome.counted(), ours.counted())
    };
    let peers = vec![
        peer("by label: what can be had", &by_label),
        peer("always fast: too low", &fast),
    ];
    Ok(Measured::counted(ours.counted())
        .beside("fraction", ours.counted(), peers)
        .more_is_better()
        .on_inputs(inputs)
        .noting(format!(
            "{:.1} % saved, {:.1} % routed too low, {:.1} % too high",
            ours.saved * 100.0,
            ours.too_low * 100.0,
            ours.too_high * 100.0
        )))
}

/// As documented: below 0.3 fast, below 0.7 balanced.
fn tier_of(complexity: Option<f64>) -> Tier {
    match complexity {
        Some(score) if score >= 0.7 => Tier::Quality,
        Some(score) if score >= 0.3 => Tier::Balanced,
        _ => Tier::Fast,
    }
}

/// As documented: 0.3, 1 and 3 for 1,000 tokens, in millionths.
fn price(tier: Tier, tokens: u64) -> u64 {
    tokens
        * match tier {
            Tier::Fast => 300,
            Tier::Balanced => 1_000,
            Tier::Quality => 3_000,
        }
}

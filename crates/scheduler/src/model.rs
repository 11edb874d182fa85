//! Which model a request needs, and which one the budget allows.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::{BudgetLevel, complexity};

/// Classes of models, cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Complexity below 0.3.
    Fast,
    /// Below 0.7.
    Balanced,
    /// The rest.
    Quality,
}

impl Tier {
    /// How many times quicker than the others the tier counts: 3 for fast ones.
    #[must_use]
    pub fn speed(self) -> f64 {
        if self == Self::Fast { 3.0 } else { 1.0 }
    }
}

/// What each tier costs for 1,000 tokens, in the caller's currency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// Default 0.3.
    pub fast: f64,
    /// Default 1.0.
    pub balanced: f64,
    /// Default 3.0.
    pub quality: f64,
}

impl Default for Prices {
    fn default() -> Self {
        Self {
            fast: 0.3,
            balanced: 1.0,
            quality: 3.0,
        }
    }
}

impl Prices {
    /// Default of a day's budget, in millionths of the prices' unit: 500 units.
    pub const DAILY_BUDGET: u64 = 500_000_000;

    /// The price of 1,000 tokens.
    #[must_use]
    pub fn of(&self, tier: Tier) -> f64 {
        match tier {
            Tier::Fast => self.fast,
            Tier::Balanced => self.balanced,
            Tier::Quality => self.quality,
        }
    }

    /// What `tokens` cost in millionths, rounded up: the amount to reserve from a [`Budget`](crate::Budget) in
    /// that unit. A price that is no positive number costs nothing.
    #[must_use]
    pub fn cost(&self, tier: Tier, tokens: u64) -> u64 {
        // Saturates, and takes what is not a number for zero.
        (self.of(tier).max(0.0) * 1_000.0 * tokens as f64).ceil() as u64
    }
}

/// A request for a model.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ModelRequest<'a> {
    /// Who asks.
    pub agent: &'a str,
    /// What is asked.
    pub prompt: &'a str,
    /// How many tools are offered.
    pub tools: usize,
}

/// The answer of a [`ModelRouter`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Route {
    /// The tier to use.
    pub tier: Tier,
    /// From 0 to 1; `None` when the scorer had no answer.
    pub complexity: Option<f64>,
    /// Whether the budget forced a cheaper tier than the request needs.
    pub downgraded: bool,
}

type Scorer = dyn Fn(&ModelRequest<'_>) -> f64 + Send + Sync;

/// Complexity to tier, under a budget: from 0.80 of it on nothing above balanced, from 0.95 on everything fast.
///
/// ```
/// use mainspring_scheduler::{BudgetLevel, ModelRequest, ModelRouter, Tier};
/// let router = ModelRouter::new().pin("auditor", Tier::Quality);
/// let ask = |agent, prompt| ModelRequest { agent, prompt, tools: 0 };
/// let simple = ask("helper", "Rename this variable.");
/// let hard = ask("helper", "Design the architecture of a distributed lock and prove its safety.");
/// assert_eq!(router.route(&simple, BudgetLevel::Normal).tier, Tier::Fast);
/// assert_eq!(router.route(&hard, BudgetLevel::Normal).tier, Tier::Quality);
/// assert!(router.route(&hard, BudgetLevel::Warn).downgraded);
/// assert_eq!(router.route(&ask("auditor", ""), BudgetLevel::Critical).tier, Tier::Quality);
/// ```
#[derive(Clone)]
pub struct ModelRouter {
    scorer: Arc<Scorer>,
    pinned: HashMap<String, Tier>,
    default_tier: Tier,
    bounds: [f64; 2],
}

impl ModelRouter {
    /// The documented bounds 0.3 and 0.7, the default scorer, nobody pinned, fast where there is no score.
    #[must_use]
    pub fn new() -> Self {
        Self {
            scorer: Arc::new(complexity),
            pinned: HashMap::new(),
            default_tier: Tier::Fast,
            bounds: [0.3, 0.7],
        }
    }

    /// Another scorer; 0 is trivial, 1 as hard as it gets. Not a number means no answer.
    #[must_use]
    pub fn scorer(
        mut self,
        scorer: impl Fn(&ModelRequest<'_>) -> f64 + Send + Sync + 'static,
    ) -> Self {
        self.scorer = Arc::new(scorer);
        self
    }

    /// Keeps a critical agent on a tier, whatever is asked and whatever is left of the budget.
    #[must_use]
    pub fn pin(mut self, agent: impl Into<String>, tier: Tier) -> Self {
        self.pinned.insert(agent.into(), tier);
        self
    }

    /// The tier where the scorer has no answer. Default fast.
    #[must_use]
    pub fn default_tier(mut self, tier: Tier) -> Self {
        self.default_tier = tier;
        self
    }

    /// Where balanced and quality begin. Default 0.3 and 0.7.
    #[must_use]
    pub fn bounds(mut self, balanced: f64, quality: f64) -> Self {
        self.bounds = [balanced, quality];
        self
    }

    /// The tier for a request at this level of the budget. O(prompt) with the default scorer.
    #[must_use]
    pub fn route(&self, request: &ModelRequest<'_>, level: BudgetLevel) -> Route {
        let score = (self.scorer)(request);
        let complexity = (!score.is_nan()).then(|| score.clamp(0.0, 1.0));
        if let Some(&tier) = self.pinned.get(request.agent) {
            return Route {
                tier,
                complexity,
                downgraded: false,
            };
        }
        let needed = match complexity {
            None => self.default_tier,
            Some(score) if score < self.bounds[0] => Tier::Fast,
            Some(score) if score < self.bounds[1] => Tier::Balanced,
            Some(_) => Tier::Quality,
        };
        let allowed = match level {
            BudgetLevel::Normal => Tier::Quality,
            BudgetLevel::Warn => Tier::Balanced,
            BudgetLevel::Critical => Tier::Fast,
        };
        Route {
            tier: needed.min(allowed),
            complexity,
            downgraded: needed > allowed,
        }
    }
}

impl Default for ModelRouter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ModelRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelRouter")
            .field("pinned", &self.pinned)
            .finish_non_exhaustive()
    }
}

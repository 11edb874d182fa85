//! What a compaction would do, before it is done.

use crate::{context::Blob, item::Item, prompt_cache::CacheReport, quality::Quality};
use bytes::Bytes;
use std::fmt;

/// A stage of a compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// Outputs given again word for word.
    ExactDuplicates,
    /// Outputs that nearly repeat a later one.
    NearDuplicates,
    /// Reads that were repeated, or whose file was changed since.
    SupersededReads,
    /// Old outputs moved out, retrievable.
    ClearedOutputs,
    /// Outputs made shorter, retrievable as they were.
    OptimizedOutputs,
    /// Everything old replaced by the eight-section summary.
    Summary,
}

impl Strategy {
    /// A short name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ExactDuplicates => "exact duplicates",
            Self::NearDuplicates => "near-duplicates",
            Self::SupersededReads => "superseded reads",
            Self::ClearedOutputs => "cleared outputs",
            Self::OptimizedOutputs => "optimised outputs",
            Self::Summary => "summary",
        }
    }
}

/// What one stage saves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanStep {
    /// The stage.
    pub strategy: Strategy,
    /// How many items or outputs it replaces.
    pub replaced: usize,
    /// Tokens that it saves.
    pub tokens_saved: usize,
}

/// Where an item of the new context comes from.
#[derive(Debug, Clone)]
pub(crate) enum Planned {
    /// As it is.
    Keep(usize),
    /// The same item in a new form.
    Replace {
        entry: usize,
        item: Item,
        tokens: usize,
        stored: Vec<u32>,
    },
    /// An item that was not there.
    Insert { item: Item, tokens: usize },
}

/// A compaction that has been thought through and not been done.
///
/// Nothing has changed yet; [`crate::Compactor::commit`] does it. Items appended to the context in
/// the meantime stay behind what the plan covers.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) compactions: u64,
    pub(crate) covers: usize,
    /// The number of the last item covered.
    pub(crate) newest: Option<u64>,
    pub(crate) entries: Vec<Planned>,
    pub(crate) kept: usize,
    pub(crate) blobs: Vec<Blob>,
    /// Tokens before.
    pub before: usize,
    /// Tokens after.
    pub after: usize,
    /// The stages that did something, in order.
    pub steps: Vec<PlanStep>,
    /// What of the session's facts survives.
    pub quality: Quality,
    /// What it does to the provider's prompt cache.
    pub cache: CacheReport,
}

impl Plan {
    /// Share of the tokens that go, from 0 to 1.
    #[must_use]
    pub fn reduction(&self) -> f64 {
        if self.before == 0 {
            return 0.0;
        }
        1.0 - self.after as f64 / self.before as f64
    }

    /// Whether the tokens saved over the expected further requests outweigh the prompt cache that is
    /// lost, at the price of a cached token relative to an uncached one.
    ///
    /// This is for compactions before the trigger; at the trigger one is due in any case.
    #[must_use]
    pub fn pays(&self, expected_requests: u32, cached_price: f64) -> bool {
        let saved = self.before.saturating_sub(self.after) as f64;
        let rewritten = self.cache.new_tokens as f64 * (1.0 - cached_price);
        saved * cached_price * f64::from(expected_requests) > rewritten
    }

    /// What is moved out of the context.
    #[must_use]
    pub fn blobs(&self) -> &[Blob] {
        &self.blobs
    }

    /// Items that stay byte for byte as they are.
    #[must_use]
    pub fn kept_items(&self) -> usize {
        self.kept
    }

    /// The items as they would be sent, raw; `current` are those of the context.
    pub(crate) fn items<'a>(
        &'a self,
        current: &'a [Item],
    ) -> impl Iterator<Item = (&'a Item, Option<usize>)> {
        self.entries.iter().map(move |planned| match planned {
            Planned::Keep(at) => (&current[*at], Some(*at)),
            Planned::Replace { entry, item, .. } => (item, Some(*entry)),
            Planned::Insert { item, .. } => (item, None),
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} -> {} tokens ({:.0} % less), {} of {} items kept as they are",
            self.before,
            self.after,
            self.reduction() * 100.0,
            self.kept,
            self.covers
        )?;
        for step in &self.steps {
            writeln!(
                f,
                "  {}: {} replaced, {} tokens saved",
                step.strategy.name(),
                step.replaced,
                step.tokens_saved
            )?;
        }
        writeln!(f, "  quality: {}", self.quality)?;
        match self.cache.first_divergent_byte {
            Some(byte) => write!(
                f,
                "  prompt cache: differs from byte {byte} on, {} tokens to read anew",
                self.cache.new_tokens
            ),
            None => f.write_str("  prompt cache: nothing sent so far changes"),
        }
    }
}

/// A compaction that was done.
#[derive(Debug, Clone)]
pub struct Compaction {
    /// Tokens before.
    pub before: usize,
    /// Tokens after.
    pub after: usize,
    /// The stages that did something.
    pub steps: Vec<PlanStep>,
    /// What of the session's facts survives.
    pub quality: Quality,
    /// What it did to the provider's prompt cache.
    pub cache: CacheReport,
    /// What was moved out: to be stored by the caller, by id.
    pub blobs: Vec<Blob>,
}

impl Compaction {
    /// Tokens after, as a share of those before.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        if self.before == 0 {
            return 1.0;
        }
        self.after as f64 / self.before as f64
    }

    /// Share of the tokens that went, from 0 to 1.
    #[must_use]
    pub fn reduction(&self) -> f64 {
        1.0 - self.ratio()
    }

    /// The bytes of all blobs.
    #[must_use]
    pub fn blob_bytes(&self) -> usize {
        self.blobs
            .iter()
            .map(|blob: &Blob| Bytes::len(&blob.bytes))
            .sum()
    }
}

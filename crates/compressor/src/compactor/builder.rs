//! The settings of a compactor.

use super::Compactor;
use std::{error, fmt};

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) trigger: f64,
    pub(super) reduction: f64,
    pub(super) floor: f64,
    pub(super) least_gain: f64,
    pub(super) similarity: f64,
    pub(super) largest_output: Option<usize>,
    pub(super) protected: Option<usize>,
    pub(super) breaker: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trigger: 0.92,
            reduction: 0.78,
            floor: 0.85,
            least_gain: 0.10,
            similarity: 0.85,
            largest_output: None,
            protected: None,
            breaker: 3,
        }
    }
}

impl Settings {
    pub(super) fn protected(&self, usable: usize) -> usize {
        self.protected.unwrap_or_else(|| (usable / 10).min(40_000))
    }

    /// An output of that size cannot take a context from below the trigger past the window.
    pub(super) fn largest_output(&self, usable: usize, trigger: usize) -> usize {
        let gap = usable.saturating_sub(trigger) / 4 * 3;
        self.largest_output.unwrap_or(gap.clamp(200, 25_000))
    }
}

/// What is wrong with the settings of a compactor.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum BuildError {
    /// A share that is not within its range.
    Share {
        /// The setting.
        setting: &'static str,
        /// What was given.
        value: f64,
        /// The smallest allowed value.
        least: f64,
        /// The largest allowed value.
        most: f64,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Share {
            setting,
            value,
            least,
            most,
        } = self;
        write!(
            f,
            "{setting} is {value}, it must be between {least} and {most}"
        )
    }
}

impl error::Error for BuildError {}

/// Chooses the settings of a [`Compactor`].
///
/// ```
/// use mainspring_compressor::Compactor;
///
/// let compactor = Compactor::builder().trigger(0.8).quality_floor(0.9).build()?;
/// # Ok::<(), mainspring_compressor::BuildError>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct CompactorBuilder {
    settings: Settings,
}

impl CompactorBuilder {
    /// Share of the usable window at which a compaction is due; default 0.92.
    pub fn trigger(mut self, share: f64) -> Self {
        self.settings.trigger = share;
        self
    }

    /// Share of the tokens that a compaction aims to remove; default 0.78.
    pub fn target_reduction(mut self, share: f64) -> Self {
        self.settings.reduction = share;
        self
    }

    /// Least [`crate::Quality::score`] of a result; default 0.85.
    pub fn quality_floor(mut self, score: f64) -> Self {
        self.settings.floor = score;
        self
    }

    /// Least share of the tokens that a compaction must remove; default 0.10.
    pub fn least_gain(mut self, share: f64) -> Self {
        self.settings.least_gain = share;
        self
    }

    /// Similarity above which two outputs are near-duplicates; default 0.85.
    pub fn similarity(mut self, share: f64) -> Self {
        self.settings.similarity = share;
        self
    }

    /// Tokens above which an output is bounded when it is appended: head and tail stay, the whole
    /// goes to a blob. Default: three quarters of the gap between trigger and window, 200 to 25,000.
    pub fn largest_output(mut self, tokens: usize) -> Self {
        self.settings.largest_output = Some(tokens.max(64));
        self
    }

    /// Tokens of the newest outputs that are not cleared; default a tenth of the window, at most
    /// 40,000.
    pub fn protected_outputs(mut self, tokens: usize) -> Self {
        self.settings.protected = Some(tokens);
        self
    }

    /// Failures in a row after which no attempt is made until the context has grown; default 3.
    pub fn breaker(mut self, failures: u32) -> Self {
        self.settings.breaker = failures.max(1);
        self
    }

    /// The compactor.
    ///
    /// # Errors
    ///
    /// [`BuildError::Share`] when a share is out of range.
    pub fn build(self) -> Result<Compactor, BuildError> {
        let s = &self.settings;
        for (setting, value, least, most) in [
            ("trigger", s.trigger, 0.05, 1.0),
            ("target_reduction", s.reduction, 0.0, 0.99),
            ("quality_floor", s.floor, 0.0, 1.0),
            ("least_gain", s.least_gain, 0.0, 0.9),
            ("similarity", s.similarity, 0.0, 1.0),
        ] {
            if !(least..=most).contains(&value) {
                return Err(BuildError::Share {
                    setting,
                    value,
                    least,
                    most,
                });
            }
        }
        Ok(Compactor {
            settings: self.settings,
        })
    }
}

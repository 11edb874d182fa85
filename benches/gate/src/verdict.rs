//! What the gate says.

use serde::{Deserialize, Serialize};

/// How much more work than before still passes.
pub const TOLERANCE: f64 = 0.02;

/// What the gate says of one path, or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Surely no more than the tolerance above the baseline.
    Met,
    /// Nothing can be said.
    Inconclusive,
    /// Surely more.
    Regressed,
}

impl Verdict {
    /// The exit code of a program that ends with this: 0 met, 1 regressed, 2 inconclusive.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Met => 0,
            Self::Regressed => 1,
            Self::Inconclusive => 2,
        }
    }
}

/// The worst of several; met when there are none.
pub fn overall(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    verdicts.into_iter().max().unwrap_or(Verdict::Met)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regression_outweighs_everything() {
        use Verdict::{Inconclusive, Met, Regressed};
        assert_eq!(overall([Met, Regressed, Inconclusive]), Regressed);
        assert_eq!(overall([Met, Inconclusive]), Inconclusive);
        assert_eq!(overall([]), Met);
    }
}

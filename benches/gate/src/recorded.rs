//! The instruction counts that the repository holds.

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{Counted, TOLERANCE, Verdict, valgrind};

/// `benches/instructions.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// What the counts were made with; with anything else they cannot be compared.
    pub toolchain: Toolchain,
    /// Instructions of one operation, by hot path.
    pub instructions: BTreeMap<String, f64>,
}

/// What instruction counts depend on besides the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toolchain {
    /// The compiler.
    pub rustc: String,
    /// The C library, whose `memcpy` and `malloc` are counted too.
    pub libc: String,
    /// The counter itself: it decides which vector instructions the program sees.
    pub valgrind: String,
}

impl Toolchain {
    /// What is installed here.
    ///
    /// # Errors
    /// When there is no valgrind or no compiler.
    pub fn here() -> Result<Self> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let printed = |program: &std::ffi::OsStr, argument: &str| {
            let out = Command::new(program).arg(argument).output().ok()?;
            Some(String::from_utf8_lossy(&out.stdout).trim().to_owned())
        };
        let libc = printed("getconf".as_ref(), "GNU_LIBC_VERSION");
        Ok(Self {
            rustc: printed(&rustc, "--version").context("rustc cannot be started")?,
            libc: libc.unwrap_or_else(|| "unknown".to_owned()),
            valgrind: valgrind()
                .context("valgrind is not installed: install the package of that name")?,
        })
    }
}

impl Recorded {
    /// Where the counts are kept.
    #[must_use]
    pub fn path() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../instructions.toml")
    }

    /// Reads them.
    ///
    /// # Errors
    /// When the file is missing or not of its form.
    pub fn read() -> Result<Self> {
        let path = Self::path();
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        toml::from_str(&text).context("benches/instructions.toml")
    }

    /// Writes them.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self) -> Result<()> {
        let head = "# Instructions of one operation of each hot path, counted by callgrind. Written by\n\
                    # `cargo xtask gate --record`, compared by `cargo xtask gate`.\n\n";
        let text = format!("{head}{}", toml::to_string(self)?);
        std::fs::write(Self::path(), text).context("benches/instructions.toml cannot be written")
    }

    /// The most instructions with which a path still passes; none when it was never recorded.
    #[must_use]
    pub fn limit(&self, name: &str) -> Option<f64> {
        self.instructions
            .get(name)
            .map(|recorded| recorded * (1.0 + TOLERANCE))
    }

    /// What a fresh count says against the recorded one, and how much more work it is. A path that
    /// was never recorded says nothing.
    #[must_use]
    pub fn judge(&self, counted: &Counted) -> (Verdict, Option<f64>) {
        let Some(recorded) = self.instructions.get(counted.name) else {
            return (Verdict::Inconclusive, None);
        };
        let ratio = counted.instructions / recorded;
        let verdict = if ratio > 1.0 + TOLERANCE {
            Verdict::Regressed
        } else {
            Verdict::Met
        };
        (verdict, Some(ratio))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(instructions: f64) -> Verdict {
        let recorded = Recorded {
            toolchain: Toolchain {
                rustc: String::new(),
                libc: String::new(),
                valgrind: String::new(),
            },
            instructions: [("cache.hit".to_owned(), 100.0)].into(),
        };
        let counted = Counted {
            name: "cache.hit",
            instructions,
        };
        recorded.judge(&counted).0
    }

    #[test]
    fn more_than_the_tolerance_is_a_regression() {
        assert_eq!(judged(100.0), Verdict::Met);
        assert_eq!(judged(101.9), Verdict::Met);
        assert_eq!(judged(105.0), Verdict::Regressed);
        assert_eq!(judged(60.0), Verdict::Met);
    }

    #[test]
    fn the_repository_holds_a_count_of_every_hot_path() {
        let recorded = Recorded::read().unwrap();
        for path in crate::hot_paths() {
            assert!(
                recorded.instructions.contains_key(path.name),
                "{}",
                path.name
            );
        }
        assert_eq!(recorded.instructions.len(), crate::hot_paths().len());
    }
}

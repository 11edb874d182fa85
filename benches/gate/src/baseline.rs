//! Saved baselines: a report and the probe it was made with.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::target_folder;

/// A saved run to compare with.
#[derive(Debug, Clone)]
pub struct Baseline {
    name: String,
    folder: PathBuf,
}

impl Baseline {
    /// The baseline called `name`, saved or yet to be.
    ///
    /// # Errors
    /// When the name is not one that a folder can have everywhere.
    pub fn named(name: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        ensure!(
            !name.is_empty() && name.chars().all(plain) && !name.starts_with('.'),
            "`{name}` cannot name a baseline: use letters, digits, `-`, `_` and `.`"
        );
        Ok(Self {
            name: name.to_owned(),
            folder: baselines_folder().join(name),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its report is.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.folder.join("report.json")
    }

    /// Its probe.
    ///
    /// # Errors
    /// When it was never saved: the command that saves it, and those there are.
    pub fn probe(&self) -> Result<PathBuf> {
        let probe = self.folder.join("mainspring-probe");
        if probe.is_file() {
            return Ok(probe);
        }
        let known: Vec<_> = baselines().iter().map(|known| known.name.clone()).collect();
        anyhow::bail!(
            "no baseline `{}`: check out what to compare with and run `cargo xtask bench --save-baseline {}`; saved are: {}",
            self.name,
            self.name,
            if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            }
        )
    }

    /// Keeps a copy of this probe.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn save_probe(&self, probe: &Path) -> Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let to = self.folder.join("mainspring-probe");
        std::fs::copy(probe, &to).with_context(|| format!("{} cannot be written", to.display()))?;
        Ok(())
    }
}

fn baselines_folder() -> PathBuf {
    target_folder().join("bench/baselines")
}

/// All saved baselines, by name.
#[must_use]
pub fn baselines() -> Vec<Baseline> {
    let entries = std::fs::read_dir(baselines_folder())
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<Baseline> = entries
        .filter_map(|entry| Baseline::named(entry.file_name().to_str()?).ok())
        .filter(|known| known.report().is_file())
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

#[cfg(test)]
mod tests {
    use super::Baseline;

    #[test]
    fn a_name_that_leaves_the_folder_is_refused() {
        for name in ["", "..", ".hidden", "a/b", "a\\b", "ä"] {
            assert!(Baseline::named(name).is_err(), "{name}");
        }
        assert!(Baseline::named("main-2026.11").is_ok());
    }
}

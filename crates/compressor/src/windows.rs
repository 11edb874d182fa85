//! How much each model takes.

use crate::Budget;
use std::collections::BTreeMap;

/// What is known of models, by the beginning of their names: tokens of the window, and of the longest
/// answer.
const KNOWN: [(&str, usize, usize); 30] = [
    ("claude", 200_000, 8_192),
    ("claude-3-7", 200_000, 64_000),
    ("claude-haiku-4", 200_000, 64_000),
    ("claude-opus-4", 200_000, 32_000),
    ("claude-sonnet-4", 200_000, 64_000),
    ("codestral", 256_000, 8_192),
    ("command-r", 128_000, 4_096),
    ("deepseek", 128_000, 8_192),
    ("gemini", 1_048_576, 8_192),
    ("gemini-2.5", 1_048_576, 65_536),
    ("gemma-2", 8_192, 4_096),
    ("gemma-3", 131_072, 8_192),
    ("glm-4", 128_000, 16_384),
    ("gpt-3.5-turbo", 16_385, 4_096),
    ("gpt-4", 8_192, 4_096),
    ("gpt-4-32k", 32_768, 4_096),
    ("gpt-4-turbo", 128_000, 4_096),
    ("gpt-4.1", 1_047_576, 32_768),
    ("gpt-4o", 128_000, 16_384),
    ("gpt-5", 400_000, 128_000),
    ("gpt-oss", 131_072, 32_768),
    ("grok-4", 256_000, 32_768),
    ("kimi-k2", 131_072, 16_384),
    ("llama-3", 8_192, 4_096),
    ("llama-3.1", 131_072, 8_192),
    ("llama-3.3", 131_072, 8_192),
    ("mistral", 128_000, 8_192),
    ("o1", 200_000, 100_000),
    ("o3", 200_000, 100_000),
    ("qwen", 131_072, 8_192),
];

/// The windows of models, by name.
///
/// The names that are known from the start are what the providers documented when this version was
/// made; they are beginnings of names, and the longest that fits decides, so that a dated or a suffixed
/// model is found, too. A name may have a provider before it (`vendor/model`). Add your own, or correct
/// what has changed, with [`ModelWindows::set`].
///
/// ```
/// use mainspring_compressor::{Budget, ModelWindows};
///
/// let mut windows = ModelWindows::default();
/// windows.set("in-house-7b", Budget::new(32_768).with_max_output(2_048));
/// assert_eq!(windows.get("in-house-7b-instruct").unwrap().window, 32_768);
/// assert_eq!(windows.get("openai/gpt-4o-2024-08-06").unwrap().window, 128_000);
/// assert_eq!(windows.get("unheard-of"), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelWindows(BTreeMap<String, Budget>);

impl Default for ModelWindows {
    fn default() -> Self {
        let known = KNOWN.iter().map(|(name, window, output)| {
            let budget = Budget::new(*window).with_max_output(*output);
            ((*name).to_owned(), budget)
        });
        Self(known.collect())
    }
}

impl ModelWindows {
    /// A table without a model.
    #[must_use]
    pub fn empty() -> Self {
        Self(BTreeMap::new())
    }

    /// Says what the models take whose names begin so; case does not matter. Returns what was known.
    pub fn set(&mut self, name: &str, budget: Budget) -> Option<Budget> {
        self.0.insert(name.to_ascii_lowercase(), budget)
    }

    /// What a model takes; `None` for one that the table does not know. O(length × log names).
    #[must_use]
    pub fn get(&self, model: &str) -> Option<Budget> {
        let model = model.to_ascii_lowercase();
        let bare = model.rsplit('/').next().unwrap_or(&model);
        self.longest(&model).or_else(|| self.longest(bare))
    }

    fn longest(&self, model: &str) -> Option<Budget> {
        let ends = (1..=model.len()).rev();
        let mut names = ends.filter_map(|end| model.get(..end));
        names.find_map(|name| self.0.get(name).copied())
    }

    /// The beginnings of names with what they stand for, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Budget)> {
        self.0.iter().map(|(name, budget)| (name.as_str(), *budget))
    }
}

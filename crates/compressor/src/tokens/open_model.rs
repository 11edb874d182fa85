//! Exact counts for models whose vocabulary is public.

use super::exact::{Exact, Quick, counts_with, kept_by_thread, loaded_once};
use super::memo::Memo;
use super::pieces::Pattern;
use super::{Tally, Tokenizer};
use std::{cell::RefCell, thread::LocalKey};
use tiktoken::encoding;

/// The exact tokenizer of a family of open models.
///
/// The vocabulary is loaded on first use, once per process: 0.1-0.4 s and some 30 MB. A single word or
/// run of signs of n bytes costs O(n log n). Texts for Llama, GLM and MiniMax, whose patterns are those of
/// `cl100k` and `o200k`, are cut by hand; that takes 512 KiB for each thread that counts.
#[derive(Debug, Clone, Copy)]
pub struct OpenModel(Exact);

impl OpenModel {
    fn new(name: &'static str, encoding: fn() -> &'static tiktoken::CoreBpe) -> Self {
        let quick = None;
        Self(Exact {
            name,
            encoding,
            quick,
        })
    }

    /// One whose pattern is that of a GPT.
    fn like(self, pattern: Pattern, memo: &'static LocalKey<RefCell<Memo>>) -> Self {
        let quick = Quick {
            pattern,
            linear: None,
            memo,
        };
        Self(Exact {
            quick: Some(quick),
            ..self.0
        })
    }

    /// Llama 3 to 4.
    #[must_use]
    pub fn llama3() -> Self {
        Self::new("llama3", loaded_once!(encoding::llama3)).like(Pattern::Plain, kept_by_thread!())
    }

    /// DeepSeek V3 and R1.
    #[must_use]
    pub fn deepseek_v3() -> Self {
        Self::new("deepseek_v3", loaded_once!(encoding::deepseek_v3))
    }

    /// Qwen 2.5 and 3.
    #[must_use]
    pub fn qwen2() -> Self {
        Self::new("qwen2", loaded_once!(encoding::qwen2))
    }

    /// Mistral and Mixtral with the Tekken tokenizer.
    #[must_use]
    pub fn mistral_v3() -> Self {
        Self::new("mistral_v3", loaded_once!(encoding::mistral_v3))
    }

    /// Kimi K2.
    #[must_use]
    pub fn kimi_k2() -> Self {
        Self::new("kimi_k2", loaded_once!(encoding::kimi_k2))
    }

    /// GLM 4.5 and 4.6.
    #[must_use]
    pub fn glm4() -> Self {
        Self::new("glm4", loaded_once!(encoding::glm4)).like(Pattern::Plain, kept_by_thread!())
    }

    /// MiniMax M2.
    #[must_use]
    pub fn minimax_m2() -> Self {
        Self::new("minimax_m2", loaded_once!(encoding::minimax_m2))
            .like(Pattern::Cased, kept_by_thread!())
    }
}

counts_with!(OpenModel);

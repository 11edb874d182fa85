//! What of a request the provider has seen before, and what the rest costs.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

/// One item of the last request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) hash: u64,
    pub(crate) len: u64,
    pub(crate) tokens: u64,
    /// The bytes, until the context is saved.
    pub(crate) raw: Option<Bytes>,
}

impl Sent {
    pub(crate) fn of(raw: &Bytes, tokens: usize) -> Self {
        Self {
            hash: xxh3_64(raw),
            len: raw.len() as u64,
            tokens: tokens as u64,
            raw: Some(raw.clone()),
        }
    }
}

/// How much of the last request a provider's prompt cache can still use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheReport {
    /// Items that are the same from the beginning on.
    pub same_items: usize,
    /// Offset of the first byte that differs from what was sent, over the items put end to end;
    /// `None` when everything sent before is repeated as it was.
    pub first_divergent_byte: Option<u64>,
    /// Tokens that are the same from the beginning on.
    pub reused_tokens: u64,
    /// Tokens that were sent before and are lost to the cache.
    pub lost_tokens: u64,
    /// Tokens that the provider has to read anew.
    pub new_tokens: u64,
}

impl CacheReport {
    /// What the request costs, in prices of one uncached input token: `reused × cached_price + new`.
    ///
    /// Providers ask 0.1 to 0.5 for a cached token.
    #[must_use]
    pub fn cost(&self, cached_price: f64) -> f64 {
        self.reused_tokens as f64 * cached_price + self.new_tokens as f64
    }

    /// What the divergence costs more than a request that repeated everything.
    #[must_use]
    pub fn penalty(&self, cached_price: f64) -> f64 {
        self.lost_tokens.min(self.new_tokens) as f64 * (1.0 - cached_price)
    }

    pub(crate) fn compare<'a>(
        sent: &[Sent],
        items: impl Iterator<Item = &'a Bytes>,
        tokens: impl Fn(usize) -> usize,
    ) -> Self {
        let mut report = Self::default();
        let mut offset = 0;
        let mut diverged = false;
        let mut seen = 0;
        for (at, raw) in items.enumerate() {
            seen += 1;
            let count = tokens(at) as u64;
            match sent.get(at) {
                Some(old) if !diverged && same(old, raw) => {
                    report.same_items += 1;
                    report.reused_tokens += count;
                    offset += old.len;
                    continue;
                }
                Some(old) if !diverged => {
                    report.first_divergent_byte = Some(offset + common(old, raw));
                }
                _ => {}
            }
            diverged = true;
            report.new_tokens += count;
        }
        if seen < sent.len() && !diverged {
            report.first_divergent_byte = Some(offset);
        }
        report.lost_tokens = sent[report.same_items.min(sent.len())..]
            .iter()
            .map(|old| old.tokens)
            .sum();
        report
    }
}

fn same(old: &Sent, raw: &Bytes) -> bool {
    match &old.raw {
        Some(bytes) => bytes == raw,
        None => old.len == raw.len() as u64 && old.hash == xxh3_64(raw),
    }
}

fn common(old: &Sent, raw: &Bytes) -> u64 {
    let Some(bytes) = &old.raw else { return 0 };
    bytes.iter().zip(raw).take_while(|(a, b)| a == b).count() as u64
}

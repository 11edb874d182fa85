//! The working context of a live session: what is sent to the model next.

use crate::{
    Error, Format,
    item::{Item, Role},
    ledger::Ledger,
    prompt_cache::{CacheReport, Sent},
    tokens::{Tokenizer, count_item},
    transcript::{Transcript, checked},
};
use bytes::Bytes;
use std::sync::Arc;

/// The room that a model gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Tokens of the whole window.
    pub window: usize,
    /// Tokens of it kept free for the answer.
    pub max_output: usize,
}

impl Budget {
    /// A window of which nothing is kept free.
    #[must_use]
    pub fn new(window: usize) -> Self {
        Self {
            window,
            max_output: 0,
        }
    }

    /// Keeps room for an answer.
    #[must_use]
    pub fn with_max_output(mut self, tokens: usize) -> Self {
        self.max_output = tokens;
        self
    }

    /// Tokens that a request may have.
    #[must_use]
    pub fn usable(&self) -> usize {
        self.window.saturating_sub(self.max_output)
    }
}

/// What the context knows about one of its items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Number of the item in the session, from 0, kept over compactions.
    pub(crate) seq: u64,
    pub(crate) tokens: usize,
    pub(crate) pinned: bool,
    /// Parts whose original is in a blob.
    pub(crate) stored: Vec<u32>,
}

/// Bytes taken out of the context, to be kept by the caller and given back on request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Unique in the session; stands in the context where the bytes were.
    pub id: String,
    /// What it is, for a person or a model that looks for it.
    pub label: String,
    /// The bytes.
    pub bytes: Bytes,
}

/// The items that are sent to the model, with their tokens.
///
/// It holds only what a model sees; the records of a log are skipped, and so is what sub-agents do
/// beside the session ([`Item::is_aside`]): what of it was appended before the session itself had begun
/// leaves when it begins. Appending costs the item.
/// [`crate::Compactor`] keeps it within its [`Budget`].
#[derive(Debug, Clone)]
pub struct Context {
    pub(crate) transcript: Transcript,
    pub(crate) entries: Vec<Entry>,
    pub(crate) tokenizer: Arc<dyn Tokenizer>,
    pub(crate) budget: Budget,
    pub(crate) ledger: Ledger,
    pub(crate) sent: Vec<Sent>,
    pub(crate) tokens: usize,
    pub(crate) peak: usize,
    pub(crate) next_seq: u64,
    pub(crate) compactions: u64,
    pub(crate) failures: u32,
    pub(crate) retry_at: usize,
    pub(crate) asked: bool,
}

/// Figures of a context, cheap to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContextStats {
    /// Items that would be sent.
    pub items: usize,
    /// Their tokens.
    pub tokens: usize,
    /// The most tokens it ever had.
    pub peak_tokens: usize,
    /// Items ever appended.
    pub appended: u64,
    /// Compactions so far.
    pub compactions: u64,
    /// Failed compactions since the last that went well.
    pub failures: u32,
}

/// What [`Context::push`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// Tokens of the item; 0 when no model sees it.
    pub tokens: usize,
    /// Its place among the items to be sent; `None` for records of the log alone.
    pub index: Option<usize>,
}

impl Context {
    /// An empty context.
    #[must_use]
    pub fn new(format: Format, budget: Budget, tokenizer: Arc<dyn Tokenizer>) -> Self {
        Self {
            transcript: Transcript::new(format),
            entries: Vec::new(),
            tokenizer,
            budget,
            ledger: Ledger::default(),
            sent: Vec::new(),
            tokens: 0,
            peak: 0,
            next_seq: 0,
            compactions: 0,
            failures: 0,
            retry_at: 0,
            asked: false,
        }
    }

    /// Appends one item as it is. Costs counting the item, once.
    ///
    /// [`crate::Compactor::append`] does the same and keeps the context within its budget.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] or [`Error::Limit`]; nothing is appended then.
    pub fn push(&mut self, raw: impl Into<Bytes>) -> Result<Pushed, Error> {
        let raw = checked(raw.into())?;
        let item = self.read(raw);
        let tokens = count_item(&*self.tokenizer, &item);
        Ok(self.push_read(item, tokens, Vec::new()))
    }

    /// Reads an item as the next one, without appending it.
    pub(crate) fn read(&self, raw: Bytes) -> Item {
        self.transcript.read_next(raw)
    }

    /// Makes way for an item with which the session begins: what sub-agents have said before it was
    /// never part of it, nor is what was summarised of that.
    pub(crate) fn make_way(&mut self, item: &Item) {
        let side = |item: &Item| item.reading().side;
        let items = self.transcript.items();
        if !self.transcript.begins_session(item) || !items.iter().any(side) {
            return;
        }
        let stays = |item: &Item| !side(item) && item.role() != Role::Summary;
        let fresh = Transcript::new(self.transcript.format());
        let before = std::mem::replace(&mut self.transcript, fresh);
        let entries = std::mem::take(&mut self.entries);
        self.ledger = Ledger::default();
        for (item, entry) in before.items().iter().zip(entries) {
            if stays(item) {
                self.take(item.clone(), entry);
            }
        }
        self.tokens = self.entries.iter().map(|e| e.tokens).sum();
    }

    fn take(&mut self, item: Item, entry: Entry) -> usize {
        let index = self.transcript.append(item);
        let item = &self.transcript.items()[index];
        let answered = self.transcript.answered(index);
        self.ledger.observe(entry.seq, item, &answered);
        self.entries.push(entry);
        index
    }

    /// Appends an item that was read and counted.
    pub(crate) fn push_read(&mut self, item: Item, tokens: usize, stored: Vec<u32>) -> Pushed {
        let seq = self.next_seq;
        self.next_seq += 1;
        if !item.is_sent() {
            return Pushed {
                tokens: 0,
                index: None,
            };
        }
        self.make_way(&item);
        let entry = Entry {
            seq,
            tokens,
            pinned: false,
            stored,
        };
        let index = self.take(item, entry);
        self.tokens += tokens;
        self.peak = self.peak.max(self.tokens);
        Pushed {
            tokens,
            index: Some(index),
        }
    }

    /// Keeps an item through every compaction, as it is. System prompts are kept in any case.
    ///
    /// The other half of a tool exchange is kept with it.
    pub fn pin(&mut self, index: usize) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.pinned = true;
        }
    }

    /// The raw items to send, in order.
    pub fn items(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.transcript.items().iter().map(Item::raw)
    }

    /// The items to send, with their index of turns and exchanges.
    #[must_use]
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// Tokens of the items.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The room that there is.
    #[must_use]
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// Figures. O(1).
    #[must_use]
    pub fn stats(&self) -> ContextStats {
        ContextStats {
            items: self.entries.len(),
            tokens: self.tokens,
            peak_tokens: self.peak,
            appended: self.next_seq,
            compactions: self.compactions,
            failures: self.failures,
        }
    }

    /// How much of the last request the next one repeats: see [`CacheReport`]. O(items).
    #[must_use]
    pub fn cache_report(&self) -> CacheReport {
        CacheReport::compare(&self.sent, self.items(), |at| self.entries[at].tokens)
    }

    /// Notes that the items are being sent now, and reports what the provider had of them.
    pub fn mark_sent(&mut self) -> CacheReport {
        let report = self.cache_report();
        self.sent = self
            .transcript
            .items()
            .iter()
            .zip(&self.entries)
            .map(|(item, entry)| Sent::of(item.raw(), entry.tokens))
            .collect();
        report
    }

    /// Counts every item again, after the tokenizer has learnt. Costs counting the context.
    pub fn recount(&mut self) {
        for (item, entry) in self.transcript.items().iter().zip(&mut self.entries) {
            entry.tokens = count_item(&*self.tokenizer, item);
        }
        self.tokens = self.entries.iter().map(|e| e.tokens).sum();
        self.peak = self.peak.max(self.tokens);
    }
}

/// Whether a role is kept by every compaction.
pub(crate) fn is_fixed(role: Role) -> bool {
    role == Role::System
}

//! Exact counts with a published vocabulary.

use super::cuts::{has_long_run, last_cut, parts};
use super::memo::Memo;
use super::pieces::{Pattern, Pieces, stable};
use super::{Tally, Tokenizer};
use std::{cell::RefCell, fmt, ops::Range, thread::LocalKey};

/// A tail longer than this is settled although a single endless word might still grow.
const LONGEST_TAIL: usize = 64 << 10;
/// What is looked at in one go where a count may stop early.
const PART: usize = 2 << 10;
/// Pieces up to this many bytes cost no more than their share, whatever they hold.
const LONG: usize = 128;
/// Where the two counters do not agree what a piece is: a contraction with a long s behind a word.
const DIFFERS: &str = "'\u{17f}";

/// One vocabulary, and how to be quicker with it than its own counter.
#[derive(Clone, Copy)]
pub(super) struct Exact {
    pub(super) name: &'static str,
    /// Right about everything; long pieces cost it more than their share.
    pub(super) encoding: fn() -> &'static tiktoken::CoreBpe,
    pub(super) quick: Option<Quick>,
}

/// What is known about a vocabulary besides its tokens.
#[derive(Clone, Copy)]
pub(super) struct Quick {
    pub(super) pattern: Pattern,
    /// A counter that is linear in whatever it is given, and agrees unless [`DIFFERS`] is in it.
    pub(super) linear: Option<fn(&str) -> usize>,
    /// The pieces counted last on this thread.
    pub(super) memo: &'static LocalKey<RefCell<Memo>>,
}

impl fmt::Debug for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Exact {
    /// The tokens of a text, when they are at most `limit`.
    fn total(&self, text: &str, limit: usize) -> Option<usize> {
        let mut tokens = 0usize;
        let mut goes_on = |count: usize| {
            tokens += count;
            tokens <= limit
        };
        match self.quick {
            Some(quick) => self.each(quick, text, |_, count| goes_on(count)),
            None => {
                let mut counts = parts(text, PART).map(|part| (self.encoding)().count(part));
                while counts.next().is_some_and(&mut goes_on) {}
            }
        }
        (tokens <= limit).then_some(tokens)
    }

    /// Gives the end and the tokens of each piece, until it is told to stop.
    #[inline(always)]
    fn each(&self, quick: Quick, text: &str, take: impl FnMut(usize, usize) -> bool) {
        match quick.pattern {
            Pattern::Plain => self.walk(quick, text, Pieces::<false>::of(text), take),
            Pattern::Cased => self.walk(quick, text, Pieces::<true>::of(text), take),
        }
    }

    #[inline(always)]
    fn walk(
        &self,
        quick: Quick,
        text: &str,
        pieces: impl Iterator<Item = Range<usize>>,
        mut take: impl FnMut(usize, usize) -> bool,
    ) {
        let encoding = (self.encoding)();
        let alone = |part: &str| match quick.linear {
            Some(linear) if part.len() > LONG && has_long_run(part) && !part.contains(DIFFERS) => {
                linear(part)
            }
            _ => encoding.count(part),
        };
        quick.memo.with_borrow_mut(|memo| {
            for Range { start, end } in pieces {
                let compute = || alone(&text[start..end]);
                if !take(end, memo.count(text.as_bytes(), start, end, compute)) {
                    return;
                }
            }
        });
    }

    /// How far a text is settled whatever follows, the tokens up to there, and those behind.
    fn settled(&self, text: &str) -> (usize, usize, usize) {
        let Some(quick) = self.quick else {
            let cut = last_cut(text);
            return (cut, self.count(&text[..cut]), self.count(&text[cut..]));
        };
        let stable = stable(text);
        let (mut cut, mut before, mut behind) = (0, 0, 0);
        self.each(quick, text, |end, count| {
            if end <= stable {
                (cut, before) = (end, before + count);
            } else {
                behind += count;
            }
            true
        });
        (cut, before, behind)
    }
}

impl Tokenizer for Exact {
    fn count(&self, text: &str) -> usize {
        match self.quick {
            Some(_) => self.total(text, usize::MAX).unwrap_or(usize::MAX),
            None => (self.encoding)().count(text),
        }
    }

    fn count_up_to(&self, text: &str, limit: usize) -> Option<usize> {
        self.total(text, limit)
    }

    fn append(&self, tally: &mut Tally, text: &str) {
        tally.tail.push_str(text);
        let (mut cut, mut before, mut behind) = self.settled(&tally.tail);
        if tally.tail.len() - cut > LONGEST_TAIL {
            (cut, before, behind) = (tally.tail.len(), before + behind, 0);
        }
        tally.settled += before as f64;
        tally.open = behind as f64;
        tally.tail.drain(..cut);
    }
}

/// Hands a tokenizer over to the vocabulary inside it.
macro_rules! counts_with {
    ($tokenizer:ident) => {
        impl Tokenizer for $tokenizer {
            fn count(&self, text: &str) -> usize {
                self.0.count(text)
            }

            fn count_up_to(&self, text: &str, limit: usize) -> Option<usize> {
                self.0.count_up_to(text, limit)
            }

            fn append(&self, tally: &mut Tally, text: &str) {
                self.0.append(tally, text);
            }
        }

        impl $tokenizer {
            /// The name of the encoding.
            #[must_use]
            pub fn name(&self) -> &'static str {
                self.0.name
            }
        }
    };
}
pub(super) use counts_with;

/// A function that loads a vocabulary once and keeps it.
macro_rules! loaded_once {
    ($vocabulary:path) => {{
        fn load() -> &'static tiktoken::CoreBpe {
            static LOADED: std::sync::OnceLock<tiktoken::CoreBpe> = std::sync::OnceLock::new();
            LOADED.get_or_init($vocabulary)
        }
        load
    }};
}
pub(super) use loaded_once;

/// A memo for each thread that counts.
macro_rules! kept_by_thread {
    () => {{
        thread_local! {
            static KEPT: std::cell::RefCell<$crate::tokens::memo::Memo> =
                std::cell::RefCell::new($crate::tokens::memo::Memo::new());
        }
        &KEPT
    }};
}
pub(super) use kept_by_thread;

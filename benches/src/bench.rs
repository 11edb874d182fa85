//! What a measurement is given: how much to do, on which inputs, and what it may share.

use std::{
    any::{Any, TypeId},
    cell::{Cell, RefCell},
    collections::HashMap,
    path::PathBuf,
    rc::Rc,
};

use anyhow::Result;

use crate::answers::{Answer, Answers};

/// How much to measure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scale {
    /// The smallest inputs and eight rounds: what the scoreboard's own tests run.
    Tiny,
    /// The whole table in minutes.
    Quick,
    /// What the documents quote.
    #[default]
    Full,
}

impl Scale {
    /// One of three values.
    #[must_use]
    pub fn pick<T>(self, tiny: T, quick: T, full: T) -> T {
        match self {
            Self::Tiny => tiny,
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// Handed to every measurement.
#[derive(Default)]
pub struct Bench {
    options: Options,
    attempt: Cell<u64>,
    answers: Answers,
    fixtures: RefCell<HashMap<TypeId, Rc<dyn Any>>>,
}

/// What a run of the scoreboard was asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How much to measure.
    pub scale: Scale,
    /// A folder of recorded sessions, instead of the generator's.
    pub sessions: Option<PathBuf>,
    /// A folder of cache traces, instead of a generated one.
    pub traces: Option<PathBuf>,
    /// Tokens of the windows that contexts fill, instead of 128,000 for generated sessions and what
    /// each recorded one fills by itself.
    pub window: Option<usize>,
    /// The number of the answer that is to arrive wrong, from 0; for the tests of the checks.
    pub plant: Option<u64>,
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench")
            .field("options", &self.options)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

impl Bench {
    /// A run as asked for.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let answers = Answers {
            plant: options.plant,
            seen: Cell::new(0),
        };
        Self {
            options,
            answers,
            ..Self::default()
        }
    }

    /// How much to measure.
    #[must_use]
    pub fn scale(&self) -> Scale {
        self.options.scale
    }

    /// What was asked for.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Draws the order of rounds; another one at every attempt.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.attempt.get()
    }

    /// Says that the next measurements are the `attempt`th try, from 0.
    pub fn set_attempt(&self, attempt: u64) {
        self.attempt.set(attempt);
    }

    /// Passes a side's answer on to its check. Every answer that a row rests on goes through here,
    /// so that a test can plant a wrong one and see the check refuse it.
    pub fn answer<A: Answer>(&self, answer: A) -> A {
        self.answers.pass(answer)
    }

    /// How many answers have passed so far.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.answers.seen.get()
    }

    /// Something costly that several rows share, built when first wanted and kept until
    /// [`Bench::forget_fixtures`].
    ///
    /// # Errors
    /// What `build` returns.
    pub fn fixture<T: Any>(&self, build: impl FnOnce() -> Result<T>) -> Result<Rc<T>> {
        let kept = self.fixtures.borrow().get(&TypeId::of::<T>()).cloned();
        if let Some(kept) = kept.and_then(|kept| kept.downcast::<T>().ok()) {
            return Ok(kept);
        }
        let built = Rc::new(build()?);
        let kept: Rc<dyn Any> = Rc::clone(&built) as Rc<dyn Any>;
        self.fixtures.borrow_mut().insert(TypeId::of::<T>(), kept);
        Ok(built)
    }

    /// Drops what rows have shared so far.
    pub fn forget_fixtures(&self) {
        self.fixtures.borrow_mut().clear();
    }
}

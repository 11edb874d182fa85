//! Answers on their way to their check, and the wrong one that a test plants among them.

use std::{cell::Cell, fmt};

/// A side gave a wrong answer: its speed is worth nothing.
#[derive(Debug)]
pub struct WrongAnswer(pub String);

impl fmt::Display for WrongAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wrong answer: {}", self.0)
    }
}

impl std::error::Error for WrongAnswer {}

/// Accepts the answer or refuses the row.
///
/// # Errors
/// [`WrongAnswer`] when it is not `right`.
pub fn check(right: bool, what: &str) -> anyhow::Result<()> {
    if right {
        return Ok(());
    }
    Err(WrongAnswer(what.to_owned()).into())
}

/// Counts answers; the chosen one arrives wrong.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) plant: Option<u64>,
    pub(crate) seen: Cell<u64>,
}

impl Answers {
    pub(crate) fn pass<A: Answer>(&self, answer: A) -> A {
        let number = self.seen.replace(self.seen.get() + 1);
        if self.plant == Some(number) {
            return answer.falsified();
        }
        answer
    }
}

/// Something a side answers, and how it looks when it is wrong.
pub trait Answer: Sized {
    /// The answer, slightly wrong.
    #[must_use]
    fn falsified(self) -> Self;
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {
        $(impl Answer for $number {
            fn falsified(self) -> Self {
                self ^ 1
            }
        })*
    };
}

whole_numbers!(u8, u16, u32, u64, usize, i32, i64);

impl Answer for bool {
    fn falsified(self) -> Self {
        !self
    }
}

impl Answer for f64 {
    fn falsified(self) -> Self {
        self * 1.5 + 1.0
    }
}

impl Answer for Vec<u8> {
    fn falsified(mut self) -> Self {
        let middle = self.len() / 2;
        match self.get_mut(middle) {
            Some(byte) => *byte ^= 1,
            None => self.push(0),
        }
        self
    }
}

impl Answer for bytes::Bytes {
    fn falsified(self) -> Self {
        self.to_vec().falsified().into()
    }
}

impl Answer for String {
    fn falsified(mut self) -> Self {
        self.push('?');
        self
    }
}

impl<A: Answer + Default> Answer for Option<A> {
    fn falsified(self) -> Self {
        Some(self.map_or_else(A::default, A::falsified))
    }
}

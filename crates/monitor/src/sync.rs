//! The primitives that [`crate::cells`] is written against, so that a model checker can supply its own.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError};

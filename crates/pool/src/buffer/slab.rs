//! The storage of a buffer, with what the pool needs to take it back.

use std::fmt;

use super::class::CLASS_BYTES;
use super::pool::Inner;
use crate::sync::Arc;

/// Boxed once, when it is allocated: a checkout then moves one word. The reference to the pool
/// travels with it, so that a checkout touches no reference count.
pub(crate) type Slab = Box<Storage>;

pub(crate) struct Storage {
    pub(crate) bytes: Vec<u8>,
    pub(crate) class: usize,
    /// What it was allocated with.
    capacity: usize,
    /// `None` for a buffer that the pool does not keep.
    pub(crate) home: Option<Arc<Inner>>,
}

impl Storage {
    pub(crate) fn pooled(home: &Arc<Inner>, class: usize) -> Slab {
        Self::new(CLASS_BYTES[class], class, Some(Arc::clone(home)))
    }

    pub(crate) fn direct(capacity: usize) -> Slab {
        Self::new(capacity, 0, None)
    }

    fn new(capacity: usize, class: usize, home: Option<Arc<Inner>>) -> Slab {
        let bytes = Vec::with_capacity(capacity);
        Box::new(Self {
            capacity: bytes.capacity(),
            bytes,
            class,
            home,
        })
    }

    /// It would pin memory that the budget does not know about.
    #[inline]
    pub(crate) fn has_outgrown(&self) -> bool {
        self.bytes.capacity() != self.capacity
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage")
            .field("len", &self.bytes.len())
            .field("capacity", &self.bytes.capacity())
            .finish_non_exhaustive()
    }
}

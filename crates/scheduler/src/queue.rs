//! The ready queue.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Ordered by key, then by issue; then which task.
pub(crate) type Rank = Reverse<(u64, u64, u32, u32)>;

/// A priority queue that is a plain queue for as long as entries come in order, which most do: a key is the time plus
/// a handicap, and neighbours tend to have the same one.
#[derive(Debug, Default)]
pub(crate) struct ReadyQueue {
    in_order: VecDeque<Rank>,
    heap: BinaryHeap<Rank>,
}

impl ReadyQueue {
    /// O(1) when it comes in order, else O(log n).
    pub(crate) fn push(&mut self, rank: Rank) {
        // A greater `Reverse` is an earlier rank.
        if self.in_order.back().is_none_or(|last| *last >= rank) {
            self.in_order.push_back(rank);
        } else {
            self.heap.push(rank);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Rank> {
        match (self.in_order.front(), self.heap.peek()) {
            (Some(first), Some(top)) if top > first => self.heap.pop(),
            (Some(_), _) => self.in_order.pop_front(),
            (None, _) => self.heap.pop(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.in_order.len() + self.heap.len()
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&Rank) -> bool) {
        self.in_order.retain(&keep);
        self.heap.retain(&keep);
    }
}

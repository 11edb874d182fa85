//! One page of cells: a private copy for each writing thread, folded together by whoever reads.
//!
//! Protocol. A thread that wants to write calls [`Page::attach`] once with empty cells that from then
//! on it alone writes, with relaxed loads and stores. A reader takes the page's lock and adds up what
//! has been retired and what lives. A thread that ends calls [`Page::retire`]: under the same lock its
//! cells are folded into the retired values, emptied and forgotten, so a reader sees each update
//! exactly once, and another thread can use the cells again, on any page. Within one thread's cell
//! values only grow, so what a reader adds up only grows too.

use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, PoisonError};

/// Cells of one thread (or, as stripes, of many).
#[derive(Debug)]
pub(crate) struct Cells<const N: usize>([AtomicU64; N]);

impl<const N: usize> Cells<N> {
    pub(crate) fn zeroed() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// The value of cell `index`.
    #[inline]
    pub(crate) fn load(&self, index: usize) -> u64 {
        self.0[index].load(Ordering::Relaxed)
    }

    /// Overwrites cell `index`. Only the owning thread may, or somebody who holds the page's lock
    /// while no owner can write.
    #[inline]
    pub(crate) fn store(&self, index: usize, value: u64) {
        self.0[index].store(value, Ordering::Relaxed);
    }

    /// Adds by a plain load and store. Only the owning thread may.
    #[inline]
    pub(crate) fn add(&self, index: usize, n: u64) {
        let cell = &self.0[index];
        cell.store(
            cell.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }

    /// The atomic itself, for cells that several threads write.
    pub(crate) fn shared(&self, index: usize) -> &AtomicU64 {
        &self.0[index]
    }
}

/// How one set of cells is folded into running values.
pub(crate) type Fold<const N: usize> = fn(&mut [u64; N], &Cells<N>);

/// The fold of counters: cell by cell, wrapping.
pub(crate) fn add_up<const N: usize>(into: &mut [u64; N], from: &Cells<N>) {
    for (index, value) in into.iter_mut().enumerate() {
        *value = value.wrapping_add(from.load(index));
    }
}

/// A page: the cells of living threads and what ended threads left.
pub(crate) struct Page<const N: usize> {
    fold: Fold<N>,
    state: Mutex<State<N>>,
}

struct State<const N: usize> {
    live: Vec<&'static Cells<N>>,
    /// None until a thread has ended.
    retired: Option<Box<[u64; N]>>,
}

impl<const N: usize> Page<N> {
    pub(crate) fn new(fold: Fold<N>) -> Self {
        let state = State {
            live: Vec::new(),
            retired: None,
        };
        Self {
            fold,
            state: Mutex::new(state),
        }
    }

    /// Makes empty cells, which nobody else uses, the calling thread's; readers see them from now on.
    pub(crate) fn attach(&self, cells: &'static Cells<N>) {
        self.lock().live.push(cells);
    }

    /// Folds and empties the cells of a thread that ends. Afterwards it must not write them again.
    pub(crate) fn retire(&self, cells: &'static Cells<N>) {
        let mut state = self.lock();
        if let Some(at) = state
            .live
            .iter()
            .position(|live| std::ptr::eq(*live, cells))
        {
            state.live.swap_remove(at);
            let retired = state.retired.get_or_insert_with(|| Box::new([0; N]));
            (self.fold)(retired, cells);
            (0..N).for_each(|index| cells.store(index, 0));
        }
    }

    /// Folds everything, and under the same lock what `more` adds. O(N × living threads).
    pub(crate) fn read(&self, into: &mut [u64; N], more: impl FnOnce(&mut [u64; N])) {
        let state = self.lock();
        match &state.retired {
            Some(retired) => into.copy_from_slice(&retired[..]),
            None => into.fill(0),
        }
        for cells in &state.live {
            (self.fold)(into, cells);
        }
        more(into);
    }

    /// Zeroes some cells everywhere. Nobody may write them at the same time.
    pub(crate) fn clear(&self, cells: std::ops::Range<usize>) {
        let mut state = self.lock();
        if let Some(retired) = &mut state.retired {
            retired[cells.clone()].fill(0);
        }
        for live in &state.live {
            cells.clone().for_each(|index| live.store(index, 0));
        }
    }

    /// Runs `update` while no reader reads: for the rare update of two cells that belong together.
    pub(crate) fn exclusive(&self, update: impl FnOnce()) {
        let _state = self.lock();
        update();
    }

    /// Number of threads that have cells here.
    pub(crate) fn threads(&self) -> usize {
        self.lock().live.len()
    }

    fn lock(&self) -> MutexGuard<'_, State<N>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

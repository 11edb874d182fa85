//! Where cells live: process-wide pages, and for each thread a table that leads to its own cells.
//!
//! Counters share pages of [`WIDTH`] cells; a histogram owns a whole page. Pages are numbered once
//! and never renumbered, so a thread's table needs no lock and no check beyond "is it there yet".
//! A page whose series are gone is emptied and used again, and so are the cells of a thread that ended:
//! their memory is never given back, but it is bounded by the most threads that ran at a time and by
//! the limit. That buys a hot path of one thread-local load, without a destructor to ask about.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::cells::{self, Fold, Page};
use crate::distribution;

/// Cells in a page: 4 KiB.
pub(crate) const WIDTH: usize = 512;
const PAGE_BYTES: usize = WIDTH * size_of::<u64>();
/// One less than a `u8` has values: the last one is [`NO_COUNTER_PAGE`].
const COUNTER_PAGES: usize = 255;
const NO_COUNTER_PAGE: u8 = u8::MAX;
/// Histograms that a table reaches directly; the next ones cost a nanosecond more.
const NEAR: usize = 512;
const HISTOGRAM_PAGES: usize = 16_384;
const STRIPES: usize = 2;
const DEFAULT_LIMIT: usize = 64 << 20;

pub(crate) type Cells = cells::Cells<WIDTH>;

static LIMIT: AtomicUsize = AtomicUsize::new(DEFAULT_LIMIT);
static USED: AtomicUsize = AtomicUsize::new(0);
static FREE: Mutex<Vec<&'static Cells>> = Mutex::new(Vec::new());
static SPACE: Mutex<Space> = Mutex::new(Space::new());

/// Sets how many bytes of per-thread cells the process may hold (default 64 MiB).
///
/// A thread that would pass it writes shared striped atomics instead: correct, but some
/// nanoseconds slower. Cells that exist already stay.
pub fn set_slab_limit(bytes: usize) {
    LIMIT.store(bytes, Ordering::Relaxed);
}

/// What the per-thread cells of this process hold right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlabStats {
    /// Bytes of per-thread cells, of living threads and kept for the next ones.
    pub bytes: usize,
    /// Of these, bytes that ended threads left for the next ones.
    pub free_bytes: usize,
    /// The limit on them, see [`set_slab_limit`].
    pub limit: usize,
    /// Pages that hold counters.
    pub counter_pages: usize,
    /// Pages that hold histograms, one each.
    pub histogram_pages: usize,
    /// Threads with cells on the busiest page.
    pub threads: usize,
}

/// Reads the figures of the process-wide slabs. O(pages).
#[must_use]
pub fn slab_stats() -> SlabStats {
    let space = space();
    let pages = || space.counters.iter().chain(&space.histograms);
    SlabStats {
        bytes: USED.load(Ordering::Relaxed),
        free_bytes: free().len() * PAGE_BYTES,
        limit: LIMIT.load(Ordering::Relaxed),
        counter_pages: space.counters.len(),
        histogram_pages: space.histograms.len(),
        threads: pages().map(|store| store.page.threads()).max().unwrap_or(0),
    }
}

/// One page and the striped atomics that stand in for per-thread cells.
pub(crate) struct Store {
    page: Page<WIDTH>,
    stripes: OnceLock<Box<[Cells; STRIPES]>>,
    fold: Fold<WIDTH>,
    number: usize,
    shape: Shape,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Counters,
    Histogram,
}

/// The number of a page that no table reaches: it always uses stripes.
const NOWHERE: usize = u32::MAX as usize;

impl Store {
    fn new(shape: Shape, number: usize) -> Arc<Self> {
        let fold: Fold<WIDTH> = match shape {
            Shape::Counters => cells::add_up,
            Shape::Histogram => distribution::fold,
        };
        Arc::new(Self {
            page: Page::new(fold),
            stripes: OnceLock::new(),
            fold,
            number,
            shape,
        })
    }

    /// All cells, folded over threads and stripes.
    pub(crate) fn read(&self, into: &mut [u64; WIDTH]) {
        self.page.read(into, |into| {
            let stripes = self
                .stripes
                .get()
                .into_iter()
                .flat_map(|stripes| stripes.iter());
            stripes.for_each(|stripe| (self.fold)(into, stripe));
        });
    }

    /// The shared cells that this thread uses when it has none of its own.
    pub(crate) fn stripe(&self) -> &Cells {
        let stripes = self
            .stripes
            .get_or_init(|| Box::new(std::array::from_fn(|_| Cells::zeroed())));
        &stripes[stripe_of_thread()]
    }

    /// Runs `update` while no reader reads.
    pub(crate) fn exclusive(&self, update: impl FnOnce()) {
        self.page.exclusive(update);
    }

    fn clear(&self, range: std::ops::Range<usize>) {
        self.page.clear(range.clone());
        if let Some(stripes) = self.stripes.get() {
            for stripe in stripes.iter() {
                range.clone().for_each(|index| stripe.store(index, 0));
            }
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

fn stripe_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    STRIPE
        .try_with(|mine| {
            if mine.get() == usize::MAX {
                mine.set(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
            }
            mine.get()
        })
        .unwrap_or(0)
}

/// A place for one counter or one histogram. Its cells go back, emptied, when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    store: Arc<Store>,
    index: usize,
}

impl Slot {
    /// A place for one counter.
    pub(crate) fn counter() -> Self {
        space().counter()
    }

    /// A place for one histogram.
    pub(crate) fn histogram() -> Self {
        space().histogram()
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The number by which a thread's table finds the cells of a histogram.
    pub(crate) fn page(&self) -> u32 {
        self.store.number as u32
    }

    /// By what a thread's table finds the cell of a counter.
    pub(crate) fn address(&self) -> Address {
        let page = u8::try_from(self.store.number).unwrap_or(NO_COUNTER_PAGE);
        Address(u32::from(page) << WIDTH.ilog2() | self.index as u32)
    }

    /// Where a reader finds the value of a counter.
    pub(crate) fn place(&self) -> Place {
        match u16::try_from(self.store.number) {
            Ok(page) => Place::Cell {
                page,
                index: self.index as u16,
            },
            Err(_) => Place::Elsewhere,
        }
    }

    /// The first cell.
    pub(crate) fn index(&self) -> usize {
        self.index
    }
}

/// Page and cell of a counter in one number, which one load brings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address(u32);

impl Address {
    #[inline]
    fn page(self) -> usize {
        usize::from((self.0 >> WIDTH.ilog2()) as u8)
    }

    #[inline]
    fn index(self) -> usize {
        self.0 as usize % WIDTH
    }
}

/// Where the value of a series is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// In a cell of a numbered page of counters.
    Cell { page: u16, index: u16 },
    /// Ask the series.
    Elsewhere,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let whole = self.store.shape == Shape::Histogram;
        self.store.clear(if whole {
            0..WIDTH
        } else {
            self.index..self.index + 1
        });
        let mut space = space();
        match (self.store.number, whole) {
            // A histogram that no table reaches owns its page, which goes with it.
            (NOWHERE, true) => {}
            (_, true) => space.free_histograms.push(Arc::clone(&self.store)),
            (_, false) => space
                .free_counters
                .push((Arc::clone(&self.store), self.index)),
        }
    }
}

struct Space {
    counters: Vec<Arc<Store>>,
    histograms: Vec<Arc<Store>>,
    free_counters: Vec<(Arc<Store>, usize)>,
    free_histograms: Vec<Arc<Store>>,
}

impl Space {
    const fn new() -> Self {
        Self {
            counters: Vec::new(),
            histograms: Vec::new(),
            free_counters: Vec::new(),
            free_histograms: Vec::new(),
        }
    }

    fn counter(&mut self) -> Slot {
        if self.free_counters.is_empty() {
            let number = self.counters.len();
            let number = if number < COUNTER_PAGES {
                number
            } else {
                NOWHERE
            };
            let store = Store::new(Shape::Counters, number);
            if number != NOWHERE {
                self.counters.push(Arc::clone(&store));
            }
            let places = (0..WIDTH).rev().map(|index| (Arc::clone(&store), index));
            self.free_counters.extend(places);
        }
        let (store, index) = self.free_counters.pop().expect("refilled above");
        Slot { store, index }
    }

    fn histogram(&mut self) -> Slot {
        let store = self.free_histograms.pop().unwrap_or_else(|| {
            let number = self.histograms.len();
            let number = if number < HISTOGRAM_PAGES {
                number
            } else {
                NOWHERE
            };
            let store = Store::new(Shape::Histogram, number);
            if number != NOWHERE {
                self.histograms.push(Arc::clone(&store));
            }
            store
        });
        Slot { store, index: 0 }
    }
}

fn space() -> MutexGuard<'static, Space> {
    SPACE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn free() -> MutexGuard<'static, Vec<&'static Cells>> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

type Own = Cell<Option<&'static Cells>>;

/// A thread's own cells by page number. It has no destructor, so that reaching it costs one load.
struct Table {
    counters: [Own; COUNTER_PAGES + 1],
    near: [Own; NEAR],
}

/// What a thread has to give back when it ends.
struct Holdings {
    attached: RefCell<Vec<(Arc<Store>, &'static Cells)>>,
    /// Cells of histograms that the table does not reach, by their number less [`NEAR`].
    far: RefCell<Vec<Option<&'static Cells>>>,
}

thread_local! {
    static TABLE: Table = const { Table {
        counters: [const { Cell::new(None) }; COUNTER_PAGES + 1],
        near: [const { Cell::new(None) }; NEAR],
    } };
    static HOLDINGS: Holdings = const { Holdings {
        attached: RefCell::new(Vec::new()),
        far: RefCell::new(Vec::new()),
    } };
}

/// Adds to this thread's cell; false when the thread has none (yet, or any more).
#[inline]
pub(crate) fn add(at: Address, n: u64) -> bool {
    TABLE.with(|table| match table.counters[at.page()].get() {
        Some(cells) => {
            cells.add(at.index(), n);
            true
        }
        None => false,
    })
}

/// Runs `update` on this thread's cells of a histogram; None when the thread has none.
#[inline]
pub(crate) fn with_histogram<R>(page: u32, update: impl FnOnce(&Cells) -> R) -> Option<R> {
    let page = page as usize;
    let cells = TABLE.with(|table| match table.near.get(page) {
        Some(place) => place.get(),
        None => far(page),
    });
    cells.map(update)
}

#[inline(never)]
fn far(page: usize) -> Option<&'static Cells> {
    let found = HOLDINGS.try_with(|holdings| *holdings.far.borrow().get(page - NEAR)?);
    found.ok().flatten()
}

/// Gives this thread cells of its own on a page; false when it has to share.
#[cold]
pub(crate) fn attach(store: &Arc<Store>) -> bool {
    if store.number == NOWHERE {
        return false;
    }
    // A thread whose holdings are given back already must not get new ones.
    let attached = HOLDINGS.try_with(|holdings| {
        // Held already: an allocator that counts is being asked for memory from below here.
        let Ok(mut attached) = holdings.attached.try_borrow_mut() else {
            return false;
        };
        let Some(cells) = take_cells() else {
            return false;
        };
        store.page.attach(cells);
        attached.push((Arc::clone(store), cells));
        holdings.place(store, Some(cells));
        true
    });
    attached == Ok(true)
}

/// Empty cells: those that an ended thread left, or new ones within the limit.
fn take_cells() -> Option<&'static Cells> {
    if let Some(cells) = free().pop() {
        return Some(cells);
    }
    let limit = LIMIT.load(Ordering::Relaxed);
    let grow = |used: usize| used.checked_add(PAGE_BYTES).filter(|used| *used <= limit);
    let grown = USED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow);
    grown
        .is_ok()
        .then(|| &*Box::leak(Box::new(Cells::zeroed())))
}

impl Holdings {
    /// Puts cells where the hot path finds them, or takes them from there.
    fn place(&self, store: &Store, cells: Option<&'static Cells>) {
        TABLE.with(|table| match store.shape {
            Shape::Counters => table.counters[store.number].set(cells),
            Shape::Histogram => match table.near.get(store.number) {
                Some(place) => place.set(cells),
                None => self.place_far(store.number - NEAR, cells),
            },
        });
    }

    fn place_far(&self, at: usize, cells: Option<&'static Cells>) {
        let mut far = self.far.borrow_mut();
        if far.len() <= at {
            far.resize(at + 1, None);
        }
        far[at] = cells;
    }
}

impl Drop for Holdings {
    fn drop(&mut self) {
        for (store, cells) in self.attached.take() {
            self.place(&store, None);
            store.page.retire(cells);
            free().push(cells);
        }
    }
}

//! The pool of buffers: shared lists, the byte budget, and the reclaim passes.

use std::fmt;

use super::builder::BufferPoolBuilder;
use super::class::{BASE, CLASS_BYTES, CLASSES, SIZES, bytes_of, class_of, size_bucket};
use super::handle::PooledBuf;
use super::local;
use super::reclaim::Reclaim;
use super::shelf::Shelf;
use super::slab::{Slab, Storage};
use super::stats::{BufferStats, ClassStats, TagStats};
use crate::pressure::{Pressure, Reclaimed};
use crate::sync::{Arc, AtomicU64, AtomicUsize, Mutex, Ordering, lock};
use crate::telemetry::BufferTelemetry;

const MAX_TAGS: usize = 64;
/// Deferred buffers freed per slow operation, so that no single caller pays for a whole pass.
const FREE_PER_STEP: usize = 4;
/// Slow operations between two looks at the clock, and two reports.
const LOOK_EVERY: usize = 64;

/// A pool of byte buffers of 1, 4, 16 and 64 KiB. Clones share it.
///
/// A buffer comes from a stack that the calling thread keeps for itself (up to 64, 32, 16 and 8 of the
/// classes), else from a shared list, else from the allocator. A class that is used up grows by half,
/// within a byte budget for all; when that is used up, as many idle buffers of any class as are needed
/// make room. Failing that, and for requests above 64 KiB, buffers are handed out that are freed on
/// return. So `get` never blocks and never fails for want of a buffer.
///
/// Idle memory shrinks again in two generations: what a burst allocated is freed after a few hundred
/// slow operations if nobody needed it, the base size (100, 50, 25 and 10 buffers) only by a full
/// pass (every 10 young ones, or 60 s), which also lets threads give back what they keep, each at its
/// next operation. Passes take buffers out; they are freed a few at a time. A pool that nobody uses runs no
/// passes: call [`trim`](Self::trim).
///
/// No runtime is needed. When the last clone drops, idle buffers are freed; buffers in use are freed
/// on return, and those that other threads keep, when that thread next has to do with a shared list of
/// any pool, or ends.
///
/// Where bytes need not be defined (`Vec::with_capacity`), a modern allocator is as fast at 1 KiB, one
/// buffer at a time. This pool pays where buffers would be zeroed, from 16 KiB on, where many large
/// ones are alive at once, and where memory has to stay bounded. A buffer that is returned on another
/// thread than it came from goes through a shared list in the long run, which a modern allocator
/// does faster.
///
/// ```
/// use mainspring_pool::BufferPool;
///
/// let pool = BufferPool::new();
/// let mut buf = pool.get(3_000);
/// assert!(buf.is_empty() && buf.capacity() >= 3_000);
/// buf.extend_from_slice(b"hello");
/// let shared: bytes::Bytes = buf.freeze();
/// let tail = shared.slice(2..);
/// assert_eq!(&tail[..], b"llo");
/// drop((shared, tail)); // the buffer is home again
/// ```
#[derive(Clone)]
pub struct BufferPool {
    handle: Arc<Handle>,
}

/// Closes the pool when the last [`BufferPool`] goes, which breaks the cycle of idle buffers that
/// know their home.
struct Handle {
    inner: Arc<Inner>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.close();
        local::leave();
        self.inner.report();
    }
}

pub(crate) struct Inner {
    shelves: [Mutex<Shelf>; CLASSES],
    bytes: AtomicUsize,
    budget: usize,
    /// Changes when threads must give their buffers back; odd once the pool is closed.
    epoch: AtomicUsize,
    by_size: Mutex<[u64; SIZES]>,
    tags: Mutex<Vec<TagStats>>,
    allocated: [AtomicU64; CLASSES],
    direct: AtomicU64,
    outgrown: AtomicU64,
    telemetry: BufferTelemetry,
    reclaim: Reclaim,
}

impl Default for BufferPool {
    fn default() -> Self {
        Self::new()
    }
}

impl BufferPool {
    /// A pool with the defaults of [`BufferPoolBuilder`].
    pub fn new() -> Self {
        Self::builder().build()
    }

    pub(crate) fn with(settings: BufferPoolBuilder) -> Self {
        let inner = Inner {
            shelves: std::array::from_fn(|class| Mutex::new(Shelf::new(BASE[class]))),
            bytes: AtomicUsize::new(0),
            budget: settings.budget,
            epoch: AtomicUsize::new(0),
            by_size: Mutex::new([0; SIZES]),
            tags: Mutex::new(Vec::new()),
            allocated: std::array::from_fn(|_| AtomicU64::new(0)),
            direct: AtomicU64::new(0),
            outgrown: AtomicU64::new(0),
            telemetry: BufferTelemetry::new(settings.name.as_deref()),
            reclaim: Reclaim::new(settings),
        };
        let inner = Arc::new(inner);
        Self {
            handle: Arc::new(Handle { inner }),
        }
    }

    /// Settings, starting from the defaults.
    pub fn builder() -> BufferPoolBuilder {
        BufferPoolBuilder::default()
    }

    /// An empty buffer with room for at least `len` bytes. O(1); allocates only when no idle buffer
    /// of the class is left.
    ///
    /// # Panics
    /// When `len` is more than `isize::MAX`, as `Vec::with_capacity`.
    #[inline]
    pub fn get(&self, len: usize) -> PooledBuf {
        let home = &self.handle.inner;
        let bucket = size_bucket(len);
        let slab = match class_of(bucket) {
            None => home.oversize(len),
            Some(class) => match local::take(home, bucket, class) {
                Some(slab) => slab,
                None => Inner::allocate(home, class),
            },
        };
        PooledBuf::new(slab)
    }

    /// As [`get`](Self::get), counted under `tag` in [`BufferStats::tags`]. Takes a lock for the
    /// counting (about 20 ns); the first 64 tags are told apart, later ones count as `"(other)"`.
    pub fn get_with_tag(&self, len: usize, tag: &'static str) -> PooledBuf {
        self.handle.inner.count_tag(tag, len);
        self.get(len)
    }

    /// A young pass now: frees what was allocated above the base size and not needed since the
    /// last pass.
    pub fn reclaim_young(&self) -> Reclaimed {
        self.handle.inner.reclaim_now(true)
    }

    /// A full pass now: frees all that was not needed since the last pass.
    pub fn reclaim_full(&self) -> Reclaimed {
        self.handle.inner.reclaim_now(false)
    }

    /// Frees idle memory as hard as `pressure` says. From `Moderate` on, other threads give their
    /// own buffers back at their next operation; the result counts what was freed at once.
    pub fn trim(&self, pressure: Pressure) -> Reclaimed {
        let home = &self.handle.inner;
        match pressure {
            Pressure::Low => home.reclaim_now(false),
            Pressure::Moderate => Inner::trim_to(home, BASE),
            Pressure::Critical => Inner::trim_to(home, [0; CLASSES]),
        }
    }

    /// A snapshot of the counters; four short locks.
    pub fn stats(&self) -> BufferStats {
        local::sync(&self.handle.inner);
        let stats = self.handle.inner.stats();
        self.handle.inner.telemetry.figures(&stats);
        stats
    }
}

impl Inner {
    #[inline]
    pub(crate) fn epoch(&self) -> usize {
        self.epoch.load(Ordering::Relaxed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.epoch() % 2 == 1
    }

    /// Folds a thread's counters in.
    pub(crate) fn absorb(&self, by_size: &mut [u32; SIZES]) {
        let mut sums = lock(&self.by_size);
        for (sum, count) in sums.iter_mut().zip(by_size) {
            *sum += u64::from(std::mem::take(count));
        }
    }

    pub(crate) fn record(&self, bucket: usize) {
        lock(&self.by_size)[bucket] += 1;
    }

    /// Moves up to `count` idle buffers of the class from the shared list.
    pub(crate) fn refill(&self, class: usize, count: usize, into: &mut Vec<Slab>) {
        lock(&self.shelves[class]).take(count, into);
        self.step(class);
    }

    /// Puts idle buffers on the shared list, or frees them when the pool is closed.
    pub(crate) fn spill(&self, class: usize, slabs: impl Iterator<Item = Slab>) {
        let refused = lock(&self.shelves[class]).put(slabs);
        self.bytes
            .fetch_sub(bytes_of(class, refused.len()), Ordering::Relaxed);
        drop(refused);
        self.step(class);
    }

    /// A buffer that had outgrown its class is gone.
    pub(crate) fn lost(&self, class: usize) {
        self.outgrown.fetch_add(1, Ordering::Relaxed);
        self.untrack(class);
    }

    /// A buffer of the class left the pool.
    pub(crate) fn untrack(&self, class: usize) {
        lock(&self.shelves[class]).forget();
        self.bytes.fetch_sub(CLASS_BYTES[class], Ordering::Relaxed);
    }

    #[cold]
    fn oversize(&self, len: usize) -> Slab {
        self.record(size_bucket(len));
        self.direct(len)
    }

    fn direct(&self, capacity: usize) -> Slab {
        self.direct.fetch_add(1, Ordering::Relaxed);
        self.telemetry.allocated(capacity, false);
        Storage::direct(capacity)
    }

    #[cold]
    fn allocate(home: &Arc<Self>, class: usize) -> Slab {
        if !Self::reserve(home, class) {
            return home.direct(CLASS_BYTES[class]);
        }
        home.allocated[class].fetch_add(1, Ordering::Relaxed);
        home.telemetry.allocated(CLASS_BYTES[class], true);
        Storage::pooled(home, class)
    }

    /// Room for one more buffer of the class; never beyond the budget.
    fn reserve(home: &Arc<Self>, class: usize) -> bool {
        let bytes = CLASS_BYTES[class];
        let fits = Self::reserve_bytes(home, bytes);
        let reserved = fits && lock(&home.shelves[class]).reserve();
        if fits && !reserved {
            home.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        reserved
    }

    fn reserve_bytes(home: &Arc<Self>, bytes: usize) -> bool {
        let reserve = || {
            let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= home.budget);
            home.bytes
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
                .is_ok()
        };
        let make_room = || home.make_room(bytes) && reserve();
        reserve() || make_room() || {
            // What this thread keeps of other classes is all that is left.
            local::empty(home);
            make_room()
        }
    }

    /// Frees what passes took out, and as many idle buffers as it takes for `bytes` more to fit.
    fn make_room(&self, bytes: usize) -> bool {
        let mut room = self.free_deferred(usize::MAX).bytes;
        for class in (0..CLASSES).rev() {
            let count = bytes.saturating_sub(room).div_ceil(CLASS_BYTES[class]);
            if count > 0 {
                let freed = lock(&self.shelves[class]).take_oldest(count);
                room += self.free(class, freed).bytes;
            }
        }
        room > 0
    }

    /// What every slow operation does on the side: free a few deferred buffers, and start a pass
    /// when one is due.
    fn step(&self, class: usize) {
        let reclaim = &self.reclaim;
        let steps = reclaim
            .steps
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1);
        // The class at hand, and each of the others in turn.
        for class in [class, steps % CLASSES] {
            let freed = lock(&self.shelves[class]).take_deferred(FREE_PER_STEP);
            self.free(class, freed);
        }
        if steps.is_multiple_of(reclaim.young_after) {
            let young = reclaim.young_passes.load(Ordering::Relaxed) + 1;
            self.pass(!young.is_multiple_of(reclaim.full_after));
            self.report();
        } else if steps.is_multiple_of(LOOK_EVERY) {
            if self.full_pass_due() {
                self.pass(false);
            }
            self.report();
        }
    }

    /// Tells the figures to whoever wants them.
    pub(crate) fn report(&self) {
        if self.telemetry.wants_figures() {
            self.telemetry.figures(&self.stats());
        }
    }

    fn full_pass_due(&self) -> bool {
        let now = (self.reclaim.clock)();
        let mut last = lock(&self.reclaim.last_full);
        let due = now.saturating_sub(*last) >= self.reclaim.full_every;
        if due {
            *last = now;
        }
        due
    }

    /// Takes surplus buffers off the shared lists, to be freed later.
    fn pass(&self, young: bool) {
        self.reclaim.young_passes.fetch_add(1, Ordering::Relaxed);
        if !young {
            self.reclaim.full_passes.fetch_add(1, Ordering::Relaxed);
            self.recall();
        }
        let mut taken = Reclaimed::default();
        for (class, shelf) in self.shelves.iter().enumerate() {
            let items = lock(shelf).surplus(young);
            let bytes = bytes_of(class, items);
            taken += Reclaimed { items, bytes };
        }
        lock(&self.reclaim.last)[usize::from(!young)] = taken;
        let by = if young { "young pass" } else { "full pass" };
        self.telemetry.reclaimed(by, taken);
    }

    /// Lets every thread give back what it keeps, at its next operation.
    fn recall(&self) {
        self.epoch.fetch_add(2, Ordering::Relaxed);
    }

    fn reclaim_now(&self, young: bool) -> Reclaimed {
        self.pass(young);
        let freed = self.free_deferred(usize::MAX);
        self.report();
        freed
    }

    fn free_deferred(&self, count: usize) -> Reclaimed {
        let mut total = Reclaimed::default();
        for (class, shelf) in self.shelves.iter().enumerate() {
            let freed = lock(shelf).take_deferred(count);
            total += self.free(class, freed);
        }
        total
    }

    /// Frees buffers that are no longer tracked.
    fn free(&self, class: usize, freed: Vec<Slab>) -> Reclaimed {
        let items = freed.len();
        if items == 0 {
            return Reclaimed::default();
        }
        drop(freed);
        let bytes = bytes_of(class, items);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.reclaim
            .reclaimed
            .fetch_add(items as u64, Ordering::Relaxed);
        Reclaimed { items, bytes }
    }

    fn trim_to(home: &Arc<Self>, keep: [usize; CLASSES]) -> Reclaimed {
        home.recall();
        local::sync(home);
        let mut total = home.free_deferred(usize::MAX);
        for (class, shelf) in home.shelves.iter().enumerate() {
            let freed = lock(shelf).cut_to(keep[class]);
            total += home.free(class, freed);
        }
        home.telemetry.reclaimed("trim", total);
        home.report();
        total
    }

    fn close(&self) {
        self.epoch.fetch_or(1, Ordering::Relaxed);
        for (class, shelf) in self.shelves.iter().enumerate() {
            let freed = lock(shelf).close();
            self.free(class, freed);
        }
    }

    fn count_tag(&self, tag: &'static str, len: usize) {
        let mut tags = lock(&self.tags);
        let known = tags.iter().position(|t| t.tag == tag);
        let at = known.unwrap_or_else(|| {
            if tags.len() <= MAX_TAGS {
                let tag = if tags.len() < MAX_TAGS {
                    tag
                } else {
                    "(other)"
                };
                tags.push(TagStats {
                    tag,
                    acquired: 0,
                    bytes: 0,
                });
            }
            tags.len() - 1
        });
        tags[at].acquired += 1;
        tags[at].bytes += len as u64;
    }

    fn stats(&self) -> BufferStats {
        let reclaim = &self.reclaim;
        let [last_young_pass, last_full_pass] = *lock(&reclaim.last);
        let mut stats = BufferStats {
            by_requested_size: *lock(&self.by_size),
            direct_allocations: self.direct.load(Ordering::Relaxed),
            outgrown: self.outgrown.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            budget: self.budget,
            young_passes: reclaim.young_passes.load(Ordering::Relaxed),
            full_passes: reclaim.full_passes.load(Ordering::Relaxed),
            last_young_pass,
            last_full_pass,
            reclaimed: reclaim.reclaimed.load(Ordering::Relaxed),
            tags: lock(&self.tags).clone(),
            ..BufferStats::default()
        };
        for (class, shelf) in self.shelves.iter().enumerate() {
            let shelf = lock(shelf);
            stats.classes[class] = ClassStats {
                capacity: CLASS_BYTES[class],
                acquired: stats.acquired(class),
                allocated: self.allocated[class].load(Ordering::Relaxed),
                total: shelf.tracked(),
                idle: shelf.idle(),
            };
        }
        stats
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("bytes", &self.bytes)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.inner.fmt(f)
    }
}

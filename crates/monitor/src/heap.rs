//! What the heap holds, and who asked for it.
//!
//! Totals are exact: striped atomics. Call sites are sampled: on average one allocation every so many
//! bytes has its stack taken, with the chance 1 − e^(−size / interval), and stands for size divided by
//! that chance. Samples of blocks that live are kept by address, so that a profile shows what is held
//! and not what was ever allocated.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU16, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::profile::{Profile, without_start};

const STRIPES: usize = 16;
const FRAMES: usize = 48;
/// Living samples kept; at the default interval that is a heap of 64 GiB.
const SAMPLES: usize = 131_072;
const SITES: usize = 16_384;
/// Stands for all call sites above that number.
const OTHER_SITES: u32 = u32::MAX;
/// How the functions between an allocator and a collection are called, with and without their paths.
const PLUMBING: [&str; 8] = [
    "alloc::alloc::",
    "alloc::raw_vec::",
    "core::ops::function::FnMut::call_mut",
    "alloc",
    "realloc",
    "exchange_malloc",
    "grow",
    "with_capacity_in",
];
/// What the innermost functions of a sampled stack are called.
const OURS: [&str; 4] = [
    "mainspring_monitor::heap::",
    "mainspring_monitor::machine::",
    "__rust_alloc",
    "__rust_realloc",
];
/// Counters of living samples by address, which most frees look at and no more.
const FILTER: usize = 1 << 16;

/// Totals of the heap; see [`heap_stats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct HeapStats {
    /// Bytes held now.
    pub in_use_bytes: u64,
    /// Blocks held now.
    pub blocks: u64,
    /// Bytes ever allocated.
    pub allocated_bytes: u64,
    /// Allocations ever made.
    pub allocations: u64,
}

/// The totals of the heap: exact, O(1). All zero unless
/// [`HeapProfiler`](crate::HeapProfiler) is the global allocator.
#[must_use]
pub fn heap_stats() -> HeapStats {
    let mut totals = [0i64; 4];
    for stripe in &TOTALS {
        for (total, cell) in totals.iter_mut().zip(&stripe.0) {
            *total = total.wrapping_add(cell.load(Ordering::Relaxed));
        }
    }
    let [allocated, allocations, freed, frees] = totals;
    let held = |more: i64, less: i64| u64::try_from(more.wrapping_sub(less)).unwrap_or(0);
    HeapStats {
        in_use_bytes: held(allocated, freed),
        blocks: held(allocations, frees),
        allocated_bytes: allocated as u64,
        allocations: allocations as u64,
    }
}

/// Samples call sites from now on, one every `every_bytes` allocated on average (512 KiB is a good
/// choice); zero stops it and forgets the samples. Off to begin with.
pub fn heap_sampling(every_bytes: u64) {
    EVERY.store(every_bytes, Ordering::Relaxed);
    if every_bytes == 0 {
        quietly(|| {
            let mut samples = samples();
            *samples = Samples::default();
            FILTERS
                .iter()
                .for_each(|count| count.store(0, Ordering::Relaxed));
        });
    }
}

/// What the heap holds by call site and size, estimated from the samples.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HeapProfile {
    /// Bytes by call stack.
    pub sites: Profile,
    /// By size, smallest first.
    pub sizes: Vec<SizeClass>,
    /// Samples of living blocks behind the estimates.
    pub samples: usize,
    /// Samples that no room was left for.
    pub dropped: u64,
}

/// Blocks of about one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SizeClass {
    /// The largest block in it, a power of two; the smallest is more than half of that.
    pub up_to_bytes: u64,
    /// Blocks, estimated.
    pub blocks: u64,
    /// Their bytes, estimated.
    pub bytes: u64,
}

/// What is held now, by the samples since [`heap_sampling`] began. Names of functions are looked up
/// here, which takes milliseconds; the first time it loads the program's debug information, and that
/// stays in memory.
#[must_use]
pub fn heap_profile() -> HeapProfile {
    quietly(|| {
        let (stacks, sizes, count, dropped) = {
            let samples = samples();
            (
                samples.by_site(),
                samples.by_size(),
                samples.live.len(),
                samples.dropped,
            )
        };
        let named = stacks
            .into_iter()
            .map(|(stack, bytes)| (names(&stack), bytes));
        HeapProfile {
            sites: Profile::from_stacks("bytes", named),
            sizes,
            samples: count,
            dropped,
        }
    })
}

/// Allocated bytes, allocations, freed bytes, frees.
#[repr(align(64))]
struct Stripe([AtomicI64; 4]);

static TOTALS: [Stripe; STRIPES] = [const { Stripe([const { AtomicI64::new(0) }; 4]) }; STRIPES];
static EVERY: AtomicU64 = AtomicU64::new(0);
static FILTERS: [AtomicU16; FILTER] = [const { AtomicU16::new(0) }; FILTER];
static LIVE: LazyLock<Mutex<Samples>> = LazyLock::new(Mutex::default);
static SEEDS: AtomicU64 = AtomicU64::new(1);

#[derive(Default)]
struct Samples {
    live: HashMap<usize, Sample>,
    sites: HashMap<Box<[usize]>, u32>,
    dropped: u64,
}

#[derive(Clone, Copy)]
struct Sample {
    size: usize,
    /// Bytes that it stands for.
    weight: u64,
    site: u32,
}

impl Samples {
    /// Keeps a sample; true when there was none at this address.
    fn add(&mut self, address: usize, size: usize, weight: u64, stack: &[usize]) -> bool {
        if self.live.len() >= SAMPLES {
            self.dropped += 1;
            return false;
        }
        let site = match self.sites.get(stack) {
            Some(site) => *site,
            None if self.sites.len() >= SITES => OTHER_SITES,
            None => {
                let site = self.sites.len() as u32;
                self.sites.insert(stack.into(), site);
                site
            }
        };
        let sample = Sample { size, weight, site };
        self.live.insert(address, sample).is_none()
    }

    fn by_site(&self) -> Vec<(Box<[usize]>, u64)> {
        let mut bytes: HashMap<u32, u64> = HashMap::new();
        for sample in self.live.values() {
            let total = bytes.entry(sample.site).or_default();
            *total = total.saturating_add(sample.weight);
        }
        let known = self.sites.iter().filter_map(|(stack, site)| {
            let bytes = bytes.get(site)?;
            Some((stack.clone(), *bytes))
        });
        let others = bytes.get(&OTHER_SITES);
        known
            .chain(others.map(|bytes| (Box::default(), *bytes)))
            .collect()
    }

    fn by_size(&self) -> Vec<SizeClass> {
        let mut classes: BTreeMap<u64, (f64, u64)> = BTreeMap::new();
        for sample in self.live.values() {
            let class = (sample.size as u64).max(1);
            let class = class.checked_next_power_of_two().unwrap_or(u64::MAX);
            let (blocks, bytes) = classes.entry(class).or_default();
            *blocks += sample.weight as f64 / sample.size.max(1) as f64;
            *bytes = bytes.saturating_add(sample.weight);
        }
        let class = |(up_to_bytes, (blocks, bytes)): (u64, (f64, u64))| SizeClass {
            up_to_bytes,
            blocks: blocks.round() as u64,
            bytes,
        };
        classes.into_iter().map(class).collect()
    }
}

/// Whether a function is one of those that every allocation goes through.
fn is_plumbing(name: &str) -> bool {
    let name = name.trim_start_matches('<');
    let bare = !name.contains("::");
    PLUMBING
        .iter()
        .any(|known| name.starts_with(known) && (bare || known.contains("::")))
}

/// The functions of a stack, outermost first, without those of the allocator and of this crate.
fn names(stack: &[usize]) -> Vec<String> {
    let mut names = Vec::new();
    for address in stack {
        let known = names.len();
        backtrace::resolve(std::ptr::without_provenance_mut(*address), |symbol| {
            if let Some(name) = symbol.name() {
                // Without the hash at its end.
                names.push(format!("{name:#}"));
            }
        });
        if names.len() == known {
            names.push(format!("{address:#x}"));
        }
    }
    let inner = names
        .iter()
        .rposition(|name| OURS.iter().any(|ours| name.contains(ours)));
    let mut names = names.split_off(inner.map_or(0, |last| last + 1));
    let plumbing = names.iter().take_while(|name| is_plumbing(name)).count();
    if plumbing < names.len() {
        names.drain(..plumbing);
    }
    names.reverse();
    let mut names = without_start(names);
    if names.is_empty() {
        names.push("(other call sites)".to_owned());
    }
    names
}

struct Thread {
    stripe: Cell<usize>,
    random: Cell<u64>,
    /// Bytes until the next sample, and the interval they were drawn for.
    left: Cell<i64>,
    every: Cell<u64>,
    /// In here already: what is allocated meanwhile is not looked at.
    busy: Cell<bool>,
}

thread_local! {
    static THREAD: Thread = const { Thread {
        stripe: Cell::new(usize::MAX),
        random: Cell::new(0),
        left: Cell::new(0),
        every: Cell::new(0),
        busy: Cell::new(false),
    } };
}

/// Notes a block that was handed out.
#[inline]
pub(crate) fn allocated(address: usize, size: usize) {
    let every = EVERY.load(Ordering::Relaxed);
    // A thread whose locals are gone counts on the first stripe.
    let sampled = THREAD.try_with(|thread| {
        thread.count(0, size);
        every > 0 && thread.is_due(size, every)
    });
    match sampled {
        Ok(true) => sample(address, size, every),
        Ok(false) => {}
        Err(_) => count(0, 0, size),
    }
}

/// Notes a block that comes back.
#[inline]
pub(crate) fn freed(address: usize, size: usize) {
    let counted = THREAD.try_with(|thread| thread.count(2, size));
    if counted.is_err() {
        count(0, 2, size);
    }
    if FILTERS[filter(address)].load(Ordering::Relaxed) > 0 {
        forget(address);
    }
}

fn count(stripe: usize, kind: usize, size: usize) {
    let cells = &TOTALS[stripe % STRIPES].0;
    cells[kind].fetch_add(size as i64, Ordering::Relaxed);
    cells[kind + 1].fetch_add(1, Ordering::Relaxed);
}

impl Thread {
    fn count(&self, kind: usize, size: usize) {
        if self.stripe.get() == usize::MAX {
            let number = SEEDS.fetch_add(1, Ordering::Relaxed);
            self.stripe.set(number as usize % STRIPES);
            self.random
                .set(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        }
        count(self.stripe.get(), kind, size);
    }

    fn is_due(&self, size: usize, every: u64) -> bool {
        if self.busy.get() {
            return false;
        }
        if self.every.replace(every) != every {
            self.left.set(self.distance(every));
        }
        let left = self.left.get().saturating_sub_unsigned(size as u64);
        let due = left <= 0;
        self.left.set(if due { self.distance(every) } else { left });
        due
    }

    /// Bytes to the next sample: exponential, so that no rhythm of sizes escapes it.
    fn distance(&self, every: u64) -> i64 {
        let mut random = self.random.get();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random.set(random);
        let unit = ((random >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        ((-unit.ln() * every as f64) as i64).saturating_add(1)
    }
}

#[cold]
fn sample(address: usize, size: usize, every: u64) {
    contained(|| {
        let mut stack = [0usize; FRAMES];
        let mut depth = 0;
        backtrace::trace(|frame| {
            stack[depth] = frame.ip().addr();
            depth += 1;
            depth < FRAMES
        });
        let chance = -(-(size as f64) / every as f64).exp_m1();
        let weight = (size as f64 / chance.max(f64::MIN_POSITIVE)).round() as u64;
        let mut samples = samples();
        if samples.add(address, size, weight, &stack[..depth]) {
            FILTERS[filter(address)].fetch_add(1, Ordering::Relaxed);
        }
    });
}

#[cold]
fn forget(address: usize) {
    // What is freed by our own hand was never sampled, and the samples may be locked.
    if THREAD.with(|thread| thread.busy.get()) {
        return;
    }
    contained(|| {
        // Held until the filter is told, which a reset meanwhile would empty.
        let mut samples = samples();
        if samples.live.remove(&address).is_some() {
            FILTERS[filter(address)].fetch_sub(1, Ordering::Relaxed);
        }
    });
}

/// Runs `work` without looking at what it allocates and frees itself.
fn quietly<R>(work: impl FnOnce() -> R) -> R {
    let before = THREAD.try_with(|thread| thread.busy.replace(true));
    let result = work();
    let _gone = THREAD.try_with(|thread| thread.busy.set(before.unwrap_or(true)));
    result
}

/// As [`quietly`], for what runs inside of the allocator, out of which nothing may unwind: a sample
/// whose stack cannot be walked is lost instead.
fn contained(work: impl FnOnce()) {
    quietly(|| {
        let _lost = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    });
}

fn samples() -> MutexGuard<'static, Samples> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn filter(address: usize) -> usize {
    ((address >> 4) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) as usize >> 48
}

//! Memory: none on a header's word, once for each filter, and an error where there is none.
//!
//! The one place of these tests with `unsafe` code: an allocator that counts and refuses, each thread
//! for itself.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use mainspring_bloom::{
    BloomBuilder, BloomFilter, BloomView, BuildError, ClaimFilter, Error, KeyHash,
    ScalableBloomFilter, SharedBloomFilter,
};

thread_local! {
    static BYTES: Cell<usize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(usize::MAX) };
}

struct Watched;

// SAFETY: every call is forwarded to the system allocator unchanged, or refused with a null pointer.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get() + layout.size()));
        if LARGEST.try_with(Cell::get).unwrap_or(usize::MAX) < layout.size() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `alloc` with this layout, so from the system allocator.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static WATCHED: Watched = Watched;

/// Bytes that this thread allocates while `work` runs.
fn allocated<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = BYTES.get();
    let result = work();
    (BYTES.get() - before, result)
}

/// Runs `work` where no allocation of more than 4 KiB succeeds.
fn starved<T>(work: impl FnOnce() -> T) -> T {
    LARGEST.set(4_096);
    let result = work();
    LARGEST.set(usize::MAX);
    result
}

#[test]
fn a_header_alone_takes_no_memory() {
    let layer = BloomBuilder::new(10).build().unwrap().to_bytes();
    let claim = BloomBuilder::new(10).build_claim().unwrap().to_bytes();
    for (mut hostile, unit) in [(layer, 32_u64), (claim, 8)] {
        let units = u64::from(u32::MAX);
        hostile[24..32].copy_from_slice(&units.to_le_bytes());
        hostile[56..64].copy_from_slice(&(units * unit).to_le_bytes());
        let sum = KeyHash::default().hash(&hostile[..88]).to_le_bytes();
        hostile[88..96].copy_from_slice(&sum);
        let (bytes, refused) = allocated(|| {
            BloomView::new(&hostile).is_err()
                && BloomFilter::from_bytes(&hostile).is_err()
                && ClaimFilter::from_bytes(&hostile).is_err()
                && ScalableBloomFilter::from_bytes(&hostile).is_err()
        });
        assert!(refused);
        assert_eq!(bytes, 0);
    }
}

#[test]
fn a_filter_takes_its_memory_once() {
    let builder = || BloomBuilder::new(100_000).fpr(0.01);
    let (bytes, filter) = allocated(|| builder().build().unwrap());
    assert_eq!(bytes, filter.byte_len());
    let (bytes, shared) = allocated(|| builder().build_shared().unwrap());
    assert_eq!(bytes, shared.byte_len());
    shared.insert("kept");

    let (bytes, frozen) = allocated(|| shared.freeze());
    assert_eq!(bytes, 0, "freezing copied");
    assert!(frozen.contains("kept"));
    let (bytes, opened) = allocated(|| SharedBloomFilter::from(frozen));
    assert_eq!(bytes, 0, "opening copied");
    assert!(opened.contains("kept"));
}

#[test]
fn bytes_are_written_into_one_buffer() {
    let mut growing = ScalableBloomFilter::with_capacity_and_fpr(1_000, 0.01).unwrap();
    growing.insert_many(0..5_000_u64).unwrap();
    let (taken, stored) = allocated(|| growing.to_bytes());
    assert_eq!(taken, stored.len());
    let (taken, read) = allocated(|| ScalableBloomFilter::from_bytes(&stored).unwrap());
    assert!(
        taken < stored.len() + 4_096,
        "{taken} bytes for {}",
        stored.len()
    );
    assert_eq!(read.to_bytes(), stored);
}

#[test]
fn no_memory_is_an_error() {
    let builder = || BloomBuilder::new(100_000).fpr(0.01);
    let lacking = |error| matches!(error, BuildError::OutOfMemory { bytes } if bytes > 4_096);
    assert!(lacking(starved(|| builder().build()).unwrap_err()));
    assert!(lacking(starved(|| builder().build_shared()).unwrap_err()));
    assert!(lacking(starved(|| builder().build_claim()).unwrap_err()));
    assert!(lacking(starved(|| builder().build_scalable()).unwrap_err()));

    let lacking = |error| matches!(error, Error::OutOfMemory { bytes } if bytes > 4_096);
    let stored = builder().build().unwrap().to_bytes();
    assert!(lacking(
        starved(|| BloomFilter::from_bytes(&stored)).unwrap_err()
    ));
    assert!(lacking(
        starved(|| BloomFilter::from_parquet_bitset(&stored[96..])).unwrap_err()
    ));
    let stored = builder().build_claim().unwrap().to_bytes();
    assert!(lacking(
        starved(|| ClaimFilter::from_bytes(&stored)).unwrap_err()
    ));
    let mut growing = BloomBuilder::new(2_000).build_scalable().unwrap();
    let error = starved(|| growing.insert_many(0..100_000_u64)).unwrap_err();
    assert!(lacking(error));
    let held = growing.stats().inserted.unwrap();
    assert!(held >= 2_000, "{held}");
    assert!((0..held).all(|key| growing.contains(&key)));
    growing.insert_many(0..4_000_u64).unwrap();
    let stored = growing.to_bytes();
    assert!(lacking(
        starved(|| ScalableBloomFilter::from_bytes(&stored)).unwrap_err()
    ));
}

/// What the system notes about the mapping that this byte lies in; `None` where it knows no large pages.
#[cfg(target_os = "linux")]
fn page_flags(bytes: &[u8]) -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/smaps").ok()?;
    let middle = bytes.as_ptr() as usize + bytes.len() / 2;
    let mut inside = false;
    for line in maps.lines() {
        let range = line.split(' ').next()?.split_once('-');
        let range = range.map(|(from, to)| {
            usize::from_str_radix(from, 16)
                .and_then(|from| Ok(from..usize::from_str_radix(to, 16)?))
        });
        if let Some(Ok(range)) = range {
            inside = range.contains(&middle);
        }
        if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
            let known = std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
            return known.then(|| flags.to_owned());
        }
    }
    None
}

#[test]
#[cfg(target_os = "linux")]
fn large_filters_ask_for_large_pages() {
    let asks = |filter: &BloomFilter| {
        let flags = page_flags(filter.as_bytes());
        flags.map(|flags| flags.split(' ').any(|flag| flag == "hg"))
    };
    let small = BloomFilter::with_capacity_and_fpr(6_000_000, 0.01).unwrap();
    let Some(asked) = asks(&small) else {
        println!("skipped: no large pages on this system");
        return;
    };
    assert!(!asked, "a small filter needs none");

    let builder = || BloomBuilder::new(30_000_000).fpr(0.01);
    let mut filter = builder().build().unwrap();
    assert_eq!(asks(&filter), Some(true), "built");
    filter.insert("kept");
    assert_eq!(asks(&filter.clone()), Some(true), "cloned");
    assert_eq!(
        asks(&filter.view().to_filter().unwrap()),
        Some(true),
        "read"
    );
    let shared = SharedBloomFilter::from(filter);
    assert_eq!(asks(&shared.snapshot()), Some(true), "copied");
    drop(shared);
    let frozen = builder().build_shared().unwrap().freeze();
    assert_eq!(asks(&frozen), Some(true), "built to be shared");
}

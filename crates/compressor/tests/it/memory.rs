//! What a context holds, counted by an allocator that watches each thread for itself.
#![allow(unsafe_code)]

use crate::compaction::generated;
use mainspring_compressor::{Budget, Compactor, Context, Estimate};
use mainspring_inputs::Profile;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::Arc,
};

thread_local! {
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

struct Counting;

fn add(bytes: isize) {
    let _ = HELD.try_with(|held| {
        let (now, peak) = held.get();
        held.set((now + bytes, peak.max(now + bytes)));
    });
}

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(size as isize - layout.size() as isize);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is held after `act`, and at most meanwhile, beyond what was held before.
fn held<T>(act: impl FnOnce() -> T) -> (usize, usize, T) {
    HELD.with(|held| held.set((0, 0)));
    let result = act();
    let (now, peak) = HELD.with(Cell::get);
    (now.max(0) as usize, peak.max(0) as usize, result)
}

#[test]
fn a_context_takes_at_most_twice_its_transcript() {
    let transcript = generated(51, 1_400, Profile::Coding);
    let raw: Vec<Vec<u8>> = transcript
        .items()
        .iter()
        .map(|i| i.raw().to_vec())
        .collect();
    let size: usize = raw.iter().map(Vec::len).sum();
    drop(transcript);
    let tokenizer: Arc<Estimate> = Arc::new(Estimate::new());
    let mut context = Context::new(
        mainspring_compressor::Format::OpenAiChat,
        Budget::new(size),
        tokenizer,
    );
    let (now, _, ()) = held(|| {
        for item in &raw {
            context.push(item.clone()).unwrap();
        }
    });
    println!(
        "{now} bytes held for {size}: {:.2}",
        now as f64 / size as f64
    );
    assert!(now <= 2 * size, "{now} for {size}");
    let (_, peak, plan) = held(|| Compactor::default().plan(&context).unwrap());
    println!(
        "planning: {peak} bytes at most, {:.2}",
        peak as f64 / size as f64
    );
    assert!(now + peak <= 4 * size, "{peak} for {size}");
    let (_, _, done) = held(|| Compactor::default().commit(&mut context, plan).unwrap());
    let taken: usize = done.blobs.iter().map(|blob| blob.bytes.len()).sum();
    println!(
        "taken out: {taken} bytes, {:.2}",
        taken as f64 / size as f64
    );
    assert!(taken <= size + size / 4, "{taken} for {size}");
}

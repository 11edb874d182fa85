//! Where CPU time goes and who holds memory, as two flame graphs.
//!
//! `cargo run --release --example profile --features pprof,heap-profile -- FOLDER` writes `cpu.svg` and
//! `heap.svg` there and prints the top of both.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use mainspring_monitor::{
    CpuProfiler, HeapProfiler, Profile, heap_profile, heap_sampling, heap_stats,
};

#[global_allocator]
static ALLOCATOR: HeapProfiler = HeapProfiler::system();

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1);
    heap_sampling(64 << 10);
    let index = build(Duration::from_millis(300));
    let heap = heap_profile();
    let profiler = CpuProfiler::start_at(500)?;
    let again = build(Duration::from_millis(800));
    let cpu = profiler.stop()?;
    show("CPU", &cpu);
    show("heap", &heap.sites);
    for class in &heap.sizes {
        println!(
            "  up to {} bytes: {} blocks",
            class.up_to_bytes, class.blocks
        );
    }
    let (stats, words) = (heap_stats(), index.len() + again.len());
    println!(
        "{} bytes in {} blocks, {words} words",
        stats.in_use_bytes, stats.blocks
    );
    if let Some(folder) = folder {
        std::fs::write(Path::new(&folder).join("cpu.svg"), cpu.to_svg("CPU time"))?;
        std::fs::write(
            Path::new(&folder).join("heap.svg"),
            heap.sites.to_svg("heap in use"),
        )?;
    }
    Ok(())
}

fn show(what: &str, profile: &Profile) {
    println!("{what}: {} {}", profile.total(), profile.unit());
    for hot in profile.top(20) {
        println!("  {:>10} {:>10}  {}", hot.own, hot.with_callees, hot.name);
    }
}

#[inline(never)]
fn build(until: Duration) -> HashMap<String, Vec<u64>> {
    let (began, mut index) = (Instant::now(), HashMap::new());
    for turn in 0u64.. {
        add(&mut index, &words(turn), turn);
        if began.elapsed() > until {
            break;
        }
    }
    index
}

#[inline(never)]
fn words(turn: u64) -> Vec<String> {
    (0..40)
        .map(|at| format!("word-{}", (turn * 31 + at * at) % 20_000))
        .collect()
}

#[inline(never)]
fn add(index: &mut HashMap<String, Vec<u64>>, words: &[String], turn: u64) {
    for word in words {
        index.entry(word.clone()).or_default().push(turn);
    }
}

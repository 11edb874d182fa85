//! Profiles: their figures, their pictures, and where they come from.

use mainspring_monitor::Profile;
use proptest::prelude::*;

#[test]
fn the_top_counts_a_function_once_a_stack_and_the_folded_form_keeps_its_two_characters() {
    let stacks = [
        (vec!["main", "walk", "walk", "read"], 5),
        (vec!["main", "walk"], 3),
        (vec!["main", "a;b\nc"], 2),
        (vec!["main", "walk"], 1),
        (vec![], 100),
    ];
    let profile = Profile::from_stacks("samples", stacks);
    let top: Vec<_> = profile
        .top(20)
        .into_iter()
        .map(|hot| (hot.name, hot.own, hot.with_callees))
        .collect();
    let row = |name: &str, own, all| (name.to_owned(), own, all);
    assert_eq!(
        top,
        [
            row("read", 5, 5),
            row("walk", 4, 9),
            row("a;b\nc", 2, 2),
            row("main", 0, 11)
        ]
    );
    assert_eq!((profile.total(), profile.top(2).len()), (11, 2));
    assert_eq!(
        profile.to_folded(),
        "main;a:b c 2\nmain;walk 4\nmain;walk;walk;read 5\n"
    );
}

#[test]
fn a_box_is_as_wide_as_its_share() {
    let profile = Profile::from_stacks("samples", [(vec!["a", "b"], 30), (vec!["a", "c"], 10)]);
    let svg = profile.to_svg("run");
    for (name, share, width) in [
        ("a", "100.0", "1180.0"),
        ("b", "75.0", "885.0"),
        ("c", "25.0", "295.0"),
    ] {
        let weight = match name {
            "a" => 40,
            "b" => 30,
            _ => 10,
        };
        let title = format!("<title>{name}: {weight} samples ({share} %)</title>");
        let at = svg
            .find(&title)
            .unwrap_or_else(|| panic!("no {title} in {svg}"));
        let rest = svg[at..].lines().next().expect("a line");
        assert!(rest.contains(&format!("width=\"{width}\"")), "{rest}");
    }
    assert!(
        Profile::from_stacks::<String>("samples", [])
            .to_svg("none")
            .contains("</svg>")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pictures_of_hostile_names_are_well_formed(
        names in prop::collection::vec(prop::collection::vec(any::<String>(), 0..5), 0..8),
        title in any::<String>(),
    ) {
        let stacks = names.into_iter().map(|stack| (stack, 1u64));
        let svg = Profile::from_stacks(&title, stacks).to_svg(&title);
        // Tags balance, and what stands between them holds no mark-up.
        let mut open = Vec::new();
        let mut rest = svg.as_str();
        while let Some(at) = rest.find('<') {
            prop_assert!(!rest[..at].contains('>'));
            let end = rest[at..].find('>').map(|end| at + end);
            let tag = &rest[at + 1..end.expect("closed")];
            match tag.strip_prefix('/') {
                Some(name) => prop_assert_eq!(open.pop(), Some(name)),
                None if !tag.ends_with('/') => open.push(tag.split(' ').next().expect("a name")),
                None => {}
            }
            rest = &rest[end.expect("closed") + 1..];
        }
        prop_assert!(open.is_empty());
        prop_assert!(!svg.contains(|c: char| c.is_control() && c != '\n'));
    }
}

#[cfg(feature = "pprof")]
mod cpu {
    use std::hint::black_box;
    use std::time::{Duration, Instant};

    use mainspring_monitor::CpuProfiler;

    use crate::alone::in_own_process;

    #[inline(never)]
    fn burn_right_here(until: Duration) -> u64 {
        let (began, mut sum) = (Instant::now(), 0u64);
        while began.elapsed() < until {
            sum = (0..10_000u64).fold(sum, |sum, i| black_box(sum ^ i.wrapping_mul(31)));
        }
        sum
    }

    #[test]
    fn a_cpu_profile_names_who_burns_the_cpu() {
        // The signals of a profiler interrupt whoever runs beside it.
        if !in_own_process("profiles::cpu::a_cpu_profile_names_who_burns_the_cpu") {
            return;
        }
        let profiler = CpuProfiler::start_at(500).expect("started");
        assert!(CpuProfiler::start().is_err(), "one at a time");
        let worker = std::thread::Builder::new().name("burner".into());
        let worker = worker.spawn(|| burn_right_here(Duration::from_millis(400)));
        worker.expect("started").join().expect("ended");
        assert!(profiler.elapsed() >= Duration::from_millis(400));
        let profile = profiler.stop().expect("a profile");
        let top = profile.top(20);
        assert!(top.len() <= 20);
        let found = profile.top(usize::MAX);
        let found = found
            .iter()
            .find(|hot| hot.name.contains("burn_right_here"));
        let share = found.map_or(0, |hot| hot.with_callees) as f64 / profile.total() as f64;
        assert!(
            share > 0.5,
            "{share} of {}:\n{}",
            profile.total(),
            profile.to_folded()
        );
        assert!(profile.to_svg("test").contains("burn_right_here"));
        assert!(
            profile.to_folded().contains("burner;"),
            "{}",
            profile.to_folded()
        );
        drop(CpuProfiler::start().expect("the one before has ended"));
    }
}

#[cfg(feature = "heap-profile")]
mod heap {
    use mainspring_monitor::{HeapProfiler, heap_profile, heap_sampling, heap_stats};

    use crate::alone::in_own_process;

    #[global_allocator]
    static ALLOCATOR: HeapProfiler = HeapProfiler::system();

    const KIB: usize = 1 << 10;

    #[inline(never)]
    fn hold_right_here(blocks: usize, size: usize) -> Vec<Vec<u8>> {
        (0..blocks).map(|_| vec![1; size]).collect()
    }

    fn held_there() -> f64 {
        let profile = heap_profile();
        let found = profile.sites.stacks();
        let found = found.filter(|(stack, _)| stack.iter().any(|f| f.contains("hold_right_here")));
        found.map(|(_, bytes)| bytes as f64).sum()
    }

    #[test]
    fn a_heap_profile_names_who_holds_memory_and_forgets_what_was_freed() {
        if !in_own_process(
            "profiles::heap::a_heap_profile_names_who_holds_memory_and_forgets_what_was_freed",
        ) {
            return;
        }
        heap_sampling(16 * KIB as u64);
        // The first profile reads the program's debug information, which stays.
        let first = hold_right_here(100, 16 * KIB);
        assert!(held_there() > 0.0);
        drop(first);
        let before = heap_stats();
        let mut held = hold_right_here(4_000, 4 * KIB);
        let (now, size) = (heap_stats(), (4_000 * 4 * KIB) as f64);
        let grown = now.in_use_bytes - before.in_use_bytes;
        assert!((grown as f64 / size - 1.0).abs() < 0.02, "{grown}");
        assert!(now.blocks - before.blocks >= 4_000);
        let (seen, profile) = (held_there(), heap_profile());
        assert!((seen / size - 1.0).abs() < 0.2, "{seen} of {size}");
        let class = profile
            .sizes
            .iter()
            .find(|class| class.up_to_bytes == 4 * KIB as u64);
        let class = class.expect("blocks of 4 KiB");
        assert!(
            (class.blocks as f64 / 4_000.0 - 1.0).abs() < 0.2,
            "{class:?}"
        );
        let top = profile.sites.top(20);
        assert!(
            !top.iter()
                .any(|hot| hot.name.contains("mainspring_monitor::heap")),
            "{top:?}"
        );

        // Three quarters go, on another thread.
        let rest = held.split_off(1_000);
        std::thread::spawn(move || drop(rest))
            .join()
            .expect("ended");
        let seen = held_there();
        assert!((seen / (size / 4.0) - 1.0).abs() < 0.35, "{seen}");
        // Growing in place or moving is a free and an allocation: it is counted once.
        held.iter_mut()
            .for_each(|block| block.extend_from_slice(&[2; 4 * KIB]));
        drop(held);
        assert_eq!(held_there(), 0.0);
        let after = heap_stats();
        assert!(
            after.in_use_bytes < before.in_use_bytes + (1 << 20),
            "{after:?}"
        );
        assert!(after.allocations > before.allocations + 5_000);

        heap_sampling(0);
        let _unseen = hold_right_here(1_000, 4 * KIB);
        assert_eq!(heap_profile().samples, 0);
    }

    #[test]
    fn totals_stay_true_when_threads_free_what_others_allocated() {
        if !in_own_process(
            "profiles::heap::totals_stay_true_when_threads_free_what_others_allocated",
        ) {
            return;
        }
        heap_sampling(KIB as u64);
        let before = heap_stats().in_use_bytes;
        for _ in 0..20 {
            let (send, receive) = std::sync::mpsc::channel::<Vec<u8>>();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    let send = send.clone();
                    scope.spawn(move || {
                        (0..500).for_each(|size| drop(send.send(vec![0; size * 7])));
                    });
                }
                drop(send);
                scope.spawn(move || receive.into_iter().map(|block| block.len()).sum::<usize>());
            });
        }
        let after = heap_stats().in_use_bytes;
        assert!(after.abs_diff(before) < 1 << 20, "{before} then {after}");
        let held: u64 = heap_profile().sites.total();
        assert!(held < 8 << 20, "{held}");
    }
}

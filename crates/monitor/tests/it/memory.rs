//! Leaks, pressure and alerts over scripted figures, and the real process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainspring_monitor::{
    Alert, AlertRule, AlertState, Alerts, CgroupLimits, LeakDetector, LeakRule, Pressure,
    ProcessProbe, ProcessSample, Registry, Value, Watch,
};

use crate::alone::in_own_process;

const MIB: u64 = 1 << 20;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn verdicts(detector: &mut LeakDetector, figures: impl IntoIterator<Item = u64>) -> Vec<LeakRule> {
    let samples = figures.into_iter().enumerate();
    samples
        .filter_map(|(at, bytes)| detector.push(seconds(30 * at as u64), bytes))
        .map(|leak| leak.rule)
        .collect()
}

#[test]
fn the_documented_rule_is_last_minus_first_over_ten_above_ten_megabytes() {
    let detector = || LeakDetector::new("x").slope_per_hour(None);
    // Growth over ten samples of exactly 100 MiB is not above the limit, one byte per sample more is.
    let at_limit = (0..9).map(|_| 0).chain([100 * MIB]);
    assert_eq!(verdicts(&mut detector(), at_limit), []);
    let above = (0..9).map(|_| 0).chain([100 * MIB + 10]);
    assert_eq!(verdicts(&mut detector(), above), [LeakRule::MeanGrowth]);
    assert_eq!(
        verdicts(&mut detector(), (0..50).rev().map(|i| i * 100 * MIB)),
        []
    );
}

#[test]
fn the_robust_rule_finds_a_slow_leak_under_noise_and_ignores_steps_spikes_and_plateaus() {
    let detector = || LeakDetector::new("x").mean_growth(None);
    let noise = |i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44;
    // 24 MiB an hour under a noise of one MiB.
    let slow = (0..100).map(|i| 50 * MIB + i * MIB / 5 + noise(i));
    let found = verdicts(&mut detector(), slow);
    assert!(
        found.len() > 40 && found.iter().all(|rule| *rule == LeakRule::RobustSlope),
        "{found:?}"
    );
    let flat = (0..100).map(|i| 50 * MIB + noise(i));
    assert_eq!(verdicts(&mut detector(), flat), []);
    let spikes = (0..100).map(|i| if i % 9 == 0 { 900 * MIB } else { 50 * MIB });
    assert_eq!(verdicts(&mut detector(), spikes), []);
    let warming = (0..100).map(|i| 10 * MIB * i.min(9));
    assert_eq!(verdicts(&mut detector(), warming), []);
    assert_eq!(verdicts(&mut detector(), (0..100).map(|_| 7)), []);
}

#[test]
fn noise_is_not_a_trend_however_steep_it_looks_for_a_moment() {
    let noise = |seed: u64, i: u64| {
        let mixed = (seed * 1_000 + i).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 37
    };
    let wrong = (0..100).filter(|seed| {
        let mut detector = LeakDetector::new("x").mean_growth(None).warm_up(0);
        !verdicts(&mut detector, (0..20).map(|i| noise(*seed, i))).is_empty()
    });
    assert!(wrong.count() <= 3);
}

#[test]
fn hostile_figures_do_no_harm() {
    let mut detector = LeakDetector::new("x").warm_up(0);
    for at in 0..300u64 {
        // Time that stands still, figures at both ends.
        let _any = detector.push(seconds(at / 50), if at % 2 == 0 { u64::MAX } else { 0 });
    }
}

#[test]
fn pressure_runs_by_stage_with_hysteresis_and_cooldown_and_counts_what_it_freed() {
    let registry = Registry::new();
    let memory = Arc::new(AtomicU64::new(0));
    let trimmed = Arc::clone(&memory);
    let cleared = Arc::clone(&memory);
    let mut pressure = Pressure::new(&registry)
        .stage("clear", 200 * MIB, move || {
            cleared
                .fetch_sub(150 * MIB, Ordering::Relaxed)
                .min(150 * MIB)
        })
        .stage("trim", 100 * MIB, move || {
            trimmed.fetch_sub(5 * MIB, Ordering::Relaxed).min(5 * MIB)
        });
    let mut check = |at, bytes| {
        memory.store(bytes, Ordering::Relaxed);
        let reliefs = pressure.check(seconds(at), || memory.load(Ordering::Relaxed));
        let ran: Vec<String> = reliefs.into_iter().map(|relief| relief.stage).collect();
        (ran.join(","), pressure.active().count())
    };
    assert_eq!(check(0, 100 * MIB), (String::new(), 0));
    assert_eq!(check(1, 101 * MIB), ("trim".into(), 1));
    // Within the cooldown nothing runs, whether memory stays, dips a little, or dips and returns.
    assert_eq!(check(2, 101 * MIB), (String::new(), 1));
    assert_eq!(check(3, 95 * MIB), (String::new(), 1));
    assert_eq!(check(4, 80 * MIB), (String::new(), 0));
    assert_eq!(check(5, 120 * MIB), (String::new(), 1));
    assert_eq!(check(31, 120 * MIB), ("trim".into(), 1));
    // Far above both: trim is cooling down, clear helps.
    assert_eq!(check(32, 300 * MIB), ("clear".into(), 2));
    assert_eq!(check(90, 202 * MIB), ("trim".into(), 2));
    let freed = registry.snapshot();
    let freed = freed.get("memory_pressure_freed_bytes", &[("stage", "trim")]);
    assert_eq!(freed, Some(&Value::Count(15 * MIB)));
}

fn run(alerts: &mut Alerts, values: &[f64]) -> Vec<AlertState> {
    let each = values.iter().enumerate();
    each.flat_map(|(at, value)| alerts.observe("r", *value, seconds(at as u64)))
        .map(|alert| alert.state)
        .collect()
}

#[test]
fn alerts_fire_and_resolve_without_flapping() {
    let mut alerts = Alerts::new().rule(AlertRule::above("r", 5.0).hold(2));
    assert_eq!(run(&mut alerts, &[6.0, 4.0, 6.0, 4.0, f64::NAN, 6.0]), []);
    assert_eq!(run(&mut alerts, &[6.0, 6.0]), [AlertState::Firing]);
    // Just below the limit is not well yet.
    assert_eq!(run(&mut alerts, &[4.9, 6.0, 4.9, 4.9, 4.9, 4.0, 4.9]), []);
    assert_eq!(run(&mut alerts, &[4.0, 4.0, 4.0]), [AlertState::Resolved]);
    assert_eq!(alerts.observe("other", 100.0, seconds(0)), []);
}

#[test]
fn degradation_is_measured_against_a_baseline_that_stands_still_meanwhile() {
    let mut alerts = Alerts::new().rule(AlertRule::degraded("r", 2.0).hold(3));
    assert_eq!(run(&mut alerts, &[1.0; 30]), []);
    assert_eq!(run(&mut alerts, &[3.0; 100]), [AlertState::Firing]);
    assert_eq!(run(&mut alerts, &[1.0; 3]), [AlertState::Resolved]);
    let mut saved = Alerts::new().rule(AlertRule::degraded_from("r", 10.0, 1.5).hold(1));
    assert_eq!(run(&mut saved, &[14.0, 16.0]), [AlertState::Firing]);
}

#[test]
fn alerts_reach_callbacks_and_channels_and_a_full_channel_loses_only_its_own() {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let mut alerts = Alerts::new()
        .rule(AlertRule::above("r", 1.0).hold(1))
        .on_alert(move |_: &Alert| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
    let inbox = alerts.channel();
    drop(alerts.channel());
    for _ in 0..50 {
        run(&mut alerts, &[2.0, 0.0]);
    }
    assert_eq!(
        (
            count.load(Ordering::Relaxed),
            inbox.try_iter().count(),
            alerts.dropped()
        ),
        (100, 64, 36)
    );
}

#[test]
#[cfg(target_os = "linux")]
fn the_process_is_sampled_as_the_kernel_sees_it() {
    // Alone, because other tests allocate meanwhile.
    if !in_own_process("memory::the_process_is_sampled_as_the_kernel_sees_it") {
        return;
    }
    let before = ProcessSample::now().expect("Linux");
    let mut probe = ProcessProbe::open().expect("Linux");
    let block = std::hint::black_box(vec![1u8; 64 << 20]);
    let with = probe.sample().expect("Linux");
    assert!(
        with.rss_anon_bytes >= before.rss_anon_bytes + 60 * MIB,
        "{before:?} {with:?}"
    );
    assert!(with.rss_anon_bytes < with.rss_bytes, "{with:?}");
    drop(block);
    let after = probe.sample().expect("Linux");
    assert!(after.rss_anon_bytes + 30 * MIB < with.rss_anon_bytes);
    assert!(after.peak_rss_bytes >= with.rss_bytes);
    assert!(after.threads >= 1 && after.descriptors >= 3 && after.uptime < seconds(3600));
    assert!(ProcessSample::now().expect("Linux").peak_rss_bytes >= with.rss_bytes - MIB);
    threads_and_time_are_counted(&mut probe);
}

#[cfg(target_os = "linux")]
fn threads_and_time_are_counted(probe: &mut ProcessProbe) {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let threads = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"));
    let threads: u64 = threads
        .and_then(|n| n.trim().parse().ok())
        .expect("a number");
    let before = probe.sample().expect("Linux");
    assert_eq!(before.threads, threads);
    let gate = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (gate.wait(), gate.wait()));
        }
        gate.wait();
        assert_eq!(probe.sample().expect("Linux").threads, threads + 3);
        gate.wait();
    });
    // Until the kernel has booked a twentieth of a second of ours.
    let began = std::time::Instant::now();
    let burnt = Duration::from_millis(50);
    let mut after = before;
    while after.cpu_user + after.cpu_system < before.cpu() + burnt {
        std::hint::black_box((0..200_000u64).fold(0, |a, i| std::hint::black_box(a ^ i)));
        after = probe.sample().expect("Linux");
    }
    assert!(began.elapsed() >= burnt / 2 && after.cpu_user > before.cpu_user);
    // The other account of the kernel's, in ticks of ten milliseconds.
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let fields = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    let told = Duration::from_millis(ticks * 10);
    assert!(
        told.abs_diff(after.cpu()) <= Duration::from_millis(50),
        "{told:?} {after:?}"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_watch_names_the_owner_that_leaks_and_exports_the_process() {
    let clock = Arc::new(AtomicU64::new(0));
    let ticks = Arc::clone(&clock);
    let now = move || seconds(ticks.load(Ordering::Relaxed));
    let registry = Registry::builder()
        .clock(mainspring_monitor::Clock::from_fn(now))
        .build();
    let held = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&held);
    let mut watch = Watch::new(&registry)
        .expect("Linux")
        .owner("sessions", move || read.load(Ordering::Relaxed))
        .owner("steady", || 5 * MIB);
    let mut named = Vec::new();
    for _ in 0..12 {
        held.fetch_add(20 * MIB, Ordering::Relaxed);
        clock.fetch_add(30, Ordering::Relaxed);
        let finding = watch.look().expect("Linux");
        named.extend(
            finding
                .leaks
                .into_iter()
                .map(|leak| leak.owner)
                .filter(|owner| owner != "process"),
        );
    }
    assert_eq!(named, ["sessions"; 3]);
    assert_eq!(watch.samples().count(), 12);
    let snapshot = registry.snapshot();
    assert_eq!(
        snapshot.get("memory_leak_suspected", &[("owner", "sessions")]),
        Some(&Value::Number(1.0))
    );
    assert_eq!(
        snapshot.get("memory_owner_bytes", &[("owner", "steady")]),
        Some(&Value::Number(5.0 * MIB as f64))
    );
    let Some(Value::Number(rss)) = snapshot.get("process_resident_memory_bytes", &[]) else {
        panic!("sampled")
    };
    assert!(*rss > MIB as f64);
}

#[test]
#[cfg(target_os = "linux")]
fn a_started_watch_looks_at_once_and_stops_when_dropped() {
    let registry = Registry::new();
    let looks = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&looks);
    let count = move |_: &mainspring_monitor::Finding| {
        counted.fetch_add(1, Ordering::Relaxed);
    };
    let watch = Watch::new(&registry)
        .expect("Linux")
        .on_finding(count)
        .interval(Duration::from_millis(1));
    let watching = watch.start().expect("a thread");
    assert!(looks.load(Ordering::Relaxed) >= 1);
    while looks.load(Ordering::Relaxed) < 3 {
        std::thread::yield_now();
    }
    drop(watching);
    let stopped = looks.load(Ordering::Relaxed);
    std::thread::yield_now();
    assert_eq!(looks.load(Ordering::Relaxed), stopped);
}

#[test]
fn container_limits_are_the_tightest_around_us() {
    let root = std::env::temp_dir().join(format!("monitor-cgroup-{}", std::process::id()));
    let group = root.join("a/b");
    std::fs::create_dir_all(&group).expect("a folder");
    std::fs::create_dir_all(root.join("memory/x")).expect("a folder");
    std::fs::write(root.join("a/memory.max"), "1000\n").expect("written");
    std::fs::write(group.join("memory.max"), "max\n").expect("written");
    std::fs::write(group.join("cpu.max"), "150000 100000\n").expect("written");
    std::fs::write(
        root.join("memory/x/memory.limit_in_bytes"),
        "9223372036854771712\n",
    )
    .expect("written");
    let limits = CgroupLimits::read_from(&root, "0::/a/b\n7:memory:/x\nnonsense\n");
    assert_eq!((limits.memory_bytes, limits.cpus), (Some(1000), Some(1.5)));
    assert_eq!(
        CgroupLimits::read_from(&root, "0::/../../nowhere\n"),
        CgroupLimits::default()
    );
    std::fs::remove_dir_all(&root).expect("removed");
}

#[test]
#[cfg(target_os = "linux")]
fn a_callback_that_panics_does_not_end_the_watch() {
    let registry = Registry::new();
    let (send, looks) = std::sync::mpsc::channel();
    let mut count = 0;
    let watch = Watch::new(&registry).expect("Linux").on_finding(move |_| {
        count += 1;
        assert!(
            count != 2,
            "a callback with a mistake (expected in this test)"
        );
        send.send(count).ok();
    });
    let watching = watch.interval(seconds(0)).start().expect("started");
    let seen: Vec<u64> = looks.iter().take(3).collect();
    assert_eq!(seen, [1, 3, 4]);
    drop(watching);
    let snapshot = registry.snapshot();
    assert_eq!(
        snapshot.get("monitor_watch_failures", &[]),
        Some(&Value::Count(1))
    );
}

#[test]
#[cfg(target_os = "linux")]
fn heap_figures_are_shown_where_an_allocator_tells_them() {
    let registry = Registry::new();
    let figures = || mainspring_monitor::HeapFigures {
        total_bytes: Some(30),
        used_bytes: Some(20),
        external_bytes: None,
    };
    let mut watch = Watch::new(&registry).expect("Linux").heap(figures);
    watch.look().expect("Linux");
    let snapshot = registry.snapshot();
    assert_eq!(
        snapshot.get("heap_total_bytes", &[]),
        Some(&Value::Number(30.0))
    );
    assert_eq!(
        snapshot.get("heap_used_bytes", &[]),
        Some(&Value::Number(20.0))
    );
    assert_eq!(snapshot.get("heap_external_bytes", &[]), None);
}

#[test]
fn agents_have_families_of_their_own() {
    let registry = Registry::new();
    let agent = mainspring_monitor::Operation::agent(&registry, "planner");
    let failed: Result<(), ()> = agent.run(|| Err(()));
    assert!(failed.is_err());
    let snapshot = registry.snapshot();
    let labels = [("agent", "planner")];
    assert_eq!(
        snapshot.get("agent_execution_errors", &labels),
        Some(&Value::Count(1))
    );
    assert!(
        snapshot
            .get("agent_execution_duration_seconds", &labels)
            .is_some()
    );
}

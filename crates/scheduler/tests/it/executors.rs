//! Balancing, hedging, pipelines.

use std::time::Duration;

use bytes::Bytes;
use mainspring_scheduler::*;
use proptest::prelude::*;

use crate::support::*;

#[test]
fn the_quicker_and_the_heavier_executor_gets_more() {
    let balancer = Balancer::new(1);
    for (name, weight) in [("quick", 1.0), ("slow", 1.0), ("heavy", 4.0)] {
        balancer.add(name, weight, name);
    }
    let mut now = ms(0);
    let mut counts = std::collections::HashMap::new();
    for _ in 0..3_000 {
        let lease = balancer.pick(now).unwrap();
        *counts.entry(lease.name().to_owned()).or_insert(0) += 1;
        let takes = if *lease.executor().as_ref() == "slow" {
            100
        } else {
            10
        };
        lease.finish(true, now + ms(takes));
        now += ms(1);
    }
    // Of two drawn the better one wins: the worst of three is only drawn against itself.
    assert!(
        counts["heavy"] > counts["quick"] && counts["quick"] > 900,
        "{counts:?}"
    );
    assert!(counts.get("slow").copied().unwrap_or(0) < 30, "{counts:?}");
}

#[test]
fn a_failing_executor_is_ejected_probed_alone_and_comes_back() {
    let balancer = Balancer::new(2);
    balancer.add("dead", 1.0, ());
    for _ in 0..5 {
        balancer.pick(ms(0)).unwrap().finish(false, ms(0));
    }
    let error = balancer.pick(ms(1_000)).unwrap_err();
    assert_eq!(
        error,
        Error::NoExecutor {
            retry_after: ms(4_000)
        }
    );
    let probe = balancer.pick(ms(5_000)).unwrap();
    assert!(balancer.pick(ms(5_000)).is_err(), "one probe at a time");
    drop(probe);
    // The cancelled probe gave its place back; the next one fails: twice as long.
    balancer.pick(ms(5_000)).unwrap().finish(false, ms(5_000));
    assert_eq!(
        balancer.pick(ms(5_000)).unwrap_err(),
        Error::NoExecutor {
            retry_after: ms(10_000)
        }
    );
    balancer.pick(ms(15_000)).unwrap().finish(true, ms(15_010));
    let stats = balancer.stats();
    assert_eq!(
        (stats[0].ejected, stats[0].in_flight, stats[0].failed),
        (false, 0, 6)
    );
    assert!(balancer.remove("dead") && !balancer.remove("dead"));
    assert_eq!(
        balancer.pick(ms(0)).unwrap_err(),
        Error::NoExecutor { retry_after: ms(0) }
    );
}

#[tokio::test(start_paused = true)]
async fn a_hedge_starts_when_the_first_is_late_or_fails_and_the_loser_is_dropped() {
    let gauge = Gauge::default();
    let request = |takes: [u64; 3], fails: [bool; 3]| {
        let gauge = gauge.clone();
        move |attempt: u32| {
            let inside = gauge.enter();
            async move {
                let _inside = inside;
                let index = attempt as usize - 1;
                tokio::time::sleep(ms(takes[index])).await;
                if fails[index] {
                    Err(attempt)
                } else {
                    Ok(attempt)
                }
            }
        }
    };
    let start = tokio::time::Instant::now();
    assert_eq!(
        hedge(ms(50), 3, request([40, 1, 1], [false; 3])).await,
        Ok(1)
    );
    assert_eq!(start.elapsed(), ms(40));
    assert_eq!(
        hedge(ms(50), 3, request([500, 500, 10], [false; 3])).await,
        Ok(3)
    );
    assert_eq!(start.elapsed(), ms(150));
    assert_eq!(
        hedge(ms(50), 2, request([10, 10, 10], [true, false, false])).await,
        Ok(2)
    );
    assert_eq!(start.elapsed(), ms(170));
    assert_eq!(
        hedge(ms(50), 3, request([10, 10, 10], [true; 3])).await,
        Err(3)
    );
    assert_eq!(
        hedge(ms(50), 1, request([500, 1, 1], [false; 3])).await,
        Ok(1)
    );
    assert_eq!(gauge.now(), 0);
}

fn source(sizes: &[usize]) -> impl Iterator<Item = Result<Bytes, Error>> + Send + 'static {
    let mut next = 0u8;
    let parts: Vec<Bytes> = sizes
        .iter()
        .map(|&size| {
            let part: Vec<u8> = (0..size).map(|i| next.wrapping_add(i as u8)).collect();
            next = next.wrapping_add(size as u8);
            part.into()
        })
        .collect();
    parts.into_iter().map(Ok)
}

#[tokio::test(start_paused = true)]
async fn three_processors_and_bounded_memory() {
    let gauge = Gauge::default();
    let inside = gauge.clone();
    let slow = move |chunk: Bytes| {
        let inside = inside.enter();
        async move {
            let _inside = inside;
            tokio::time::sleep(ms(10)).await;
            Ok(chunk)
        }
    };
    let settings = Pipeline {
        chunk: 100,
        max_bytes: 1_000,
        ..Pipeline::default()
    };
    let mut out = settings.process_iter(source(&[250; 40]), slow);
    let mut total = 0;
    while let Some(chunk) = out.next().await {
        total += chunk.unwrap().len();
    }
    assert_eq!((total, gauge.most(), gauge.now()), (10_000, 3, 0));
    assert!(out.most_in_memory() <= 1_250, "{}", out.most_in_memory());
    // A consumer that does not take anything stops the reading.
    let quick = |chunk: Bytes| async move { Ok(chunk) };
    let mut idle = settings.process_iter(source(&[100; 1_000]), quick);
    idle.next().await.unwrap().unwrap();
    tokio::time::sleep(ms(1_000)).await;
    assert!(idle.most_in_memory() <= 1_000);
}

#[tokio::test(start_paused = true)]
async fn as_they_are_done_when_order_does_not_matter() {
    let process = |chunk: Bytes| async move {
        tokio::time::sleep(ms(if chunk[0] == 0 { 100 } else { 10 })).await;
        Ok(chunk)
    };
    let settings = Pipeline {
        chunk: 1,
        ordered: false,
        ..Pipeline::default()
    };
    let mut out = settings.process_iter(source(&[3]), process);
    let mut order = Vec::new();
    while let Some(chunk) = out.next().await {
        order.push(chunk.unwrap()[0]);
    }
    assert_eq!(order, [1, 2, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_error_or_a_panic_ends_the_stream_and_stops_the_rest() {
    let gauge = Gauge::default();
    for panics in [false, true] {
        let inside = gauge.clone();
        let process = move |chunk: Bytes| {
            let inside = inside.enter();
            async move {
                let _inside = inside;
                if chunk[0] == 2 {
                    assert!(!panics, "bug");
                    return Err(Error::Failed {
                        message: "bad chunk".into(),
                    });
                }
                tokio::time::sleep(ms(10_000 * u64::from(chunk[0] > 2))).await;
                Ok(chunk)
            }
        };
        let settings = Pipeline {
            chunk: 1,
            ..Pipeline::default()
        };
        let mut out = settings.process_iter(source(&[50]), process);
        assert!(out.next().await.unwrap().is_ok() && out.next().await.unwrap().is_ok());
        assert!(out.next().await.unwrap().is_err());
        assert!(out.next().await.is_none());
        settle().await;
        assert_eq!(gauge.now(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn what_goes_in_comes_out_in_order(
        sizes in proptest::collection::vec(0usize..50, 0..20),
        chunk in 0usize..40,
        max_bytes in 0usize..100,
        processors in 0usize..5,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let settings = Pipeline { chunk, max_bytes, processors, ordered: true };
        let got = runtime.block_on(async {
            let mut out = settings.process_iter(source(&sizes), |chunk: Bytes| async move {
                for _ in 0..chunk[0] % 4 {
                    tokio::task::yield_now().await;
                }
                Ok(chunk)
            });
            let mut got = Vec::new();
            while let Some(chunk) = out.next().await {
                got.extend_from_slice(&chunk.unwrap());
            }
            got
        });
        let expected: Vec<u8> = source(&sizes).flat_map(|part| part.unwrap().to_vec()).collect();
        prop_assert_eq!(got, expected);
    }
}

#[test]
fn failures_that_were_under_way_together_eject_once() {
    let balancer = Balancer::new(3);
    balancer.add("blip", 1.0, ());
    let leases: Vec<_> = (0..20).map(|_| balancer.pick(ms(0)).unwrap()).collect();
    for lease in leases {
        lease.finish(false, ms(100));
    }
    let error = balancer.pick(ms(100)).unwrap_err();
    assert_eq!(
        error,
        Error::NoExecutor {
            retry_after: ms(5_000)
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_hedge_that_is_never_late_still_replaces_a_failure() {
    let request = |attempt| async move { if attempt == 1 { Err(()) } else { Ok(attempt) } };
    let answer = hedge(std::time::Duration::MAX, 2, request).await;
    assert_eq!(answer, Ok(2));
}

/// How many of `picks` went where, each taking as long as the region says; failing ones fail.
fn visits(
    regions: &Regions<usize>,
    now: &mut Duration,
    picks: usize,
    millis: [Option<u64>; 3],
) -> [usize; 3] {
    let mut visits = [0; 3];
    for _ in 0..picks {
        let lease = regions.pick(*now).unwrap();
        let region = **lease.executor();
        visits[region] += 1;
        *now += ms(millis[region].unwrap_or(1));
        lease.finish(millis[region].is_some(), *now);
    }
    visits
}

#[test]
fn work_goes_to_the_region_that_answers_soonest() {
    let regions = Regions::new(1);
    assert!(matches!(regions.pick(ms(0)), Err(Error::NoExecutor { .. })));
    for (index, name) in ["eu", "us", "asia"].into_iter().enumerate() {
        regions.add(name, "1", 1.0, index);
        regions.add(name, "2", 1.0, index);
    }
    let mut now = ms(0);
    let first = visits(&regions, &mut now, 640, [Some(100), Some(40), Some(300)]);
    assert!(first[1] > 600 && first[0] > 5 && first[2] > 5, "{first:?}");
    let home = |regions: &Regions<usize>| {
        let home = regions.stats().into_iter().find(|region| region.home);
        home.map(|region| region.name)
    };
    assert_eq!(home(&regions).as_deref(), Some("us"));
    // Alike: nobody moves, however often they are a little ahead of each other.
    let alike = visits(&regions, &mut now, 640, [Some(36), Some(40), Some(300)]);
    assert!(alike[1] > 600, "{alike:?}");
    // One became much quicker, and is found.
    let moved = visits(&regions, &mut now, 640, [Some(300), Some(40), Some(5)]);
    assert!(moved[2] > 300, "{moved:?}");
    assert_eq!(home(&regions).as_deref(), Some("asia"));
    // It fails: the next best takes over, and it gets its work back.
    let failing = visits(&regions, &mut now, 200, [Some(300), Some(40), None]);
    assert!(failing[1] > 150 && failing[2] < 40, "{failing:?}");
    now += Duration::from_secs(600);
    visits(&regions, &mut now, 20, [Some(300), Some(40), Some(5)]);
    let back = visits(&regions, &mut now, 200, [Some(300), Some(40), Some(5)]);
    assert!(back[2] > 150, "{back:?}");
    assert!(regions.remove("asia") && !regions.remove("asia"));
    let gone = visits(&regions, &mut now, 200, [Some(300), Some(40), None]);
    assert!(gone[1] > 150 && gone[2] == 0, "{gone:?}");
    assert!(
        regions
            .stats()
            .iter()
            .all(|region| region.latency.is_some())
    );
}

#[test]
fn a_dead_region_keeps_no_other_from_being_looked_at() {
    let regions = Regions::new(1);
    for (index, name) in ["eu", "us", "asia"].into_iter().enumerate() {
        regions.add(name, "1", 1.0, index);
    }
    let mut now = ms(0);
    visits(&regions, &mut now, 640, [Some(40), Some(50), Some(60)]);
    // One is ejected for longer and longer, and fails whenever it is tried.
    visits(&regions, &mut now, 6_000, [Some(40), None, Some(60)]);
    let seen = visits(&regions, &mut now, 320, [Some(1), None, Some(60)]);
    assert!(seen[1] <= 1 && seen[2] >= 5, "{seen:?}");
}

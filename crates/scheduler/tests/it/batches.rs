//! Batching.

use std::sync::{Arc, Mutex};

use mainspring_scheduler::*;

use crate::support::*;

type Sent = Arc<Mutex<Vec<Vec<u64>>>>;

fn recorder(settings: BatchSettings, takes: u64) -> (Batcher<u64, u64>, Sent) {
    let sent = Sent::default();
    let record = sent.clone();
    let batcher = Batcher::new(settings, move |items: Vec<u64>| {
        record.lock().unwrap().push(items.clone());
        async move {
            tokio::time::sleep(ms(takes)).await;
            let result = |n: u64| {
                if n == 13 {
                    Err(Error::Failed {
                        message: "13".into(),
                    })
                } else {
                    Ok(n * 10)
                }
            };
            items.into_iter().map(result).collect()
        }
    });
    (batcher, sent)
}

fn spawn(batcher: &Batcher<u64, u64>, n: u64) -> tokio::task::JoinHandle<Result<u64, Error>> {
    let batcher = batcher.clone();
    tokio::spawn(async move { batcher.call(n).await })
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_out_when_it_is_full_or_its_time_is_up() {
    let (batcher, sent) = recorder(BatchSettings::default(), 5);
    let start = tokio::time::Instant::now();
    let calls: Vec<_> = (0..25).map(|n| spawn(&batcher, n)).collect();
    settle().await;
    assert_eq!(
        sent.lock()
            .unwrap()
            .iter()
            .map(Vec::len)
            .collect::<Vec<_>>(),
        [10, 10]
    );
    for (n, call) in calls.into_iter().enumerate() {
        let expected = if n == 13 {
            Err(Error::Failed {
                message: "13".into(),
            })
        } else {
            Ok(n as u64 * 10)
        };
        assert_eq!(call.await.unwrap(), expected);
    }
    assert_eq!(sent.lock().unwrap()[2], [20, 21, 22, 23, 24]);
    assert_eq!(start.elapsed(), ms(105));
    let stats = batcher.stats();
    assert_eq!(
        (stats.batches, stats.items, stats.in_flight, stats.waiting),
        (3, 25, 0, 0)
    );
}

/// strawberry#4379
#[tokio::test(start_paused = true)]
async fn callers_who_left_are_not_dispatched() {
    let (batcher, sent) = recorder(BatchSettings::default(), 50);
    let calls: Vec<_> = (0..8).map(|n| spawn(&batcher, n)).collect();
    settle().await;
    for call in &calls[..7] {
        call.abort();
    }
    tokio::time::sleep(ms(101)).await;
    assert_eq!(*sent.lock().unwrap(), [vec![7]]);
    assert_eq!(batcher.stats().abandoned, 7);
    // The last caller leaves while the batch runs: it is stopped.
    calls[7].abort();
    settle().await;
    assert_eq!((batcher.stats().stopped, batcher.stats().in_flight), (1, 0));
    // All callers of a batch leave before it goes out: nothing is sent.
    let gone: Vec<_> = (0..3).map(|n| spawn(&batcher, n)).collect();
    settle().await;
    gone.iter().for_each(tokio::task::JoinHandle::abort);
    tokio::time::sleep(ms(200)).await;
    assert_eq!(
        (sent.lock().unwrap().len(), batcher.stats().waiting),
        (1, 0)
    );
}

/// As above, at the last moment: the batch was put together but has not started.
#[tokio::test(start_paused = true)]
async fn callers_who_leave_before_the_batch_starts_are_not_in_it() {
    let settings = BatchSettings {
        max_items: 2,
        ..BatchSettings::default()
    };
    let (batcher, sent) = recorder(settings, 1);
    let mut first = Box::pin(batcher.call(1));
    let mut second = Box::pin(batcher.call(2));
    for call in [&mut first, &mut second] {
        let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx)));
        assert!(poll.await.is_pending());
    }
    drop(first);
    assert_eq!(second.await, Ok(20));
    assert_eq!(*sent.lock().unwrap(), [vec![2]]);
    assert_eq!(batcher.stats().abandoned, 1);
}

#[tokio::test(start_paused = true)]
async fn batches_are_bounded_in_number_and_urgent_items_bypass_them() {
    let settings = BatchSettings {
        max_items: 2,
        concurrency: 2,
        max_waiting: 5,
        ..BatchSettings::default()
    };
    let (batcher, sent) = recorder(settings, 1_000);
    let mut calls: Vec<_> = (0..9).map(|n| spawn(&batcher, n)).collect();
    settle().await;
    assert_eq!(
        (sent.lock().unwrap().len(), batcher.stats().waiting),
        (2, 5)
    );
    assert_eq!(
        spawn(&batcher, 9).await.unwrap(),
        Err(Error::Refused(Refused::Full { limit: 5 }))
    );
    let start = tokio::time::Instant::now();
    assert_eq!(batcher.urgent(99).await, Ok(990));
    assert_eq!(start.elapsed(), ms(1_000));
    assert_eq!(sent.lock().unwrap()[2], [99]);
    for (n, call) in calls.drain(..).enumerate() {
        assert_eq!(call.await.unwrap(), Ok(n as u64 * 10));
    }
    assert_eq!(start.elapsed(), ms(3_000));
}

#[tokio::test(start_paused = true)]
async fn an_idle_batcher_does_not_wait_when_told_so() {
    let (batcher, sent) = recorder(
        BatchSettings {
            flush_when_idle: true,
            ..BatchSettings::default()
        },
        10,
    );
    let start = tokio::time::Instant::now();
    let calls: Vec<_> = (0..6).map(|n| spawn(&batcher, n)).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(start.elapsed(), ms(20));
    assert_eq!(*sent.lock().unwrap(), [vec![0], vec![1, 2, 3, 4, 5]]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_panics_or_miscounts_fails_its_callers_only() {
    let batcher: Batcher<u64, u64> =
        Batcher::new(BatchSettings::default(), |items: Vec<u64>| async move {
            assert!(items[0] != 1, "bad batch");
            vec![Ok(1), Ok(2)]
        });
    assert_eq!(
        batcher.call(1).await,
        Err(Error::Panicked {
            message: "bad batch".into()
        })
    );
    let error = batcher.call(2).await.unwrap_err().to_string();
    assert!(error.contains("1 items gave 2 results"), "{error}");
    assert_eq!(batcher.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_type_is_an_error() {
    let mut queues = BatchQueues::new();
    queues.register("get", recorder(BatchSettings::default(), 1).0);
    assert_eq!(queues.call("get", 4).await, Ok(40));
    assert_eq!(queues.urgent("get", 4).await, Ok(40));
    assert_eq!(
        queues.call("put", 4).await,
        Err(Error::UnknownType { name: "put".into() })
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_full_batch_left_behind_waits_no_longer_than_promised() {
    let settings = BatchSettings {
        max_items: 2,
        concurrency: 1,
        ..BatchSettings::default()
    };
    let (batcher, sent) = recorder(settings, 50);
    let start = tokio::time::Instant::now();
    let calls: Vec<_> = (0..5).map(|n| spawn(&batcher, n)).collect();
    // Two at 0 ms, two at 50 ms; the last one's time is up at 100 ms.
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(start.elapsed(), ms(150));
    assert_eq!(*sent.lock().unwrap(), [vec![0, 1], vec![2, 3], vec![4]]);
}

/// However many wait when the runtime goes away, and wherever: they are told, and the stack stays flat.
#[test]
fn a_runtime_that_goes_away_ends_what_waits() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    };
    let settings = |max_items| BatchSettings {
        max_items,
        concurrency: 1,
        max_delay: std::time::Duration::from_secs(3_600),
        ..BatchSettings::default()
    };
    // One batch under way and many waiting, or none under way and one waiting for its time.
    for (max_items, callers) in [(1, 9_000), (2, 1)] {
        let (batcher, _) = recorder(settings(max_items), 3_600_000);
        let first = runtime();
        let mut calls: Vec<_> = (0..callers)
            .map(|n| {
                let batcher = batcher.clone();
                Box::pin(async move { batcher.call(n).await })
            })
            .collect();
        first.block_on(async {
            for call in &mut calls {
                let poll =
                    std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx)));
                assert!(poll.await.is_pending());
            }
            settle().await;
        });
        drop(first);
        runtime().block_on(async {
            for call in calls {
                let result = tokio::time::timeout(ms(300_000), call).await;
                assert!(result.expect("nobody will ever run it").is_err());
            }
        });
        assert_eq!((batcher.stats().in_flight, batcher.stats().waiting), (0, 0));
    }
}

//! Many tasks from an iterator, and workers that run many in a row.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mainspring_scheduler::*;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn tasks_of_an_iterator_are_taken_as_there_is_room() {
    let scheduler = Scheduler::builder().limit(3).build().unwrap();
    let (gauge, taken) = (Gauge::default(), Arc::new(Mutex::new(0usize)));
    let task = |n: u64| {
        *taken.lock().unwrap() += 1;
        let inside = gauge.clone();
        let future = async move {
            let _inside = inside.enter();
            tokio::time::sleep(ms(10 + n % 7)).await;
            if n.is_multiple_of(5) {
                return Err(Error::Stopped(Stop::Deadline));
            }
            assert!(n != 13, "unlucky");
            Ok(n)
        };
        (Submission::default(), future)
    };
    let mut results = scheduler.submit_each((0..400).map(task));
    assert_eq!(*taken.lock().unwrap(), 0);
    let mut seen = Vec::new();
    while let Some((position, result)) = results.next().await {
        seen.push(position);
        let ahead = *taken.lock().unwrap() - seen.len();
        assert!(ahead <= 3 + 128, "{ahead} are submitted at a limit of 3");
        match position {
            13 => assert!(matches!(result, Err(Error::Panicked { .. }))),
            n if n % 5 == 0 => assert!(result.is_err()),
            n => assert_eq!(result.unwrap(), n as u64),
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..400).collect::<Vec<_>>());
    assert_eq!(gauge.most(), 3);
    assert_idle(&scheduler);
}

#[tokio::test(start_paused = true)]
async fn tasks_that_run_for_long_do_not_keep_the_rest_from_being_taken() {
    let scheduler = Scheduler::builder().limit(400).build().unwrap();
    let task = |n: u64| {
        let future = async move {
            tokio::time::sleep(ms(if n < 300 { 3_600_000 } else { 1 })).await;
            Ok(n)
        };
        (Submission::default(), future)
    };
    let mut results = scheduler.submit_each((0..2_000).map(task));
    for _ in 300..2_000 {
        let (position, _) = results.next().await.unwrap();
        assert!(position >= 300, "a long one ended before the short ones");
    }
}

#[tokio::test]
async fn a_limit_that_stands_for_none_is_no_size() {
    let scheduler = Scheduler::builder().limit(usize::MAX).build().unwrap();
    let mut results =
        scheduler.submit_each((0..5).map(|n| (Submission::default(), async move { Ok(n) })));
    let mut sum = 0;
    while let Some((_, n)) = results.next().await {
        sum += n.unwrap();
    }
    assert_eq!(sum, 10);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_tasks_that_is_dropped_or_refused_leaves_nothing_behind() {
    let scheduler = Scheduler::builder().limit(2).max_queued(3).build().unwrap();
    let forever = || {
        (0..9).map(|_| {
            let never = std::future::pending::<Result<(), Error>>();
            (Submission::default(), never)
        })
    };
    let mut results = scheduler.submit_each(forever());
    // Places for more, but room for three.
    let (_, refused) = results.next().await.unwrap();
    assert!(matches!(refused, Err(Error::Refused(_))));
    assert_eq!(scheduler.stats().unfinished, 3);
    drop(results);
    settle().await;
    assert_idle(&scheduler);
    scheduler.close();
    let mut results = scheduler.submit_each(forever());
    let mut refused = 0;
    while let Some((_, result)) = results.next().await {
        assert!(result.is_err());
        refused += 1;
    }
    assert_eq!(refused, 9);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_dropped_late_stops_all_that_it_submitted() {
    let scheduler = Scheduler::builder().limit(2).build().unwrap();
    // The first batches end; of the later ones nothing does.
    let tasks = (0..600u64).map(|n| {
        let task = async move {
            if n >= 300 {
                std::future::pending::<()>().await;
            }
            Ok(n)
        };
        (Submission::default(), task)
    });
    let mut results = scheduler.submit_each(tasks);
    for _ in 0..300 {
        results.next().await.unwrap().1.unwrap();
    }
    settle().await;
    assert!(scheduler.stats().unfinished >= 64);
    drop(results);
    settle().await;
    assert_idle(&scheduler);
}

#[tokio::test(start_paused = true)]
async fn an_iterator_that_panics_loses_no_task_that_it_gave() {
    for unlucky in [0, 40, 100] {
        panics_at(unlucky).await;
    }
}

async fn panics_at(unlucky: usize) {
    let scheduler = Scheduler::builder().limit(2).build().unwrap();
    let calls = AtomicUsize::new(0);
    let tasks = (0..300usize).map(|n| {
        assert!(calls.fetch_add(1, Ordering::SeqCst) != unlucky, "once");
        (Submission::default(), async move { Ok(n) })
    });
    let mut results = scheduler.submit_each(tasks);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut next = Box::pin(results.next());
    assert!(catch_unwind(AssertUnwindSafe(|| next.as_mut().poll(&mut cx))).is_err());
    drop(next);
    let (mut positions, mut numbers) = (Vec::new(), Vec::new());
    while let Some((position, number)) = results.next().await {
        positions.push(position);
        numbers.push(number.unwrap());
    }
    positions.sort_unstable();
    numbers.sort_unstable();
    assert_eq!(positions, (0..299).collect::<Vec<_>>());
    // The one at which it panicked is all that is missing.
    assert_eq!(
        numbers,
        (0..300).filter(|&n| n != unlucky).collect::<Vec<_>>()
    );
    assert_idle(&scheduler);
}

/// How far `count` was when another task got the thread for the first time.
fn seen_by_another(count: &Arc<AtomicUsize>) -> tokio::task::JoinHandle<usize> {
    let count = count.clone();
    tokio::spawn(async move { count.load(Ordering::SeqCst) })
}

#[tokio::test(start_paused = true)]
async fn neither_a_worker_nor_a_stream_keeps_the_thread_to_itself() {
    let scheduler = Scheduler::builder().limit(1).build().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    for _ in 0..2_000 {
        let count = count.clone();
        let task = async move {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        scheduler
            .submit_detached(Submission::default(), task)
            .unwrap();
    }
    let seen = seen_by_another(&count).await.unwrap();
    assert!((1..1_000).contains(&seen), "{seen} tasks ran in a row");

    // Results of refused tasks are there at once.
    scheduler.close();
    count.store(0, Ordering::SeqCst);
    let seen = seen_by_another(&count);
    let refused = (0..2_000).map(|_| (Submission::default(), async { Ok(()) }));
    let mut results = scheduler.submit_each(refused);
    while results.next().await.is_some() {
        count.fetch_add(1, Ordering::SeqCst);
    }
    let seen = seen.await.unwrap();
    assert!(seen < 1_000, "{seen} results were given out in a row");
}

#[tokio::test(start_paused = true)]
async fn a_worker_forgets_why_its_last_task_was_stopped() {
    let scheduler = Scheduler::builder().limit(1).build().unwrap();
    let never = std::future::pending::<Result<(), Error>>();
    let stopped = scheduler.submit(Submission::default(), never).unwrap();
    let next = scheduler
        .submit(Submission::default(), async {
            tokio::task::yield_now().await;
            Ok(7)
        })
        .unwrap();
    settle().await;
    stopped.cancel();
    assert_eq!(stopped.await, Err(Error::Stopped(Stop::Cancelled)));
    assert_eq!(next.await, Ok(7));
    assert_idle(&scheduler);
}

#[tokio::test]
async fn a_refused_task_that_panics_when_it_is_dropped_is_refused_like_others() {
    let scheduler = Scheduler::builder().build().unwrap();
    scheduler.close();
    let mut results = scheduler.submit_each((0..10).map(|_| {
        (
            Submission::default(),
            Unruly::<Result<(), Error>>::default(),
        )
    }));
    for _ in 0..10 {
        let (_, result) = results.next().await.unwrap();
        assert!(matches!(result, Err(Error::Refused(Refused::Closed))));
    }
    assert!(results.next().await.is_none());
}

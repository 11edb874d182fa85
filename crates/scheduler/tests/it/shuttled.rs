//! Model-checked schedules: `RUSTFLAGS="--cfg shuttle" cargo test -p mainspring-scheduler --test it shuttled`.
//!
//! A lost wake-up shows as a deadlock, which the checker reports with the schedule.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use mainspring_scheduler::*;
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};

use crate::support::*;

const SCHEDULES: usize = 3_000;

fn check(scenario: impl Fn() + Clone + Send + Sync + 'static) {
    shuttle::check_random(scenario.clone(), SCHEDULES);
    shuttle::check_pct(scenario, SCHEDULES, 3);
}

/// A flag and who sleeps on it. The checker's own `block_on` polls once more after each wake-up, which would hide one
/// that is lost.
#[derive(Default)]
struct Sleeper {
    woken: shuttle::sync::Mutex<bool>,
    bell: shuttle::sync::Condvar,
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.bell.notify_one();
    }
}

fn strictly<T>(future: impl Future<Output = T>) -> T {
    let sleeper = Arc::new(Sleeper::default());
    let waker = Waker::from(sleeper.clone());
    let mut future = pin!(future);
    loop {
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        if let Poll::Ready(result) = polled {
            return result;
        }
        let mut woken = sleeper.woken.lock().unwrap();
        while !std::mem::take(&mut *woken) {
            woken = sleeper.bell.wait(woken).unwrap();
        }
    }
}

fn scheduler(limit: usize) -> Scheduler {
    // Time stands still.
    let builder = Scheduler::builder().limit(limit).clock(|| ms(0));
    builder.build().unwrap()
}

/// A caller that submits one task and waits for it.
fn caller(
    scheduler: &Scheduler,
    gauge: &Gauge,
    ended: &Arc<AtomicUsize>,
) -> JoinHandle<Result<(), Error>> {
    let (scheduler, gauge, ended) = (scheduler.clone(), gauge.clone(), ended.clone());
    spawn(async move {
        let task = async move {
            let _inside = gauge.enter();
            yield_now().await;
            Ok(())
        };
        let result = scheduler.submit(Submission::default(), task)?.await;
        ended.fetch_add(1, Ordering::SeqCst);
        result
    })
}

async fn idle(scheduler: &Scheduler) {
    while scheduler.stats().unfinished > 0 {
        yield_now().await;
    }
    let stats = scheduler.stats();
    assert_eq!((stats.running, stats.keys_in_use), (0, 0));
    let over = stats.succeeded + stats.failed + stats.cancelled;
    assert_eq!(stats.submitted, over, "{stats:?}");
}

#[test]
fn no_wake_up_is_lost_when_callers_leave_while_others_end() {
    check(|| {
        block_on(async {
            let (scheduler, gauge) = (scheduler(1), Gauge::default());
            let ended = Arc::default();
            let callers: Vec<_> = (0..4).map(|_| caller(&scheduler, &gauge, &ended)).collect();
            callers[1].abort();
            callers[2].abort();
            for (n, caller) in callers.into_iter().enumerate() {
                let result = caller.await;
                assert!([1, 2].contains(&n) || result.is_ok_and(|result| result.is_ok()));
            }
            idle(&scheduler).await;
            assert!(gauge.most() <= 1 && gauge.now() == 0);
        });
    });
}

#[test]
fn abort_return_resize_and_close_race() {
    check(|| {
        block_on(async {
            let (scheduler, gauge) = (scheduler(3), Gauge::default());
            let ended = Arc::new(AtomicUsize::new(0));
            let callers: Vec<_> = (0..4).map(|_| caller(&scheduler, &gauge, &ended)).collect();
            let resized = scheduler.clone();
            let resizer = spawn(async move {
                resized.set_limit(1);
                yield_now().await;
                resized.set_limit(2);
            });
            let closed = scheduler.clone();
            let closer = spawn(async move {
                yield_now().await;
                closed.close();
            });
            callers[3].abort();
            let mut answered = 0;
            for caller in callers {
                answered += match caller.await {
                    Ok(Ok(()) | Err(Error::Stopped(Stop::Closed))) => 1,
                    // Not taken in, or aborted before it was answered.
                    Ok(Err(Error::Refused(Refused::Closed))) | Err(_) => 0,
                    Ok(Err(other)) => panic!("{other}"),
                };
            }
            let _ = (resizer.await, closer.await);
            idle(&scheduler).await;
            let ended = ended.load(Ordering::SeqCst);
            // The aborted one may have been answered just before.
            assert!(answered == ended || answered + 1 == ended);
            assert!(gauge.most() <= 3 && gauge.now() == 0);
        });
    });
}

#[test]
fn a_stream_loses_no_result_and_leaves_nothing_when_dropped() {
    check(|| {
        block_on(async {
            let (scheduler, gauge) = (scheduler(2), Gauge::default());
            let inside = gauge.clone();
            let tasks = (0..4usize).map(move |n| {
                let inside = inside.clone();
                let task = async move {
                    let _inside = inside.enter();
                    yield_now().await;
                    Ok(n)
                };
                (Submission::default(), task)
            });
            let mut all = scheduler.submit_each(tasks.clone());
            let mut sum = 0;
            while let Some((position, n)) = strictly(all.next()) {
                assert_eq!(n, Ok(position));
                sum += position;
            }
            assert_eq!(sum, 6);
            let mut some = scheduler.submit_each(tasks);
            let _ = strictly(some.next());
            drop(some);
            idle(&scheduler).await;
            assert!(gauge.most() <= 2 && gauge.now() == 0);
        });
    });
}

#[test]
fn reservations_that_settle_and_drop_at_once_keep_the_books() {
    check(|| {
        let budget = Budget::new("all", 10);
        let spenders: Vec<_> = (0..3u64)
            .map(|n| {
                let session = budget.child("session", 8);
                shuttle::thread::spawn(move || {
                    let mut spent = 0;
                    for settles in [true, n == 0] {
                        let Ok(reservation) = session.reserve(4) else {
                            continue;
                        };
                        if settles {
                            reservation.settle(2 + n);
                            spent += 2 + n;
                        } else {
                            drop(reservation);
                        }
                    }
                    (session.stats(), spent)
                })
            })
            .collect();
        let carved = budget.carve("own", 3);
        let own = carved.as_ref().map_or(0, |carved| {
            let open = carved.reserve(2).unwrap();
            carved.close();
            open.settle(1);
            1
        });
        drop(carved);
        let mut sum = own;
        for spender in spenders {
            let (stats, spent) = spender.join().unwrap();
            assert_eq!((stats.reserved, stats.spent), (0, spent), "{stats:?}");
            sum += spent;
        }
        let stats = budget.stats();
        assert_eq!((stats.reserved, stats.spent), (0, sum), "{stats:?}");
        assert!(stats.spent <= stats.limit && stats.overdrafts == 0);
    });
}

//! Plain tasks, policies, tenants.

use std::sync::{Arc, Mutex};

use mainspring_scheduler::*;

use crate::support::*;

fn machine(policy: Policy) -> Machine {
    Machine::new(1, policy, ms(30_000))
}

/// Submits everything at once behind a running task; the order in which the machine starts them.
fn order(machine: &mut Machine, tasks: Vec<Submission>) -> Vec<usize> {
    let mut actions = Vec::new();
    let ids: Vec<TaskId> = tasks
        .into_iter()
        .map(|task| machine.submit(task, ms(0)).unwrap())
        .collect();
    machine.apply(Event::Tick, ms(0), &mut actions);
    let mut started = Vec::new();
    while let Some(action) = actions.pop() {
        if let Action::Start(id) = action {
            started.push(ids.iter().position(|&known| known == id).unwrap());
            machine.apply(Event::Finished(id, Verdict::Success), ms(0), &mut actions);
        }
    }
    started
}

fn task(kind: &str, tenant: &str, priority: i8) -> Submission {
    Submission {
        kind: kind.into(),
        tenant: tenant.into(),
        priority,
        ..Submission::default()
    }
}

#[test]
fn fifo_and_priority() {
    let tasks = || {
        (0..4)
            .map(|i| task("k", "t", [0, 3, -2, 3][i]))
            .collect::<Vec<_>>()
    };
    assert_eq!(order(&mut machine(Policy::Fifo), tasks()), [0, 1, 2, 3]);
    assert_eq!(order(&mut machine(Policy::Priority), tasks()), [1, 3, 0, 2]);
}

#[test]
fn shortest_first_learns_per_kind() {
    let mut machine = machine(Policy::ShortestFirst);
    let mut actions = Vec::new();
    for (kind, run) in [("slow", 5_000), ("quick", 5), ("middle", 800)] {
        let id = machine.submit(task(kind, "", 0), ms(0)).unwrap();
        machine.apply(Event::Tick, ms(0), &mut actions);
        machine.apply(Event::Finished(id, Verdict::Success), ms(run), &mut actions);
    }
    let kinds = ["slow", "middle", "quick", "slow", "quick"];
    let tasks = kinds.iter().map(|kind| task(kind, "", 0)).collect();
    assert_eq!(order(&mut machine, tasks), [2, 4, 1, 0, 3]);
}

#[test]
fn an_unknown_kind_counts_as_short_until_it_has_run_for_long() {
    let mut machine = machine(Policy::ShortestFirst);
    machine.apply(Event::Resize(1), ms(0), &mut Vec::new());
    let mut actions = Vec::new();
    let known = machine.submit(task("known", "", 0), ms(0)).unwrap();
    machine.apply(Event::Tick, ms(0), &mut actions);
    machine.apply(
        Event::Finished(known, Verdict::Success),
        ms(1_000),
        &mut actions,
    );
    // One of the unknown kind runs for 10 s already: those behind it go after the known kind.
    let runs = machine.submit(task("unknown", "", 0), ms(1_000)).unwrap();
    machine.apply(Event::Tick, ms(1_000), &mut actions);
    let queued =
        ["unknown", "known"].map(|kind| machine.submit(task(kind, "", 0), ms(11_000)).unwrap());
    actions.clear();
    machine.apply(
        Event::Finished(runs, Verdict::Cancelled),
        ms(11_000),
        &mut actions,
    );
    assert!(actions.contains(&Action::Start(queued[1])), "{actions:?}");
}

#[test]
fn round_robin_takes_turns_by_weight() {
    let mut machine = machine(Policy::RoundRobin);
    machine.set_tenant("b", 2.0, None);
    let tasks = (0..9)
        .map(|i| task("k", if i < 6 { "a" } else { "b" }, 0))
        .collect();
    let order = order(&mut machine, tasks);
    // a has one share, b two: after the first of each, two of b for every one of a.
    let by_b: Vec<usize> = order
        .iter()
        .enumerate()
        .filter(|(_, t)| **t >= 6)
        .map(|(at, _)| at)
        .collect();
    assert!(by_b.iter().all(|&at| at <= 4), "{order:?}");
}

#[test]
fn weights_of_the_adaptive_policy_add_up_and_follow_the_measures() {
    let mut machine = machine(Policy::Adaptive);
    let [short, varied, _] = machine.measures().weights();
    assert!(short > 0.99 && varied < 0.01);
    let tasks = (0..100)
        .map(|i| task("k", "t", if i % 2 == 0 { 4 } else { -4 }))
        .collect();
    order(&mut machine, tasks);
    let [short, varied, contended] = machine.measures().weights();
    assert!(varied > short * 0.9, "{short} {varied} {contended}");
    assert!((short + varied + contended - 1.0).abs() < 1e-9);
}

/// A policy that switched at the documented boundaries would swap the order back and forth here.
#[test]
fn the_adaptive_policy_does_not_flap_at_its_boundaries() {
    assert_eq!(Policy::default(), Policy::Adaptive);
    let mut machine = machine(Policy::default());
    let mut actions = Vec::new();
    let (mut now, mut last) = (0, None::<[f64; 3]>);
    for n in 0..2_000u64 {
        // Mean run time about 1 s, priority variance about 0.5, contention about 0.7.
        let priority = i8::from(n % 4 == 0) - i8::from(n % 4 == 1);
        let (runs, waits) = (if n % 2 == 0 { 900 } else { 1_100 }, n % 10 < 7);
        let id = machine.submit(task("k", "t", priority), ms(now)).unwrap();
        now += u64::from(waits);
        machine.apply(Event::Tick, ms(now), &mut actions);
        now += runs;
        machine.apply(Event::Finished(id, Verdict::Success), ms(now), &mut actions);
        let weights = machine.measures().weights();
        if let Some(last) = last.replace(weights).filter(|_| n > 100) {
            let measures = machine.measures();
            assert!((0.9..1.1).contains(&measures.mean_run), "{measures:?}");
            let moved = (0..3).map(|at| (weights[at] - last[at]).abs());
            assert!(moved.fold(0.0, f64::max) < 0.03, "{last:?} {weights:?}");
        }
    }
    let [short, varied, contended] = machine.measures().weights();
    assert!(
        short.min(varied).min(contended) > 0.25,
        "{short} {varied} {contended}"
    );
}

/// Shares are of cost, not of tasks.
#[test]
fn round_robin_counts_what_tasks_cost() {
    let mut machine = machine(Policy::RoundRobin);
    machine.set_tenant("large", 1.0, None);
    machine.set_tenant("small", 1.0, None);
    let mut tasks = Vec::new();
    for _ in 0..40 {
        let mut large = task("k", "large", 0);
        large.cost = 1_000;
        let mut small = task("k", "small", 0);
        small.cost = 100;
        tasks.extend([large, small]);
    }
    let order = order(&mut machine, tasks);
    // Of the first 22, two are large: as many tokens as the twenty small ones.
    let large = order[..22].iter().filter(|&&at| at % 2 == 0).count();
    assert!((2..=4).contains(&large), "{large} of {order:?}");
}

#[tokio::test(start_paused = true)]
async fn plain_tasks_give_their_result_and_stop_when_dropped() {
    let scheduler = Scheduler::builder().limit(2).build().unwrap();
    let gauge = Gauge::default();
    let sleep = |millis| {
        let gauge = gauge.clone();
        async move {
            let _inside = gauge.enter();
            tokio::time::sleep(ms(millis)).await;
            Ok::<_, Error>(millis)
        }
    };
    let first = scheduler.submit(Submission::default(), sleep(10)).unwrap();
    let second = scheduler
        .submit(Submission::default(), sleep(1_000))
        .unwrap();
    let third = scheduler.submit(Submission::default(), sleep(20)).unwrap();
    assert_eq!(first.await, Ok(10));
    drop(second);
    assert_eq!(third.await, Ok(20));
    assert_eq!(gauge.now(), 0);
    let fourth = scheduler
        .submit(Submission::default(), sleep(1_000))
        .unwrap();
    fourth.cancel();
    assert_eq!(fourth.await, Err(Error::Stopped(Stop::Cancelled)));
    let panics = scheduler.submit(Submission::default(), async { panic!("{}", "oh") });
    let result: Result<(), Error> = panics.unwrap().await;
    assert_eq!(
        result,
        Err(Error::Panicked {
            message: "oh".into()
        })
    );
    assert_idle(&scheduler);
    let done = Arc::new(Mutex::new(false));
    let flag = done.clone();
    let detached = async move {
        tokio::time::sleep(ms(5)).await;
        *flag.lock().unwrap() = true;
        Ok(())
    };
    scheduler
        .submit(Submission::default(), detached)
        .unwrap()
        .detach();
    tokio::time::sleep(ms(10)).await;
    assert!(*done.lock().unwrap());
}

#[tokio::test(start_paused = true)]
async fn detached_tasks_need_no_handle_and_can_be_stopped_by_id() {
    let scheduler = Scheduler::builder().limit(1).build().unwrap();
    let gauge = Gauge::default();
    let sleep = || {
        let gauge = gauge.clone();
        async move {
            let _inside = gauge.enter();
            tokio::time::sleep(ms(1_000)).await;
            Ok(())
        }
    };
    let ids = [(); 3].map(|()| {
        scheduler
            .submit_detached(Submission::default(), sleep())
            .unwrap()
    });
    settle().await;
    scheduler.cancel(&ids[..2]);
    scheduler.cancel(&ids[..1]);
    settle().await;
    assert_eq!((gauge.now(), scheduler.stats().cancelled), (1, 2));
    tokio::time::sleep(ms(1_001)).await;
    assert_eq!(
        (gauge.now(), gauge.most(), scheduler.stats().succeeded),
        (0, 1, 1)
    );
    assert_idle(&scheduler);
}

/// Ends, cancellations, timeouts and panics from four threads at once: every task is over once, nothing is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_that_end_and_cancel_at_once_lose_nothing() {
    let gauge = Gauge::default();
    let scheduler = Scheduler::builder().limit(5).build().unwrap();
    for round in 0..20 {
        let mut handles = Vec::new();
        for n in 0..200u64 {
            let gauge = gauge.clone();
            let mut random = fastrand::Rng::with_seed(round * 1_000 + n);
            let key = ["", "a", "a/b", "c", "d/e"][random.usize(..5)];
            let access = if random.bool() {
                Access::write(key)
            } else {
                Access::read(key)
            };
            let timeout = (random.u8(..4) == 0).then(|| ms(random.u64(0..3)));
            let submission = Submission {
                access,
                timeout,
                ..Submission::default()
            };
            let (yields, panics) = (random.u8(..20), random.u8(..20) == 0);
            let work = async move {
                let _inside = gauge.enter();
                for _ in 0..yields {
                    tokio::task::yield_now().await;
                }
                assert!(!panics, "planned");
                if yields == 19 {
                    std::future::pending().await
                } else {
                    Ok(n)
                }
            };
            let handle = scheduler.submit(submission, work).unwrap();
            // Those that never end are cancelled, and a few others as well.
            match random.u8(..4) {
                _ if yields == 19 => handles.push((handle, true)),
                0 => drop(handle),
                1 => handles.push((handle, true)),
                _ => handles.push((handle, false)),
            }
        }
        let cancel = tokio::spawn(async move {
            let mut ended = 0;
            for (handle, _) in handles.iter().filter(|(_, cancel)| *cancel) {
                handle.cancel();
                tokio::task::yield_now().await;
            }
            for (handle, _) in handles {
                let _ = handle.await;
                ended += 1;
            }
            ended
        });
        let ended = tokio::time::timeout(std::time::Duration::from_secs(300), cancel).await;
        assert!(ended.expect("a wake-up was lost").unwrap() > 0);
        while scheduler.stats().unfinished > 0 {
            tokio::time::sleep(ms(1)).await;
        }
        assert_eq!(gauge.now(), 0);
        assert!(gauge.most() <= 5);
        assert_idle(&scheduler);
    }
    let stats = scheduler.stats();
    assert_eq!(
        stats.submitted,
        stats.succeeded + stats.failed + stats.cancelled
    );
    assert_eq!(stats.submitted, 4_000);
}

#[test]
fn no_runtime_is_an_error_and_not_a_panic() {
    let scheduler = Scheduler::builder().build().unwrap();
    let result = scheduler.submit(Submission::default(), async { Ok(()) });
    assert_eq!(result.unwrap_err(), Error::NoRuntime);
    assert_idle(&scheduler);
}

#[tokio::test(start_paused = true)]
async fn a_session_has_its_own_limit_inside_the_common_one() {
    let gauge = Gauge::default();
    let toolbox = Toolbox::new()
        .with(sleeper("sleep", gauge.clone()))
        .unwrap();
    let scheduler = Scheduler::builder().toolbox(toolbox).build().unwrap();
    scheduler.set_tenant("narrow", 1.0, Some(2));
    let narrow = sleeps(6, 10)
        .into_iter()
        .map(|c| c.session("narrow"))
        .collect();
    let start = tokio::time::Instant::now();
    let outcomes = scheduler.run(narrow).await;
    assert_eq!(
        (outcomes.len(), gauge.most(), start.elapsed()),
        (6, 2, ms(30))
    );
    let mut run = scheduler.stream(
        sleeps(6, 10)
            .into_iter()
            .map(|c| c.session("narrow"))
            .collect(),
    );
    settle().await;
    scheduler.set_tenant("narrow", 1.0, None);
    let start = tokio::time::Instant::now();
    while run.next().await.is_some() {}
    assert_eq!((gauge.most(), start.elapsed()), (6, ms(10)));
    assert_idle(&scheduler);
}

#[test]
fn settings_of_zero_are_refused() {
    let error = Scheduler::builder().limit(0).build().unwrap_err();
    assert_eq!(error.to_string(), "setting limit: must be more than 0");
}

#[test]
fn sessions_without_settings_are_forgotten_when_the_table_is_full() {
    let mut machine = Machine::new(1, Policy::RoundRobin, ms(30_000));
    let mut actions = Vec::new();
    for n in 0..100_000 {
        let id = machine
            .submit(task("k", &format!("session {n}"), 0), ms(n))
            .unwrap();
        machine.apply(Event::Tick, ms(n), &mut actions);
        machine.apply(Event::Finished(id, Verdict::Success), ms(n), &mut actions);
        actions.clear();
    }
    // A session met after the table was full has a limit of its own again.
    machine.set_tenant("late", 1.0, Some(1));
    machine.apply(Event::Resize(10), ms(100_000), &mut actions);
    for _ in 0..3 {
        machine.submit(task("k", "late", 0), ms(100_000)).unwrap();
        machine.submit(task("k", "", 0), ms(100_000)).unwrap();
    }
    machine.apply(Event::Tick, ms(100_000), &mut actions);
    assert_eq!(
        machine.running(),
        4,
        "one of the late session, three of the unnamed one"
    );
}

/// The place of a task that was let in and then cancelled goes to the next one of its session.
#[test]
fn a_session_at_its_limit_loses_no_wake_up_when_its_next_task_is_cancelled() {
    let mut machine = Machine::new(2, Policy::Fifo, ms(30_000));
    machine.set_tenant("a", 1.0, Some(1));
    let mut actions = Vec::new();
    let mut submit = |machine: &mut Machine, tenant: &str| {
        let id = machine.submit(task("k", tenant, 0), ms(0)).unwrap();
        machine.apply(Event::Tick, ms(0), &mut actions);
        id
    };
    let first = submit(&mut machine, "a");
    let [second, third] = [(); 2].map(|()| submit(&mut machine, "a"));
    let other = submit(&mut machine, "b");
    assert_eq!(machine.running(), 2);
    machine.apply(Event::Resize(1), ms(0), &mut actions);
    machine.apply(
        Event::Finished(first, Verdict::Success),
        ms(1),
        &mut actions,
    );
    machine.apply(Event::Cancel(second), ms(2), &mut actions);
    actions.clear();
    machine.apply(
        Event::Finished(other, Verdict::Success),
        ms(3),
        &mut actions,
    );
    assert_eq!(actions, [Action::Start(third)]);
}

#[test]
fn a_dependency_that_is_over_or_unknown_is_refused() {
    let mut machine = Machine::new(1, Policy::Fifo, ms(30_000));
    let mut actions = Vec::new();
    let over = machine.submit(task("k", "", 0), ms(0)).unwrap();
    machine.apply(Event::Tick, ms(0), &mut actions);
    machine.apply(Event::Finished(over, Verdict::Success), ms(0), &mut actions);
    let running = machine.submit(task("k", "", 0), ms(0)).unwrap();
    machine.apply(Event::Tick, ms(0), &mut actions);
    let after = |ids: Vec<TaskId>| Submission {
        after: ids,
        ..Submission::default()
    };
    let refused = machine.submit(after(vec![running, over]), ms(0));
    assert_eq!(refused, Err(Refused::UnknownDependency { position: 1 }));
    assert!(machine.submit(after(vec![running]), ms(0)).is_ok());
    // Events of tasks that are over are ignored.
    let before = (machine.running(), machine.unfinished());
    for event in [
        Event::Finished(over, Verdict::Failure),
        Event::Cancel(over),
        Event::Deferred(over, ms(9)),
    ] {
        machine.apply(event, ms(1), &mut actions);
    }
    assert_eq!((machine.running(), machine.unfinished()), before);
}

/// What a refused future holds may itself call the scheduler when it is dropped.
#[test]
fn a_refused_task_is_not_dropped_under_the_lock() {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async {
            let builder = Scheduler::builder().limit(1).max_queued(2);
            let scheduler = builder.build().unwrap();
            let pending = std::future::pending::<Result<(), Error>>;
            let running = scheduler.submit(Submission::default(), pending()).unwrap();
            let queued = scheduler.submit(Submission::default(), pending()).unwrap();
            let refused = scheduler.submit(Submission::default(), queued);
            let full = Error::Refused(Refused::Full { limit: 2 });
            assert_eq!(refused.unwrap_err(), full);
            drop(running);
            settle().await;
            assert_idle(&scheduler);
        });
        done.send(()).unwrap();
    });
    let ended = ended.recv_timeout(std::time::Duration::from_secs(300));
    assert!(ended.is_ok(), "deadlock");
}

#[tokio::test(start_paused = true)]
async fn short_waits_under_a_far_deadline_leave_no_timers_behind() {
    let scheduler = Scheduler::builder().build().unwrap();
    let far = Submission {
        deadline: Some(ms(86_400_000)),
        ..Submission::default()
    };
    let _far = scheduler
        .submit(far, std::future::pending::<Result<(), Error>>())
        .unwrap();
    for _ in 0..500 {
        let soon = Submission {
            not_before: Some(scheduler.now() + ms(5)),
            ..Submission::default()
        };
        let soon = scheduler.submit(soon, async { Ok(()) }).unwrap();
        soon.await.unwrap();
    }
    let alive = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert!(alive < 10, "{alive} tasks are left");
}

#[tokio::test(start_paused = true)]
async fn a_detached_task_that_waits_outlives_the_last_handle() {
    let done = Arc::new(Mutex::new(false));
    let flag = done.clone();
    let scheduler = Scheduler::builder().build().unwrap();
    let later = Submission {
        not_before: Some(scheduler.now() + ms(100)),
        ..Submission::default()
    };
    let work = async move {
        *flag.lock().unwrap() = true;
        Ok(())
    };
    scheduler.submit_detached(later, work).unwrap();
    drop(scheduler);
    tokio::time::sleep(ms(200)).await;
    assert!(*done.lock().unwrap());
    assert_eq!(Arc::strong_count(&done), 1, "and is gone afterwards");
}

#[test]
fn a_task_that_only_waits_ends_with_its_runtime() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    };
    let scheduler = Scheduler::builder().build().unwrap();
    let later = Submission {
        not_before: Some(ms(3_600_000)),
        ..Submission::default()
    };
    let first = runtime();
    let handle = {
        let _inside = first.enter();
        scheduler.submit(later, async { Ok(()) }).unwrap()
    };
    first.block_on(settle());
    drop(first);
    let result = runtime().block_on(async {
        tokio::time::timeout(ms(300_000), handle)
            .await
            .expect("nobody will ever run it")
    });
    assert_eq!(result, Err(Error::Stopped(Stop::Closed)));
    assert_idle(&scheduler);
}

#[test]
fn timers_of_runs_that_are_over_do_not_pile_up() {
    let mut machine = Machine::new(1, Policy::Fifo, ms(30_000));
    let mut actions = Vec::new();
    let patient = Submission {
        timeout: Some(ms(3_600_000)),
        ..Submission::default()
    };
    let id = machine.submit(patient, ms(0)).unwrap();
    machine.apply(Event::Tick, ms(0), &mut actions);
    let mut sizes = Vec::new();
    for n in 1..=2_000 {
        machine.apply(Event::Deferred(id, ms(n)), ms(n), &mut actions);
        if n % 1_000 == 0 {
            sizes.push(format!("{machine:?}").len());
        }
    }
    assert!(sizes[1] < sizes[0] + 4_000, "{sizes:?}");
}

#[test]
fn a_full_table_of_sessions_is_swept_every_time_and_never_costs_the_unnamed_one_its_limit() {
    let mut machine = Machine::new(10, Policy::RoundRobin, ms(30_000));
    let mut actions = Vec::new();
    for n in 0..140_000 {
        let session = format!("session {n}");
        let id = machine.submit(task("k", &session, 0), ms(n)).unwrap();
        machine.apply(Event::Tick, ms(n), &mut actions);
        machine.apply(Event::Finished(id, Verdict::Success), ms(n), &mut actions);
        actions.clear();
    }
    machine.set_tenant("late", 1.0, Some(1));
    for n in 0..70_000 {
        machine.set_tenant(&format!("configured {n}"), 1.0, Some(1));
    }
    for _ in 0..3 {
        machine.submit(task("k", "late", 0), ms(140_000)).unwrap();
        machine.submit(task("k", "", 0), ms(140_000)).unwrap();
        machine.submit(task("k", "", 0), ms(140_000)).unwrap();
    }
    machine.apply(Event::Tick, ms(140_000), &mut actions);
    assert_eq!(machine.running(), 7, "one late, six unnamed");
}

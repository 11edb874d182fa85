//! Money, rates, retries.

use std::time::{Duration, SystemTime};

use mainspring_scheduler::*;

use crate::support::ms;

#[test]
fn a_day_starts_afresh() {
    let now = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(86_400 * 10));
    let clock = now.clone();
    let budget = Budget::daily("day", 100, move || {
        SystemTime::UNIX_EPOCH
            + Duration::from_secs(clock.load(std::sync::atomic::Ordering::SeqCst))
    });
    budget.reserve(100).unwrap().settle(100);
    assert!(budget.reserve(1).is_err());
    now.fetch_add(86_400, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(budget.left(), 100);
}

#[test]
fn levels_warn_at_80_and_95_percent_of_the_tightest_budget() {
    let global = Budget::new("global", 1_000);
    let session = global.child("session", 100);
    assert_eq!(session.level(), BudgetLevel::Normal);
    session.reserve(80).unwrap().settle(80);
    assert_eq!(
        (session.level(), global.level()),
        (BudgetLevel::Warn, BudgetLevel::Normal)
    );
    let open = session.reserve(15).unwrap();
    assert_eq!(session.level(), BudgetLevel::Critical);
    drop(open);
    assert_eq!(session.level(), BudgetLevel::Warn);
}

#[test]
fn children_that_are_gone_leave_their_spending_but_no_account() {
    let global = Budget::new("global", 1_000_000);
    for _ in 0..10_000 {
        global.child("session", 10).reserve(10).unwrap().settle(3);
    }
    assert_eq!(global.spent(), 30_000);
    let child = global.child("a", 10);
    let open = child.reserve(5).unwrap();
    drop(child);
    assert_eq!(global.stats().reserved, 5);
    open.settle(5);
    assert_eq!((global.stats().reserved, global.spent()), (0, 30_005));
    let closed = global.child("b", 10);
    closed.close();
    assert!(closed.reserve(1).is_err());
}

#[test]
fn an_overdraft_is_booked_as_it_is_and_counted() {
    let budget = Budget::new("b", 100);
    budget.reserve(60).unwrap().settle(90);
    assert_eq!((budget.left(), budget.stats().overdrafts), (10, 1));
}

#[test]
fn places_in_a_rate_are_handed_out_in_order() {
    let limiter = RateLimiter::new(100, 100.0)
        .unwrap()
        .longest_wait(ms(5_000));
    let large = limiter.reserve(400, ms(0)).unwrap();
    assert_eq!(large.ready_at(), ms(3_000));
    let small = limiter.reserve(1, ms(0)).unwrap();
    assert_eq!(small.ready_at(), ms(3_010));
    assert!(matches!(
        limiter.reserve(1_000, ms(0)),
        Err(Error::RateLimited { .. })
    ));
    drop(large);
    assert_eq!(limiter.available(ms(0)), 99);
    small.settle(1);
    assert_eq!(limiter.available(ms(10)), 100);
    assert!(RateLimiter::new(1, 0.0).is_err() && RateLimiter::new(1, f64::NAN).is_err());
}

#[test]
fn backoff_grows_within_its_bounds_and_its_wall_clock() {
    let retry = Retry {
        attempts: 100,
        ..Retry::default()
    };
    assert_eq!(retry.delay(1, ms(0), None, 1.0), Some(ms(500)));
    assert_eq!(retry.delay(1, ms(0), None, 0.0), Some(ms(250)));
    assert_eq!(retry.delay(3, ms(0), None, 1.0), Some(ms(2_000)));
    assert_eq!(retry.delay(90, ms(0), None, 1.0), Some(ms(60_000)));
    assert_eq!(retry.delay(1, ms(299_800), None, 1.0), None);
    assert_eq!(retry.delay(1, ms(0), Some(ms(400_000)), 0.0), None);
    assert_eq!(retry.delay(1, ms(0), Some(ms(7_000)), 0.0), Some(ms(7_000)));
    assert_eq!(Retry::never().delay(1, ms(0), None, 0.5), None);
}

#[test]
fn retry_after_is_read_in_both_forms_and_nothing_else() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    for text in [
        "",
        "-1",
        "1e9",
        "tomorrow",
        "NaN",
        "inf",
        ".",
        "Wed, 99 Foo 2026 07:28:00 GMT",
    ] {
        assert_eq!(RetryAfter::parse(text), None, "{text:?}");
    }
    assert_eq!(
        RetryAfter::parse(" 120 ").unwrap().delay(now),
        Duration::from_secs(120)
    );
    let huge = RetryAfter::parse(&"9".repeat(400));
    assert_eq!(huge.unwrap().delay(now), Duration::from_secs(86_400));
    let past = RetryAfter::parse("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
    assert_eq!(past.delay(now), Duration::ZERO);
}

#[test]
fn a_carved_budget_is_there_whatever_the_others_do_and_comes_back() {
    let global = Budget::new("global", 100);
    let agent = global.carve("agent", 60).unwrap();
    assert!(matches!(
        global.carve("other", 41),
        Err(Error::OverBudget { .. })
    ));
    global.reserve(40).unwrap().settle(40);
    assert_eq!((global.left(), agent.left()), (0, 60));
    let inner = agent.carve("inner", 20).unwrap();
    inner.reserve(10).unwrap().settle(10);
    let open = agent.reserve(30).unwrap();
    assert_eq!((inner.left(), agent.left(), global.spent()), (10, 10, 50));
    agent.close();
    assert!(agent.reserve(1).is_err());
    // 10 free ones went back at once; 30 are open, 10 with the inner one.
    assert_eq!((global.left(), global.stats().reserved), (10, 40));
    open.settle(5);
    drop(agent);
    assert_eq!((global.spent(), global.stats().reserved), (55, 35));
    drop(inner);
    assert_eq!(
        (global.spent(), global.stats().reserved, global.left()),
        (55, 0, 45)
    );
}

mod model {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Child(usize, u64),
        Carve(usize, u64),
        Reserve(usize, u64),
        Settle(usize, u64),
        DropReservation(usize),
        DropBudget(usize),
        Close(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (at, amount) = (0usize..6, 0u64..60);
        prop_oneof![
            1 => (at.clone(), amount.clone()).prop_map(|(a, n)| Step::Child(a, n)),
            1 => (at.clone(), amount.clone()).prop_map(|(a, n)| Step::Carve(a, n)),
            4 => (at.clone(), amount.clone()).prop_map(|(a, n)| Step::Reserve(a, n)),
            2 => (at.clone(), 0u64..20).prop_map(|(a, n)| Step::Settle(a, n)),
            1 => at.clone().prop_map(Step::DropReservation),
            1 => at.clone().prop_map(Step::DropBudget),
            1 => at.prop_map(Step::Close),
        ]
    }

    proptest! {
        /// However budgets are nested, moved, closed and dropped: nothing is overrun on the way, and in the end
        /// nothing is reserved and exactly what was settled is spent.
        #[test]
        fn no_money_appears_or_vanishes(steps in proptest::collection::vec(step(), 1..80)) {
            let root = Budget::new("root", 100);
            let mut budgets = vec![root.clone()];
            let mut open = Vec::new();
            let mut spent = 0;
            for step in steps {
                match step {
                    Step::Child(at, n) if at < budgets.len() => budgets.push(budgets[at].child("c", n)),
                    Step::Carve(at, n) if at < budgets.len() => budgets.extend(budgets[at].carve("v", n).ok()),
                    Step::Reserve(at, n) if at < budgets.len() => open.extend(budgets[at].reserve(n).ok()),
                    Step::Settle(at, n) if at < open.len() => {
                        let reservation = open.swap_remove(at);
                        let n = n.min(reservation.amount());
                        reservation.settle(n);
                        spent += n;
                    }
                    Step::DropReservation(at) if at < open.len() => drop(open.swap_remove(at)),
                    Step::DropBudget(at) if at < budgets.len() => drop(budgets.swap_remove(at)),
                    Step::Close(at) if at < budgets.len() => budgets[at].close(),
                    _ => {}
                }
                let stats = root.stats();
                prop_assert!(stats.spent + stats.reserved <= stats.limit);
                prop_assert_eq!(stats.spent, spent);
                prop_assert_eq!(stats.overdrafts, 0);
            }
            budgets.clear();
            open.clear();
            let stats = root.stats();
            prop_assert_eq!((stats.spent, stats.reserved), (spent, 0));
        }
    }
}

#[test]
fn a_wave_of_refusals_counts_once() {
    let cooldowns = Cooldowns::new();
    for _ in 0..10 {
        assert_eq!(cooldowns.refused("api", ms(0), None), ms(1_000));
    }
    assert_eq!(cooldowns.refused("api", ms(1_000), None), ms(3_000));
    // What the server says counts, whenever it says it.
    let after = Some(ms(9_000));
    assert_eq!(cooldowns.refused("api", ms(2_000), after), ms(11_000));
}

#[test]
fn the_largest_settings_do_not_overflow() {
    let most = Duration::MAX;
    let retry = Retry {
        attempts: 1_000,
        base: Duration::from_secs(1),
        longest: most,
        within: most,
        ..Retry::default()
    };
    assert!(retry.delay(900, ms(0), None, 1.0).is_some());
    assert_eq!(retry.delay(1, ms(0), Some(most), 1.0), Some(most));
    let limiter = RateLimiter::new(1, 1e-30).unwrap().longest_wait(most);
    match limiter.reserve(2, ms(0)) {
        Ok(reservation) => assert_eq!(reservation.ready_at(), most),
        Err(error) => assert!(matches!(error, Error::RateLimited { .. })),
    }
    let slow = RateLimiter::new(1, 0.5f64.powi(63))
        .unwrap()
        .longest_wait(most);
    assert_eq!(slow.reserve(3, ms(0)).unwrap().ready_at(), most);
    let budget = Budget::new("b", 10);
    let open = budget.reserve(5).unwrap();
    budget.reserve(5).unwrap().settle(u64::MAX);
    assert_eq!(budget.level(), BudgetLevel::Critical);
    drop(open);
}

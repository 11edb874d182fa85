//! The storm must find bugs that are planted in a simple pool, and none in the simple pool itself
//! nor in the pools of this crate.

use crate::simulator::schedule::{Subject, failure, trace};
use crate::simulator::simple::Bug;

fn is_found(bug: Bug) -> bool {
    (0..300).any(|seed| failure(seed, Subject::Simple(bug)).is_some())
}

#[test]
fn a_correct_pool_weathers_the_storm() {
    assert!(!is_found(Bug::None));
}

#[test]
fn planted_bugs_are_found() {
    for (name, bug) in Bug::PLANTED {
        assert!(is_found(bug), "{name}");
    }
}

#[test]
fn a_failing_seed_fails_again_with_the_same_trace() {
    let bug = Subject::Simple(Bug::LeakedPermit);
    let seed = (0..300).find(|seed| failure(*seed, bug).is_some()).unwrap();
    let lines = trace(seed, bug);
    assert!(lines.len() > 3, "{lines:?}");
    assert_eq!(lines, trace(seed, bug));
}

#[test]
fn the_pools_weather_six_hundred_storms() {
    for seed in 0..600 {
        if let Some(what) = failure(seed, Subject::Pools) {
            panic!("seed {seed}: {what}; {:#?}", trace(seed, Subject::Pools));
        }
    }
}

#[test]
fn a_seed_means_one_schedule() {
    for seed in 0..60 {
        let (one, two) = (trace(seed, Subject::Pools), trace(seed, Subject::Pools));
        assert_eq!(one, two, "seed {seed}");
    }
}

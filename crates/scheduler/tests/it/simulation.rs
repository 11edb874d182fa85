//! Seeded schedules with faults, and planted bugs that must be found.

use crate::simulated::{Faults, Plant, simulate};

#[test]
fn seeded_schedules_with_faults_keep_every_promise() {
    let mut scaled = 0;
    for seed in 0..400 {
        let summary = simulate(seed, Faults::all(), Plant::Nothing);
        scaled += summary.unwrap_or_else(|failure| panic!("{failure}")).scaled;
    }
    assert!(scaled > 0, "limits moved {scaled} times only");
}

#[test]
fn a_seed_reproduces_its_schedule() {
    for seed in [3, 77] {
        let run = || simulate(seed, Faults::all(), Plant::Nothing).unwrap();
        assert_eq!(run(), run());
    }
    assert!(Faults::parse("none").is_ok() && Faults::parse("429,hangs").is_ok());
    assert!(Faults::parse("gremlins").is_err());
    let found = |seed| {
        simulate(seed, Faults::all(), Plant::MissedConflict)
            .err()
            .map(|f| f.to_string())
    };
    assert_eq!(
        (0..20).map(found).collect::<Vec<_>>(),
        (0..20).map(found).collect::<Vec<_>>()
    );
}

#[test]
fn planted_bugs_are_found() {
    for (name, plant) in &Plant::ALL[1..] {
        let found = (0..400)
            .filter(|&seed| simulate(seed, Faults::all(), *plant).is_err())
            .count();
        println!("{name}: found by {found} of 400 seeds");
        assert!(found >= 4, "{name} was found by {found} of 400 seeds only");
    }
}

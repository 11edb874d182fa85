//! Calls and results: damage is named, and mended.

use crate::{compaction::generated, data};
use mainspring_compressor::{Problem, Role, Transcript, validate};
use mainspring_inputs::Profile;
use proptest::prelude::*;

/// The transcript without some items.
fn without(original: &Transcript, skip: &[usize]) -> Transcript {
    let mut out = Transcript::new(original.format());
    for (at, item) in original.items().iter().enumerate() {
        if !skip.contains(&at) {
            out.push(item.raw().clone()).unwrap();
        }
    }
    out
}

fn mended(transcript: &Transcript) -> Transcript {
    let (mended, _) = transcript.mend().unwrap();
    validate(&mended).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(mended.findings(), [], "nothing is left open");
    mended
}

/// Whether the session goes on after an item with something that is no result.
fn goes_on(t: &Transcript, at: usize) -> bool {
    t.items()[at + 1..]
        .iter()
        .any(|item| item.in_context() && item.role() != Role::ToolResults)
}

fn every_removal_is_named(name: &str, original: &Transcript) {
    assert_eq!(original.damage(), [], "{name}");
    for (at, item) in original.items().iter().enumerate() {
        if item.role() != Role::ToolResults || !goes_on(original, at) {
            continue;
        }
        let broken = without(original, &[at]);
        let damage = broken.damage();
        let first = damage
            .first()
            .unwrap_or_else(|| panic!("{name}: item {at} is not missed"));
        assert_eq!(first.problem, Problem::MissingResult, "{name} {at}");
        assert!(first.item < at, "{name} {at}: {first}");
        let id = item
            .results()
            .next()
            .and_then(|r| r.id.map(|id| id.into_owned()));
        assert_eq!(first.call_id, id.unwrap_or_default(), "{name} {at}");
        mended(&broken);
    }
}

#[test]
fn removing_any_result_of_a_recorded_session_is_damage() {
    for (name, import) in data::imported() {
        // The two fixtures are collections of records, full of interruptions.
        if name.ends_with("-small.jsonl") {
            continue;
        }
        for session in import.sessions() {
            every_removal_is_named(&format!("{name} {}", session.name), &session.transcript);
        }
    }
}

#[test]
fn removing_any_result_of_a_generated_session_is_damage() {
    every_removal_is_named("coding", &generated(3, 90, Profile::Coding));
    every_removal_is_named("support", &generated(3, 90, Profile::Support));
}

#[test]
fn recorded_sessions_are_mended_into_valid_requests() {
    for (_, import) in data::imported() {
        for session in import.sessions() {
            mended(&session.transcript);
        }
    }
}

/// openclaw#4739: an orphaned tool result bricks the session.
#[test]
fn openclaw_4739_an_orphaned_result_does_not_brick_the_session() {
    let original = generated(5, 40, Profile::Coding);
    let call = original
        .items()
        .iter()
        .position(|i| i.role() == Role::ToolCalls)
        .unwrap();
    let broken = without(&original, &[call]);
    assert!(validate(&broken).is_err());
    assert!(
        broken
            .damage()
            .iter()
            .any(|f| f.problem == Problem::OrphanResult)
    );
    let (mended, repairs) = broken.mend().unwrap();
    validate(&mended).unwrap();
    assert!(!repairs.is_empty());
    assert!(mended.items().iter().any(|item| item.role() == Role::Human));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_damage_is_mended(seed in 0u64..1000, drops in prop::collection::vec(0usize..60, 0..12)) {
        let original = generated(seed, 60, Profile::Coding);
        let broken = without(&original, &drops);
        let result = mended(&broken);
        for item in broken.items().iter().filter(|i| i.role() == Role::Human) {
            prop_assert!(result.items().iter().any(|kept| kept.raw() == item.raw()));
        }
    }

    #[test]
    fn any_order_is_mended(seed in 0u64..1000, swaps in prop::collection::vec((1usize..50, 1usize..50), 0..6)) {
        let original = generated(seed, 50, Profile::Coding);
        let mut raws: Vec<_> = original.items().iter().map(|i| i.raw().clone()).collect();
        for (a, b) in swaps {
            raws.swap(a, b);
        }
        let mut shuffled = Transcript::new(original.format());
        for raw in raws {
            shuffled.push(raw).unwrap();
        }
        mended(&shuffled);
    }
}

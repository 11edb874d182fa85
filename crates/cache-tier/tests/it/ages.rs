//! Entries of tiers judged by when they were born.

use crate::double::{Slow, run};
use crate::tiers::key;
use bytes::Bytes;
use mainspring_cache_tier::{BytesCodec, Label, Marks, TierEntry, TieredCache};

fn born(birth: u64) -> TierEntry {
    TierEntry {
        value: Bytes::from("v"),
        birth,
        expires_at: 0,
        soft_at: 0,
        signature: None,
        labels: vec![Label::scope("agent:7")],
    }
}

fn holding(slow: &Slow, entries: &[(&'static str, u64)], marks: Marks) {
    *slow.marks.lock().unwrap() = marks;
    let stored = entries
        .iter()
        .map(|(name, birth)| (key(name), born(*birth)));
    slow.entries.lock().unwrap().extend(stored);
}

#[test]
fn what_a_tier_forgot_makes_what_was_born_before_stale() {
    let slow = Slow::new();
    let marks = Marks {
        marks: Vec::new(),
        floor: 50,
        latest: 60,
    };
    holding(&slow, &[("before", 40), ("after", 50)], marks);
    let cache = run(TieredCache::<String>::builder(BytesCodec).tier(slow).open()).unwrap();
    let found = run(cache.get_many(&[key("before"), key("after")]));
    assert_eq!(found, [None, Some("v".to_owned())]);
}

#[test]
fn an_older_mark_of_one_tier_does_not_hide_what_another_forgot() {
    let (upper, lower) = (Slow::new(), Slow::new());
    let known = Marks {
        marks: vec![(Label::scope("agent:7"), 5)],
        floor: 0,
        latest: 5,
    };
    let forgotten = Marks {
        marks: Vec::new(),
        floor: 50,
        latest: 60,
    };
    holding(&upper, &[], known);
    holding(&lower, &[("a", 40)], forgotten);
    let builder = TieredCache::<String>::builder(BytesCodec)
        .tier(upper)
        .tier(lower);
    assert_eq!(run(run(builder.open()).unwrap().get(&key("a"))), None);
}

#[test]
fn what_was_born_after_the_clock_cannot_be_judged_and_is_a_miss() {
    let slow = Slow::new();
    holding(&slow, &[("a", 1 << 40)], Marks::default());
    let cache = run(TieredCache::<String>::builder(BytesCodec).tier(slow).open()).unwrap();
    run(cache.invalidate_scope("agent:7"));
    assert_eq!(run(cache.get(&key("a"))), None);
}

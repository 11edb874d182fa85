//! What a shard allocates, and gives back.

use super::*;
use crate::clock::Clock;
use std::time::Duration;

/// Bytes allocated beyond keys and values, for each of so many entries that came one after the other.
fn overhead(capacity: u64, inserts: u64, ttl: u64, weight: u32) -> f64 {
    let (epochs, clock) = (Epochs::new(2), Clock::new(|| Duration::from_secs(1)));
    let rules = Rules::new(&epochs, 0, &clock);
    let mut shard: Shard<u64, u64> = Shard::new(capacity * u64::from(weight), false);
    for key in 0..inserts {
        let hash = (key as u32).wrapping_mul(0x9E37_79B1);
        let mut terms = Terms {
            weight,
            deadline: ttl,
            own_time: false,
            birth: 0,
            labels: None,
            cost: 0,
            early: false,
        };
        shard.insert(hash, key, key, &mut terms, &rules, &mut Leavers::new());
    }
    assert_eq!(shard.len() as u64, capacity);
    let all = shard.table.allocation_size()
        + shard.slab.allocated()
        + shard.policy.allocated()
        + shard.tags.capacity() * size_of::<Tag>()
        + shard.checked.capacity() * 8
        + shard.accessed.capacity() * 8;
    all as f64 / capacity as f64 - 16.0
}

#[test]
fn what_is_removed_out_of_order_leaves_a_bounded_number_of_slots() {
    let (epochs, clock) = (Epochs::new(2), Clock::new(|| Duration::from_secs(1)));
    let rules = Rules::new(&epochs, 0, &clock);
    let mut shard: Shard<u64, u64> = Shard::new(1_000, false);
    let mut resident = std::collections::VecDeque::new();
    for key in 0..50_000_u64 {
        let hash = (key as u32).wrapping_mul(0x9E37_79B1);
        let mut terms = Terms {
            weight: 1,
            deadline: 0,
            own_time: false,
            birth: 0,
            labels: None,
            cost: 0,
            early: false,
        };
        shard.insert(hash, key, key, &mut terms, &rules, &mut Leavers::new());
        resident.push_back((key, hash));
        // Never the oldest, so that every removal leaves a link behind.
        let (key, hash) = match resident.len() {
            ..200 => continue,
            _ => resident.remove(1 + key as usize % 150).unwrap(),
        };
        let (index, _) = shard.find(hash, &key).unwrap();
        assert_eq!(
            shard.detach(index, EvictionCause::Removed),
            Some((key, key))
        );
    }
    assert_eq!(shard.len(), 199);
    assert!(shard.slab.slots() < 300, "{}", shard.slab.slots());
    for (key, hash) in resident {
        assert!(shard.find(hash, &key).is_some(), "{key}");
    }
    assert_eq!(shard.weight(), 199);
}

#[test]
fn an_entry_takes_at_most_40_bytes_beyond_its_key_and_value() {
    // From just below to just above the sizes at which the tables double.
    for capacity in [
        900, 1_000, 1_500, 7_000, 7_200, 14_300, 14_400, 20_000, 28_700,
    ] {
        let full = overhead(capacity, 5 * capacity, 0, 1);
        assert!(full <= 36.0, "{capacity}: {full}");
        let timed = overhead(capacity, 5 * capacity, 1 << 40, 1);
        assert!(timed <= 36.0, "{capacity}: {timed}");
    }
    let weighed = overhead(1 << 14, 5 << 14, 0, 3);
    assert!(weighed <= 60.0, "{weighed}");
}

//! Values and names as bytes, and values that have none.

use crate::double::{Hands, Slow, run};
use crate::tiers::{key, load, plain};
use bytes::Bytes;
use mainspring_cache_tier::{Codec, Error, Key, Label, TierEntry, TieredCache};
use std::time::Duration;

struct Odd;

impl Codec<String> for Odd {
    fn encode(&self, value: &String) -> Result<Bytes, Error> {
        if value == "unwritable" {
            Err(Error::codec("no bytes for it"))
        } else {
            Ok(Bytes::from(value.clone()))
        }
    }

    fn decode(&self, bytes: Bytes) -> Result<String, Error> {
        let text = String::from_utf8(bytes.to_vec()).map_err(Error::codec)?;
        if text == "unreadable" {
            Err(Error::codec("no value in it"))
        } else {
            Ok(text)
        }
    }
}

#[test]
fn what_the_codec_refuses_is_a_miss_below_and_an_error_of_the_writer() {
    let slow = Slow::new();
    let cache = run(TieredCache::<String>::builder(Odd)
        .tier(slow.clone())
        .open())
    .unwrap();
    run(cache.insert(&key("a"), "old".into(), &plain())).unwrap();
    assert!(matches!(
        run(cache.insert(&key("a"), "unwritable".into(), &plain())),
        Err(Error::Codec(_))
    ));
    assert_eq!(run(cache.get(&key("a"))).as_deref(), Some("unwritable"));
    cache.clear_memory();
    assert_eq!(
        run(cache.get(&key("a"))),
        None,
        "nothing older stayed below"
    );
    run(cache.insert(&key("b"), "unreadable".into(), &plain())).unwrap();
    cache.clear_memory();
    assert_eq!(run(cache.get(&key("b"))), None);
    assert_eq!(cache.stats().undecodable, 1);
}

#[test]
fn an_entry_survives_its_encoding_and_damage_is_noticed_at_every_byte() {
    let entry = TierEntry {
        value: Bytes::from_static(b"some value"),
        birth: 3,
        expires_at: 4,
        soft_at: 5,
        signature: Some(6),
        labels: vec![Label::tag("t"), Label::scope("s")],
    };
    let bytes = entry.encode().unwrap();
    assert_eq!(TierEntry::decode(&bytes).unwrap(), entry);
    for at in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 0x10;
        assert!(
            matches!(
                TierEntry::decode(&damaged.into()),
                Err(Error::Damaged { .. })
            ),
            "byte {at}"
        );
        assert!(
            TierEntry::decode(&bytes.slice(..at)).is_err(),
            "cut at {at}"
        );
    }
}

#[test]
fn the_names_of_labels_and_keys_are_stable() {
    // What a tier stored under these must be found by every later version.
    let digest = Key::new("agent:7", "x").digest();
    let known = (
        9_573_613_483_761_527_030,
        11_780_352_501_377_012_025,
        81_861_258_532_787_250_480_523_176_342_194_479_686,
    );
    assert_eq!(
        (
            Label::tag("config").to_u64(),
            Label::scope("agent:7").to_u64(),
            digest
        ),
        known
    );
}

#[test]
fn a_loaded_value_without_bytes_leaves_nothing_older_below() {
    let (hands, slow) = (Hands::default(), Slow::new());
    let builder = TieredCache::<String>::builder(Odd)
        .clock(hands.clock())
        .tier(slow);
    let cache = run(builder.open()).unwrap();
    let (name, options) = (key("a"), plain().soft_ttl(Duration::from_secs(10)));
    run(cache.insert(&name, "old".into(), &options)).unwrap();
    hands.advance(Duration::from_secs(10));
    let fetched = run(cache.get_or_try_load(&name, &options, || load("unwritable"))).unwrap();
    assert_eq!(fetched.value, "unwritable");
    cache.clear_memory();
    assert_eq!(run(cache.get(&name)), None);
}

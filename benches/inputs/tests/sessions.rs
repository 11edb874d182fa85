//! What the generator promises: frozen bytes, exact lengths, whole exchanges, realistic sizes.

use std::collections::HashSet;

use mainspring_inputs::{Profile, SessionSpec, generate};
use serde_json::Value;

const PROFILES: [Profile; 4] = [
    Profile::Coding,
    Profile::Support,
    Profile::Incompressible,
    Profile::Adversarial,
];

fn fnv(messages: &[String]) -> u64 {
    messages
        .iter()
        .flat_map(|m| m.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[test]
fn the_same_seed_gives_the_same_bytes_for_ever() {
    let digests: Vec<u64> = PROFILES
        .iter()
        .map(|&profile| {
            fnv(&generate(&SessionSpec {
                seed: 7,
                messages: 200,
                profile,
            }))
        })
        .collect();
    assert_eq!(
        digests, FROZEN,
        "a frozen generator changed: every recorded figure would move"
    );
}

const FROZEN: [u64; 4] = [
    1404517733778868600,
    7054234743527249926,
    17029909343439012066,
    13514131205110027081,
];

#[test]
fn a_session_has_exactly_the_messages_asked_for_and_every_call_its_result() {
    for profile in PROFILES {
        for messages in [0, 1, 2, 3, 4, 5, 17, 200] {
            let session = generate(&SessionSpec {
                seed: 3,
                messages,
                profile,
            });
            assert_eq!(session.len(), messages, "{profile:?}");
            let mut open = HashSet::new();
            for raw in &session {
                let message: Value = serde_json::from_str(raw).expect("valid JSON");
                match message["role"].as_str() {
                    Some("tool") => assert!(open.remove(message["tool_call_id"].as_str().unwrap())),
                    _ => assert!(
                        open.is_empty(),
                        "a message came between a call and its result"
                    ),
                }
                for call in message["tool_calls"].as_array().into_iter().flatten() {
                    open.insert(call["id"].as_str().unwrap().to_owned());
                }
            }
            assert!(
                open.is_empty(),
                "{profile:?} {messages}: calls without results"
            );
        }
    }
}

#[test]
fn sizes_are_those_of_recorded_sessions() {
    let session = generate(&SessionSpec::coding(1, 1_000));
    let bytes: usize = session.iter().map(String::len).sum();
    assert!(
        (900_000..2_600_000).contains(&bytes),
        "{bytes} bytes in 1,000 messages"
    );
}

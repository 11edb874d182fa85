//! A context survives its process.

use crate::compaction::generated;
use mainspring_compressor::{Budget, Compactor, Context, Error, Estimate, Format};
use mainspring_inputs::Profile;
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

fn filled(seed: u64, messages: usize) -> Context {
    let compactor = Compactor::default();
    let mut context = Context::new(
        Format::OpenAiChat,
        Budget::new(8_000),
        Arc::new(Estimate::new()),
    );
    for item in generated(seed, messages, Profile::Coding).items() {
        compactor.append(&mut context, item.raw().clone()).unwrap();
    }
    context.mark_sent();
    context
}

/// claude-code#43657: resume moves blocks and breaks the prompt prefix.
#[test]
fn claude_code_43657_resume_sends_the_same_bytes() {
    let context = filled(1, 200);
    assert!(context.stats().compactions > 0);
    let saved = context.save();
    let resumed = Context::resume(saved.clone(), Arc::new(Estimate::new())).unwrap();
    assert!(resumed.items().eq(context.items()));
    assert_eq!(resumed.stats(), context.stats());
    assert_eq!(resumed.cache_report().first_divergent_byte, None);
    assert_eq!(resumed.cache_report().new_tokens, 0);
    assert!(resumed.save() == saved);
}

#[test]
fn a_resumed_context_goes_on_as_the_original_would() {
    let compactor = Compactor::default();
    let mut context = filled(2, 120);
    let mut resumed = Context::resume(context.save(), Arc::new(Estimate::new())).unwrap();
    for item in generated(9, 120, Profile::Coding).items() {
        compactor.append(&mut context, item.raw().clone()).unwrap();
        compactor.append(&mut resumed, item.raw().clone()).unwrap();
    }
    assert!(resumed.items().eq(context.items()));
    assert!(resumed.save() == context.save());
}

static SMALL: LazyLock<Vec<u8>> = LazyLock::new(|| filled(3, 24).save());

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn damaged_bytes_are_refused(at in 0usize..4000, with in 1u8..=255) {
        let mut saved = SMALL.clone();
        let at = at % saved.len();
        saved[at] ^= with;
        let result = Context::resume(saved, Arc::new(Estimate::new()));
        prop_assert!(matches!(result, Err(Error::Malformed { .. })), "{at}");
    }

    #[test]
    fn cut_bytes_are_refused(keep in 0usize..4000) {
        let saved = SMALL.clone();
        let keep = keep % saved.len();
        let result = Context::resume(saved[..keep].to_vec(), Arc::new(Estimate::new()));
        prop_assert!(result.is_err());
    }
}

/// The file with other bytes and a checksum that fits them.
fn forged(saved: &[u8], edit: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut saved = saved.to_vec();
    edit(&mut saved[32..]);
    let hash = xxhash_rust::xxh3::xxh3_64(&saved[32..]);
    saved[24..32].copy_from_slice(&hash.to_le_bytes());
    saved
}

/// Reads it and goes on, if it can be read.
fn go_on(saved: Vec<u8>) -> bool {
    let Ok(mut context) = Context::resume(saved, Arc::new(Estimate::new())) else {
        return false;
    };
    let compactor = Compactor::default();
    for item in generated(9, 6, Profile::Coding).items() {
        let _ = compactor.append(&mut context, item.raw().clone());
    }
    let _ = compactor.compact(&mut context);
    context.mark_sent();
    Context::resume(context.save(), Arc::new(Estimate::new())).is_ok()
}

#[test]
fn forged_counts_are_refused() {
    assert!(go_on(forged(&SMALL, |_| {})));
    // The most tokens ever, the number of the next item, and the compactions so far.
    for at in [17, 25, 33] {
        let saved = forged(&SMALL, |payload| payload[at..at + 8].fill(0xff));
        let result = Context::resume(saved, Arc::new(Estimate::new()));
        assert!(matches!(result, Err(Error::Malformed { .. })), "{at}");
    }
    // Ids would be given twice.
    let saved = forged(&SMALL, |payload| payload[25..33].fill(0));
    assert!(Context::resume(saved, Arc::new(Estimate::new())).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn forged_bytes_do_no_harm(at in any::<prop::sample::Index>(), with in any::<u8>(), len in 1usize..9) {
        go_on(forged(&SMALL, |payload| {
            let at = at.index(payload.len());
            let to = payload.len().min(at + len);
            payload[at..to].fill(if with < 128 { 0xff } else { with });
        }));
    }
}

/// Written by the first version of the format.
const V1: &[u8] = include_bytes!("../fixtures/context-v1.bin");

#[test]
fn a_context_of_version_1_is_read_and_goes_on() {
    let mut context = Context::resume(V1, Arc::new(Estimate::new())).unwrap();
    assert!(context.stats().compactions > 0);
    let sent: Vec<_> = context.items().cloned().collect();
    assert_eq!(context.cache_report().first_divergent_byte, None);
    let saved = context.save();
    let again = Context::resume(saved.clone(), Arc::new(Estimate::new())).unwrap();
    assert!(again.items().eq(sent.iter()));
    assert!(again.save() == saved);
    let compactor = Compactor::default();
    let before = context.stats().compactions;
    for item in generated(9, 40, Profile::Coding).items() {
        let _ = compactor.append(&mut context, item.raw().clone());
    }
    assert!(context.stats().compactions > before);
    assert!(Context::resume(context.save(), Arc::new(Estimate::new())).is_ok());
}

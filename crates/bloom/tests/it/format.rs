//! Stored bytes: read back as they were, refused when hostile.

use mainspring_bloom::{
    BloomBuilder, BloomFilter, BloomView, ClaimFilter, Error, KeyHash, ScalableBloomFilter,
};
use proptest::prelude::*;

fn stored() -> Vec<u8> {
    let mut filter = BloomBuilder::new(200).seed(11).build().unwrap();
    filter.insert_many(0..200_u64);
    filter.to_bytes()
}

/// The header's checksum put right again after a change, as a malicious writer would.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = KeyHash::default().hash(&bytes[..88]).to_le_bytes();
    bytes[88..96].copy_from_slice(&sum);
    bytes
}

fn refused(bytes: &[u8]) -> bool {
    BloomView::new(bytes)
        .and_then(|view| view.verify())
        .is_err()
        && BloomFilter::from_bytes(bytes).is_err()
        && ClaimFilter::from_bytes(bytes).is_err()
        && ScalableBloomFilter::from_bytes(bytes).is_err()
}

#[test]
fn what_was_written_is_read() {
    let bytes = stored();
    let filter = BloomFilter::from_bytes(&bytes).unwrap();
    let view = BloomView::new(&bytes).unwrap();
    view.verify().unwrap();
    assert!((0..200_u64).all(|key| filter.contains(&key) && view.contains(&key)));
    assert_eq!(filter.to_bytes(), bytes);
    assert_eq!(view.to_filter().unwrap(), filter);
    assert_eq!(view.stats(), filter.stats());
    assert_eq!(view.key_hash().seed(), 11);
    assert_eq!(
        (view.fill(), view.estimated_count()),
        (filter.fill(), filter.estimated_count())
    );
    let mut written = Vec::new();
    filter.write_to(&mut written).unwrap();
    assert_eq!(written, bytes);
}

#[test]
fn a_view_needs_no_alignment() {
    let bytes = stored();
    for shift in 0..33 {
        let moved = [vec![0; shift], bytes.clone()].concat();
        let view = BloomView::new(&moved[shift..]).unwrap();
        assert!((0..200_u64).all(|key| view.contains(&key)));
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = stored();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(refused(&damaged), "bit {bit}");
    }
}

#[test]
fn every_truncation_and_every_extra_byte_is_noticed() {
    let bytes = stored();
    assert!((0..bytes.len()).all(|len| refused(&bytes[..len])));
    assert!(refused(&[bytes.as_slice(), &[0]].concat()));
}

#[test]
fn hostile_headers_with_a_right_checksum_are_refused() {
    let bytes = stored();
    let huge = u64::MAX.to_le_bytes();
    let changes: [(usize, &[u8]); 14] = [
        (8, &[0, 0]),
        (10, &[9]),
        (11, &[0]),
        (11, &[77]),
        (12, &[0]),
        (12, &[200]),
        (13, &[1]),
        (24, &huge),
        (24, &[0; 8]),
        (40, &[0; 8]),
        (48, &huge),
        (48, &[0; 8]),
        (56, &huge),
        (70, &[1]),
    ];
    for (at, change) in changes {
        let mut hostile = bytes.clone();
        hostile[at..at + change.len()].copy_from_slice(change);
        let hostile = resealed(hostile);
        assert!(BloomView::new(&hostile).is_err(), "{change:?} at {at}");
        assert!(refused(&hostile), "{change:?} at {at}");
    }
    // Units and length that agree with each other, but not with the bytes at hand.
    let mut hostile = bytes.clone();
    hostile[24..32].copy_from_slice(&(1_u64 << 31).to_le_bytes());
    hostile[56..64].copy_from_slice(&(32_u64 << 31).to_le_bytes());
    assert!(refused(&resealed(hostile)));
}

#[test]
fn a_newer_version_and_another_kind_are_named() {
    let mut newer = stored();
    newer[8] = 2;
    assert_eq!(
        BloomFilter::from_bytes(&newer),
        Err(Error::UnsupportedVersion {
            found: 2,
            supported: 1
        })
    );
    let claims = ClaimFilter::with_capacity_and_fpr(10, 0.01)
        .unwrap()
        .to_bytes();
    let error = BloomFilter::from_bytes(&claims).unwrap_err();
    assert_eq!(
        error,
        Error::WrongKind {
            found: "claim",
            wanted: "split-block"
        }
    );
    assert!(error.to_string().contains("open them as such"));
    let error = BloomFilter::from_bytes(b"something else altogether, and long enough to have been a header, had it been meant as one of ours").unwrap_err();
    assert!(matches!(error, Error::Damaged { offset: 0, .. }), "{error}");
}

#[test]
fn a_counter_at_its_limit_does_no_harm() {
    let mut bytes = stored();
    bytes[32..48].fill(0xff);
    let mut filter = BloomFilter::from_bytes(&resealed(bytes)).unwrap();
    filter.insert("one more");
    filter.insert_many(["and", "more"]);
    let _ = filter.stats();
}

proptest! {
    #[test]
    fn no_bytes_bring_it_down(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(refused(&bytes));
    }

    #[test]
    fn no_sealed_header_brings_it_down(
        changes in proptest::collection::vec((8_usize..88, any::<u8>()), 1..12), kind in 1_u8..4, asked: u64,
    ) {
        let mut growing = ScalableBloomFilter::with_capacity_and_fpr(10, 0.01).unwrap();
        growing.insert_many(0..40_u64).unwrap();
        for original in [stored(), ClaimFilter::with_capacity_and_fpr(50, 0.1).unwrap().to_bytes(), growing.to_bytes()] {
            let mut bytes = original;
            bytes[10] = kind;
            for &(at, value) in &changes {
                bytes[at] = value;
            }
            let bytes = resealed(bytes);
            if let Ok(view) = BloomView::new(&bytes) {
                let _ = (view.contains(&asked), view.estimated_count(), view.estimated_fpr(), view.verify());
            }
            if let Ok(mut filter) = BloomFilter::from_bytes(&bytes) {
                prop_assert!(!filter.insert(&asked) || filter.contains(&asked));
            }
            if let Ok(claims) = ClaimFilter::from_bytes(&bytes) {
                let _ = (claims.claim(&asked), claims.estimated_fpr());
            }
            if let Ok(mut growing) = ScalableBloomFilter::from_bytes(&bytes) {
                let _ = (growing.insert(&asked), growing.stats(), growing.estimated_fpr());
            }
        }
    }
}

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
    assert_eq!(view.key_hash().seed(), 11);
    assert_eq!(
        (view.fill(), view.estimated_count()),
        (filter.fill(), filter.estimated_count())
    );
    let mut written = Vec::new();
    filter.write_to(&mut written).unwrap();
    assert_eq!(written, bytes);
}

/// The header tells the estimate of the bits it stands before; a view tells what the header says,
/// whoever wrote it, and a filter, which counts nothing, tells none.
#[test]
fn the_header_tells_the_estimate_and_the_view_what_the_header_says() {
    let bytes = stored();
    let filter = BloomFilter::from_bytes(&bytes).unwrap();
    let count = |bytes: &[u8]| u64::from_le_bytes(bytes[32..40].try_into().unwrap());
    assert!((190..=210).contains(&count(&bytes)), "{}", count(&bytes));
    assert_eq!(count(&bytes), filter.estimated_count());

    let mut counted = bytes.clone();
    counted[32..40].copy_from_slice(&198_u64.to_le_bytes());
    let counted = resealed(counted);
    let view = BloomView::new(&counted).unwrap();
    assert_eq!(view.stats().inserted, Some(198));
    let read = BloomFilter::from_bytes(&counted).unwrap();
    assert_eq!(read, filter);
    assert_eq!(read.to_bytes(), bytes, "the estimate, not the old count");

    for stats in [filter.stats(), filter.view().stats()] {
        assert_eq!(stats.inserted, None);
        assert_eq!(
            (stats.bytes, stats.capacity, stats.target_fpr),
            (view.stats().bytes, 200, 0.01)
        );
    }
    let mut full = BloomFilter::with_capacity_and_fpr(1, 0.5).unwrap();
    full.insert_many(0..10_000_u64);
    assert_eq!(count(&full.to_bytes()), u64::MAX);
    assert_eq!(BloomFilter::from_bytes(&full.to_bytes()).unwrap(), full);
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
fn every_flipped_bit_of_the_other_kinds_is_noticed() {
    let claims = ClaimFilter::with_capacity_and_fpr(20, 0.01).unwrap();
    claims.claim("kept");
    let claims = claims.to_bytes();
    let mut growing = ScalableBloomFilter::with_capacity_and_fpr(10, 0.01).unwrap();
    growing.insert_many(0..40_u64).unwrap();
    let growing = growing.to_bytes();
    assert!(ClaimFilter::from_bytes(&claims).is_ok());
    assert!(ScalableBloomFilter::from_bytes(&growing).is_ok());
    let flipped = |bytes: &[u8], bit: usize| {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        damaged
    };
    for bit in 0..claims.len() * 8 {
        assert!(
            ClaimFilter::from_bytes(&flipped(&claims, bit)).is_err(),
            "bit {bit}"
        );
    }
    for bit in 0..growing.len() * 8 {
        assert!(
            ScalableBloomFilter::from_bytes(&flipped(&growing, bit)).is_err(),
            "bit {bit}"
        );
    }
    assert!((0..claims.len()).all(|len| ClaimFilter::from_bytes(&claims[..len]).is_err()));
    assert!(
        (0..growing.len()).all(|len| ScalableBloomFilter::from_bytes(&growing[..len]).is_err())
    );
}

/// A growing filter whose layers a malicious writer changed and sealed again from the inside out.
fn growing_with(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut growing = ScalableBloomFilter::with_capacity_and_fpr(10, 0.01).unwrap();
    growing.insert_many(0..20_u64).unwrap();
    let mut bytes = growing.to_bytes();
    change(&mut bytes[96..]);
    let layer = resealed(bytes[96..192].to_vec());
    bytes[96..192].copy_from_slice(&layer);
    let sum = KeyHash::default().hash(&bytes[96..]).to_le_bytes();
    bytes[80..88].copy_from_slice(&sum);
    resealed(bytes)
}

#[test]
fn a_hostile_layer_is_damage_of_the_whole_at_its_place() {
    let whole = growing_with(|_| ());
    assert!(ScalableBloomFilter::from_bytes(&whole).is_ok());
    let changes: [(usize, &[u8], u64); 8] = [
        (0, b"X", 96),
        (8, &[2], 96),
        (10, &[2], 96),
        (10, &[3], 96),
        (14, &[1], 96 + 14),
        (16, &[1], 96),
        (40, &[0; 8], 96 + 40),
        (56, &[0xff; 8], 96),
    ];
    for (at, change, expected) in changes {
        let hostile = growing_with(|layers| layers[at..at + change.len()].copy_from_slice(change));
        match ScalableBloomFilter::from_bytes(&hostile) {
            Err(Error::Damaged { offset, .. }) => {
                assert_eq!(offset, expected, "{change:?} at {at}")
            }
            other => panic!("{change:?} at {at}: {other:?}"),
        }
    }
}

#[test]
fn damage_is_told_where_it_is() {
    let place = |at: usize, value: u8| {
        let mut bytes = stored();
        bytes[at] = value;
        match BloomFilter::from_bytes(&resealed(bytes)) {
            Err(Error::Damaged { offset, .. }) => offset,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(place(10, 9), 10);
    assert_eq!(place(11, 7), 11);
    assert_eq!(place(12, 0), 12);
    assert_eq!(place(15, 1), 15);
    assert_eq!(place(70, 1), 70);
    assert_eq!(place(79, 1), 79);

    let mut growing = ScalableBloomFilter::with_capacity_and_fpr(10, 0.01)
        .unwrap()
        .to_bytes();
    growing[24] = 21;
    let error = ScalableBloomFilter::from_bytes(&resealed(growing.clone())).unwrap_err();
    assert!(
        matches!(error, Error::Damaged { offset: 24, .. }),
        "{error}"
    );
    growing[24] = 1;
    growing[48..56].copy_from_slice(&0.9_f64.to_le_bytes());
    let error = ScalableBloomFilter::from_bytes(&resealed(growing)).unwrap_err();
    assert!(
        matches!(error, Error::Damaged { offset: 48, .. }),
        "{error}"
    );
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

/// A length that is that of the bytes, and a small number of units that is not.
#[test]
fn units_that_disagree_with_the_bytes_are_refused() {
    let layer = stored();
    let claim = BloomBuilder::new(10).build_claim().unwrap().to_bytes();
    let check = |whole: &[u8], units: u64, body: usize| {
        let mut hostile = whole[..96].to_vec();
        hostile.resize(96 + body, 0);
        hostile[24..32].copy_from_slice(&units.to_le_bytes());
        hostile[56..64].copy_from_slice(&(body as u64).to_le_bytes());
        let sum = KeyHash::default().hash(&hostile[96..]).to_le_bytes();
        hostile[80..88].copy_from_slice(&sum);
        let hostile = resealed(hostile);
        BloomView::new(&hostile).is_ok()
            || BloomFilter::from_bytes(&hostile).is_ok()
            || ClaimFilter::from_bytes(&hostile).is_ok()
    };
    for (whole, unit) in [(layer, 32), (claim, 8)] {
        assert!(check(&whole, 2, 2 * unit), "the agreeing header is refused");
        for (units, body) in [(1, 0), (1, unit + 1), (1, 2 * unit), (2, unit), (2, 2)] {
            assert!(!check(&whole, units, body), "{units} units in {body} bytes");
        }
    }
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
    fn no_sealed_layer_brings_it_down(
        changes in proptest::collection::vec((0_usize..96, any::<u8>()), 1..6), asked: u64,
    ) {
        let bytes = growing_with(|layers| changes.iter().for_each(|&(at, value)| layers[at] = value));
        if let Ok(mut growing) = ScalableBloomFilter::from_bytes(&bytes) {
            let other = growing.clone();
            let _ = (growing.union(&other), growing.estimated_fpr(), growing.estimated_count());
            if growing.insert(&asked).is_ok() {
                prop_assert!(growing.contains(&asked));
            }
        }
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

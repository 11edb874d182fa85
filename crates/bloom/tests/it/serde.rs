//! Serialised forms are the checked bytes.

use mainspring_bloom::{BloomBuilder, BloomFilter, ClaimFilter, ScalableBloomFilter};

#[test]
fn filters_survive_json() {
    let mut filter = BloomBuilder::new(50).build().unwrap();
    filter.insert_many(0..50_u64);
    let text = serde_json::to_string(&filter).unwrap();
    assert_eq!(serde_json::from_str::<BloomFilter>(&text).unwrap(), filter);

    let claims = BloomBuilder::new(50).build_claim().unwrap();
    claims.claim("a");
    let text = serde_json::to_string(&claims).unwrap();
    assert!(
        serde_json::from_str::<ClaimFilter>(&text)
            .unwrap()
            .is_claimed("a")
    );

    let mut growing = BloomBuilder::new(5).build_scalable().unwrap();
    growing.insert_many(0..50_u64).unwrap();
    let text = serde_json::to_string(&growing).unwrap();
    assert_eq!(
        serde_json::from_str::<ScalableBloomFilter>(&text)
            .unwrap()
            .to_bytes(),
        growing.to_bytes()
    );
}

#[test]
fn damaged_bytes_are_an_error_of_the_deserialiser() {
    let error = serde_json::from_str::<BloomFilter>("[1,2,3]").unwrap_err();
    assert!(error.to_string().contains("header is cut short"), "{error}");
}

//! Canonical keys and the order of conflicting calls.

use mainspring_scheduler::*;
use proptest::prelude::*;

fn name() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof!["a", "b", "c", r"\.", r"\.\.", ""], 0..5)
        .prop_map(|parts| parts.join("/"))
}

proptest! {
    #[test]
    fn canonical_keys_are_fixed_points(name in name()) {
        let key = ResourceKey::new(&name);
        prop_assert_eq!(&ResourceKey::new(key.as_str()), &key);
        prop_assert!(!key.as_str().contains("//") && !key.as_str().starts_with('/'));
        prop_assert!(key.covers(&key) && ResourceKey::root().covers(&key));
    }

    /// Against the plain model: lists of segments, one the beginning of the other. `a` does not cover `ab`.
    #[test]
    fn covering_is_by_whole_segments(
        a in proptest::collection::vec("a|ab|b", 0..4),
        b in proptest::collection::vec("a|ab|b", 0..4),
    ) {
        let key = |parts: &[String]| ResourceKey::new(&parts.join("/"));
        prop_assert_eq!(key(&a).covers(&key(&b)), b.starts_with(&a));
        prop_assert_eq!(key(&a).overlaps(&key(&b)), b.starts_with(&a) || a.starts_with(&b));
    }

    #[test]
    fn conflicts_are_symmetric(a in access(), b in access()) {
        prop_assert_eq!(a.conflicts_with(&b), b.conflicts_with(&a));
    }
}

fn access() -> impl Strategy<Value = Access> {
    let keys = || proptest::collection::vec(name().prop_map(ResourceKey::from), 0..3);
    (keys(), keys(), proptest::bool::weighted(0.1)).prop_map(|(reads, writes, exclusive)| Access {
        reads,
        writes,
        exclusive,
    })
}

#[cfg(unix)]
#[test]
fn links_and_spellings_of_one_file_are_one_key() {
    let base = std::env::temp_dir().join(format!("mainspring-keys-{}", std::process::id()));
    std::fs::create_dir_all(base.join("real/deep")).unwrap();
    std::fs::write(base.join("real/file"), "x").unwrap();
    let link = base.join("link");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink("real/deep", &link).unwrap();
    let file = ResourceKey::file(base.join("real/file"));
    // `link/..` is `real`, not the base.
    assert_eq!(ResourceKey::file_in(&base, "link/../file"), file);
    assert_eq!(ResourceKey::file_in(base.join("real"), "./file"), file);
    assert_eq!(
        ResourceKey::file_in(&base, "link/new"),
        ResourceKey::file_in(&base, "real/deep/new")
    );
    assert!(ResourceKey::file(base.join("real")).covers(&ResourceKey::file(link.join("not/yet"))));
    let round = base.join("round");
    let _ = std::fs::remove_file(&round);
    std::os::unix::fs::symlink("round", &round).unwrap();
    assert!(ResourceKey::file(&base).covers(&ResourceKey::file(round.join("x"))));
    std::fs::remove_dir_all(&base).unwrap();
}

#[test]
fn mcp_annotations_are_hints_until_trusted() {
    let hints =
        Annotations::from_json(&serde_json::json!({"readOnlyHint": true, "openWorldHint": 3}));
    assert!(hints.read_only && hints.open_world && hints.destructive && !hints.idempotent);
    assert_eq!(Access::from_annotations(hints, false), Access::exclusive());
    assert_eq!(Access::from_annotations(hints, true), Access::read_all());
    assert_eq!(
        Access::from_annotations(Annotations::default(), true),
        Access::exclusive()
    );
}

#[cfg(unix)]
#[test]
fn a_hostile_path_costs_its_length() {
    let start = std::time::Instant::now();
    let key = ResourceKey::file("/nowhere/".to_owned() + &"a/".repeat(400_000));
    assert!(key.as_str().starts_with("file:/nowhere/a/a"));
    assert!(
        start.elapsed() < std::time::Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
}

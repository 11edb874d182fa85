use std::{collections::HashSet, io::Write as _, path::PathBuf};

use super::*;

fn file(folder: &tempfile::TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn keys(name: &str, content: &[u8]) -> Vec<u64> {
    let folder = folder();
    let path = file(&folder, name, content);
    Trace::read(&path, &TraceLimits::default()).unwrap().keys
}

fn refused(name: &str, content: &[u8], limits: TraceLimits) -> TraceError {
    let folder = folder();
    let path = file(&folder, name, content);
    Trace::read(&path, &limits).unwrap_err()
}

fn malformed_at(name: &str, content: &[u8]) -> u64 {
    match refused(name, content, TraceLimits::default()) {
        TraceError::Malformed { offset, .. } => offset,
        other => panic!("{other}"),
    }
}

#[test]
fn every_format_gives_its_keys() {
    assert_eq!(keys("a.u64", &[1, 0, 0, 0, 0, 0, 0, 2]), [(2 << 56) + 1]);
    assert_eq!(keys("a.lis", b"7 3 0 0\n100 1 0 1\n"), [7, 8, 9, 100]);
    assert_eq!(keys("a.trace", b"5\n*\n6"), [5, 6]);
    assert_eq!(keys("cache2k_x.trace", &[0, 0, 1, 2]), [258]);
    assert_eq!(
        keys("scarab_x.trace", &[255; 8]),
        [u64::MAX],
        "negative keys are keys"
    );
    let lines = br#"{"timestamp": 0, "hash_ids": [3, 4]}
{"hash_ids": []}
"#;
    assert_eq!(keys("a.jsonl", lines), [3, 4]);
}

#[test]
fn packed_files_give_what_was_packed() {
    let plain = b"1\n2\n3\n";
    let zstd = zstd::encode_all(&plain[..], 3).unwrap();
    assert_eq!(keys("a.trace.zst", &zstd), [1, 2, 3]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(plain).unwrap();
    assert_eq!(keys("a.trace.gz", &gzip.finish().unwrap()), [1, 2, 3]);
    // Made by `printf '1\n2\n3\n' | xz`.
    const XZ: &[u8] = include_bytes!("three_keys.xz");
    assert_eq!(keys("a.trace.xz", XZ), [1, 2, 3]);
}

#[test]
fn what_is_wrong_is_named_with_its_offset() {
    assert_eq!(malformed_at("a.u64", &[0; 11]), 11);
    assert_eq!(malformed_at("a.trace", b"1\n2\nthree\n"), 4);
    assert_eq!(malformed_at("a.lis", b"1 2\n3\n"), 4);
    assert_eq!(malformed_at("a.lis", b"18446744073709551615 2\n"), 0);
    assert_eq!(malformed_at("a.jsonl", b"{\"hash_ids\": [1]}\n{}\n"), 18);
    assert_eq!(malformed_at("a.trace", b"1\n\xff\n"), 2);
}

#[test]
fn a_file_cut_short_or_damaged_is_an_error() {
    let lines: String = (0..200_000).map(|n| format!("{n}\n")).collect();
    let zstd = zstd::encode_all(lines.as_bytes(), 3).unwrap();
    let cut = refused(
        "a.trace.zst",
        &zstd[..zstd.len() * 9 / 10],
        TraceLimits::default(),
    );
    assert!(
        matches!(cut, TraceError::Io { offset, .. } if offset > 0),
        "{cut}"
    );
    let none = refused("a.trace.xz", b"no archive", TraceLimits::default());
    assert!(matches!(none, TraceError::Io { offset: 0, .. }), "{none}");
    assert!(none.to_string().contains("a.trace.xz"), "{none}");
}

#[test]
fn a_bomb_stops_at_the_limits() {
    let few_bytes = TraceLimits {
        bytes: 1 << 20,
        ..TraceLimits::default()
    };
    let bomb = zstd::encode_all(&vec![b'7'; 64 << 20][..], 3).unwrap();
    let error = refused("a.u64.zst", &bomb, few_bytes);
    assert!(
        matches!(error, TraceError::TooLarge { what: "bytes", .. }),
        "{error}"
    );
    let line = refused("a.trace.zst", &bomb, TraceLimits::default());
    assert!(
        matches!(line, TraceError::Malformed { offset: 0, .. }),
        "{line}"
    );
    let range = refused(
        "a.lis",
        b"0 18446744073709551615\n",
        TraceLimits {
            keys: 1_000,
            ..TraceLimits::default()
        },
    );
    assert!(
        matches!(range, TraceError::TooLarge { what: "keys", .. }),
        "{range}"
    );
}

#[test]
fn the_first_keys_are_read_and_the_rest_is_not_looked_at() {
    let folder = folder();
    let path = file(&folder, "a.trace", b"1\n2\nthree\n");
    let limits = TraceLimits {
        first: Some(2),
        ..TraceLimits::default()
    };
    assert_eq!(Trace::read(&path, &limits).unwrap().keys, [1, 2]);
    let ranges = file(&folder, "b.lis", b"10 5 0 0\n");
    assert_eq!(Trace::read(&ranges, &limits).unwrap().keys, [10, 11]);
}

#[test]
fn a_folder_gives_its_traces_and_names_what_is_none() {
    let folder = folder();
    file(&folder, "b.trace", b"2\n");
    file(&folder, "a.trace", b"1\n");
    let other = file(&folder, "README.md", b"about them");
    let damaged = file(&folder, "damaged.trace", b"1\ntwo\n");
    let found = TraceFolder::read(folder.path(), &TraceLimits::default()).unwrap();
    let names: Vec<_> = found.traces.iter().map(|trace| &*trace.name).collect();
    assert_eq!(names, ["a.trace", "b.trace"]);
    assert_eq!(found.others, [other]);
    let [
        TraceError::Malformed {
            path, offset: 2, ..
        },
    ] = &*found.damaged
    else {
        panic!("{:?}", found.damaged);
    };
    assert_eq!(*path, damaged);
    let missing = TraceFolder::read(&folder.path().join("nowhere"), &TraceLimits::default());
    assert!(matches!(missing, Err(TraceError::Io { .. })));
}

#[test]
fn phases_keep_the_keys_of_traces_apart() {
    let trace = |keys: &[u64]| Trace {
        name: String::new(),
        keys: keys.to_vec(),
    };
    let both = Trace::phases(&[trace(&[1, 1, 2]), trace(&[1, 9])], 2, 2);
    assert_eq!(both.keys, [0, 0, 1, 2, 0, 0, 1, 2]);
    assert_eq!(trace(&[7, 9, 7]).numbered(), (vec![0, 1, 0], 2));
}

#[test]
fn a_generated_trace_is_the_same_for_ever_and_mixed() {
    let trace = Trace::generated(7, 60_000);
    assert_eq!(trace.keys.len(), 60_000);
    let sum = trace
        .keys
        .iter()
        .fold(0u64, |sum, key| sum.wrapping_mul(31).wrapping_add(*key));
    assert_eq!(sum, 10_921_894_305_011_788_090, "the generator changed");
    let different = trace.keys.iter().collect::<HashSet<_>>().len();
    assert!((6_000..40_000).contains(&different), "{different} keys");
}

#[test]
fn recorded_traces_can_be_read() {
    let Some(data) = std::env::var_os("MAINSPRING_DATA") else {
        println!("skipped: MAINSPRING_DATA is not set");
        return;
    };
    let limits = TraceLimits {
        first: Some(20_000),
        ..TraceLimits::default()
    };
    let found = TraceFolder::read(&PathBuf::from(data).join("traces"), &limits).unwrap();
    assert!(!found.traces.is_empty());
    assert!(found.damaged.is_empty(), "{:?}", found.damaged);
    for trace in &found.traces {
        assert_eq!(trace.keys.len(), 20_000, "{}", trace.name);
    }
}

//! The main job, run as a program.

use std::{
    collections::BTreeSet,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use mainspring_inputs::{SessionSpec, generate};
use serde_json::Value;

/// The example that cargo built beside this test.
fn replay(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    let test = std::env::current_exe().expect("a path");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/deps");
    let program = profile.join("examples").join("replay");
    assert!(
        program.exists(),
        "run the whole of `cargo test --all-features`, which builds the examples"
    );
    Command::new(program)
        .args(arguments.iter().map(AsRef::as_ref))
        .output()
        .expect("the example starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON on standard output")
}

fn write(dir: &Path, name: &str, messages: &[String]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, format!("[{}]", messages.join(",\n"))).unwrap();
    path
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect()
}

const KEYS: [&str; 14] = [
    "sessions",
    "steps",
    "messages",
    "tool_calls",
    "skipped",
    "tokens",
    "quality",
    "storage",
    "restore",
    "resume",
    "cache",
    "tools",
    "operations",
    "process",
];

#[test]
fn a_generated_session_is_driven_and_verified() {
    let output = replay(&[&"--json", &"--steps", &"120", &"--seed", &"9"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "", "a pipe stays quiet");
    let report = json(&output);
    let mut wanted: BTreeSet<&str> = KEYS.into();
    assert_eq!(keys(&report["per_session"][0]), wanted);
    wanted.insert("per_session");
    assert_eq!(keys(&report), wanted);
    assert_eq!(report["steps"], 120);
    assert_eq!(report["restore"]["versions_checked"], 120);
    assert_eq!(report["restore"]["identical"], true);
    assert_eq!(report["quality"]["pairs_intact"], true);
    assert_eq!(report["quality"]["user_messages_kept"], 1.0);
    assert!(report["tokens"]["compactions"].as_u64() > Some(0));
    assert!(report["tokens"]["peak_context"].as_u64() <= Some(16_000));
    assert!(report["storage"]["ratio"].as_f64() > Some(50.0));
    for operation in ["append", "checkpoint", "restore", "resume"] {
        assert!(
            report["operations"][operation]["count"].as_u64() > Some(0),
            "{operation}"
        );
    }
}

#[test]
fn inputs_are_read_packed_or_plain_and_what_is_no_session_is_named_and_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let messages = generate(&SessionSpec::coding(3, 12));
    let plain = std::fs::read(write(dir.path(), "plain.json", &messages)).unwrap();
    std::fs::write(
        dir.path().join("b.json.zst"),
        zstd::encode_all(&plain[..], 3).unwrap(),
    )
    .unwrap();
    let nested = dir.path().join("deep").join("er");
    std::fs::create_dir_all(&nested).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&plain).unwrap();
    std::fs::write(nested.join("c.json.gz"), packed.finish().unwrap()).unwrap();
    std::fs::write(dir.path().join("notes.txt"), "nothing of the sort").unwrap();
    std::fs::write(
        dir.path().join("torn.json.zst"),
        [0x28, 0xb5, 0x2f, 0xfd, 1, 2],
    )
    .unwrap();

    let output = replay(&[&"--json", &dir.path()]);
    assert_eq!(output.status.code(), Some(1));
    let report = json(&output);
    assert_eq!(
        (&report["sessions"], &report["skipped"]),
        (&3.into(), &2.into())
    );
    assert_eq!(report["restore"]["identical"], true);
    let said = stderr(&output);
    assert!(
        said.contains("notes.txt") && said.contains("torn.json.zst"),
        "{said}"
    );
}

#[test]
fn a_missing_tool_result_fails_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let messages = generate(&SessionSpec::coding(4, 60));
    let results: Vec<usize> = (0..59)
        .filter(|at| messages[*at].starts_with("{\"role\":\"tool\""))
        .collect();
    for at in [results[0], results[results.len() / 2]] {
        let mut damaged = messages.clone();
        let removed: Value = serde_json::from_str(&damaged.remove(at)).unwrap();
        let output = replay(&[&"--json", &write(dir.path(), "damaged.json", &damaged)]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(json(&output)["quality"]["pairs_intact"], false);
        let call = removed["tool_call_id"].as_str().unwrap();
        assert!(stderr(&output).contains(call), "{}", stderr(&output));
    }
}

#[test]
fn a_changed_byte_in_what_was_kept_fails_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let sound = dir.path().join("sound");
    let session = write(dir.path(), "s.json", &generate(&SessionSpec::coding(5, 16)));
    let run = |keep: &Path| replay(&[&"--json", &"--keep", &keep, &session]);
    assert!(run(&sound).status.success());
    assert!(
        run(&sound).status.success(),
        "a folder that was kept can be used again"
    );
    for store in ["sessions", "snapshots"] {
        for (name, size) in files(&sound.join(store)) {
            for at in [size / 3, size - 1] {
                let keep = dir.path().join("changed");
                copy(&sound, &keep);
                let file = keep.join(store).join(&name);
                let mut bytes = std::fs::read(&file).unwrap();
                bytes[at] ^= 0x10;
                std::fs::write(&file, bytes).unwrap();

                let output = run(&keep);
                let said = stderr(&output);
                assert_eq!(
                    output.status.code(),
                    Some(1),
                    "{store}/{name} byte {at} went unnoticed"
                );
                assert!(said.contains(store), "{store}/{name} byte {at}: {said}");
                std::fs::remove_dir_all(&keep).unwrap();
            }
        }
    }
}

/// The names and sizes of a folder's files that hold anything.
fn files(dir: &Path) -> Vec<(String, usize)> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let named = entries.map(|entry| {
        let size = entry.metadata().unwrap().len() as usize;
        (entry.file_name().to_string_lossy().into_owned(), size)
    });
    let mut files: Vec<_> = named.filter(|(_, size)| *size > 0).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn recorded_sessions_are_driven_and_verified() {
    let Some(data) = std::env::var_os("MAINSPRING_DATA") else {
        println!("skipped: MAINSPRING_DATA does not name the folder of recorded data");
        return;
    };
    let output = replay(&[
        &"--json",
        &Path::new(&data).join("sessions").join("swe-agent"),
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report = json(&output);
    assert_eq!(report["restore"]["identical"], true);
    assert_eq!(report["quality"]["pairs_intact"], true);
}

//! Recorded sessions, when `MAINSPRING_DATA` names their folder.

use std::path::PathBuf;

use mainspring_delta_snapshot::CommitOptions;
use serde_json::value::RawValue;

use crate::basics::memory;

/// What zstd level 3 makes of the last state alone.
pub(crate) fn floor(state: &[u8]) -> u64 {
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(state.len()));
    zstd_safe::compress(&mut out, state, 3).expect("compress");
    out.len() as u64
}

/// A message of about `len` bytes that compresses like text.
pub(crate) fn session_message(random: &mut fastrand::Rng, step: usize, len: usize) -> String {
    let words = [
        "the", "file", "error", "line", "return", "value", "def", "self", "import", "test", "none",
        "result",
    ];
    let mut text = String::new();
    while text.len() < len {
        text.push_str(words[random.usize(..words.len())]);
        text.push(' ');
        if random.u8(..6) == 0 {
            text.push_str(&format!("{:x} ", random.u32(..)));
        }
    }
    format!(r#"{{"id":{step},"role":"assistant","content":"{text}"}}"#)
}

#[derive(serde::Deserialize)]
struct Run {
    #[serde(alias = "history")]
    traj: Vec<Box<RawValue>>,
}

fn runs() -> Option<Vec<Run>> {
    let sessions = PathBuf::from(std::env::var_os("MAINSPRING_DATA")?).join("sessions");
    let mut runs = Vec::new();
    for entry in std::fs::read_dir(sessions.join("swe-agent")).ok()? {
        let path = entry.ok()?.path();
        if path.extension().is_some_and(|e| e == "traj") {
            runs.push(serde_json::from_slice(&std::fs::read(path).ok()?).ok()?);
        }
    }
    let packed = std::fs::read(sessions.join("tau-bench/gpt-4o-airline-first100.json.zst")).ok()?;
    let mut plain = Vec::with_capacity(64 << 20);
    zstd_safe::decompress(&mut plain, &packed).ok()?;
    runs.extend(
        serde_json::from_slice::<Vec<Run>>(&plain)
            .ok()?
            .into_iter()
            .take(10),
    );
    Some(runs)
}

#[test]
fn every_version_of_recorded_sessions_comes_back() {
    let Some(runs) = runs() else {
        println!("skipped: MAINSPRING_DATA does not name the recorded sessions");
        return;
    };
    let (mut live, mut sealed, mut least) = (0, 0, 0);
    for run in &runs {
        let snapshots = memory();
        let thread = snapshots.thread("t").expect("thread");
        let full = snapshots.thread("full").expect("thread");
        thread
            .set("", r#"{"header":{},"messages":[]}"#)
            .expect("set");
        let mut body = String::new();
        let mut states = Vec::new();
        for (step, message) in run.traj.iter().enumerate() {
            let header = format!(r#"{{"step":{step}}}"#);
            thread.set("/header", &header).expect("set");
            thread
                .append("/messages", &[message.get()])
                .expect("append");
            let id = thread.commit(CommitOptions::new()).expect("commit");
            body = if step == 0 {
                message.get().to_owned()
            } else {
                format!("{body},{}", message.get())
            };
            states.push((id, format!(r#"{{"header":{header},"messages":[{body}]}}"#)));
        }
        live += snapshots.stats().expect("stats").total;
        let mut by_full = Vec::new();
        for (_, state) in &states {
            by_full.push(
                full.commit_full(state.as_bytes(), CommitOptions::new())
                    .expect("commit"),
            );
        }
        for ((id, state), full) in states.iter().zip(by_full) {
            assert!(snapshots.restore(*id).expect("restore") == state.as_bytes());
            assert!(snapshots.restore(full).expect("restore") == state.as_bytes());
        }
        snapshots.delete_thread("full").expect("delete");
        thread.seal().expect("seal");
        sealed += snapshots.stats().expect("stats").total;
        for (id, state) in &states {
            assert!(snapshots.restore(*id).expect("restore") == state.as_bytes());
        }
        least += floor(states.last().map_or(&[], |(_, state)| state.as_bytes()));
    }
    assert!(live * 10 <= least * 16, "live {live}, floor {least}");
    assert!(
        sealed * 100 <= least * 135,
        "sealed {sealed}, floor {least}"
    );
}

//! Bytes stored for recorded sessions, one version per message: `storage [FOLDER...]`; without one, a made-up session.
//!
//! Reads `*.traj` (SWE-agent), `*.jsonl` (one event a line) and `*.json.zst` (an array of runs with `traj`).

use std::{error::Error, fs, path::Path, time::Instant};

use mainspring_delta_snapshot::{CommitOptions, MemoryBacking, Options, Snapshots, VersionId};
use serde_json::value::RawValue;

type Any = Box<dyn Error>;
type Messages = Vec<Box<RawValue>>;

#[derive(Default)]
struct Row {
    sessions: usize,
    steps: usize,
    full: u64,
    floor: u64,
    live: u64,
    sealed: u64,
    commits: Vec<u128>,
    restores: Vec<u128>,
}

fn main() -> Result<(), Any> {
    println!(
        "{:<24} {:>5} {:>6} {:>11} {:>9} {:>9} {:>6} {:>9} {:>6}  commit p50  restore p50/p99/max us",
        "set", "runs", "steps", "full JSON", "floor", "live", "x", "sealed", "x"
    );
    let folders: Vec<String> = std::env::args().skip(1).collect();
    if folders.is_empty() {
        return report("made-up", &[made_up(1000)]);
    }
    for folder in &folders {
        report(
            folder.rsplit('/').next().unwrap_or(folder),
            &sessions(Path::new(folder))?,
        )?;
    }
    Ok(())
}

fn report(name: &str, sessions: &[Messages]) -> Result<(), Any> {
    let mut row = Row::default();
    for messages in sessions {
        session(messages, &mut row)?;
    }
    row.commits.sort_unstable();
    row.restores.sort_unstable();
    let at = |list: &[u128], q: usize| {
        list.get((list.len() * q / 100).min(list.len().saturating_sub(1)))
            .map_or(0.0, |ns| *ns as f64 / 1e3)
    };
    let ratio = |bytes: u64| bytes as f64 / row.floor as f64;
    println!(
        "{name:<24} {:>5} {:>6} {:>11} {:>9} {:>9} {:>6.2} {:>9} {:>6.2}  {:>6.1} {:>10.0}/{:.0}/{:.0}",
        row.sessions,
        row.steps,
        row.full,
        row.floor,
        row.live,
        ratio(row.live),
        row.sealed,
        ratio(row.sealed),
        at(&row.commits, 50),
        at(&row.restores, 50),
        at(&row.restores, 99),
        at(&row.restores, 100),
    );
    Ok(())
}

fn session(messages: &Messages, row: &mut Row) -> Result<(), Any> {
    let snapshots = Snapshots::open(MemoryBacking::new(), Options::new())?;
    let thread = snapshots.thread("session")?;
    thread.set("", br#"{"header":{},"messages":[]}"#)?;
    let mut body = Vec::new();
    let mut states: Vec<(VersionId, String, usize)> = Vec::new();
    for (step, message) in messages.iter().enumerate() {
        let header = format!(
            r#"{{"step":{step},"updated_at":{},"tokens":{},"status":"running"}}"#,
            1_700_000_000_000u64 + 1013 * step as u64,
            body.len() / 4
        );
        let start = Instant::now();
        thread.set("/header", &header)?;
        thread.append("/messages", &[message.get()])?;
        let id =
            thread.commit(CommitOptions::new().time(1_700_000_000_000 + 1013 * step as u64))?;
        row.commits.push(start.elapsed().as_nanos());
        if step > 0 {
            body.push(b',');
        }
        body.extend_from_slice(message.get().as_bytes());
        row.full += (body.len() + header.len() + 25) as u64;
        states.push((id, header, body.len()));
    }
    row.live += snapshots.stats()?.total;
    for (id, header, len) in &states {
        let start = Instant::now();
        let restored = snapshots.restore(*id)?;
        row.restores.push(start.elapsed().as_nanos());
        assert!(
            restored == state(header, &body[..*len]),
            "version {id} differs"
        );
    }
    if let Some((_, header, len)) = states.last() {
        row.floor += zstd_safe_len(&state(header, &body[..*len]))?;
    }
    thread.seal()?;
    row.sealed += snapshots.stats()?.total;
    for (id, header, len) in &states {
        assert!(
            snapshots.restore(*id)? == state(header, &body[..*len]),
            "sealed version {id} differs"
        );
    }
    row.sessions += 1;
    row.steps += states.len();
    Ok(())
}

fn state(header: &str, body: &[u8]) -> Vec<u8> {
    let mut state = format!(r#"{{"header":{header},"messages":["#).into_bytes();
    state.extend_from_slice(body);
    state.extend_from_slice(b"]}");
    state
}

fn zstd_safe_len(bytes: &[u8]) -> Result<u64, Any> {
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    zstd_safe::compress(&mut out, bytes, 3).map_err(zstd_safe::get_error_name)?;
    Ok(out.len() as u64)
}

fn sessions(folder: &Path) -> Result<Vec<Messages>, Any> {
    #[derive(serde::Deserialize)]
    struct Run {
        #[serde(alias = "history")]
        traj: Messages,
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.to_string_lossy().into_owned();
        let bytes = fs::read(&path)?;
        if name.ends_with(".traj") {
            found.push(serde_json::from_slice::<Run>(&bytes)?.traj);
        } else if name.ends_with(".jsonl") {
            let lines = bytes
                .split(|b| *b == b'\n')
                .filter(|line| !line.trim_ascii().is_empty());
            found.push(
                lines
                    .map(serde_json::from_slice)
                    .collect::<Result<_, _>>()?,
            );
        } else if name.ends_with(".json.zst") {
            let mut plain = Vec::with_capacity(64 << 20);
            zstd_safe::decompress(&mut plain, &bytes).map_err(zstd_safe::get_error_name)?;
            found.extend(
                serde_json::from_slice::<Vec<Run>>(&plain)?
                    .into_iter()
                    .map(|run| run.traj),
            );
        }
    }
    Ok(found)
}

/// Text, code and tool output of about 1.7 KB a step, some of it seen before.
fn made_up(steps: usize) -> Messages {
    let mut random = fastrand::Rng::with_seed(7);
    let words: Vec<String> = (0..4000)
        .map(|_| {
            (0..random.usize(2..10))
                .map(|_| random.lowercase())
                .collect()
        })
        .collect();
    let mut seen: Vec<String> = Vec::new();
    let mut list = Vec::new();
    for step in 0..steps {
        let text = if !seen.is_empty() && random.f32() < 0.3 {
            seen[random.usize(..seen.len())].clone()
        } else {
            let rank = |r: &mut fastrand::Rng| (words.len() as f64).powf(r.f64()) as usize - 1;
            let text: Vec<&str> = (0..random.usize(50..500))
                .map(|_| words[rank(&mut random)].as_str())
                .collect();
            text.join(" ")
        };
        seen.push(text.clone());
        let role = ["user", "assistant", "tool"][step % 3];
        let json = format!(
            r#"{{"id":"{:016x}","role":"{role}","content":"{text}"}}"#,
            random.u64(..)
        );
        list.extend(RawValue::from_string(json));
    }
    list
}

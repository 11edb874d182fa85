//! What hurts people who run agents, as scenarios over whole sessions.

use std::{
    fmt::Write,
    io::{self, Read},
    path::Path,
    process::Command,
};

use mainspring::{Config, Profile, Runtime, Session, compressor::Format, mmap_store::Durability};

fn config() -> Config {
    let mut config = Profile::Laptop.config();
    (config.window, config.durability) = (20_000, Durability::Os);
    config
}

async fn open(dir: &Path) -> Runtime {
    Runtime::open(dir, config()).await.expect("a runtime")
}

/// Megabytes of the large sessions here: 8, or what `SESSION_MB` says.
fn megabytes() -> u64 {
    let set = std::env::var("SESSION_MB").ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(8)
}

/// Bytes that look like source text and repeat nothing.
fn text(seed: u64, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 16);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let _ = write!(text, "{state:x} ");
    }
    text
}

fn claude(kind: &str, number: u64, content: &str) -> String {
    format!(
        r#"{{"type":"{kind}","uuid":"{number}","parentUuid":null,"sessionId":"c","message":{{"role":"{kind}","content":"{content}"}}}}"#
    )
}

/// A log in which tools report their progress at length: what the model sees is a thousandth of it.
fn noisy(megabytes: u64) -> impl Iterator<Item = String> {
    (0..megabytes * 4).flat_map(|turn| {
        let progress = format!(
            r#"{{"type":"progress","uuid":"p{turn}","parentUuid":"{turn}","data":{{"output":"{}"}}}}"#,
            text(turn, 250_000)
        );
        let said = text(turn, 200);
        [
            claude("user", turn, &said),
            progress,
            claude("assistant", turn, &said),
        ]
    })
}

/// Lines made as they are read.
struct Lines<I> {
    lines: I,
    line: io::Cursor<Vec<u8>>,
}

impl<I: Iterator<Item = String>> Lines<I> {
    fn new(lines: I) -> Self {
        Self {
            lines,
            line: io::Cursor::default(),
        }
    }
}

impl<I: Iterator<Item = String>> Read for Lines<I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.line.read(buffer)? {
                0 => match self.lines.next() {
                    Some(line) => self.line = io::Cursor::new((line + "\n").into_bytes()),
                    None => return Ok(0),
                },
                read => return Ok(read),
            }
        }
    }
}

/// Runs one of the tests named `alone_…` in a process of its own, and reads its figures.
fn alone(test: &str, dir: &Path, megabytes: u64) -> Option<Vec<u64>> {
    if !cfg!(target_os = "linux") {
        println!("skipped: the figures come from /proc");
        return None;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("pains::{test}"), "--nocapture"])
        .env("PAINS_DIR", dir)
        .env("SESSION_MB", megabytes.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let figures = said.split("figures:").nth(1).expect("figures");
    let numbers = figures.lines().next().unwrap().split_whitespace();
    Some(numbers.map(|number| number.parse().unwrap()).collect())
}

fn field(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let line = line.unwrap().trim_start_matches(':').trim();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn read_so_far() -> u64 {
    field("/proc/self/io", "rchar")
}

/// Bytes read, the most resident memory beyond what there was, and bytes of the context.
async fn measured(work: impl AsyncFnOnce() -> u64) -> Option<[u64; 3]> {
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    let (read, resident) = (read_so_far(), field("/proc/self/status", "VmRSS"));
    let context = work().await;
    let peak = field("/proc/self/status", "VmHWM").saturating_sub(resident) * 1024;
    Some([read_so_far() - read, peak, context])
}

fn report(figures: Option<[u64; 3]>) {
    let [read, peak, context] = figures.expect("/proc");
    println!("figures: {read} {peak} {context}");
}

/// What it takes to resume the session of the folder that was named, and to do something with it.
async fn resumed(work: impl FnOnce(Session) -> u64) {
    let Some(dir) = std::env::var_os("PAINS_DIR") else {
        return;
    };
    let figures = measured(async || {
        let runtime = open(Path::new(&dir)).await;
        work(runtime.resume("s").unwrap())
    });
    report(figures.await);
}

fn context_bytes(session: &Session) -> u64 {
    session
        .context()
        .items()
        .map(|item| item.len() as u64)
        .sum()
}

#[tokio::test]
async fn alone_resume() {
    resumed(|session| context_bytes(&session)).await;
}

#[tokio::test]
async fn alone_fork() {
    resumed(|session| {
        let name = format!("fork {}", std::process::id());
        context_bytes(&session.fork(&name).unwrap())
    })
    .await;
}

#[tokio::test]
async fn alone_noise() {
    resumed(|mut session| {
        let noise = noisy(1).nth(1).unwrap();
        session.append(noise).unwrap();
        session.messages()
    })
    .await;
}

#[tokio::test]
async fn alone_import() {
    let Some(dir) = std::env::var_os("PAINS_DIR") else {
        return;
    };
    let runtime = open(Path::new(&dir)).await;
    let source = Lines::new(noisy(megabytes()));
    report(
        measured(async || {
            runtime.import("s", source).unwrap();
            0
        })
        .await,
    );
    runtime.close().await.unwrap();
}

/// A session of so many megabytes whose messages the model all saw once.
async fn long_session(dir: &Path, megabytes: u64) {
    let runtime = open(dir).await;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    session
        .append(r#"{"role":"user","content":"Fix the parser."}"#)
        .unwrap();
    for turn in 0..megabytes * 4 {
        let call = format!(
            r#"{{"role":"assistant","content":null,"tool_calls":[{{"id":"c{turn}","type":"function","function":{{"name":"read","arguments":"{{}}"}}}}]}}"#
        );
        let result = format!(
            r#"{{"role":"tool","tool_call_id":"c{turn}","content":"{}"}}"#,
            text(turn, 250_000)
        );
        session.append(call).unwrap();
        session.append(result).unwrap();
        if turn % 8 == 0 {
            session.checkpoint("1").unwrap();
        }
    }
    drop(session);
    runtime.close().await.unwrap();
}

#[tokio::test]
async fn codex_28866_resume_of_a_long_session_reads_and_holds_only_the_active_window() {
    let large = megabytes();
    let mut all = Vec::new();
    for megabytes in [large / 4, large] {
        let dir = tempfile::tempdir().unwrap();
        long_session(dir.path(), megabytes).await;
        let Some(figures) = alone("alone_resume", dir.path(), megabytes) else {
            return;
        };
        println!("{megabytes} MB: read, peak, context {figures:?}");
        let fork = alone("alone_fork", dir.path(), megabytes).unwrap();
        println!("{megabytes} MB: read, peak, context {fork:?} of a fork");
        assert!(
            fork[0] < 2 * figures[0] + (1 << 20),
            "a fork reads {fork:?}"
        );
        all.push(figures);
    }
    let [read, peak, context] = all[1][..] else {
        panic!("figures")
    };
    assert!(context > 10_000, "{all:?}");
    // Saved context, what followed it, and the stores' own heads.
    assert!(read < 3 * context + (2 << 20), "{all:?}");
    assert!(
        read < all[0][0] + (1 << 20),
        "it grows with the log: {all:?}"
    );
    assert!(peak < all[0][1] + 2 * context + (2 << 20), "{all:?}");
}

/// A session as it lies there after so many megabytes of messages were compacted away: a small context
/// that covers them all, and the messages, which nobody has to have read.
async fn compacted_session(dir: &Path, megabytes: u64) {
    const COVERS: usize = 8;
    let runtime = open(dir).await;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    for turn in 0..40 {
        let said = text(turn, 1_000);
        session
            .append(format!(r#"{{"role":"user","content":"{said}"}}"#))
            .unwrap();
    }
    let first = session.messages();
    session.sent();
    session.close().unwrap();
    let store = runtime.session_store();
    let number = store.get(b"ss").unwrap().unwrap();
    let key = [b"c", &number[..]].concat();
    let context = store.get(&key).unwrap().unwrap();
    assert_eq!(context[..COVERS], first.to_le_bytes());
    let mut message = text(1, 2_000_000).into_bytes();
    message.truncate(1_000_000);
    for at in first..first + megabytes {
        // No two alike, and none that would compress.
        let seed = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for (word, chunk) in message.chunks_exact_mut(8).enumerate() {
            let noise = (seed ^ word as u64).wrapping_mul(0xd6e8_feb8_6659_fd93);
            chunk.copy_from_slice(&(noise ^ noise >> 29 | 1).to_le_bytes());
        }
        message[0] = b'"';
        #[expect(
            clippy::big_endian_bytes,
            reason = "the order of keys is the order of messages"
        )]
        let key = [&b"m\0\0\0\0"[..], &at.to_be_bytes()].concat();
        store.put(&key, &message).unwrap();
    }
    let covers = (first + megabytes).to_le_bytes();
    store
        .put(&key, &[&covers, &context[COVERS..]].concat())
        .unwrap();
    runtime.close().await.unwrap();
}

/// Hundreds of megabytes; as many as you like with `SESSION_MB=10240`.
#[tokio::test]
async fn codex_28866_resume_of_hundreds_of_megabytes_reads_what_one_megabyte_does() {
    let large = megabytes().max(256);
    let mut all = Vec::new();
    for megabytes in [1, large] {
        let dir = tempfile::tempdir().unwrap();
        compacted_session(dir.path(), megabytes).await;
        let Some(figures) = alone("alone_resume", dir.path(), megabytes) else {
            return;
        };
        let fork = alone("alone_fork", dir.path(), megabytes).unwrap();
        println!("{megabytes} MB: read, peak, context {figures:?}; of a fork {fork:?}");
        all.push([figures, fork]);
    }
    for (small, large) in all[0].iter().zip(&all[1]) {
        assert!(large[2] > 10_000 && large[2] == small[2], "{all:?}");
        assert!(large[0] < small[0] + (256 << 10), "{all:?}");
        assert!(large[1] < small[1] + (4 << 20), "{all:?}");
    }
}

#[tokio::test]
async fn codex_30932_five_hundred_compactions_leave_the_history_and_little_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.window = 4_000;
    let runtime = Runtime::open(dir.path(), config).await.unwrap();
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    session
        .append(r#"{"role":"user","content":"Go on until I say stop."}"#)
        .unwrap();
    let (mut turn, mut upkeep) = (0, 0);
    while session.usage().compactions < 500 {
        let call = format!(
            r#"{{"role":"assistant","content":null,"tool_calls":[{{"id":"c{turn}","type":"function","function":{{"name":"read","arguments":"{{}}"}}}}]}}"#
        );
        let result = format!(
            r#"{{"role":"tool","tool_call_id":"c{turn}","content":"{}"}}"#,
            text(turn, 1_500)
        );
        session.append(call).unwrap();
        session.append(result).unwrap();
        turn += 1;
        if turn % 100 == 0 {
            upkeep += runtime.upkeep().compacted.len();
        }
    }
    let usage = session.usage();
    runtime.upkeep();
    let store = runtime.session_store();
    store.compact().unwrap();
    let stored = store.stats().log_bytes;
    println!(
        "{} bytes of history, {stored} stored, {upkeep} compactions of the store",
        usage.appended_bytes
    );
    let blobs = usage.appended_bytes;
    assert!(
        stored < usage.appended_bytes + blobs + 500 * 1_024 + (1 << 20),
        "{stored} bytes for {usage:?}"
    );
}

#[tokio::test]
async fn claude_code_79196_import_and_resume_hold_the_active_window_and_not_the_file() {
    let large = megabytes();
    let mut peaks = Vec::new();
    for megabytes in [large / 4, large] {
        let dir = tempfile::tempdir().unwrap();
        let Some(import) = alone("alone_import", dir.path(), megabytes) else {
            return;
        };
        let resume = alone("alone_resume", dir.path(), megabytes).unwrap();
        println!("{megabytes} MB: import {import:?}, resume {resume:?}");
        peaks.push((import[1], resume[1], resume[2]));
    }
    let (import, resume, context) = peaks[1];
    assert!(context > 10_000, "{peaks:?}");
    assert!(import < peaks[0].0 + 2 * context + (4 << 20), "{peaks:?}");
    assert!(resume < peaks[0].1 + 2 * context + (2 << 20), "{peaks:?}");
}

#[tokio::test]
async fn claude_code_22149_redundancy_is_reported_and_removed_and_export_gives_the_bytes_back() {
    // Every report of a sub-agent repeats the whole conversation so far.
    let said: Vec<String> = (0..300)
        .map(|n| format!(r#"{{"type":"assistant","text":"{}"}}"#, text(n, 300)))
        .collect();
    let mut lines = vec![claude("user", 0, "count")];
    for n in 1..=said.len() {
        lines.push(format!(
            r#"{{"type":"progress","uuid":"p{n}","parentUuid":"0","data":{{"type":"agent_progress","normalizedMessages":[{}]}},"timestamp":"2026-01-31T00:00:{:02}Z"}}"#,
            said[..n].join(","),
            n % 60
        ));
    }
    lines.push(claude("assistant", 1, "done"));
    // A prompt that was queued is written again and again.
    let queued = claude("user", 2, &text(7, 1_000));
    lines.extend(std::iter::repeat_n(queued, 10));
    let source = lines.join("\n") + "\n";

    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path()).await;
    let imported = runtime.import("s", source.as_bytes()).unwrap();
    println!("{imported:?}");
    assert_eq!(
        imported.repeated_bytes,
        9 * lines.last().unwrap().len() as u64
    );
    assert!(imported.outside_bytes > imported.bytes * 9 / 10);
    assert!(imported.stored_bytes < imported.bytes / 20, "{imported:?}");
    runtime.close().await.unwrap();
    let runtime = open(dir.path()).await;
    let mut out = Vec::new();
    runtime.export("s", &mut out).unwrap();
    assert!(out == source.as_bytes(), "another log came back");
}

#[tokio::test]
async fn claude_code_22365_18905_tool_noise_is_not_in_the_active_part() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_) = alone("alone_import", dir.path(), megabytes()) else {
        return;
    };
    let figures = alone("alone_resume", dir.path(), megabytes()).unwrap();
    println!("read, peak, context {figures:?} of {} MB", megabytes());
    assert!(figures[0] < 3 * figures[2] + (1 << 20), "{figures:?}");
    // More of it is added without reading what there is.
    let more = alone("alone_noise", dir.path(), megabytes()).unwrap();
    println!("read, peak, messages {more:?} with another record");
    assert!(more[0] < figures[0] + (1 << 20), "{more:?}");
    let runtime = open(dir.path()).await;
    let session = runtime.resume("s").unwrap();
    let noise = noisy(1).nth(1).unwrap();
    assert_eq!(
        session.message(1).unwrap(),
        noise,
        "it is there when asked for"
    );
}

#[tokio::test]
async fn a_fork_and_another_record_read_nothing_of_the_many_before() {
    const RECORDS: u64 = 250;
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path()).await;
    let mut session = runtime.session("s", Format::ClaudeCode).unwrap();
    session.append(claude("user", 0, "count")).unwrap();
    for turn in 0..RECORDS {
        let noise = text(turn, 5_000);
        let record =
            format!(r#"{{"type":"progress","uuid":"p{turn}","data":{{"output":"{noise}"}}}}"#);
        session.append(record).unwrap();
    }
    session.checkpoint("1").unwrap();
    session.close().unwrap();
    let stored = runtime.snapshot_store().stats().log_bytes;
    assert!(stored > 1 << 20, "{stored} bytes are too few to tell");
    runtime.close().await.unwrap();
    for test in ["alone_fork", "alone_noise"] {
        let Some(figures) = alone(test, dir.path(), 1) else {
            return;
        };
        println!("{test}: read, peak, context {figures:?} of {stored}");
        assert!(
            figures[0] < 512 << 10,
            "{test} reads {figures:?} of {stored}"
        );
    }
}

#[tokio::test]
async fn zed_57126_a_burst_of_saves_costs_its_changes_and_nothing_is_queued() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.durability = Durability::Interval(std::time::Duration::from_millis(100));
    let runtime = Runtime::open(dir.path(), config).await.unwrap();
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    let message =
        |n: u64, bytes| format!(r#"{{"role":"assistant","content":"{}"}}"#, text(n, bytes));
    for n in 0..50 {
        session.append(message(n, 20_000)).unwrap();
    }
    session.checkpoint("0").unwrap();
    let before = (
        runtime.session_store().stats(),
        runtime.snapshot_store().stats(),
    );
    let mut changed = 0;
    for n in 0..188 {
        changed += session.append(message(n + 50, 500)).map(|_| 500).unwrap();
        let version = session.checkpoint(&n.to_string()).unwrap();
        // What was saved is there when the call returns: nothing waits in memory.
        if n % 47 == 0 {
            let state = session.restore(version).unwrap();
            assert!(state.ends_with(format!("{}]}}", message(n + 50, 500)).as_bytes()));
        }
    }
    let sessions = runtime.session_store().stats();
    let snapshots = runtime.snapshot_store().stats();
    let written = sessions.written_bytes - before.0.written_bytes + snapshots.written_bytes
        - before.1.written_bytes;
    println!(
        "{changed} bytes changed, {written} written, {} syncs",
        sessions.syncs
    );
    // A full save each time would write 188 MB.
    assert!(written < 8 << 20, "{written} bytes for {changed}");
    assert!(sessions.syncs - before.0.syncs < 188, "saves share a sync");
}

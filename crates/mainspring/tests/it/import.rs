//! Recorded sessions come in and go out byte for byte.

use std::path::{Path, PathBuf};

use mainspring::{Error, Imported, Profile, Runtime, compressor::Format};
use mainspring_inputs::{SessionSpec, generate};

async fn open(dir: &Path) -> Runtime {
    let mut config = Profile::Laptop.config();
    config.window = 50_000;
    Runtime::open(dir, config).await.expect("a runtime")
}

/// Imports, restarts, exports.
async fn there_and_back(source: &[u8]) -> Result<(Imported, Vec<u8>), Error> {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path()).await;
    let imported = runtime.import("in", source)?;
    runtime.close().await?;
    let runtime = open(dir.path()).await;
    let mut out = Vec::new();
    let written = runtime.export(&imported.sessions[0], &mut out)?;
    assert_eq!(written, out.len() as u64);
    Ok((imported, out))
}

const CLAUDE: [&str; 3] = [
    r#"{"type":"user","uuid":"u","parentUuid":null,"sessionId":"c","message":{"role":"user","content":"hi"}}"#,
    r#"{"type":"progress","uuid":"p","parentUuid":"u","data":{"tick":1}}"#,
    r#"{"type":"assistant","uuid":"v","parentUuid":"p","message":{"role":"assistant","content":[{"type":"text","text":"hello"}]}}"#,
];

#[tokio::test]
async fn a_log_keeps_every_byte_whatever_lies_between_its_lines() {
    let lines = CLAUDE;
    for (source, broken) in [
        (lines.join("\n"), 0),
        (lines.join("\n") + "\n", 0),
        (lines.join("\r\n") + "\r\n", 0),
        (format!("\u{feff}{}\n\n\n", lines.join("\n \n")), 0),
        (
            format!("{}\nnot json\n\n{}\n{{\"cut", lines[0], lines[2]),
            2,
        ),
        (format!("garbage\n{}\n", lines.join("\n")), 1),
    ] {
        let (imported, out) = there_and_back(source.as_bytes()).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&out), source);
        assert_eq!(imported.quarantined.len(), broken, "{imported:?}");
        assert_eq!(imported.bytes, source.len() as u64);
        assert_eq!(imported.format, "claude-code");
    }
}

#[tokio::test]
async fn what_is_appended_to_an_imported_log_has_a_line_of_its_own() {
    let next = r#"{"type":"user","uuid":"w","parentUuid":"v","sessionId":"c","message":{"role":"user","content":"go on"}}"#;
    let log = CLAUDE.join("\n");
    for (end, between) in [("", "\n"), ("\n", ""), ("\n{\"cut", "\n"), ("\n\n", "")] {
        let dir = tempfile::tempdir().unwrap();
        let runtime = open(dir.path()).await;
        runtime
            .import("in", format!("{log}{end}").as_bytes())
            .unwrap();
        runtime.resume("in").unwrap().append(next).unwrap();
        let mut out = Vec::new();
        runtime.export("in", &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.trim_end(), format!("{log}{end}{between}{next}"));
    }
}

#[tokio::test]
async fn documents_keep_every_byte_too() {
    let messages = generate(&SessionSpec::coding(3, 40));
    let joined = messages.join(",\n  ");
    for (source, sessions) in [
        (format!("[{joined}]"), 1),
        (
            format!("{{\"id\": \"x\", \"messages\": [\n{joined}\n], \"system\": \"be brief\"}}\n"),
            1,
        ),
        (
            format!(
                "[{{\"task_id\":1,\"traj\":[{joined}],\"reward\":0}}, {{\"task_id\":2,\"traj\":[{joined}]}}]"
            ),
            2,
        ),
    ] {
        let (imported, out) = there_and_back(source.as_bytes()).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&out), source);
        assert_eq!(imported.sessions.len(), sessions);
        assert!(imported.tokens > 0);
    }
}

#[tokio::test]
async fn what_is_no_session_is_refused_and_a_name_is_taken_once() {
    for source in ["", "[]", "not json at all", "{\"a\":1}\n{\"b\":2}\n"] {
        let refused = there_and_back(source.as_bytes()).await;
        assert!(
            matches!(refused, Err(Error::Context(_))),
            "{source}: {refused:?}"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path()).await;
    let source = CLAUDE.join("\n");
    runtime.import("in", source.as_bytes()).unwrap();
    assert!(matches!(
        runtime.import("in", source.as_bytes()),
        Err(Error::SessionExists(_))
    ));
    let mut session = runtime.session("mine", Format::OpenAiChat).unwrap();
    session.append(r#"{"role":"user","content":"a"}"#).unwrap();
    session.append(r#"{"role":"user","content":"b"}"#).unwrap();
    let mut out = Vec::new();
    session.export(&mut out).unwrap();
    let wanted = "{\"role\":\"user\",\"content\":\"a\"}\n{\"role\":\"user\",\"content\":\"b\"}\n";
    assert_eq!(out, wanted.as_bytes());
}

#[tokio::test]
async fn records_that_no_model_sees_are_counted_by_resuming_and_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path()).await;
    let mut session = runtime.session("s", Format::ClaudeCode).unwrap();
    let noise = format!(
        r#"{{"type":"progress","uuid":"q","data":"{}"}}"#,
        "x".repeat(5_000)
    );
    for line in [CLAUDE[0], CLAUDE[1], &noise, CLAUDE[2]] {
        session.append(line.to_owned()).unwrap();
    }
    let (stats, items) = (session.context().stats(), session.context().items().len());
    assert_eq!((stats.appended, items), (4, 2));
    drop(session);
    let session = runtime.resume("s").unwrap();
    assert_eq!(session.context().stats().appended, 4);
    assert_eq!(session.context().items().len(), 2);
    assert_eq!(session.message(2).unwrap(), noise);
}

#[tokio::test]
async fn what_is_too_large_for_the_window_is_kept_outside_in_every_format() {
    let large = "word ".repeat(60_000);
    let chat = format!(
        r#"[{{"role":"user","content":"a"}},{{"role":"user","content":"{large}"}},{{"role":"assistant","content":"b","tool_calls":[]}}]"#
    );
    let claude = [CLAUDE[0], &CLAUDE[0].replace("hi", &large), CLAUDE[2]].join("\n");
    let gemini = format!(
        r#"{{"contents":[{{"role":"user","parts":[{{"text":"a"}}]}},{{"role":"user","parts":[{{"text":"{large}"}}]}}]}}"#
    );
    let responses = format!(
        r#"{{"input":[{{"type":"message","role":"user","content":"a"}},{{"type":"message","role":"user","content":"{large}"}}]}}"#
    );
    for source in [chat, claude, gemini, responses] {
        let dir = tempfile::tempdir().unwrap();
        let runtime = open(dir.path()).await;
        let imported = runtime.import("in", source.as_bytes()).unwrap();
        assert!(imported.outside_bytes > 300_000, "{imported:?}");
        let session = runtime.resume("in").unwrap();
        let items = session.context().items().len() as u64;
        assert_eq!(items, imported.messages - 1, "{}", imported.format);
        let mut out = Vec::new();
        session.export(&mut out).unwrap();
        assert!(out == source.as_bytes());
    }
}

#[tokio::test]
async fn recorded_sessions_come_back_byte_for_byte() {
    let Some(data) = std::env::var_os("MAINSPRING_DATA") else {
        println!("skipped: MAINSPRING_DATA is not set");
        return;
    };
    let sessions = PathBuf::from(data).join("sessions");
    let mut files = Vec::new();
    for folder in ["swe-agent", "codex-claude-fixtures"] {
        let Ok(entries) = std::fs::read_dir(sessions.join(folder)) else {
            continue;
        };
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    for path in files {
        let source = std::fs::read(&path).unwrap();
        match there_and_back(&source).await {
            Ok((_, out)) => assert!(out == source, "{}", path.display()),
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
}

#[tokio::test]
async fn a_fork_of_an_imported_log_has_what_lies_between_its_lines() {
    let next = r#"{"type":"user","uuid":"w","parentUuid":"v","sessionId":"c","message":{"role":"user","content":"go on"}}"#;
    for (between, end) in [("\r\n \n", ""), ("\nnot json\n", "\r\n"), ("\n", "\n\n\n")] {
        let source = format!("\u{feff}{}{end}", CLAUDE.join(between));
        let dir = tempfile::tempdir().unwrap();
        let runtime = open(dir.path()).await;
        runtime.import("in", source.as_bytes()).unwrap();
        let one = runtime.resume("in").unwrap().fork("one").unwrap();
        let two = one.fork("two").unwrap();
        let mut out = Vec::new();
        two.export(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), source);
        drop((one, two));

        runtime.resume("one").unwrap().append(next).unwrap();
        let mut out = Vec::new();
        runtime.resume("one").unwrap().export(&mut out).unwrap();
        let line = if end.is_empty() { "\n" } else { "" };
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.trim_end(), format!("{source}{line}{next}"));
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_come_back_or_are_refused() {
    let messages = generate(&SessionSpec::coding(3, 12)).join(",\n");
    let refused =
        there_and_back(&[format!("[{messages}]").as_bytes(), b"\n\xff\xfe"].concat()).await;
    assert!(matches!(refused, Err(Error::Context(_))), "{refused:?}");
    let line = format!("{{\"messages\":[{messages}]}}").replace('\n', "");
    for broken in [&b"\xff\xfe\n"[..], b"\xc3(\r\n\x00\n", b"caf\xe9"] {
        for (log, whole) in [
            (CLAUDE.join("\n"), true),
            (format!("{line}\n{line}"), false),
        ] {
            let source = [log.as_bytes(), b"\n", broken].concat();
            match there_and_back(&source).await {
                Ok((imported, out)) => {
                    assert!(out == source, "other bytes came back for {broken:?}");
                    assert!(!imported.quarantined.is_empty());
                }
                Err(Error::Context(error)) => {
                    println!("refused: {error}");
                    assert!(!whole && error.to_string().contains("UTF-8"), "{error}");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test]
async fn small_sessions_grow_little() {
    let Some(data) = std::env::var_os("MAINSPRING_DATA") else {
        println!("skipped: MAINSPRING_DATA is not set");
        return;
    };
    let mut files = Vec::new();
    for folder in ["swe-agent", "codex-claude-fixtures"] {
        let folder = Path::new(&data).join("sessions").join(folder);
        let entries = std::fs::read_dir(folder).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    for path in files {
        let dir = tempfile::tempdir().unwrap();
        let runtime = open(dir.path()).await;
        let source = std::fs::read(&path).unwrap();
        let imported = runtime.import("in", &*source).unwrap();
        println!(
            "{:?}: {} bytes, {} stored, {} messages",
            path.file_name().unwrap(),
            imported.bytes,
            imported.stored_bytes,
            imported.messages
        );
        // Some 50 bytes a message are the store's own.
        let most = imported.bytes * 11 / 10 + 50 * imported.messages;
        assert!(imported.stored_bytes < most, "{path:?}: {imported:?}");
    }
}

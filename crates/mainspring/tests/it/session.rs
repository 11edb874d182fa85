//! Sessions: what is acknowledged is there again, byte for byte.

use mainspring::{Config, Error, Profile, Runtime, compressor::Format, mmap_store::Durability};
use mainspring_inputs::{SessionSpec, generate};

fn config(window: usize) -> Config {
    let mut config = Profile::Laptop.config();
    (config.window, config.durability) = (window, Durability::Os);
    config
}

async fn open(dir: &std::path::Path) -> Runtime {
    Runtime::open(dir, config(8_000)).await.expect("a runtime")
}

#[tokio::test]
async fn resume_sends_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let messages = generate(&SessionSpec::coding(5, 150));
    for stop in [1, 40, 41, 150] {
        let name = format!("s{stop}");
        let runtime = open(dir.path()).await;
        let mut session = runtime.session(&name, Format::OpenAiChat).unwrap();
        for message in &messages[..stop] {
            session.append(message.clone()).unwrap();
        }
        let before: Vec<_> = session.context().items().cloned().collect();
        let tokens = session.context().tokens();
        assert!(
            stop < 150 || session.context().stats().compactions > 0,
            "nothing was compacted"
        );
        drop(session);
        runtime.close().await.unwrap();

        let runtime = open(dir.path()).await;
        let session = runtime.resume(&name).unwrap();
        assert_eq!(session.messages(), stop as u64);
        assert!(
            session.context().items().eq(before.iter()),
            "another context after {stop}"
        );
        assert_eq!(session.context().tokens(), tokens);
        drop(session);
        runtime.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_session_goes_on_after_resume_as_if_nothing_had_happened() {
    let messages = generate(&SessionSpec::coding(6, 120));
    let (straight, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = open(straight.path()).await;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    for message in &messages {
        session.append(message.clone()).unwrap();
    }
    let wanted: Vec<_> = session.context().items().cloned().collect();

    for part in messages.chunks(17) {
        let runtime = open(broken.path()).await;
        let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
        for message in part {
            session.append(message.clone()).unwrap();
        }
        drop(session);
        runtime.close().await.unwrap();
    }
    let runtime = open(broken.path()).await;
    let found: Vec<_> = runtime
        .resume("s")
        .unwrap()
        .context()
        .items()
        .cloned()
        .collect();
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn checkpoints_cover_every_message_and_go_on_after_resume() {
    let dir = tempfile::tempdir().unwrap();
    let messages = generate(&SessionSpec::coding(7, 30));
    let mut versions = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let runtime = open(dir.path()).await;
        let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
        session.append(message.clone()).unwrap();
        if at % 3 == 2 {
            versions.push((
                at,
                session.checkpoint(&format!("{{\"step\":{at}}}")).unwrap(),
            ));
        }
        drop(session);
        runtime.close().await.unwrap();
    }
    let runtime = open(dir.path()).await;
    let session = runtime.resume("s").unwrap();
    for (at, version) in versions {
        let joined = messages[..=at].join(",");
        let wanted = format!("{{\"header\":{{\"step\":{at}}},\"messages\":[{joined}]}}");
        assert_eq!(session.restore(version).unwrap(), wanted.as_bytes());
    }
}

#[tokio::test]
async fn a_refused_checkpoint_doubles_no_message_and_an_older_one_can_be_gone_back_to() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path()).await;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    let mut versions = Vec::new();
    for text in ["one", "two"] {
        session
            .append(format!("{{\"role\":\"user\",\"content\":\"{text}\"}}"))
            .unwrap();
        assert!(matches!(
            session.checkpoint("no json"),
            Err(Error::Snapshot(_))
        ));
        versions.push(session.checkpoint("1").unwrap());
    }
    let whole = session.restore(versions[1]).unwrap();
    assert_eq!(whole.windows(4).filter(|bytes| bytes == b"role").count(), 2);

    session
        .checkpoints()
        .unwrap()
        .checkout(versions[0])
        .unwrap();
    let again = session.checkpoint("1").unwrap();
    assert_eq!(session.restore(again).unwrap(), whole);
}

#[tokio::test]
async fn an_output_that_was_moved_out_comes_back_by_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path()).await;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    let mut blobs = Vec::new();
    for message in generate(&SessionSpec::coding(8, 200)) {
        let appended = session.append(message).unwrap();
        blobs.extend(appended.blobs);
        blobs.extend(
            appended
                .compaction
                .into_iter()
                .flat_map(|compaction| compaction.blobs),
        );
    }
    assert!(!blobs.is_empty());
    drop(session);
    runtime.close().await.unwrap();
    let runtime = open(dir.path()).await;
    let session = runtime.resume("s").unwrap();
    for blob in blobs {
        assert_eq!(session.blob(&blob.id).unwrap(), Some(blob.bytes));
    }
    assert_eq!(session.blob("no such id").unwrap(), None);
}

#[tokio::test]
async fn what_is_no_message_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path()).await;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    session
        .append(r#"{"role":"user","content":"hello"}"#)
        .unwrap();
    for wrong in ["", "{", "not json", "{\"role\":\"user\"} {}", "\u{1}"] {
        assert!(
            matches!(session.append(wrong), Err(Error::Context(_))),
            "{wrong:?}"
        );
    }
    let larger = format!(
        "{{\"role\":\"user\",\"content\":\"{}\"}}",
        "word ".repeat(20_000)
    );
    assert!(matches!(session.append(larger), Err(Error::Context(_))));
    assert_eq!(session.messages(), 1);
    assert_eq!(session.context().items().len(), 1);
    session
        .append(r#"{"role":"assistant","content":"hi"}"#)
        .unwrap();
    assert_eq!(session.messages(), 2);
}

#[tokio::test]
async fn a_session_has_one_handle_and_a_folder_one_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path()).await;
    let session = runtime.session("s", Format::OpenAiChat).unwrap();
    assert!(matches!(runtime.resume("s"), Err(Error::SessionOpen(name)) if name == "s"));
    assert!(matches!(runtime.resume("t"), Err(Error::NoSession(name)) if name == "t"));
    drop(session);
    drop(runtime.resume("s").unwrap());
    let refused = Runtime::open(dir.path(), config(8_000)).await.unwrap_err();
    assert!(refused.is_in_use());
    assert!(refused.to_string().contains("`sessions`"), "{refused}");
    assert_eq!(runtime.sessions().unwrap(), ["s"]);
}

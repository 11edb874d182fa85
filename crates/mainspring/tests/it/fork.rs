//! Forks: everything shared, nothing seen of each other.

use mainspring::{
    Config, Error, Profile, Runtime, Session, compressor::Format, mmap_store::Durability,
};
use mainspring_inputs::{SessionSpec, generate};
use proptest::prelude::*;

fn config() -> Config {
    let mut config = Profile::Laptop.config();
    (config.window, config.durability) = (8_000, Durability::Os);
    config
}

async fn open(dir: &std::path::Path) -> Runtime {
    Runtime::open(dir, config()).await.expect("a runtime")
}

fn append(session: &mut Session, messages: &[String]) {
    for message in messages {
        session.append(message.clone()).expect("an append");
    }
}

fn items(session: &Session) -> Vec<bytes::Bytes> {
    session.context().items().cloned().collect()
}

fn log(session: &Session) -> Vec<bytes::Bytes> {
    session.last_messages(usize::MAX).expect("messages")
}

#[tokio::test]
async fn both_go_on_as_if_they_had_never_met_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let messages = generate(&SessionSpec::coding(11, 120));
    let other = generate(&SessionSpec::coding(12, 120));
    // What each would be without the other.
    let alone = open(dir.path()).await;
    let (mut left, mut right) = (
        alone.session("left alone", Format::OpenAiChat).unwrap(),
        alone.session("right alone", Format::OpenAiChat).unwrap(),
    );
    append(&mut left, &messages);
    append(&mut right, &messages[..60]);
    append(&mut right, &other[60..]);

    let mut ours = alone.session("s", Format::OpenAiChat).unwrap();
    append(&mut ours, &messages[..60]);
    let mut theirs = ours.fork("t").unwrap();
    assert_eq!(items(&ours), items(&theirs));
    append(&mut ours, &messages[60..]);
    append(&mut theirs, &other[60..]);
    assert!(ours.context().stats().compactions > 0);
    let check = |ours: &Session, theirs: &Session| {
        for (one, same) in [(ours, &left), (theirs, &right)] {
            assert_eq!(log(one), log(same));
            assert_eq!(items(one), items(same));
            assert_eq!(one.context().tokens(), same.context().tokens());
        }
    };
    check(&ours, &theirs);
    drop((ours, theirs));
    check(&alone.resume("s").unwrap(), &alone.resume("t").unwrap());
    let expected = (log(&left), log(&right));
    drop((left, right));
    alone.close().await.unwrap();

    let runtime = open(dir.path()).await;
    let found = (
        log(&runtime.resume("s").unwrap()),
        log(&runtime.resume("t").unwrap()),
    );
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_fork_that_rests_keeps_the_context_that_its_parent_compacts_away() {
    let dir = tempfile::tempdir().unwrap();
    let messages = generate(&SessionSpec::coding(14, 160));
    let runtime = open(dir.path()).await;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    append(&mut session, &messages[..60]);
    let (first, second) = (session.fork("t").unwrap(), session.fork("u").unwrap());
    let wanted = items(&first);
    drop((first, second));
    let before = session.usage().compactions;
    append(&mut session, &messages[60..]);
    assert!(session.usage().compactions > before + 1);
    // A fork of a fork that has no context of its own either.
    let third = runtime.resume("t").unwrap().fork("v").unwrap();
    assert_eq!(items(&third), wanted);
    drop((session, third));
    runtime.close().await.unwrap();
    let runtime = open(dir.path()).await;
    for name in ["t", "u", "v"] {
        assert_eq!(items(&runtime.resume(name).unwrap()), wanted, "{name}");
    }
}

#[tokio::test]
async fn a_fork_costs_one_small_record_and_shares_the_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path()).await;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    append(&mut session, &generate(&SessionSpec::coding(13, 150)));
    let version = session.checkpoint("1").unwrap();
    let before = runtime.session_store().stats().log_bytes;
    let size = session.restore(version).unwrap().len() as u64;
    for n in 0..100 {
        session.fork(&format!("f{n}")).unwrap();
    }
    let cost = runtime.session_store().stats().log_bytes - before;
    assert!(cost < 100 * 512, "{cost} bytes for forks of {size}");
    drop(session);
    runtime.close().await.unwrap();

    let runtime = open(dir.path()).await;
    let before = runtime.snapshot_store().stats().log_bytes;
    let mut fork = runtime.resume("f7").unwrap();
    assert_eq!(fork.restore(version).unwrap().len() as u64, size);
    fork.append(r#"{"role":"user","content":"go on"}"#).unwrap();
    let next = fork.checkpoint("2").unwrap();
    assert!(fork.restore(next).unwrap().ends_with(br#"go on"}]}"#));
    let cost = runtime.snapshot_store().stats().log_bytes - before;
    assert!(cost < 4_096, "{cost} bytes for a fork's first checkpoint");
}

#[tokio::test]
async fn a_fork_takes_no_name_that_is_taken_and_a_blob_is_found_through_it() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path()).await;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    let mut blobs = Vec::new();
    for message in generate(&SessionSpec::coding(8, 200)) {
        let appended = session.append(message).unwrap();
        blobs.extend(appended.blobs);
        blobs.extend(appended.compaction.into_iter().flat_map(|done| done.blobs));
    }
    assert!(!blobs.is_empty());
    drop(runtime.session("t", Format::OpenAiChat).unwrap());
    assert!(matches!(session.fork("t"), Err(Error::SessionExists(name)) if name == "t"));
    assert!(matches!(session.fork("s"), Err(Error::SessionOpen(name)) if name == "s"));
    let fork = session.fork("u").unwrap().fork("v").unwrap();
    for blob in blobs {
        assert_eq!(fork.blob(&blob.id).unwrap(), Some(blob.bytes));
    }
}

#[tokio::test]
async fn a_fork_does_not_see_what_its_parent_moved_out_later() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path()).await;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    let fork = session.fork("t").unwrap();
    let mut later = Vec::new();
    for message in generate(&SessionSpec::coding(8, 200)) {
        let appended = session.append(message).unwrap();
        later.extend(appended.blobs);
        later.extend(appended.compaction.into_iter().flat_map(|done| done.blobs));
    }
    assert!(!later.is_empty());
    for blob in later {
        assert_eq!(fork.blob(&blob.id).unwrap(), None, "{}", blob.id);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Any tree of forks holds what a model of plain lists holds, also after a restart.
    #[test]
    fn forks_of_forks_are_lists_that_share_a_beginning(steps in proptest::collection::vec((0..8usize, any::<bool>()), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let runtime = tokio.block_on(open(dir.path()));
        let mut sessions = vec![runtime.session("0", Format::OpenAiChat).unwrap()];
        let mut model: Vec<Vec<String>> = vec![Vec::new()];
        for (number, (which, forks)) in steps.into_iter().enumerate() {
            let at = which % sessions.len();
            if forks {
                let name = sessions.len().to_string();
                let fork = sessions[at].fork(&name).unwrap();
                sessions.push(fork);
                model.push(model[at].clone());
            } else {
                let message = format!("{{\"role\":\"user\",\"content\":\"{}\"}}", format!("{number} ").repeat(400));
                sessions[at].append(message.clone()).unwrap();
                model[at].push(message);
            }
        }
        let contexts: Vec<_> = sessions.iter().map(items).collect();
        drop(sessions);
        tokio.block_on(runtime.close()).unwrap();
        let runtime = tokio.block_on(open(dir.path()));
        for (at, wanted) in model.iter().enumerate() {
            let session = runtime.resume(&at.to_string()).unwrap();
            let found = log(&session);
            prop_assert!(found.iter().eq(wanted.iter().map(String::as_bytes)));
            prop_assert_eq!(&items(&session), &contexts[at]);
        }
    }
}

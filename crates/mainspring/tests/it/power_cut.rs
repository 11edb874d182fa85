//! What a power cut within the interval of the durability leaves of a session: told, and never wrong bytes.

use std::path::Path;

use mainspring::{
    Config, Divergence, Error, Event, Parts, Profile, Runtime, Session, compressor::Format,
    delta_snapshot::VersionId, mmap_store::Durability,
};

use crate::texts::{message, state};

fn config() -> Config {
    let mut config = Profile::Laptop.config();
    config.durability = Durability::Os;
    config
}

/// With a clock that stands still, the name of a version that was lost is given out again.
async fn open(dir: &Path) -> Runtime {
    let parts = Parts::new().clock(|| 0);
    let runtime = Runtime::open_parts(dir, config(), parts).await;
    runtime.expect("a runtime")
}

fn append(session: &mut Session, texts: &[&str]) {
    for text in texts {
        session.append(message(text)).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// A folder with a session of two messages in a checkpoint, and then, in the folder of the name
/// given alone, what follows: another two, and their checkpoint.
async fn cut(dir: &Path, survives: &str) -> [VersionId; 2] {
    let whole = dir.join("whole");
    let runtime = open(&whole).await;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    append(&mut session, &["a", "b"]);
    let first = session.checkpoint("1").unwrap();
    drop(session);
    runtime.close().await.unwrap();
    copy(&whole, &dir.join("cut"));
    let runtime = open(&whole).await;
    let mut session = runtime.resume("s").unwrap();
    assert_eq!(session.divergence(), None);
    append(&mut session, &["c", "d"]);
    let second = session.checkpoint("2").unwrap();
    drop(session);
    runtime.close().await.unwrap();
    std::fs::remove_dir_all(dir.join("cut").join(survives)).unwrap();
    copy(&whole.join(survives), &dir.join("cut").join(survives));
    [first, second]
}

#[tokio::test]
async fn a_checkpoint_ahead_of_the_log_is_told_and_the_next_one_is_of_the_log() {
    for regrown in [&[][..], &["x"], &["x", "y", "z"]] {
        let dir = tempfile::tempdir().unwrap();
        let [first, second] = cut(dir.path(), "snapshots").await;
        let runtime = open(&dir.path().join("cut")).await;
        let mut events = runtime.events().subscribe();
        let mut session = runtime.resume("s").unwrap();
        let divergence = Divergence::Ahead {
            version: second,
            messages: 4,
            agreed: 2,
        };
        assert_eq!(session.divergence(), Some(divergence));
        assert!(matches!(
            events.try_recv(),
            Some(Ok(Event::SessionDiverged { divergence: told, .. })) if told == divergence
        ));
        assert_eq!(session.messages(), 2);
        // What was acknowledged of the checkpoint is there.
        let lost = session.restore(second).unwrap();
        assert_eq!(lost, state(2, &["a", "b", "c", "d"]).as_bytes());
        append(&mut session, regrown);
        drop(session);
        // It is told until the next checkpoint, however often one resumes.
        let mut session = runtime.resume("s").unwrap();
        assert!(session.divergence().is_some());
        let third = session.checkpoint("3").unwrap();
        let texts = [&["a", "b"], regrown].concat();
        assert_eq!(session.restore(third).unwrap(), state(3, &texts).as_bytes());
        assert_eq!(session.divergence(), None);
        assert!(session.restore(first).is_ok());
        drop(session);
        assert_eq!(runtime.resume("s").unwrap().divergence(), None);
    }
}

#[tokio::test]
async fn a_fork_of_a_session_whose_checkpoint_is_ahead_has_its_own_messages() {
    let dir = tempfile::tempdir().unwrap();
    cut(dir.path(), "snapshots").await;
    let runtime = open(&dir.path().join("cut")).await;
    let mut fork = runtime.resume("s").unwrap().fork("t").unwrap();
    append(&mut fork, &["x"]);
    let version = fork.checkpoint("3").unwrap();
    assert_eq!(
        fork.restore(version).unwrap(),
        state(3, &["a", "b", "x"]).as_bytes()
    );
}

#[tokio::test]
async fn a_checkpoint_that_is_gone_is_told_and_the_next_one_has_every_message() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = cut(dir.path(), "sessions").await;
    let runtime = open(&dir.path().join("cut")).await;
    let mut session = runtime.resume("s").unwrap();
    assert_eq!(
        session.divergence(),
        Some(Divergence::Lost { version: second })
    );
    assert_eq!(session.messages(), 4);
    append(&mut session, &["e"]);
    let third = session.checkpoint("3").unwrap();
    let texts = ["a", "b", "c", "d", "e"];
    assert_eq!(session.restore(third).unwrap(), state(3, &texts).as_bytes());
    assert_eq!(
        session.restore(first).unwrap(),
        state(1, &["a", "b"]).as_bytes()
    );

    // All of them.
    let dir = tempfile::tempdir().unwrap();
    cut(dir.path(), "sessions").await;
    std::fs::remove_dir_all(dir.path().join("cut/snapshots")).unwrap();
    let runtime = open(&dir.path().join("cut")).await;
    let mut session = runtime.resume("s").unwrap();
    assert!(matches!(
        session.divergence(),
        Some(Divergence::Lost { .. })
    ));
    let third = session.checkpoint("3").unwrap();
    assert_eq!(
        session.restore(third).unwrap(),
        state(3, &texts[..4]).as_bytes()
    );
}

#[tokio::test]
async fn a_version_whose_name_was_given_out_again_does_not_pass_for_the_one_that_was_lost() {
    let dir = tempfile::tempdir().unwrap();
    let [_, second] = cut(dir.path(), "sessions").await;
    // Somebody makes another version under the name that the log knows.
    let cut = dir.path().join("cut");
    let runtime = open(&cut).await;
    let thread = runtime.snapshots().thread("s").unwrap();
    thread.set("/messages/1", "\"another\"").unwrap();
    let again = thread.commit(Default::default()).unwrap();
    assert_eq!(again, second, "the scenario needs the name again");
    let mut session = runtime.resume("s").unwrap();
    let third = session.checkpoint("3").unwrap();
    assert_eq!(
        session.restore(third).unwrap(),
        state(3, &["a", "b", "c", "d"]).as_bytes()
    );
}

#[tokio::test]
async fn a_checkpoint_that_the_log_was_not_told_of_goes_on_as_if_it_had_been() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path()).await;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    append(&mut session, &["a", "b"]);
    session.checkpoint("1").unwrap();
    let number = runtime.session_store().get(b"ss").unwrap().unwrap();
    let mark = [b"k", &number[..]].concat();
    assert!(runtime.session_store().delete(&mark).unwrap());
    drop(session);
    let mut session = runtime.resume("s").unwrap();
    assert_eq!(session.divergence(), None);
    assert!(
        runtime.session_store().contains(&mark).unwrap(),
        "it was told"
    );
    append(&mut session, &["c"]);
    let version = session.checkpoint("2").unwrap();
    assert_eq!(
        session.restore(version).unwrap(),
        state(2, &["a", "b", "c"]).as_bytes()
    );
}

#[tokio::test]
async fn a_record_whose_version_was_replaced_is_damage_and_not_other_bytes() {
    let noise = |text: &str| {
        let text = text.repeat(3_000);
        format!(r#"{{"type":"progress","uuid":"p","parentUuid":null,"data":"{text}"}}"#)
    };
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path()).await;
    let mut session = runtime.session("s", Format::ClaudeCode).unwrap();
    session.append(noise("ab")).unwrap();
    assert_eq!(session.message(0).unwrap(), noise("ab"));
    drop(session);
    runtime.close().await.unwrap();
    std::fs::remove_dir_all(dir.path().join("snapshots")).unwrap();

    let runtime = open(dir.path()).await;
    let session = runtime.resume("s").unwrap();
    assert!(matches!(session.message(0), Err(Error::Snapshot(_))));
    let thread = runtime.snapshots().thread_in("s", "r0").unwrap();
    thread
        .commit_full(noise("cd").as_bytes(), Default::default())
        .unwrap();
    let found = session.message(0);
    assert!(
        matches!(found, Err(Error::Damaged { message: 0, .. })),
        "{found:?}"
    );
    assert_eq!(session.messages(), 1, "and the session is there");
}

#[tokio::test]
async fn a_forks_first_checkpoint_that_the_log_was_not_told_of_is_none_that_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path()).await;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    append(&mut session, &["a", "b"]);
    session.checkpoint("1").unwrap();
    let mut fork = session.fork("t").unwrap();
    let store = runtime.session_store();
    let mark = [b"k", &store.get(b"st").unwrap().unwrap()[..]].concat();
    let told = store.get(&mark).unwrap().unwrap();
    append(&mut fork, &["c"]);
    fork.checkpoint("2").unwrap();
    drop(fork);
    store.put(&mark, &told).unwrap();
    let mut fork = runtime.resume("t").unwrap();
    assert_eq!(fork.divergence(), None);
    append(&mut fork, &["d"]);
    let version = fork.checkpoint("3").unwrap();
    let wanted = state(3, &["a", "b", "c", "d"]);
    assert_eq!(fork.restore(version).unwrap(), wanted.as_bytes());
}

fn messages_of(session: &Session, version: VersionId) -> String {
    String::from_utf8(session.restore(version).unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn a_fork_does_not_go_on_from_what_got_the_name_of_the_checkpoint_it_was_made_at() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, cut) = (dir.path().join("whole"), dir.path().join("cut"));
    let runtime = open(&whole).await;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    append(&mut session, &["a", "b"]);
    session.checkpoint("1").unwrap();
    drop(session);
    runtime.close().await.unwrap();
    copy(&whole.join("snapshots"), &cut.join("snapshots"));
    let runtime = open(&whole).await;
    let mut session = runtime.resume("s").unwrap();
    append(&mut session, &["c", "d"]);
    let second = session.checkpoint("2").unwrap();
    for fork in ["t", "u"] {
        session.fork(fork).unwrap();
    }
    drop(session);
    runtime.close().await.unwrap();
    copy(&whole.join("sessions"), &cut.join("sessions"));

    let runtime = open(&cut).await;
    let mut session = runtime.resume("s").unwrap();
    append(&mut session, &["e"]);
    let again = session.checkpoint("3").unwrap();
    assert_eq!(again, second, "the scenario needs the name again");
    let mut fork = runtime.resume("t").unwrap();
    append(&mut fork, &["x"]);
    let version = fork.checkpoint("4").unwrap();
    let wanted = state(4, &["a", "b", "c", "d", "x"]);
    assert_eq!(messages_of(&fork, version), wanted);
    drop((session, fork));

    // Where the name means what it did, the fork goes on from there.
    let runtime = open(&whole).await;
    let mut fork = runtime.resume("u").unwrap();
    append(&mut fork, &["x"]);
    let version = fork.checkpoint("4").unwrap();
    assert_eq!(messages_of(&fork, version), wanted);
    let made = fork.checkpoints().unwrap().version(&version.to_string());
    assert_eq!(made.unwrap().parent, Some(second));
}

#[tokio::test]
async fn a_version_that_no_session_made_is_not_told_as_lost() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path()).await;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    append(&mut session, &["a"]);
    session.checkpoint("1").unwrap();
    let thread = session.checkpoints().unwrap().clone();
    thread.set("/header", "2").unwrap();
    thread.commit(Default::default()).unwrap();
    drop(session);
    assert_eq!(runtime.resume("s").unwrap().divergence(), None);
    // As after a retention, which leaves fewer bytes.
    let store = runtime.session_store();
    let mark = [b"k", &store.get(b"ss").unwrap().unwrap()[..]].concat();
    let mut told = store.get(&mark).unwrap().unwrap().to_vec();
    *told.last_mut().unwrap() ^= 1;
    store.put(&mark, &told).unwrap();
    let mut session = runtime.resume("s").unwrap();
    assert_eq!(session.divergence(), None);
    append(&mut session, &["b"]);
    let version = session.checkpoint("3").unwrap();
    assert_eq!(messages_of(&session, version), state(3, &["a", "b"]));
}

#[tokio::test]
async fn a_mark_of_more_messages_than_the_log_has_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path()).await;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    append(&mut session, &["a", "b", "c"]);
    let version = session.checkpoint("1").unwrap();
    drop(session);
    let last = [b"m".as_slice(), &[0; 4], &[0, 0, 0, 0, 0, 0, 0, 2]].concat();
    assert!(runtime.session_store().delete(&last).unwrap());
    let mut session = runtime.resume("s").unwrap();
    let divergence = Divergence::Ahead {
        version,
        messages: 3,
        agreed: 2,
    };
    assert_eq!(session.divergence(), Some(divergence));
    append(&mut session, &["x", "y"]);
    let version = session.checkpoint("2").unwrap();
    let wanted = state(2, &["a", "b", "x", "y"]);
    assert_eq!(messages_of(&session, version), wanted);
}

#[tokio::test]
async fn a_session_of_which_only_the_checkpoint_is_left_is_begun_with_that_said() {
    let dir = tempfile::tempdir().unwrap();
    let [first, _] = cut(dir.path(), "cache").await;
    std::fs::remove_dir_all(dir.path().join("cut/sessions")).unwrap();
    let runtime = open(&dir.path().join("cut")).await;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    let divergence = Divergence::Ahead {
        version: first,
        messages: 2,
        agreed: 0,
    };
    assert_eq!(session.divergence(), Some(divergence));
    append(&mut session, &["x"]);
    let version = session.checkpoint("3").unwrap();
    assert_eq!(messages_of(&session, version), state(3, &["x"]));
}

//! Damage to what a session is resumed from: it comes back from its messages, and says what is lost.

use std::path::Path;

use bytes::Bytes;
use mainspring::{
    Config, Error, Event, Profile, Runtime, Session, compressor::Format, mmap_store::Durability,
};

/// The key of the first session's saved context, of what it began with, and of a message, as the format
/// page has them.
const CONTEXT: &[u8] = b"c\0\0\0\0";
const EMPTY: &[u8] = b"e\0\0\0\0";

fn message_key(number: u8) -> [u8; 13] {
    let mut key = [0; 13];
    (key[0], key[12]) = (b'm', number);
    key
}

fn config() -> Config {
    let mut config = Profile::Laptop.config();
    (config.window, config.durability) = (3_000, Durability::Os);
    config
}

async fn open(dir: &Path) -> Runtime {
    Runtime::open(dir, config()).await.unwrap()
}

/// What a tool answers is too long for the window, so that contexts are compacted.
fn messages() -> Vec<String> {
    let interaction = |number: u32| {
        let output: String = (0..400).map(|n| format!("{} ", n * number)).collect();
        [
            format!(r#"{{"role":"user","content":"Never touch file {number}."}}"#),
            format!(
                r#"{{"role":"assistant","content":null,"tool_calls":[{{"id":"c{number}","type":"function","function":{{"name":"look","arguments":"{{}}"}}}}]}}"#
            ),
            format!(r#"{{"role":"tool","tool_call_id":"c{number}","content":"{output}"}}"#),
        ]
    };
    (1..20).flat_map(interaction).collect()
}

fn items(session: &Session) -> Vec<Bytes> {
    session.context().items().cloned().collect()
}

/// Flips a byte where the stored value of a key lies.
fn damage(dir: &Path, value: &[u8]) {
    let part = &value[value.len() - value.len().min(24)..];
    flip(dir, part, |at| at + part.len() / 2);
}

/// Flips a byte near the last place where something lies.
fn flip(dir: &Path, part: &[u8], place: impl Fn(usize) -> usize) {
    let mut flipped = 0;
    for entry in std::fs::read_dir(dir.join("sessions")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap_or_default();
        // The newest is the last one.
        let at = bytes.windows(part.len()).rposition(|found| found == part);
        if let Some(at) = at {
            bytes[place(at)] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            flipped += 1;
        }
    }
    assert!(flipped > 0, "it lies somewhere");
}

/// A session of all messages, with a fork in the middle, and the context that it ended with.
async fn session(dir: &Path) -> Vec<Bytes> {
    let runtime = open(dir).await;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    for (number, message) in messages().into_iter().enumerate() {
        session.append(message).unwrap();
        if number == 5 {
            drop(session.fork("fork").unwrap());
        }
    }
    assert!(session.usage().compactions > 0);
    let items = items(&session);
    session.close().unwrap();
    runtime.close().await.unwrap();
    items
}

/// A session of three messages, and a context saved after all of them or before.
async fn three(dir: &Path, saved: bool) {
    let runtime = open(dir).await;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    for text in ["one", "two, which is damaged", "three"] {
        let message = format!(r#"{{"role":"user","content":"{text}"}}"#);
        session.append(message).unwrap();
    }
    if saved {
        session.sent();
    }
    session.close().unwrap();
    runtime.close().await.unwrap();
}

/// Makes a record unreadable, as a disk does it. The value may be stored compressed, which only the
/// system store below knows.
async fn spoil(dir: &Path, key: &[u8]) {
    let runtime = open(dir).await;
    let store = runtime.session_store();
    let value = store.get(key).unwrap().unwrap();
    // Short enough to be stored as it is.
    let short = value.slice(..value.len().min(4_000));
    // The newest of all, should another one be equal.
    store.put(key, &short).unwrap();
    runtime.close().await.unwrap();
    damage(dir, &short);
    let runtime = open(dir).await;
    let read = runtime.session_store().get(key);
    assert!(
        matches!(read, Err(mainspring::mmap_store::Error::Damaged { .. })),
        "the scenario needs a damaged record: {read:?}"
    );
    runtime.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_saved_context_is_made_again_from_the_messages_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = session(dir.path()).await;
    spoil(dir.path(), CONTEXT).await;
    let runtime = open(dir.path()).await;
    let mut events = runtime.events().subscribe();
    let mut session = runtime.resume("s").unwrap();
    let mended = session.mended().expect("it says so").clone();
    let cause = mended.context.expect("the context was lost");
    assert!(cause.contains("damaged at byte"), "{cause}");
    assert_eq!((mended.messages, mended.first), (0, None));
    let told = Event::SessionMended {
        session: "s".into(),
        context: true,
        messages: 0,
    };
    assert_eq!(events.try_recv(), Some(Ok(told)));
    // The same messages, compacted in the same way.
    assert_eq!(items(&session), wanted);
    assert_eq!(session.messages(), messages().len() as u64);
    session.append(messages().remove(0)).unwrap();
    let wanted = items(&session);
    drop(session);
    runtime.close().await.unwrap();
    // From now on there is nothing to tell.
    let runtime = open(dir.path()).await;
    let session = runtime.resume("s").unwrap();
    assert_eq!(session.mended(), None);
    assert_eq!(items(&session), wanted);
    // What the fork began with was kept for it.
    let fork = runtime.resume("fork").unwrap();
    assert_eq!(fork.messages(), 6);
    assert_eq!(fork.last_messages(6).unwrap(), messages()[..6]);
}

#[tokio::test]
async fn a_session_of_an_early_build_is_known_by_its_messages() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = session(dir.path()).await;
    let runtime = open(dir.path()).await;
    runtime.session_store().delete(EMPTY).unwrap();
    runtime.close().await.unwrap();
    spoil(dir.path(), CONTEXT).await;
    let runtime = open(dir.path()).await;
    let session = runtime.resume("s").unwrap();
    assert!(session.mended().is_some());
    assert_eq!(session.context().transcript().format(), Format::OpenAiChat);
    assert_eq!(items(&session), wanted);
}

#[tokio::test]
async fn a_damaged_message_is_left_out_of_the_context_and_named() {
    for context_too in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        three(dir.path(), false).await;
        spoil(dir.path(), &message_key(1)).await;
        if context_too {
            spoil(dir.path(), CONTEXT).await;
        }
        let runtime = open(dir.path()).await;
        let mut session = runtime.resume("s").unwrap();
        let mended = session.mended().expect("it says so").clone();
        assert_eq!(mended.context.is_some(), context_too);
        assert_eq!(mended.messages, 1);
        assert_eq!(mended.first.map(|(number, _)| number), Some(1));
        assert_eq!(session.messages(), 3);
        assert_eq!(items(&session).len(), 2);
        assert!(matches!(session.message(1), Err(Error::Store(_))));
        // It goes on after them, and nothing takes the damaged one's place.
        session
            .append(r#"{"role":"user","content":"four"}"#)
            .unwrap();
        session.checkpoint("1").unwrap_err();
        let wanted = items(&session);
        session.close().unwrap();
        let session = runtime.resume("s").unwrap();
        assert_eq!((session.messages(), items(&session)), (4, wanted));
    }
}

#[tokio::test]
async fn a_saved_context_of_a_newer_program_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    session(dir.path()).await;
    let runtime = open(dir.path()).await;
    let store = runtime.session_store();
    let mut newer = store.get(CONTEXT).unwrap().unwrap().to_vec();
    newer[8 + 8] = 200;
    store.put(CONTEXT, &newer).unwrap();
    let refused = runtime.resume("s").unwrap_err();
    assert!(refused.to_string().contains("version 200"), "{refused}");
    assert_eq!(store.get(CONTEXT).unwrap().unwrap(), newer);
}

#[tokio::test]
async fn a_damaged_message_is_counted_once_however_often_it_is_read() {
    let too_large = format!(
        r#"{{"role":"user","content":"{}"}}"#,
        "far too long ".repeat(5_000)
    );
    for context_too in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        three(dir.path(), false).await;
        spoil(dir.path(), &message_key(1)).await;
        if context_too {
            spoil(dir.path(), CONTEXT).await;
        }
        let runtime = open(dir.path()).await;
        let mut events = runtime.events().subscribe();
        let mut session = runtime.resume("s").unwrap();
        let mended = session.mended().cloned();
        let wanted = items(&session);
        // Each refusal reads the context, and what came after it, again.
        for _ in 0..3 {
            session.append(too_large.clone()).unwrap_err();
            assert_eq!(session.mended().cloned(), mended);
            assert_eq!(items(&session), wanted);
        }
        assert_eq!(mended.map(|mended| mended.messages), Some(1));
        assert!(events.try_recv().is_some());
        assert_eq!(events.try_recv(), None, "it was told once");
    }
}

#[tokio::test]
async fn damage_that_a_refusal_finds_is_told_too() {
    let dir = tempfile::tempdir().unwrap();
    three(dir.path(), true).await;
    let runtime = open(dir.path()).await;
    let mut session = runtime.resume("s").unwrap();
    let wanted = items(&session);
    let mut events = runtime.events().subscribe();
    let store = runtime.session_store();
    let mut saved = store.get(CONTEXT).unwrap().unwrap().to_vec();
    saved.truncate(60);
    store.put(CONTEXT, &saved).unwrap();
    let too_large = "far too long ".repeat(5_000);
    let too_large = format!(r#"{{"role":"user","content":"{too_large}"}}"#);
    session.append(too_large).unwrap_err();
    assert!(
        session
            .mended()
            .is_some_and(|mended| mended.context.is_some())
    );
    assert!(matches!(
        events.try_recv(),
        Some(Ok(Event::SessionMended {
            context: true,
            messages: 0,
            ..
        }))
    ));
    assert_eq!(items(&session), wanted);
}

#[tokio::test]
async fn a_last_message_of_which_nothing_can_be_read_is_no_reason_to_refuse_the_session() {
    let dir = tempfile::tempdir().unwrap();
    three(dir.path(), true).await;
    let key = message_key(2);
    let runtime = open(dir.path()).await;
    let mut record = key.to_vec();
    record.extend_from_slice(&runtime.session_store().get(&key).unwrap().unwrap());
    runtime.close().await.unwrap();
    // In front of the key lies what says that there is a record.
    flip(dir.path(), &record, |at| at - 6);
    let runtime = open(dir.path()).await;
    let held = runtime.session_store().contains(&key);
    assert!(
        held.is_err(),
        "the scenario needs a damaged header: {held:?}"
    );
    let session = runtime.resume("s").unwrap();
    // The saved context has it.
    assert_eq!((session.messages(), items(&session).len()), (3, 3));
    assert_eq!(session.mended(), None);
    assert!(matches!(session.message(2), Err(Error::Store(_))));
}

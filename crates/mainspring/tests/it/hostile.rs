//! Whatever the stores hold: an error, never a panic, never more memory than there are bytes.

use mainspring::{
    Config, Error, Profile, Runtime,
    adapters::StoreBacking,
    compressor::Format,
    delta_snapshot::Backing,
    mmap_store::{self, Durability},
};
use proptest::prelude::*;

fn config() -> Config {
    let mut config = Profile::Laptop.config();
    (config.window, config.durability) = (8_000, Durability::Os);
    config
}

fn key(kind: u8, message: Option<u64>, at_end: &[u8]) -> Vec<u8> {
    let mut key = vec![kind, 0, 0, 0, 0];
    key.extend(message.into_iter().flat_map(u64::to_be_bytes));
    key.extend_from_slice(at_end);
    key
}

/// Bytes that are nearly right: of any length, of the right ones with something changed, or huge numbers.
fn value(right: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let changed = (
        proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        any::<prop::sample::Index>(),
        any::<bool>(),
    );
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..80),
        proptest::collection::vec(
            prop_oneof![Just(0u8), Just(0xff), Just(1), Just(b'd'), Just(b'v')],
            0..80
        ),
        changed.prop_map(move |(changes, end, cut)| {
            let mut bytes = right.clone();
            for (at, byte) in changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            if cut {
                bytes.truncate(end.index(bytes.len() + 1));
            }
            bytes
        }),
    ]
}

/// What a session with a fork, noise, repeats and a checkpoint lies in.
async fn session(dir: &std::path::Path) -> Runtime {
    let runtime = Runtime::open(dir, config()).await.unwrap();
    let source = "{\"type\":\"user\",\"uuid\":\"u\",\"parentUuid\":null,\"sessionId\":\"c\",\"message\":{\"role\":\"user\",\"content\":\"hi\"}}\r\n{\"type\":\"progress\",\"uuid\":\"p\",\"data\":{}}\n{\"type\":\"assistant\",\"uuid\":\"v\",\"parentUuid\":\"p\",\"message\":{\"role\":\"assistant\",\"content\":\"hello\"}}\n";
    runtime.import("s", source.as_bytes()).unwrap();
    let mut session = runtime.resume("s").unwrap();
    session.checkpoint("1").unwrap();
    let repeated = format!(
        "{{\"type\":\"user\",\"uuid\":\"w\",\"message\":{{\"role\":\"user\",\"content\":\"{}\"}}}}",
        "again ".repeat(60)
    );
    session.append(repeated.clone()).unwrap();
    session.append(repeated).unwrap();
    drop(session.fork("t").unwrap());
    drop(session);
    runtime
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn records_of_a_session_that_are_anything(
        which in 0..9usize,
        bytes in value([b"\0v0123456789abcdef-000000000000002a".to_vec(), vec![7; 16]].concat()),
        fork in value([vec![0; 12], vec![0], vec![0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]].concat()),
        mark in value([b"0123456789abcdef-000000000000002a".to_vec(), vec![1; 24]].concat()),
        layout in value(br#"{"sessions":["s","t"],"pieces":["a",[0,1],[1,0],{"hex":"ff0"}]}"#.to_vec()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let runtime = tokio.block_on(session(dir.path()));
        let store = runtime.session_store();
        let (key, value) = match which {
            0 => (key(b'm', Some(1), b""), bytes),
            1 => (key(b'm', Some(4), b""), bytes),
            2 => (key(b'c', None, b""), bytes),
            3 => (vec![b'f', 1, 0, 0, 0], fork),
            4 => (key(b'f', None, b""), fork),
            5 => (key(b'k', None, b""), mark),
            6 => (key(b'l', None, b""), layout),
            7 => (b"ss".to_vec(), bytes),
            _ => (b"n".to_vec(), bytes),
        };
        store.put(&key, &value).unwrap();
        for name in ["s", "t"] {
            let Ok(mut session) = runtime.resume(name) else { continue };
            for number in 0..6 {
                let _ = session.message(number);
            }
            let _ = session.last_messages(3);
            let _ = session.export(std::io::sink());
            let _ = session.fork(&format!("fork of {name}")).map(|fork| fork.close());
            let _ = session.append(r#"{"type":"user","uuid":"x","message":{"role":"user","content":"go on"}}"#);
            let _ = session.checkpoint("2");
            let _ = session.close();
        }
        let _ = runtime.sessions();
        let _ = runtime.session("new", Format::OpenAiChat);
    }

    #[test]
    fn a_table_of_the_checkpoints_that_is_anything(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), other in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..90))) {
        let dir = tempfile::tempdir().unwrap();
        let open = || mmap_store::Options::new().create(true).open(dir.path()).unwrap();
        let backing = StoreBacking::new(open()).unwrap();
        backing.put("a", b"one").unwrap();
        backing.append("a", b" two").unwrap();
        backing.put("b/1", b"three").unwrap();
        backing.summarise().unwrap();
        let mut table = backing.store().get(b"t").unwrap().unwrap().to_vec();
        for (at, byte) in changes {
            let at = at.index(table.len());
            table[at] = byte;
        }
        backing.store().put(b"t", &other.unwrap_or(table)).unwrap();
        drop(backing);
        let backing = StoreBacking::new(open()).unwrap();
        for name in ["a", "b/1"] {
            let _ = backing.get(name);
            let _ = backing.append(name, b"more");
            let _ = backing.put(name, b"another");
            let _ = backing.delete(name);
        }
        let _ = backing.list("");
    }
}

#[tokio::test]
async fn a_name_that_no_session_can_have_is_refused_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path(), config()).await.unwrap();
    let longest = "é".repeat(252);
    for name in ["", "a\u{1f}b", &format!("{longest}x")] {
        for refused in [
            runtime.session(name, Format::OpenAiChat).map(drop),
            runtime.resume(name).map(drop),
            runtime.import(name, &b"[]"[..]).map(drop),
        ] {
            assert!(
                matches!(refused, Err(Error::Name(_) | Error::Context(_))),
                "{name:?}: {refused:?}"
            );
        }
        let refused = runtime.session(name, Format::OpenAiChat).unwrap_err();
        assert!(
            matches!(&refused, Error::Name(found) if found == name),
            "{refused}"
        );
        assert!(refused.to_string().len() < 200, "{refused}");
    }
    // The longest takes everything that a session has.
    let mut session = runtime.session(&longest, Format::ClaudeCode).unwrap();
    let noise = format!(
        r#"{{"type":"progress","uuid":"p","data":"{}"}}"#,
        "x".repeat(9_000)
    );
    session.append(noise.clone()).unwrap();
    session.checkpoint("1").unwrap();
    assert_eq!(session.message(0).unwrap(), noise);
}

#[tokio::test]
async fn a_damaged_entry_of_one_session_hides_no_other_and_does_not_pass_for_none() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path(), config()).await.unwrap();
    for name in ["the-damaged-one", "the-other-one"] {
        let mut session = runtime.session(name, Format::OpenAiChat).unwrap();
        session.append(r#"{"role":"user","content":"hi"}"#).unwrap();
    }
    runtime.close().await.unwrap();
    let mut flipped = 0;
    for entry in std::fs::read_dir(dir.path().join("sessions")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap_or_default();
        let wanted = b"sthe-damaged-one";
        let at = bytes
            .windows(wanted.len())
            .position(|found| found == wanted);
        if let Some(at) = at {
            // The value behind the name.
            bytes[at + wanted.len()] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            flipped += 1;
        }
    }
    assert_eq!(flipped, 1);
    let runtime = Runtime::open(dir.path(), config()).await.unwrap();
    assert_eq!(runtime.sessions().unwrap(), ["the-other-one"]);
    assert!(runtime.resume("the-other-one").is_ok());
    let damaged = runtime.session("the-damaged-one", Format::OpenAiChat);
    assert!(damaged.is_err(), "a new session would hide the old one");
    runtime.close().await.unwrap();
}

#[tokio::test]
async fn a_message_that_repeats_one_that_cannot_be_read_any_more_is_kept_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path(), Profile::Laptop).await.unwrap();
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    let text = format!(r#"{{"role":"user","content":"{}"}}"#, "again ".repeat(100));
    session.append(text.clone()).unwrap();
    let first = [b"m".as_slice(), &[0; 12]].concat();
    assert!(runtime.session_store().delete(&first).unwrap());
    session.append(text.clone()).unwrap();
    assert_eq!(session.message(1).unwrap(), text);
}

//! What earlier builds wrote: it opens, and goes on, as it was. The fixtures have the keys and values of their
//! stores, a pair a line, in hexadecimal.

use std::path::Path;

use mainspring::{
    Config, Profile, Runtime, Session,
    mmap_store::{Durability, Options},
};

use crate::texts::{message, state};

/// Before checkpoints were marked in the log and large records had a hash.
const EARLY: &str = include_str!("fixtures/early.txt");
/// Before a session kept the empty context that it began with, and the check of a checkpoint was one of
/// hashes.
const MARKED: &str = include_str!("fixtures/marked.txt");

fn unhexed(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn config() -> Config {
    let mut config = Profile::Laptop.config();
    config.durability = Durability::Os;
    config
}

/// The stores of an earlier build.
fn restore(dir: &Path, fixture: &str) {
    for name in ["sessions", "snapshots"] {
        let options = Options::new().create(true).durability(Durability::Os);
        let store = options.open(dir.join(name)).unwrap();
        let lines = fixture
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        for line in lines.filter(|line| line[0] == name) {
            store.put(&unhexed(line[1]), &unhexed(line[2])).unwrap();
        }
        store.close().unwrap();
    }
}

fn has(session: &Session, texts: &[&str]) {
    let messages: Vec<_> = texts.iter().map(|text| message(text)).collect();
    assert_eq!(session.last_messages(100).unwrap(), messages);
    let items: Vec<_> = session.context().items().cloned().collect();
    assert_eq!(items, messages);
    assert_eq!(session.divergence(), None);
}

fn checkpoints(session: &Session) -> Vec<String> {
    let versions = session.checkpoints().unwrap().versions().unwrap();
    let states = versions
        .iter()
        .map(|version| session.restore(version.id).unwrap());
    states
        .map(|state| String::from_utf8(state.to_vec()).unwrap())
        .collect()
}

/// A log with a large record that no model sees, an unreadable line and other line ends.
fn log() -> String {
    let noise = "tick ".repeat(1_000);
    [
        r#"{"type":"user","uuid":"u","parentUuid":null,"sessionId":"c","message":{"role":"user","content":"hi"}}"#,
        &format!(r#"{{"type":"progress","uuid":"p","parentUuid":"u","data":"{noise}"}}"#),
        "no json",
        r#"{"type":"progress","uuid":"q","parentUuid":"p","data":{"tick":1}}"#,
        r#"{"type":"assistant","uuid":"v","parentUuid":"q","message":{"role":"assistant","content":[{"type":"text","text":"hello"}]}}"#,
    ]
    .join("\r\n")
}

fn document() -> String {
    let (a, d) = (message("a"), message("d"));
    format!("{{\"id\": \"x\", \"messages\": [\n{a},\n  {d}\n]}}\n")
}

#[tokio::test]
async fn what_an_early_build_wrote_opens_and_goes_on() {
    goes_on(EARLY).await;
}

#[tokio::test]
async fn what_a_build_wrote_that_marked_its_checkpoints_opens_and_goes_on() {
    let kept = |key: &str| {
        let key = format!("sessions {key}");
        MARKED.lines().filter(|line| line.starts_with(&key)).count()
    };
    assert_eq!(
        (kept("6b"), kept("65")),
        (3, 0),
        "marks, and no empty context"
    );
    goes_on(MARKED).await;
    // Without the sizes of the versions each mark is compared with what its version carries.
    let unsized_mark = |line: &str| match line.starts_with("sessions 6b") {
        true => format!("{}{}", &line[..line.len() - 16], "0".repeat(16)),
        false => line.to_owned(),
    };
    let compared: Vec<_> = MARKED.lines().map(unsized_mark).collect();
    goes_on(&compared.join("\n")).await;
}

async fn goes_on(fixture: &str) {
    let dir = tempfile::tempdir().unwrap();
    restore(dir.path(), fixture);
    let long = "long ".repeat(80);
    let shared = ["a", &long, &long, "b"];
    let with = |more: &[&'static str]| [&shared[..], more].concat();
    let early = [state(1, &shared[..3]), state(2, &shared)];
    // Whether the log has been told of the checkpoints meanwhile or not.
    for round in ["first", "second"] {
        let runtime = Runtime::open(dir.path(), config()).await.unwrap();
        let session = runtime.resume("s").unwrap();
        has(&session, &with(&["c"]));
        assert_eq!(checkpoints(&session), early, "{round}");
        let fork = runtime.resume("t").unwrap();
        has(&fork, &with(&["x", "y"]));
        assert_eq!(checkpoints(&fork), [state(3, &with(&["x"]))], "{round}");
        has(&runtime.resume("u").unwrap(), &shared);
        drop((session, fork));
        for (name, source) in [("log", log()), ("document", document())] {
            let mut out = Vec::new();
            runtime.export(name, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), source, "{round}");
        }
        assert!(runtime.upkeep().failures.is_empty());
        runtime.close().await.unwrap();
    }
    let runtime = Runtime::open(dir.path(), config()).await.unwrap();
    for (name, had, next) in [
        ("s", with(&["c"]), "d"),
        ("t", with(&["x", "y"]), "z"),
        ("u", with(&[]), "v"),
    ] {
        let mut session = runtime.resume(name).unwrap();
        session.append(message(next)).unwrap();
        let version = session.checkpoint("9").unwrap();
        let texts = [&had[..], &[next]].concat();
        let restored = session.restore(version).unwrap();
        assert_eq!(restored, state(9, &texts).as_bytes(), "{name}");
        has(&session, &texts);
    }
}

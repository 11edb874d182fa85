//! What is refused leaves no trace: a session that is resumed is the one that was live.

use std::sync::Arc;

use mainspring::{
    Config, Error, Profile, Runtime, Session,
    compressor::{Estimate, Format, Tally, Tokenizer},
    mmap_store::Durability,
};
use proptest::prelude::*;

fn config(window: usize, active_bytes: u64) -> Config {
    let mut config = Profile::Laptop.config();
    (config.window, config.durability) = (window, Durability::Os);
    config.active_bytes = active_bytes;
    config
}

#[derive(Debug, Clone)]
enum Step {
    Says(bool, usize),
    Calls(usize),
    Broken,
    Sent,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), 0..700usize).prop_map(|(user, words)| Step::Says(user, words)),
        // Most of these fit no window here.
        2 => (any::<bool>(), 700..4_000usize).prop_map(|(user, words)| Step::Says(user, words)),
        3 => (0..3_000usize).prop_map(Step::Calls),
        1 => Just(Step::Broken),
        1 => Just(Step::Sent),
    ]
}

fn words(seed: usize, count: usize) -> String {
    (0..count)
        .map(|n| format!("w{} ", (n * 7 + seed * 31) % 997))
        .collect()
}

/// Appends what a step stands for; true when all of it was taken.
fn take(session: &mut Session, number: usize, step: &Step) -> bool {
    let messages = match *step {
        Step::Says(user, count) => {
            let role = if user { "user" } else { "assistant" };
            vec![format!(
                r#"{{"role":"{role}","content":"{}"}}"#,
                words(number, count)
            )]
        }
        Step::Calls(count) => vec![
            format!(
                r#"{{"role":"assistant","content":null,"tool_calls":[{{"id":"c{number}","type":"function","function":{{"name":"read","arguments":"{{}}"}}}}]}}"#
            ),
            format!(
                r#"{{"role":"tool","tool_call_id":"c{number}","content":"{}"}}"#,
                words(number, count)
            ),
        ],
        Step::Broken => vec!["{\"role\":".to_owned()],
        Step::Sent => {
            session.sent();
            return true;
        }
    };
    messages
        .into_iter()
        .all(|message| match session.append(message) {
            Ok(_) => true,
            Err(Error::Context(_)) => false,
            Err(other) => panic!("{other}"),
        })
}

/// Everything that what comes next depends on; what was sent is not logged.
fn decided(session: &Session) -> (Vec<bytes::Bytes>, usize, String, u64) {
    let mut context = session.context().save();
    // Past the format's number, the budget and the peak: counts, failures, when to try again.
    let head: Vec<u8> = context
        .drain(32..32 + 1 + 16 + 8 + 8 + 8 + 4 + 8 + 1)
        .collect();
    let items = session.context().items().cloned().collect();
    (
        items,
        session.context().tokens(),
        format!("{head:?}"),
        session.messages(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_resumed_session_is_the_one_that_was_live(
        steps in proptest::collection::vec(step(), 1..50),
        window in 1_500..3_000usize,
        active in prop_oneof![Just(0u64), 4_000..20_000u64],
        pause in 0..50usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let open = || tokio.block_on(Runtime::open(dir.path(), config(window, active))).unwrap();
        let runtime = open();
        let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
        for (number, step) in steps.iter().enumerate() {
            take(&mut session, number, step);
            if number == pause {
                session.close().unwrap();
                session = runtime.resume("s").unwrap();
            }
        }
        let live = decided(&session);
        drop(session);
        prop_assert_eq!(&decided(&runtime.resume("s").unwrap()), &live);
        tokio.block_on(runtime.close()).unwrap();
        let runtime = open();
        prop_assert_eq!(&decided(&runtime.resume("s").unwrap()), &live);
    }
}

/// Counts so many times what the estimate says.
#[derive(Debug)]
struct Times(usize, Estimate);

impl Tokenizer for Times {
    fn count(&self, text: &str) -> usize {
        self.1.count(text) * self.0
    }

    fn append(&self, tally: &mut Tally, text: &str) {
        self.1.append(tally, text);
    }
}

#[tokio::test]
async fn what_fitted_by_another_count_of_tokens_is_resumed_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let open = |times| {
        let tokenizer = Arc::new(Times(times, Estimate::new()));
        Runtime::open_with(dir.path(), config(12_000, 0), tokenizer)
    };
    let runtime = open(1).await.unwrap();
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    let steps = [
        Step::Says(true, 10),
        Step::Calls(900),
        Step::Calls(900),
        Step::Says(true, 900),
        Step::Calls(300),
    ];
    for (number, step) in steps.iter().enumerate() {
        assert!(take(&mut session, number, step));
    }
    assert_eq!(session.usage().compactions, 0);
    let logged = session.last_messages(100).unwrap();
    drop(session);
    runtime.close().await.unwrap();
    let mut moved = 0;
    for times in [2, 3, 4, 9, 100] {
        let runtime = open(times).await.unwrap();
        let mut session = runtime.resume("s").unwrap();
        assert_eq!(session.last_messages(100).unwrap(), logged, "{times}");
        for round in ["built up", "saved"] {
            let items = session.context().items();
            let text: String = items
                .map(|item| String::from_utf8_lossy(item).into_owned())
                .collect();
            // What left the context meanwhile is there.
            for rest in text.split("stored as ").skip(1) {
                let id = rest.split([']', ' ', '\\', ';', ',', ':']).next().unwrap();
                assert!(
                    session.blob(id).unwrap().is_some(),
                    "{times}, {round}: {id}"
                );
                moved += 1;
            }
            session.close().unwrap();
            session = runtime.resume("s").unwrap();
        }
        drop(session);
        runtime.close().await.unwrap();
    }
    assert!(moved > 0, "nothing left the context");
}

//! What stays active of a session is bounded; what leaves it comes back when it is asked for.

use mainspring::{
    Config, Profile, Runtime, Session,
    compressor::{Format, Role},
    mmap_store::Durability,
};

fn config() -> Config {
    let mut config = Profile::Laptop.config();
    (config.window, config.durability) = (2_000_000, Durability::Os);
    config
}

fn words(seed: usize, bytes: usize) -> String {
    let mut text = String::new();
    let mut state = seed as u32 + 1;
    while text.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text += &format!("{:x} ", state >> 8);
    }
    text
}

/// A person asks, a tool answers at length, the model sums up.
fn interaction(number: usize, bytes: usize) -> [String; 4] {
    [
        format!(r#"{{"role":"user","content":"Look at screen {number}."}}"#),
        format!(
            r#"{{"role":"assistant","content":null,"tool_calls":[{{"id":"c{number}","type":"function","function":{{"name":"look","arguments":"{{\"n\":{number}}}"}}}}]}}"#
        ),
        format!(
            r#"{{"role":"tool","tool_call_id":"c{number}","content":"{}"}}"#,
            words(number, bytes)
        ),
        format!(r#"{{"role":"assistant","content":"Screen {number} is in order."}}"#),
    ]
}

fn active(session: &Session) -> (usize, usize) {
    let items = session.context().transcript().items();
    let people = items.iter().filter(|item| item.role() == Role::Human);
    (
        items.iter().map(|item| item.raw().len()).sum(),
        people.count(),
    )
}

async fn run(config: Config, interactions: usize, bytes: usize) -> (u64, usize, usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path(), config.clone()).await.unwrap();
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    let (mut most, mut messages) = (0, Vec::new());
    for number in 0..interactions {
        for message in interaction(number, bytes) {
            session.append(message.clone()).unwrap();
            messages.push(message);
            most = most.max(active(&session).0);
        }
    }
    let compactions = session.usage().compactions;
    let (left, people) = active(&session);
    let items: Vec<_> = session.context().items().cloned().collect();
    drop(session);
    runtime.close().await.unwrap();
    let runtime = Runtime::open(dir.path(), config).await.unwrap();
    let session = runtime.resume("s").unwrap();
    assert!(session.context().items().eq(items.iter()));
    let mut exported = Vec::new();
    session.export(&mut exported).unwrap();
    assert!(exported == (messages.join("\n") + "\n").as_bytes());
    (compactions, most, left, people)
}

#[tokio::test]
async fn outputs_leave_the_active_part_when_its_bytes_pass_their_bound() {
    let bound = 400_000;
    let mut bounded = config();
    bounded.active_bytes = bound;
    let (compactions, most, ..) = run(bounded.clone(), 60, 20_000).await;
    assert!(compactions > 0);
    assert!(most < bound as usize + 30_000, "{most} bytes");
    bounded.active_bytes = 0;
    let (compactions, most, ..) = run(bounded, 60, 20_000).await;
    assert!(compactions == 0 && most > 1_000_000, "{most} bytes");
}

#[tokio::test]
async fn old_interactions_leave_the_active_part_when_there_are_too_many() {
    let mut bounded = config();
    bounded.interactions = 20;
    let (compactions, _, _, people) = run(bounded.clone(), 60, 2_000).await;
    assert!(compactions > 0);
    assert!(people <= 26, "{people} interactions");
    bounded.interactions = 0;
    let (compactions, _, _, people) = run(bounded, 60, 2_000).await;
    assert_eq!((compactions, people), (0, 60));
}

/// How many messages the saved context of the first session covers, as the format page has it.
fn covered(runtime: &Runtime) -> u64 {
    let saved = runtime.session_store().get(b"c\0\0\0\0").unwrap().unwrap();
    u64::from_le_bytes(saved[..8].try_into().unwrap())
}

#[tokio::test]
async fn the_context_is_saved_now_and_then_although_nothing_is_compacted_and_on_close() {
    let dir = tempfile::tempdir().unwrap();
    let mut large = config();
    large.interactions = 0;
    let runtime = Runtime::open(dir.path(), large).await.unwrap();
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    let (mut behind, mut most) = (0, 0);
    for number in 0..60 {
        for message in interaction(number, 50_000) {
            let before = covered(&runtime);
            session.append(message.clone()).unwrap();
            behind = match covered(&runtime) == before {
                true => behind + message.len(),
                false => 0,
            };
            most = most.max(behind);
        }
    }
    assert_eq!(session.usage().compactions, 0);
    assert!(covered(&runtime) > 0);
    assert!(most < 3_000_000, "{most} bytes would be read");
    let messages = session.messages();
    session.close().unwrap();
    assert_eq!(covered(&runtime), messages);
}

#[tokio::test]
async fn a_message_that_fits_nowhere_costs_no_more_with_each_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut small = config();
    small.window = 40_000;
    let runtime = Runtime::open(dir.path(), small).await.unwrap();
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    let too_large = format!(r#"{{"role":"user","content":"{}"}}"#, words(1, 400_000));
    let message = format!(r#"{{"role":"user","content":"{}"}}"#, words(2, 1_000));
    for _ in 0..80 {
        session.append(message.clone()).unwrap();
    }
    assert_eq!(covered(&runtime), 0, "nothing was due");
    session.append(too_large.clone()).unwrap_err();
    // The next refusal reads the saved context alone.
    session.append(message.clone()).unwrap();
    assert_eq!(covered(&runtime), 81);
    session.append(too_large).unwrap_err();
    assert_eq!((session.messages(), session.mended()), (81, None));
}

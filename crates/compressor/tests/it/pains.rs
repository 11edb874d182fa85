//! What hurts people who run agents, each as a test named after the report.

use crate::compaction::generated;
use bytes::Bytes;
use mainspring_compressor::{
    Budget, Compactor, Context, Error, Estimate, Format, Role, Strategy, Summarizer,
    SummarizerError, SummaryRequest, Tally, Tokenizer, read_sessions, validate,
};
use mainspring_inputs::Profile;
use proptest::prelude::*;
use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context as Task, Poll, Waker},
};

/// A token is four bytes.
#[derive(Debug)]
struct Quarter;

impl Tokenizer for Quarter {
    fn count(&self, text: &str) -> usize {
        text.len().div_ceil(4)
    }

    fn append(&self, tally: &mut Tally, text: &str) {
        Estimate::new().append(tally, text);
    }
}

fn context(window: usize) -> Context {
    Context::new(Format::OpenAiChat, Budget::new(window), Arc::new(Quarter))
}

fn message(role: &str, bytes: usize) -> String {
    let text = "word and ".repeat(bytes / 9 + 1);
    format!("{{\"role\":\"{role}\",\"content\":\"{}\"}}", &text[..bytes])
}

fn block<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut task = Task::from_waker(Waker::noop());
    for _ in 0..1_000 {
        if let Poll::Ready(out) = future.as_mut().poll(&mut task) {
            return out;
        }
    }
    panic!("the future never completes");
}

#[test]
fn claude_code_23776_every_user_message_survives_and_the_newest_as_it_is() {
    let compactor = Compactor::default();
    let mut c = context(10_000);
    let mut newest = Bytes::new();
    let mut compactions = 0;
    for item in generated(21, 500, Profile::Coding).items() {
        if item.role() == Role::Human {
            newest = item.raw().clone();
        }
        compactions += usize::from(
            compactor
                .append(&mut c, item.raw().clone())
                .unwrap()
                .compaction
                .is_some(),
        );
        assert!(newest.is_empty() || c.items().any(|raw| *raw == newest));
    }
    assert!(compactions > 5);
    let sent: String = c
        .transcript()
        .items()
        .iter()
        .map(|i| i.text().into_owned() + "\n")
        .collect();
    for item in generated(21, 500, Profile::Coding).items() {
        if let Some(text) = item.human_text() {
            assert!(sent.contains(&*text), "lost: {text}");
        }
    }
}

#[test]
fn claude_code_19736_standing_rules_survive_any_number_of_compactions() {
    let compactor = Compactor::default();
    let mut c = context(10_000);
    let rule = "{\"role\":\"assistant\",\"content\":\"RULE: never push to main.\"}";
    c.push(message("system", 400)).unwrap();
    let place = c.push(rule).unwrap();
    c.pin(place.index.unwrap());
    for item in &generated(22, 600, Profile::Coding).items()[1..] {
        compactor.append(&mut c, item.raw().clone()).unwrap();
        assert!(c.items().any(|raw| raw == rule));
    }
    assert!(c.stats().compactions > 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// claude-code#63590: compaction never fires from 91 to 100 %.
    #[test]
    fn claude_code_63590_the_trigger_fires_once_per_crossing_and_never_late(
        sizes in prop::collection::vec(1usize..900, 1..200)
    ) {
        let compactor = Compactor::default();
        let mut c = context(4_000);
        let trigger = compactor.trigger_at(&c);
        prop_assert_eq!(trigger, 3_680);
        let mut below = true;
        for size in sizes {
            c.push(message("assistant", size)).unwrap();
            let fired = compactor.due(&mut c);
            prop_assert_eq!(fired, below && c.tokens() >= trigger);
            below = c.tokens() < trigger;
            prop_assert!(!compactor.due(&mut c) || !fired, "asked twice");
            if !below {
                break;
            }
        }
    }

    #[test]
    fn no_growth_takes_a_context_past_its_window(
        seed in 0u64..500, window in 6_000usize..40_000, output in 0usize..2_000,
    ) {
        let compactor = Compactor::default();
        let budget = Budget::new(window).with_max_output(output);
        let mut c = Context::new(Format::OpenAiChat, budget, Arc::new(Quarter));
        for item in generated(seed, 90, Profile::Coding).items() {
            match compactor.append(&mut c, item.raw().clone()) {
                Ok(done) => {
                    prop_assert!(c.tokens() <= window - output);
                    if done.compaction.is_some() {
                        prop_assert!(validate(c.transcript()).is_ok());
                    }
                }
                Err(Error::DoesNotFit { .. }) => return Ok(()),
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}

#[test]
fn opencode_27924_nothing_to_shrink_is_an_error_and_the_breaker_stops_the_loop() {
    let compactor = Compactor::default();
    let mut c = context(4_000);
    // All of it is what a person wrote, in one message: nothing may go.
    c.push(message("user", 14_900)).unwrap();
    assert!(matches!(
        compactor.plan(&c),
        Err(Error::NoProgress { .. } | Error::DoesNotFit { .. })
    ));
    for _ in 0..3 {
        assert!(compactor.compact(&mut c).is_err());
    }
    assert!(matches!(
        compactor.compact(&mut c),
        Err(Error::BreakerOpen { failures: 3, .. })
    ));
    c.push(message("assistant", 400)).unwrap();
    assert!(!matches!(
        compactor.compact(&mut c),
        Err(Error::BreakerOpen { .. })
    ));
}

#[test]
fn gemini_cli_15225_a_plan_below_its_least_gain_is_refused() {
    let compactor = Compactor::builder().least_gain(0.5).build().unwrap();
    let mut c = context(8_000);
    c.push(message("user", 22_000)).unwrap();
    for _ in 0..6 {
        c.push(message("assistant", 900)).unwrap();
    }
    let before: Vec<Bytes> = c.items().cloned().collect();
    let refused = compactor.compact(&mut c);
    assert!(
        matches!(refused, Err(Error::NoProgress { .. })),
        "{refused:?}"
    );
    assert!(c.items().eq(before.iter()), "nothing has changed");
}

#[test]
fn amplifier_352_a_long_session_is_compacted_a_bounded_number_of_times() {
    let compactor = Compactor::default();
    let mut c = context(60_000);
    let mut tokens = 0;
    for item in generated(23, 1_500, Profile::Coding).items() {
        let done = compactor.append(&mut c, item.raw().clone()).unwrap();
        tokens += done.pushed.tokens;
    }
    let most = 2 * tokens / 55_000 + 2;
    let compactions = c.stats().compactions as usize;
    assert!(compactions <= most, "{compactions} for {tokens} tokens");
}

#[test]
fn a_compaction_before_the_trigger_has_to_pay() {
    let compactor = Compactor::default();
    let mut c = context(20_000);
    for item in generated(24, 70, Profile::Coding).items() {
        c.push(item.raw().clone()).unwrap();
    }
    c.mark_sent();
    let plan = compactor.plan(&c).unwrap();
    assert!(!plan.pays(1, 0.1), "{plan}");
    assert!(plan.pays(100, 0.1), "{plan}");
}

#[test]
fn claude_code_78720_what_the_prompt_cache_loses_is_known_before_sending() {
    let compactor = Compactor::default();
    let mut c = context(12_000);
    for item in generated(25, 60, Profile::Coding).items() {
        c.push(item.raw().clone()).unwrap();
    }
    assert_eq!(c.mark_sent().first_divergent_byte, None);
    let sent: Vec<Bytes> = c.items().cloned().collect();
    c.push(message("assistant", 100)).unwrap();
    let grown = c.cache_report();
    assert_eq!((grown.first_divergent_byte, grown.lost_tokens), (None, 0));
    let plan = compactor.plan(&c).unwrap();
    let told = plan.cache;
    compactor.commit(&mut c, plan).unwrap();
    assert_eq!(c.cache_report(), told);
    let old: Vec<u8> = sent.concat();
    let new: Vec<u8> = c.items().flatten().copied().collect();
    let differs = old.iter().zip(&new).position(|(a, b)| a != b).unwrap();
    assert_eq!(told.first_divergent_byte, Some(differs as u64));
    assert!(told.penalty(0.1) > 0.0);
}

/// Answers with what it was told to, and remembers what it was asked.
struct Model {
    answer: Option<Result<String, String>>,
    asked: Mutex<Vec<SummaryRequest>>,
}

impl Model {
    fn new(answer: Option<Result<&str, &str>>) -> Self {
        let answer = answer.map(|a| a.map(str::to_owned).map_err(str::to_owned));
        Self {
            answer,
            asked: Mutex::new(Vec::new()),
        }
    }
}

impl Summarizer for Model {
    async fn summarize(&self, request: SummaryRequest) -> Result<String, SummarizerError> {
        self.asked.lock().unwrap().push(request);
        match &self.answer {
            Some(answer) => answer.clone().map_err(SummarizerError::from),
            None => std::future::pending().await,
        }
    }
}

/// Wants more than clearing outputs can give.
fn thorough() -> Compactor {
    Compactor::builder().target_reduction(0.95).build().unwrap()
}

fn crowded() -> Context {
    let mut c = context(12_000);
    for item in generated(26, 60, Profile::Coding).items() {
        c.push(item.raw().clone()).unwrap();
    }
    c
}

#[test]
fn codex_13271_the_request_for_a_summary_stays_within_the_window() {
    let c = crowded();
    assert!(c.tokens() > 10_000);
    for window in [1_000, 4_000, 12_000] {
        let mut small = Context::new(Format::OpenAiChat, Budget::new(window), Arc::new(Quarter));
        for raw in c.items() {
            small.push(raw.clone()).unwrap();
        }
        let model = Model::new(Some(Err("down")));
        let _ = block(thorough().plan_with(&small, &model, std::future::pending()));
        let asked = model.asked.lock().unwrap();
        assert!(window < 12_000 || asked.len() == 1);
        assert!(
            asked.is_empty() || Quarter.count(&asked[0].prompt) + asked[0].max_tokens <= window
        );
    }
}

#[test]
fn a_summariser_that_fails_hangs_babbles_or_invents_costs_nothing_but_its_words() {
    let c = crowded();
    let compactor = thorough();
    let plain = compactor.plan(&c).unwrap();
    let long = format!("## 8. Current work\n{}", "word ".repeat(20_000));
    for (answer, why) in [
        (Some(Err("503")), "503"),
        (None, "in time"),
        (Some(Ok("I cannot help with that.")), "none of the asked"),
        (Some(Ok("")), "none of the asked"),
        (Some(Ok(long.as_str())), "longer than asked"),
        (
            Some(Ok("## 8. Current work\nEdited src/invented_by_model.rs.")),
            "invented_by_model",
        ),
    ] {
        let model = Model::new(answer);
        let advised = block(compactor.plan_with(&c, &model, std::future::ready(()))).unwrap();
        assert!(advised.asked);
        let rejected = advised.rejected.expect("rejected").to_string();
        assert!(rejected.contains(why), "{rejected}");
        assert_eq!(advised.plan.after, plain.after);
        assert_eq!(advised.plan.quality, plain.quality);
    }
}

#[test]
fn good_words_of_a_model_stand_beside_the_facts() {
    let mut c = crowded();
    let compactor = thorough();
    let model = Model::new(Some(Ok(
        "## 1. Primary request and intent\nMake it faster.\n## 8. Current work\nTuning the hot loop.",
    )));
    let advised = block(compactor.plan_with(&c, &model, std::future::pending())).unwrap();
    assert!(advised.rejected.is_none(), "{:?}", advised.rejected);
    assert!(
        advised
            .plan
            .steps
            .iter()
            .any(|s| s.strategy == Strategy::Summary)
    );
    assert!(advised.plan.quality.user_messages_kept >= 1.0);
    compactor.commit(&mut c, advised.plan).unwrap();
    assert!(
        c.transcript()
            .items()
            .iter()
            .any(|i| i.text().contains("Tuning the hot loop."))
    );
}

#[test]
fn a_plan_made_on_the_side_is_applied_with_what_came_since() {
    let compactor = Compactor::default();
    let mut c = crowded();
    let plan = compactor.plan(&c).unwrap();
    let late = message("user", 60);
    c.push(late.clone()).unwrap();
    let stale = plan.clone();
    compactor.commit(&mut c, plan).unwrap();
    assert!(c.items().last().is_some_and(|raw| *raw == late));
    assert!(matches!(
        compactor.commit(&mut c, stale),
        Err(Error::StalePlan)
    ));
}

#[test]
fn what_is_larger_than_the_window_is_named() {
    let compactor = Compactor::default();
    for (role, what) in [("system", "system prompt"), ("user", "user message")] {
        let mut c = context(2_000);
        match compactor.append(&mut c, message(role, 9_000)) {
            Err(error @ Error::DoesNotFit { .. }) => {
                assert!(error.to_string().contains(what), "{error}")
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(c.tokens(), 0);
    }
}

#[test]
fn large_outputs_are_bounded_and_can_be_had_again() {
    let compactor = Compactor::default();
    let mut c = context(16_000);
    c.push(message("user", 50)).unwrap();
    let call = "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"run\",\"arguments\":\"{\\\"command\\\":\\\"make\\\"}\"}}]}";
    c.push(call).unwrap();
    let output: String = (0..4_000)
        .map(|n| format!("line {n} of the build\n"))
        .collect();
    let raw = format!(
        "{{\"role\":\"tool\",\"tool_call_id\":\"a\",\"x\":1.50,\"content\":{}}}",
        serde_json::json!(output)
    );
    let done = compactor.append(&mut c, raw).unwrap();
    assert!(done.pushed.tokens < 1_000);
    assert_eq!(done.blobs.len(), 1);
    assert_eq!(done.blobs[0].bytes, output.as_bytes());
    let text = c.transcript().items()[2]
        .results()
        .next()
        .unwrap()
        .text
        .into_owned();
    assert!(text.starts_with("line 0 of") && text.ends_with("line 3999 of the build\n"));
    assert!(text.contains(&done.blobs[0].id));
    let raw = c.items().nth(2).unwrap();
    assert!(raw.starts_with(b"{\"role\":\"tool\",\"tool_call_id\":\"a\",\"x\":1.50,"));
}

/// claude-code#24457: 12 MB resume takes 20 minutes of CPU.
#[test]
fn claude_code_24457_import_is_linear() {
    // Hostile shapes: many open calls, one id for all, results without calls.
    let call = "{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"x\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}";
    let result = "{\"role\":\"tool\",\"tool_call_id\":\"y\",\"content\":\"z\"}";
    let n = 20_000;
    let file = format!(
        "[{}{}{result}]",
        format!("{call},").repeat(n),
        format!("{result},").repeat(n)
    );
    let import = read_sessions(file).unwrap();
    let t = &import.sessions()[0].transcript;
    // The last call may still be running.
    assert_eq!(t.damage().len(), 2 * n);
    let (mended, _) = t.mend().unwrap();
    validate(&mended).unwrap();
}

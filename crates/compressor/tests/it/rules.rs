//! What providers refuse, in requests as they are and after any compaction.

use crate::formats::{files, only};
use mainspring_compressor::{
    Budget, Compactor, Context, Error, Estimate, Format, Rule, Transcript, validate, violations,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

fn rules(format: Format, items: Vec<Value>) -> Vec<(usize, Rule)> {
    let mut transcript = Transcript::new(format);
    for item in items {
        transcript.push(item.to_string()).unwrap();
    }
    let found = violations(&transcript);
    found.iter().map(|v| (v.item, v.rule)).collect()
}

fn call(id: &str) -> Value {
    json!({"role":"assistant","content":null,"tool_calls":[{"id":id,"type":"function",
        "function":{"name":"f","arguments":"{}"}}]})
}

#[test]
fn chat_rules_are_known() {
    let user = json!({"role":"user","content":"x"});
    let result = |id: &str| json!({"role":"tool","tool_call_id":id,"content":"y"});
    let chat = |items| rules(Format::OpenAiChat, items);
    assert_eq!(chat(vec![user.clone(), call("a"), result("a")]), []);
    assert_eq!(chat(vec![user.clone(), result("a")]), [(1, Rule::Pairs)]);
    let empty = json!({"role":"assistant","content":null});
    assert_eq!(chat(vec![user.clone(), empty]), [(1, Rule::EmptyContent)]);
    let none = json!({"role":"assistant","content":"z","tool_calls":[]});
    assert_eq!(chat(vec![user.clone(), none]), [(1, Rule::ToolId)]);
    let long = "x".repeat(41);
    let found = chat(vec![user.clone(), call(&long), result(&long)]);
    assert_eq!(found, [(1, Rule::ToolId), (2, Rule::ToolId)]);
    let image = |role: &str, url: &str| json!({"role":role,"content":[{"type":"image_url","image_url":{"url":url}}]});
    assert_eq!(chat(vec![image("user", "data:image/png;base64,AAAA")]), []);
    assert_eq!(
        chat(vec![image("user", "data:image/tiff;base64,AA")]),
        [(0, Rule::Image)]
    );
    assert_eq!(
        chat(vec![image("user", "data:image/png;base64,")]),
        [(0, Rule::Image)]
    );
    assert_eq!(
        chat(vec![image("assistant", "https://x/y.png")]),
        [(0, Rule::Image)]
    );
}

#[test]
fn anthropic_rules_are_known() {
    let anthropic = |items| rules(Format::AnthropicMessages, items);
    let user = json!({"role":"user","content":"x"});
    let used = |id: &str| json!({"role":"assistant","content":[{"type":"tool_use","id":id,"name":"f","input":{}}]});
    let result = |id: &str| json!({"type":"tool_result","tool_use_id":id,"content":"y"});
    let text = |text: &str| json!({"type":"text","text":text});
    let with = |blocks: Vec<Value>| json!({"role":"user","content":blocks});
    assert_eq!(
        anthropic(vec![
            user.clone(),
            used("a"),
            with(vec![result("a"), text("b")])
        ]),
        []
    );
    assert_eq!(
        anthropic(vec![
            user.clone(),
            used("a"),
            with(vec![text("b"), result("a")])
        ]),
        [(2, Rule::Order)]
    );
    assert_eq!(
        anthropic(vec![used("a"), with(vec![result("a")])]),
        [(0, Rule::FirstRole)]
    );
    assert_eq!(
        anthropic(vec![user.clone(), used("a b"), with(vec![result("a b")])]),
        [(1, Rule::ToolId), (2, Rule::ToolId)]
    );
    assert_eq!(
        anthropic(vec![with(vec![text(" ")])]),
        [(0, Rule::EmptyContent)]
    );
    assert_eq!(anthropic(vec![with(vec![])]), [(0, Rule::EmptyContent)]);
    let last = json!({"role":"assistant","content":""});
    assert_eq!(anthropic(vec![user.clone(), last.clone()]), []);
    assert_eq!(
        anthropic(vec![user.clone(), last, user.clone()]),
        [(1, Rule::EmptyContent)]
    );
    let image = |kind: &str| json!({"type":"image","source":{"type":"base64","media_type":kind,"data":"AA"}});
    assert_eq!(anthropic(vec![with(vec![image("image/png")])]), []);
    assert_eq!(
        anthropic(vec![with(vec![image("image/bmp")])]),
        [(0, Rule::Image)]
    );
    let said = json!({"role":"assistant","content":[image("image/png")]});
    assert_eq!(anthropic(vec![user, said]), [(1, Rule::Image)]);
}

#[test]
fn responses_and_gemini_rules_are_known() {
    let responses = |items| rules(Format::OpenAiResponses, items);
    let user = json!({"type":"message","role":"user","content":[{"type":"input_text","text":"x"}]});
    let reasoning = json!({"type":"reasoning","summary":[],"encrypted_content":"AA"});
    let said =
        json!({"type":"message","role":"assistant","content":[{"type":"output_text","text":"x"}]});
    assert_eq!(responses(vec![user.clone(), reasoning.clone(), said]), []);
    assert_eq!(responses(vec![reasoning, user.clone()]), [(0, Rule::Order)]);
    let nameless = json!({"type":"function_call","call_id":"","name":"f","arguments":"{}"});
    assert!(responses(vec![user.clone(), nameless]).contains(&(1, Rule::ToolId)));
    let empty = json!({"type":"message","role":"user","content":[]});
    assert_eq!(responses(vec![empty]), [(0, Rule::EmptyContent)]);
    let gemini = |items| rules(Format::Gemini, items);
    let user = json!({"role":"user","parts":[{"text":"x"}]});
    let model = json!({"role":"model","parts":[{"text":"x"}]});
    assert_eq!(gemini(vec![user.clone(), model.clone()]), []);
    assert_eq!(gemini(vec![model]), [(0, Rule::FirstRole)]);
    let empty = json!({"role":"model","parts":[]});
    assert_eq!(gemini(vec![user.clone(), empty]), [(1, Rule::EmptyContent)]);
    let data = json!({"role":"user","parts":[{"inlineData":{"mimeType":"image/png","data":""}}]});
    assert_eq!(gemini(vec![user, data]), [(1, Rule::Image)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Any session in any format, any window and target, pins anywhere, compacted again and again.
    #[test]
    fn no_plan_breaks_a_rule_of_its_provider(
        seed in 0u64..1_000,
        messages in 20usize..110,
        number in 0usize..12,
        window in 4_000usize..24_000,
        target in 0.1f64..0.95,
        largest in 80usize..2_000,
        protected in 0usize..4_000,
        pins in prop::collection::vec(0usize..100, 0..3),
    ) {
        let (format, file) = files(seed, messages).swap_remove(number);
        let original = only(&file);
        prop_assert_eq!(violations(&original), []);
        let compactor = Compactor::builder()
            .target_reduction(target)
            .largest_output(largest)
            .protected_outputs(protected)
            .build()
            .unwrap();
        let tokenizer = Arc::new(Estimate::new());
        let mut context = Context::new(format, Budget::new(window), tokenizer);
        for (at, item) in original.items().iter().enumerate() {
            match compactor.append(&mut context, item.raw().clone()) {
                Ok(done) => {
                    if let Some(index) = done.pushed.index
                        && pins.contains(&at)
                    {
                        context.pin(index);
                    }
                    if done.compaction.is_some() {
                        prop_assert_eq!(violations(context.transcript()), [], "{}", format);
                        prop_assert!(validate(context.transcript()).is_ok());
                    }
                }
                Err(Error::DoesNotFit { .. } | Error::QualityFloor { .. }) => break,
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
        match compactor.compact(&mut context) {
            Ok(_) => prop_assert_eq!(violations(context.transcript()), [], "{}", format),
            // The last line of defence has to have nothing to do.
            Err(Error::Invalid { item, what }) => prop_assert!(false, "{}: {} {}", format, item, what),
            Err(_) => {}
        }
    }
}

#[test]
fn every_format_is_compacted_within_its_rules() {
    for (format, file) in files(3, 120) {
        let original = only(&file);
        let tokenizer = Arc::new(Estimate::new());
        let mut context = Context::new(format, Budget::new(60_000), tokenizer);
        for item in original.items() {
            context.push(item.raw().clone()).unwrap();
        }
        let compactor = Compactor::builder().target_reduction(0.9).build().unwrap();
        let done = compactor.compact(&mut context);
        assert!(done.is_ok(), "{format}: {done:?}");
        assert_eq!(violations(context.transcript()), [], "{format}");
    }
}

/// The provider keeps the reasoning and takes its item and what it led to together or not at all.
#[test]
fn reasoning_that_shows_nothing_stays_with_its_call() {
    let words = |n: usize| format!("line {n} of the output\n").repeat(60);
    for window in (2_000..6_000).step_by(250) {
        let mut c = Context::new(
            Format::OpenAiResponses,
            Budget::new(window),
            Arc::new(Estimate::new()),
        );
        let compactor = Compactor::builder().target_reduction(0.5).build().unwrap();
        let mut take = |item: Value| compactor.append(&mut c, item.to_string()).unwrap();
        take(json!({"type":"message","role":"user","content":"Find it."}));
        for n in 0..40 {
            let id = format!("call_{n}");
            take(json!({"type":"reasoning","id":format!("rs_{n}"),"summary":[]}));
            take(
                json!({"type":"function_call","id":format!("fc_{n}"),"call_id":id,"name":"f","arguments":"{}"}),
            );
            take(json!({"type":"function_call_output","call_id":id,"output":words(n)}));
        }
        assert!(c.stats().compactions > 0);
        let items: Vec<Value> = c
            .items()
            .map(|raw| serde_json::from_slice(raw).unwrap())
            .collect();
        let number = |item: &Value| item["id"].as_str().map(|id| id[3..].to_owned());
        for (at, item) in items.iter().enumerate() {
            match item["type"].as_str() {
                Some("function_call") => {
                    assert_eq!(number(&items[at - 1]), number(item), "{window}")
                }
                Some("reasoning") => assert_eq!(number(&items[at + 1]), number(item), "{window}"),
                _ => {}
            }
        }
    }
}

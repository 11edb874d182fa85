//! Our validator against the official OpenMetrics parser corpus.

use mainspring_monitor::validate_openmetrics;
use serde_json::Value;

#[test]
fn the_validator_agrees_with_the_official_corpus() {
    let Some(path) = crate::data::file("openmetrics/parsers.jsonl") else {
        return;
    };
    let text = std::fs::read_to_string(path).expect("the corpus is readable");
    let mut cases = 0;
    let mut wrong = Vec::new();
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).expect("one JSON object a line");
        let page = match (&case["metrics"], &case["metrics_base64"]) {
            (Value::String(text), _) => text.clone().into_bytes(),
            (_, Value::String(text)) => base64(text),
            _ => panic!("a case without a page: {line}"),
        };
        let verdict = validate_openmetrics(&page);
        if verdict.is_ok() != case["shouldParse"].as_bool().expect("a verdict") {
            wrong.push(format!("{}: {verdict:?}", case["name"]));
        }
        cases += 1;
    }
    assert!(
        wrong.is_empty(),
        "{} of {cases} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(cases, 211);
}

fn base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held, mut out) = (0u32, 0, Vec::new());
    for digit in text
        .bytes()
        .filter_map(|byte| alphabet.iter().position(|a| *a == byte))
    {
        bits = bits << 6 | digit as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    out
}

//! Single texts: the optimiser, memory files, codecs.

use mainspring_compressor::{
    Error, Estimate, MemoryFile, TextStrategy, TokenBatches, TokenOptimizer, Tokenizer,
};
use proptest::prelude::*;
use std::{collections::HashSet, sync::Arc};

fn optimizer() -> TokenOptimizer {
    TokenOptimizer::new(10).start_above(0.0).stop_at(0.0)
}

#[test]
fn each_strategy_does_its_part() {
    let section: String = (0..40).map(|n| format!("word{n} ")).collect();
    let code: String = (0..200)
        .map(|n| format!("    // says little {n}\n    let a{n} = {n};\n\n"))
        .collect();
    let text = format!(
        "{section}\n\nbetween\n\n{section}\n\n```rust\n{code}// see src/keep.rs\n```\n{}tail   \n\n\n\nend\n",
        "tick\n".repeat(50)
    );
    let done = optimizer().optimize(&text, &Estimate::new());
    let applied: Vec<TextStrategy> = done.applied.iter().map(|(s, _)| *s).collect();
    assert_eq!(applied, TextStrategy::ALL);
    assert!(done.text.contains("[as above: word0"));
    assert!(!done.text.contains("says little") && done.text.contains("src/keep.rs"));
    assert!(done.text.contains("let a199 = 199;"));
    assert!(done.text.contains("50 times in all"));
    assert!(done.text.ends_with("tail\n\nend\n"));
    assert!(done.ratio() < 0.5);
}

#[test]
fn a_text_that_does_not_crowd_the_window_stays() {
    let text = "tick\n".repeat(500);
    let done = TokenOptimizer::new(TokenOptimizer::SMALL).optimize(&text, &Estimate::new());
    assert_eq!(done.text, text);
    assert!(done.applied.is_empty());
}

#[test]
fn a_function_shown_again_loses_its_body_in_its_language() {
    let steps = |n: usize| {
        (0..60)
            .map(|k| format!("    total_{n} += step_{k}(total_{n});\n"))
            .collect::<String>()
    };
    let rust = |name: &str, n| format!("pub fn {name}(mut total_{n}: u32) {{\n{}}}\n", steps(n));
    let python = |name: &str| format!("def {name}(total_9):\n{}", steps(9));
    let text = format!(
        "First:\n```rust\n{}{}```\nThen:\n```rust\n{}{}```\n```py\n{}\nx = 1\n```\n```py\n{}\nx = 2\n```\n",
        rust("same", 1),
        rust("other", 2),
        rust("same", 1),
        rust("other", 3),
        python("again"),
        python("again")
    );
    let done = optimizer().optimize(&text, &Estimate::new());
    assert_eq!(
        done.text.matches("pub fn same(").count(),
        2,
        "{}",
        done.text
    );
    assert_eq!(done.text.matches("total_1 += step_59").count(), 1);
    assert!(
        done.text
            .contains("    // unchanged, 60 lines as above\n}\n")
    );
    // What has changed is shown in full.
    assert!(done.text.contains("total_2 += step_59") && done.text.contains("total_3 += step_59"));
    assert_eq!(done.text.matches("total_9 += step_59").count(), 1);
    assert!(
        done.text
            .contains("    # unchanged, 60 lines as above\nx = 2\n")
    );
}

#[test]
fn a_body_with_what_is_always_kept_stays() {
    let body = "    let a = open(\"src/keep.rs\");\n".to_owned() + &"    step(a);\n".repeat(3);
    let long: String = (0..300)
        .map(|n| format!("let unique_{n} = {n};\n"))
        .collect();
    let block = format!("```rust\nfn f() {{\n{body}}}\n{long}```\n");
    let again = format!("```rust\nfn f() {{\n{body}}}\n```\n");
    let done = optimizer().optimize(&format!("{block}{again}"), &Estimate::new());
    assert_eq!(done.text.matches("src/keep.rs").count(), 2, "{}", done.text);
}

#[test]
fn a_batch_that_is_still_too_large_is_compressed_again() {
    let estimate = Arc::new(Estimate::new());
    let mut batches = TokenBatches::with_size(estimate.clone(), 1_000);
    // Small pieces make batches of about the size; nothing in them can go.
    let mut done = Vec::new();
    for n in 0..900 {
        done.extend(batches.push(&format!("word{n} and word{} differ\n", n * 7)));
    }
    assert!(done.len() >= 3 && done.iter().all(|batch| !batch.again));
    assert_eq!(
        done.iter().map(|b| b.number).collect::<Vec<_>>(),
        (0..done.len()).collect::<Vec<_>>()
    );
    done.extend(batches.finish());
    // One large piece: repeated lines go at once, the comments of its short blocks at the second try.
    let section: String = (0..90).map(|n| format!("item{n} of the list\n")).collect();
    let blocks: String = (0..60)
        .map(|n| format!("```rust\n// idle remark {n} about nothing much\nlet a{n} = {n};\n```\n"))
        .collect();
    let large = format!("{section}{}{blocks}", "tick\n".repeat(400));
    let batch = batches.push(&large).unwrap();
    assert!(batch.again);
    assert!(
        !batch.done.text.contains("idle remark 59"),
        "{}",
        batch.done.text
    );
    assert!(batch.done.text.contains("let a59 = 59;"));
    assert!(batch.done.after < batch.done.before);
    assert_eq!(batch.done.after, estimate.count(&batch.done.text));
    assert!(batches.finish().is_none());
}

fn lines() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "[a-z ]{0,30}",
        Just("```rust".to_owned()),
        Just("```".to_owned()),
        Just("# heading".to_owned()),
        Just("same line".to_owned()),
        "- fact [0-9]{1,3} of [a-z]{2,6}"
    ];
    prop::collection::vec(line, 0..80).prop_map(|l| l.join("\n"))
}

proptest! {
    #[test]
    fn optimising_never_adds_tokens(text in lines()) {
        let done = optimizer().optimize(&text, &Estimate::new());
        prop_assert!(done.after <= done.before);
        prop_assert_eq!(done.after, Estimate::new().count(&done.text));
    }

    #[test]
    fn no_word_of_a_memory_file_is_lost(text in lines()) {
        let mut memory = MemoryFile::parse(&text);
        let before: HashSet<&str> = text.split_whitespace().collect();
        let size = memory.size();
        let report = memory.optimize();
        prop_assert!(report.optimized_size <= size);
        let written = memory.to_string();
        prop_assert_eq!(written.len(), memory.size());
        let after: HashSet<&str> = written.split_whitespace().collect();
        prop_assert_eq!(before, after);
        let again = memory.clone().optimize();
        prop_assert_eq!(again.entries_removed, 0);
    }
}

#[test]
fn facts_that_differ_in_a_number_or_in_order_stay() {
    let mut memory = MemoryFile::parse(
        "# Ports\n- the port of service alpha in the staging cluster behind the balancer is 8080\n\
         - the port of service alpha in the staging cluster behind the balancer is 8081\n\
         - alpha calls beta\n- beta calls alpha\n",
    );
    assert_eq!(memory.optimize().entries_removed, 0);
    assert_eq!(memory.entries(), 4);
}

#[test]
fn the_same_words_under_another_heading_are_another_fact() {
    let text = "# Staging\n## Ports\n- the port is 8080\n# Production\n## Ports\n- the port is 8080\n- the host is beta\n";
    let mut memory = MemoryFile::parse(text);
    let report = memory.optimize();
    assert_eq!((report.entries_removed, report.topics_joined), (0, 0));
    assert_eq!(memory.to_string(), text);
    let mut memory = MemoryFile::parse("# A\n- one\n## B\n- two\n# C\n# A\n## B\n- two\n- three\n");
    memory.optimize();
    assert_eq!(
        memory.to_string(),
        "# A\n- one\n## B\n- two\n- three\n# C\n# A\n"
    );
}

#[test]
fn a_redundant_memory_file_shrinks_and_a_full_one_says_so() {
    let mut text = String::new();
    for round in 0..4 {
        text.push_str("# Notes\n");
        for n in 0..200 {
            let mark = if round % 2 == 0 { "" } else { " " };
            text.push_str(&format!(
                "- module number {n} of the project lives in src/part_{n}.rs{mark}\n"
            ));
        }
    }
    let mut memory = MemoryFile::parse(&text).with_limit(16 << 10);
    assert!(memory.wants_optimizing());
    let report = memory.optimize();
    assert!(report.ratio() < 0.3, "{report:?}");
    assert_eq!((memory.entries(), report.topics_joined), (200, 3));
    let mut added = 0;
    let full = loop {
        match memory.add(
            "Notes",
            &format!("unique fact number {added} about thing{added}"),
        ) {
            Ok(()) => added += 1,
            Err(error) => break error,
        }
    };
    assert!(added > 10);
    assert!(matches!(full, Error::Limit { limit: 16_384, .. }));
    assert!(memory.size() <= 16 << 10);
    assert!(memory.to_string().contains(&format!("thing{}", added - 1)));
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_keeps_bytes_and_bounds_what_it_unpacks() {
    use mainspring_compressor::Zstd;
    let records: Vec<Vec<u8>> = (0..400)
        .map(|n| format!("{{\"id\":{n},\"kind\":\"tool_result\",\"status\":\"ok\",\"path\":\"src/part_{}.rs\"}}", n % 7).into_bytes())
        .collect();
    let dictionary = Zstd::train(&records, 4 << 10).unwrap();
    let plain = Zstd::new();
    let trained = Zstd::new().with_dictionary(dictionary);
    let small = trained.compress(&records[5]).unwrap();
    assert!(small.len() < plain.compress(&records[5]).unwrap().len());
    assert_eq!(trained.decompress(&small, 1 << 10).unwrap(), records[5]);
    assert!(
        plain.decompress(&small, 1 << 10).is_err(),
        "needs its dictionary"
    );
    let bomb = plain.compress(&vec![0; 50 << 20]).unwrap();
    assert!(bomb.len() < 10_000);
    assert!(matches!(
        plain.decompress(&bomb, 1 << 20),
        Err(Error::Limit { .. })
    ));
    let mut bad = plain
        .compress(b"some bytes that are compressed")
        .unwrap()
        .to_vec();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    assert!(matches!(
        plain.decompress(&bad, 1 << 20),
        Err(Error::Malformed { .. })
    ));
}

#[cfg(feature = "gzip")]
#[test]
fn gzip_takes_bodies_above_1024_bytes() {
    use mainspring_compressor::{gunzip, gzip_body};
    assert_eq!(gzip_body(&[b'a'; 1_024]), None);
    let packed = gzip_body(&[b'a'; 1_025]).unwrap();
    assert_eq!(gunzip(&packed, 2_000).unwrap(), vec![b'a'; 1_025]);
    assert!(matches!(gunzip(&packed, 1_000), Err(Error::Limit { .. })));
    assert!(gunzip(&packed[..20], 2_000).is_err());
    assert!(gunzip(b"not gzip at all", 2_000).is_err());
}

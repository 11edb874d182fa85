//! Counting.

use mainspring_compressor::{ContentClass, Estimate, Profile, Tally, TokenStream, Tokenizer};
#[cfg(feature = "openai")]
use mainspring_inputs::{Profile as Kind, Random, SessionSpec, generate};
use proptest::prelude::*;

#[cfg(feature = "openai")]
fn exact() -> mainspring_compressor::OpenAi {
    mainspring_compressor::OpenAi::o200k()
}

#[cfg(feature = "openai")]
fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..len).map(|_| random.below(256) as u8).collect()
}

/// Texts of one kind, long enough to count.
#[cfg(feature = "openai")]
fn samples(kind: usize, seed: u64) -> String {
    let raws = generate(&SessionSpec {
        seed,
        messages: 60,
        profile: Kind::Coding,
    });
    match kind {
        0 => raws
            .iter()
            .filter(|r| r.contains("\"role\":\"user\""))
            .map(String::as_str)
            .collect::<String>()
            .replace(['{', '}', '"'], " "),
        1 => raws.join("\n"),
        _ => random_bytes(seed, 4_000)
            .iter()
            .map(|b| char::from(b'a' + b % 26))
            .collect(),
    }
}

/// goose#4986, codex-router#266, zed#61599: estimates off by 0.5-3.9 times.
#[cfg(feature = "openai")]
#[test]
fn goose_4986_the_estimate_is_within_five_percent_after_ten_observations() {
    for kind in 0..3 {
        let estimate = Estimate::new();
        for seed in 0..10 {
            let text = samples(kind, seed);
            estimate.observe(&text, exact().count(&text));
        }
        for seed in 100..110 {
            let text = samples(kind, seed);
            let (guess, actual) = (estimate.count(&text) as f64, exact().count(&text) as f64);
            let error = (guess / actual - 1.0).abs();
            assert!(error <= 0.05, "kind {kind}: {error}");
            assert!(error <= estimate.error_bound() || estimate.error_bound() >= 0.02);
        }
        assert!(
            estimate.error_bound() <= 0.06,
            "kind {kind}: {}",
            estimate.error_bound()
        );
    }
}

#[test]
fn the_bound_of_a_fresh_estimate_is_wide() {
    let estimate = Estimate::new();
    assert!(estimate.error_bound() >= 0.2);
    assert_eq!(estimate.observations(), 0);
    assert!(Profile::of("a plain sentence of words").bytes(ContentClass::Prose) > 0.0);
    assert!(Profile::of("{\"a\": \"b\", \"c\": [\"d\"]}").bytes(ContentClass::Json) > 0.0);
    assert!(Profile::of("漢字かな交じり文").bytes(ContentClass::NonLatin) > 0.0);
    assert!(Profile::of(&"QUJDREVG".repeat(12)).bytes(ContentClass::Noise) > 0.0);
}

fn appended(tokenizer: &dyn Tokenizer, text: &str, cuts: &[usize]) -> usize {
    let mut tally = Tally::new();
    let mut at = 0;
    for cut in cuts {
        let mut end = (at + cut).min(text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
        tokenizer.append(&mut tally, &text[at..end]);
        at = end;
    }
    tokenizer.append(&mut tally, &text[at..]);
    tally.tokens()
}

fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zA-Z']{1,12}",
        "[ \t\n\r]{1,5}",
        "[0-9]{1,6}",
        "[\\p{L}\\p{N}\\p{P}\\p{S}]{1,4}",
        Just("I'll don't we've".to_owned()),
        Just("    \n\n  x".to_owned()),
        Just("{\"k\": [1, \"v\"]}".to_owned()),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// How often a text is repeated: now and then so often that it is counted in several parts.
fn times() -> impl Strategy<Value = usize> {
    prop_oneof![7 => 1usize..6, 1 => 30usize..60]
}

/// What a merge of pairs finds hard: one class of characters without an end.
#[cfg(feature = "openai")]
fn hostile_run() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{100,600}",
        "[ \t]{100,600}",
        "[\n\r]{100,400}",
        "[-=_/*]{100,600}",
        "[0-9]{100,600}",
        "[\u{4e00}-\u{4fff}]{60,200}",
        Just("\u{1f468}\u{200d}".repeat(80)),
        Just("\u{301}".repeat(150)),
    ]
}

/// What patterns of pieces are about: every class of characters, and what joins them.
#[cfg(any(feature = "openai", feature = "open-models"))]
const JOINTS: &[&str] = &[
    "'",
    "s",
    "S",
    "\u{17f}",
    "t",
    "ll",
    "LL",
    "re",
    "ve",
    "m",
    "d",
    "I",
    "a",
    "aB",
    "ABC",
    "Abc",
    "word",
    "\u{212a}",
    "\u{e9}",
    "e\u{301}",
    "\u{df}",
    "\u{130}",
    "\u{1c5}",
    "\u{2b0}",
    "\u{301}",
    "\u{4f60}\u{597d}",
    "\u{3000}",
    "\u{a0}",
    "\u{85}",
    "\u{2028}",
    "\u{1680}",
    "\u{663}",
    "\u{b2}",
    "\u{2167}",
    "\u{200d}",
    "\u{1f468}",
    "\u{feff}",
    "\u{3002}",
    "\u{201c}",
    "\u{ff21}",
    "\u{10ffff}",
    "\n",
    "\r",
    "\r\n",
    " ",
    "  ",
    "    ",
    "\t",
    "\u{b}",
    "\u{c}",
    "\u{1c}",
    "\u{0}",
    "\u{7f}",
    "/",
    "//",
    "1",
    "12",
    "1234",
    "_",
    "-",
    "(",
    "\"",
    ".",
    "...",
    "{}",
];

#[cfg(any(feature = "openai", feature = "open-models"))]
fn joined_text() -> impl Strategy<Value = String> {
    let joint = prop::sample::select(JOINTS).prop_map(str::to_owned);
    let piece = prop_oneof![8 => joint, 1 => any::<char>().prop_map(String::from)];
    prop::collection::vec(piece, 0..80).prop_map(|pieces| pieces.concat())
}

/// Every tokenizer that cuts by hand, beside the one that does not.
#[cfg(any(feature = "openai", feature = "open-models"))]
fn by_hand() -> Vec<(Box<dyn Tokenizer>, &'static str)> {
    let mut all: Vec<(Box<dyn Tokenizer>, &'static str)> = Vec::new();
    #[cfg(feature = "openai")]
    {
        use mainspring_compressor::OpenAi;
        all.push((Box::new(OpenAi::o200k()), "o200k_base"));
        all.push((Box::new(OpenAi::cl100k()), "cl100k_base"));
    }
    #[cfg(feature = "open-models")]
    {
        use mainspring_compressor::OpenModel;
        all.push((Box::new(OpenModel::llama3()), "llama3"));
        all.push((Box::new(OpenModel::glm4()), "glm4"));
        all.push((Box::new(OpenModel::minimax_m2()), "minimax_m2"));
    }
    all
}

#[cfg(any(feature = "openai", feature = "open-models"))]
fn published(name: &str, text: &str) -> usize {
    tiktoken::get_encoding(name).expect("known").count(text)
}

/// The tokenizer for long runs takes this contraction for one, the quicker one does not.
#[cfg(any(feature = "openai", feature = "open-models"))]
#[test]
fn a_long_s_counts_the_same_beside_a_long_run() {
    for text in ["I'\u{17f}a", "foo\t I'\u{17f}a", "all'\u{17f}'ve"] {
        for run in ["=", "\u{e9}"] {
            let text = format!(" {text}{}", run.repeat(400));
            for (ours, name) in by_hand() {
                let whole = published(name, &text);
                assert_eq!(ours.count(&text), whole, "{name} {text}");
                let cuts = vec![47; 20];
                assert_eq!(appended(&*ours, &text, &cuts), whole, "{name} {text}");
            }
        }
    }
}

/// More short texts than a memo holds, so that they take each other's places, and all of them again.
#[cfg(any(feature = "openai", feature = "open-models"))]
#[test]
fn a_full_memo_mixes_nothing_up() {
    let words: String = (0..50_000u32).map(|n| format!(" w{n:x}q")).collect();
    for (ours, name) in by_hand().into_iter().take(1) {
        let whole = published(name, &words);
        assert_eq!(
            (ours.count(&words), ours.count(&words)),
            (whole, whole),
            "{name}"
        );
    }
}

#[cfg(feature = "open-models")]
fn open_models() -> [mainspring_compressor::OpenModel; 7] {
    use mainspring_compressor::OpenModel;
    [
        OpenModel::llama3(),
        OpenModel::deepseek_v3(),
        OpenModel::qwen2(),
        OpenModel::mistral_v3(),
        OpenModel::kimi_k2(),
        OpenModel::glm4(),
        OpenModel::minimax_m2(),
    ]
}

#[cfg(feature = "open-models")]
#[test]
fn every_family_has_a_vocabulary_of_its_own() {
    let text =
        "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. 你好，世界 fn main() {}";
    let counts: std::collections::BTreeSet<_> = open_models()
        .iter()
        .map(|model| (model.count(text), model.name()))
        .collect();
    assert_eq!(counts.len(), 7);
    for model in open_models() {
        assert!(
            (20..60).contains(&model.count(text)),
            "{}: {}",
            model.name(),
            model.count(text)
        );
        assert_eq!(model.count(""), 0);
    }
}

#[cfg(any(feature = "openai", feature = "open-models"))]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cut_by_hand_counts_as_the_published_pattern(
        text in joined_text(), more in any_text(), cuts in prop::collection::vec(1usize..9, 0..40)
    ) {
        let text = format!("{text}{more}");
        for (ours, name) in by_hand() {
            let whole = published(name, &text);
            prop_assert_eq!(ours.count(&text), whole, "{}", name);
            let less = whole.checked_sub(1).and_then(|less| ours.count_up_to(&text, less));
            prop_assert_eq!(less, None, "{}", name);
            prop_assert_eq!(appended(&*ours, &text, &cuts), whole, "{}", name);
        }
    }
}

#[cfg(any(feature = "openai", feature = "open-models"))]
#[test]
fn recorded_sessions_count_as_published() {
    for (file, import) in crate::data::imported() {
        for session in import.sessions() {
            for item in session.transcript.items().iter().step_by(9) {
                let results: String = item.results().map(|result| result.text).collect();
                let text = format!("{}{results}", item.text());
                for (ours, name) in by_hand() {
                    assert_eq!(ours.count(&text), published(name, &text), "{name}, {file}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[cfg(feature = "openai")]
    #[test]
    fn appending_counts_as_the_whole_does(
        text in any_text(), cuts in prop::collection::vec(1usize..20, 0..40)
    ) {
        prop_assert_eq!(appended(&exact(), &text, &cuts), exact().count(&text));
    }

    #[cfg(feature = "openai")]
    #[test]
    fn hostile_runs_count_as_the_linear_tokenizer_counts_them(
        text in any_text(), run in hostile_run(), after in any_text(), times in times()
    ) {
        let text = format!("{}{run}{after}", text.repeat(times));
        let whole = bpe_openai::o200k_base().count(text.as_str());
        prop_assert_eq!(exact().count(&text), whole);
        prop_assert_eq!(exact().count_up_to(&text, whole), Some(whole));
        prop_assert_eq!(exact().count_up_to(&text, whole - 1), None);
        let older = mainspring_compressor::OpenAi::cl100k();
        prop_assert_eq!(older.count(&text), bpe_openai::cl100k_base().count(text.as_str()));
    }

    #[cfg(feature = "open-models")]
    #[test]
    fn open_models_count_parts_as_the_whole(
        text in any_text(), cuts in prop::collection::vec(1usize..20, 0..40), times in times()
    ) {
        let text = text.repeat(times);
        for model in open_models() {
            let whole = model.count(&text);
            prop_assert_eq!(appended(&model, &text, &cuts), whole, "{}", model.name());
            prop_assert_eq!(model.count_up_to(&text, whole), Some(whole), "{}", model.name());
        }
    }

    #[test]
    fn appending_estimates_as_the_whole_does(
        text in any_text(), cuts in prop::collection::vec(1usize..200, 0..40), times in 1usize..60
    ) {
        let text = text.repeat(times);
        let estimate = Estimate::new();
        prop_assert!(appended(&estimate, &text, &cuts).abs_diff(estimate.count(&text)) <= 1);
    }

    #[test]
    fn a_stream_gives_the_text_in_small_pieces(text in any_text(), times in 1usize..40) {
        let text = text.repeat(times);
        let stream = TokenStream::new(&text, &Estimate::new());
        let total = stream.total();
        let mut position = 0;
        let mut whole = String::new();
        for chunk in stream {
            prop_assert!(chunk.tokens <= 100 && !chunk.text.is_empty());
            prop_assert_eq!(chunk.position, position);
            prop_assert_eq!((chunk.total, chunk.batch), (total, position / 1_000));
            position += chunk.tokens;
            whole.push_str(chunk.text);
        }
        prop_assert_eq!(position, total);
        prop_assert_eq!(whole, text);
    }
}

#[cfg(feature = "openai")]
#[test]
fn a_count_stops_at_its_limit() {
    let text = "one two three four five";
    let tokens = exact().count(text);
    assert_eq!(exact().count_up_to(text, tokens), Some(tokens));
    assert_eq!(exact().count_up_to(text, tokens - 1), None);
    assert_eq!(
        mainspring_compressor::OpenAi::cl100k().count("hello world"),
        2
    );
}

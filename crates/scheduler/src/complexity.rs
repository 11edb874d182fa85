//! How hard a request is, from what is asked and not from what is attached.

use crate::ModelRequest;

/// Longest text that is read as the request itself; what follows is attached.
const OWN_WORDS: usize = 1_200;

/// What a sentence wants, by what has to be decided for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    /// Nothing to decide: look up, reshape, repeat what is there.
    LookUp,
    /// Something in a known way.
    Work,
    /// Many things that hang together.
    Hard,
}

/// Questions that what is there answers.
#[rustfmt::skip]
const QUESTIONS: &[&str] = &[
    "what", "which", "who", "whose", "where", "when", "is", "are", "was", "were", "does", "do",
    "did", "has", "have", "whether",
];

/// How a question after `how` asks for a figure.
const FIGURES: &[&str] = &[
    "many", "much", "long", "often", "old", "big", "large", "far",
];

/// Verbs that reshape, repeat or hand over what is there.
#[rustfmt::skip]
const LOOK_UPS: &[&str] = &[
    "list", "show", "give", "say", "tell", "print", "count", "copy", "extract", "sort", "order",
    "format", "rename", "translate", "shorten", "summarise", "summarize", "quote", "read", "open",
    "run", "rerun", "pick", "choose", "select", "get", "fetch", "find", "look", "search", "put",
    "turn", "append", "remove", "delete", "capitalise", "capitalize", "trim", "continue", "go",
    "thanks", "thank", "ok", "yes", "no", "stop", "repeat", "close", "mark", "confirm", "check",
];

/// Whatever the verb: an answer of one line.
#[rustfmt::skip]
const SMALL: &[&str] = &[
    "one line", "a line", "one sentence", "one word", "yes or no", "title", "commit message",
    "spelling", "typo", "comma", "whitespace", "white space", "indent",
];

/// What makes a question more than a look-up.
#[rustfmt::skip]
const JUDGEMENTS: &[&str] = &[
    "why", "wrong", "should", "better", "best", "safe", "secure", "correct", "explain", "suggest",
    "cause", "improve", "trade",
];

/// Work whose parts hang together, or whose cause nobody knows.
#[rustfmt::skip]
const HARD: &[&str] = &[
    "architect", "design", "prove", "proof", "concurren", "race condition", "deadlock", "livelock",
    "distributed", "consensus", "security", "vulnerab", "attack", "root cause", "investigat",
    "migrat", "algorithm", "trade-off", "intermittent", "sometimes", "nobody knows", "under load",
    "memory leak", "data loss", "downtime", "scalab",
];

/// The default scorer: by the hardest sentence of the request's own words, 0.05 where it looks something up or
/// reshapes what is there, 0.4 for other work, 0.7 (0.1 more for each further sign, up to 0.3) where its words speak
/// of design, proof, concurrency, security or an unknown cause; then up to 0.1 for the length of those words (full at
/// 800 bytes) and 0.05 each for the share of code lines in the whole prompt and for tools (full at 20).
///
/// The own words are the first paragraph, or the last where the first is code or longer than 1,200 bytes: what was
/// read before and is attached says nothing about what is asked. The signs are English; other languages count as
/// work, so as balanced. O(prompt).
#[must_use]
pub fn complexity(request: &ModelRequest<'_>) -> f64 {
    let own = own_words(request.prompt).to_lowercase();
    let wanted = sentences(&own).map(wanted).max();
    let hard = signs(&own, HARD).saturating_sub(1).min(3) as f64;
    let base = match wanted {
        None => 0.0,
        Some(Wanted::LookUp) => 0.05,
        Some(Wanted::Work) => 0.4,
        Some(Wanted::Hard) => 0.7 + 0.1 * hard,
    };
    let length = (own.len() as f64 / 800.0).min(1.0);
    let tools = (request.tools as f64 / 20.0).min(1.0);
    (base + 0.1 * length + 0.05 * (code_share(request.prompt) + tools)).min(1.0)
}

/// What is asked, without what is attached.
fn own_words(prompt: &str) -> &str {
    let is_prose = |text: &&str| text.len() <= OWN_WORDS && code_share(text) < 0.5;
    let mut paragraphs = prompt
        .split("\n\n")
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let Some(first) = paragraphs.next() else {
        return "";
    };
    let own = [Some(first), paragraphs.last()];
    let own = own.into_iter().flatten().find(is_prose).unwrap_or(first);
    &own[..own.floor_char_boundary(OWN_WORDS)]
}

fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(['.', '?', '!', ';', '\n'])
        .map(str::trim)
        .filter(|sentence| sentence.chars().any(char::is_alphanumeric))
}

fn wanted(sentence: &str) -> Wanted {
    let hard = signs(sentence, HARD) > 0;
    match (looks_up(sentence), hard) {
        (true, false) => Wanted::LookUp,
        (true, true) | (false, false) => Wanted::Work,
        (false, true) => Wanted::Hard,
    }
}

fn looks_up(sentence: &str) -> bool {
    if signs(sentence, JUDGEMENTS) > 0 {
        return false;
    }
    let polite = [
        "please", "can", "could", "would", "you", "now", "then", "and",
    ];
    let mut words = sentence
        .split(|c: char| !c.is_alphanumeric() && c != '\'')
        .filter(|word| !word.is_empty())
        .skip_while(|word| polite.contains(word));
    let Some(first) = words.next() else {
        return true;
    };
    let mut figure = || words.next().is_some_and(|word| FIGURES.contains(&word));
    QUESTIONS.contains(&first)
        || LOOK_UPS.contains(&first)
        || (first == "how" && figure())
        || signs(sentence, SMALL) > 0
}

fn signs(text: &str, of: &[&str]) -> usize {
    of.iter().filter(|sign| text.contains(**sign)).count()
}

/// The share of lines that look like code: fenced, indented, or ending like a statement.
fn code_share(text: &str) -> f64 {
    let (mut lines, mut code, mut fenced) = (0u32, 0u32, false);
    for line in text.lines() {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        let statement = line.trim_end().ends_with([';', '{', '}']);
        lines += 1;
        code += u32::from(fence || fenced || statement || line.starts_with("    "));
    }
    f64::from(code) / f64::from(lines.max(1))
}

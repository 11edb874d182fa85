//! The words of a text, as descriptions and tasks are compared.

/// Words that say nothing about what an agent does.
const STOP: [&str; 36] = [
    "a", "an", "and", "any", "are", "as", "at", "be", "by", "can", "do", "for", "from", "has",
    "have", "how", "i", "in", "is", "it", "its", "of", "on", "or", "our", "that", "the", "this",
    "to", "us", "use", "we", "when", "will", "with", "you",
];

/// Longest word that counts, in bytes; longer ones are data, not language.
const MAX_BYTES: usize = 64;

/// Calls `word` with each word: lower case, without common endings; split at everything that is no
/// letter or digit and where a lower-case letter meets an upper-case one.
pub(crate) fn each(text: &str, mut word: impl FnMut(&str)) {
    let mut current = String::new();
    let mut after_lower = false;
    for c in text.chars() {
        if !c.is_alphanumeric() || (after_lower && c.is_uppercase()) {
            finish(&mut current, &mut word);
        }
        if c.is_alphanumeric() {
            current.extend(c.to_lowercase());
        }
        after_lower = c.is_lowercase();
    }
    finish(&mut current, &mut word);
}

fn finish(current: &mut String, word: &mut impl FnMut(&str)) {
    if !current.is_empty()
        && current.len() <= MAX_BYTES
        && STOP.binary_search(&current.as_str()).is_err()
    {
        word(stem(current));
    }
    current.clear();
}

/// The word without an ending that leaves at least four bytes: tests, testing and tested are test.
fn stem(word: &str) -> &str {
    let shorter = ["ing", "ed", "es", "s"].into_iter().find_map(|ending| {
        let stem = word.strip_suffix(ending)?;
        (stem.len() >= 4 && !(ending == "s" && stem.ends_with('s'))).then_some(stem)
    });
    let stem = shorter.unwrap_or(word);
    stem.strip_suffix('e')
        .filter(|stem| stem.len() >= 4)
        .unwrap_or(stem)
}

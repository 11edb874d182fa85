//! Names and labels, made legal before anything else sees them.

use std::borrow::Cow;

const NAME_BYTES: usize = 200;
/// What a label's value is cut to.
pub(crate) const VALUE_BYTES: usize = 1024;
const LABELS: usize = 32;
/// What OpenMetrics allows an exemplar's labels, names and values together.
const EXEMPLAR_CHARS: usize = 128;

/// A legal metric name: other characters become `_`, at most 200 bytes, a counter's `_total` taken off.
pub(crate) fn metric_name(name: &str, counter: bool) -> Cow<'_, str> {
    let base = match name.strip_suffix("_total") {
        Some(base) if counter && !base.is_empty() => base,
        _ => name,
    };
    legal(base, |c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

fn label_name(name: &str) -> Cow<'_, str> {
    let name = legal(name, |c| c.is_ascii_alphanumeric() || c == '_');
    // Two leading underscores and the labels of histograms and summaries mean something to readers.
    let reserved = name.starts_with("__") || name == "le" || name == "quantile";
    if reserved {
        Cow::Owned(format!("label_{}", name.trim_start_matches('_')))
    } else {
        name
    }
}

fn legal(name: &str, allowed: fn(char) -> bool) -> Cow<'_, str> {
    let digit_first = name.starts_with(|c: char| c.is_ascii_digit());
    if !name.is_empty() && !digit_first && name.len() <= NAME_BYTES && name.chars().all(allowed) {
        return Cow::Borrowed(name);
    }
    let mut legal = String::with_capacity(name.len().min(NAME_BYTES) + 1);
    if digit_first || name.is_empty() {
        legal.push('_');
    }
    let rest = NAME_BYTES - legal.len();
    legal.extend(
        name.chars()
            .take(rest)
            .map(|c| if allowed(c) { c } else { '_' }),
    );
    Cow::Owned(legal)
}

/// A legal, sorted set of labels: the identity of a series within its family.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    /// Takes at most 32 labels, values of at most 1 KiB; an empty value means "no such label", as
    /// Prometheus reads it; of labels with one name the later ones get `_` appended.
    pub(crate) fn new(labels: &[(&str, &str)]) -> Self {
        let given = labels
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .take(LABELS);
        let mut all: Vec<(Box<str>, Box<str>)> = given
            .map(|(name, value)| (label_name(name).into(), cut(value, VALUE_BYTES).into()))
            .collect();
        all.sort();
        for at in 1..all.len() {
            while all[..at].iter().any(|(name, _)| *name == all[at].0) {
                all[at].0 = format!("{}_", all[at].0).into();
            }
        }
        all.sort();
        Self(all.into())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// `a="1",b="2"`, values escaped.
    pub(crate) fn body(&self) -> String {
        let mut body = String::new();
        for (name, value) in self.iter() {
            if !body.is_empty() {
                body.push(',');
            }
            body.push_str(name);
            body.push_str("=\"");
            escape(&mut body, value, true);
            body.push('"');
        }
        body
    }

    /// Labels of an exemplar, as many as its limit holds. What would have to be escaped, braces and
    /// `#` become `_`: Python's prometheus_client takes an escaped quote there for a bare one, and
    /// older ones take a brace or `#` for the exemplar's own, and then refuses the page.
    pub(crate) fn of_exemplar(labels: &[(&str, &str)]) -> Self {
        let mut left = EXEMPLAR_CHARS;
        let mut kept = Self::new(labels).0.into_vec();
        for (_, value) in &mut kept {
            *value = value.replace(['"', '\\', '\n', '{', '}', '#'], "_").into();
        }
        kept.retain(|(name, value)| {
            let chars = name.len() + value.chars().count();
            let fits = chars <= left;
            left -= if fits { chars } else { 0 };
            fits
        });
        Self(kept.into())
    }
}

/// The start of a text, at most so many bytes, whole characters.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// Appends text escaped for a label value, or for HELP, where OpenMetrics escapes quotes and the
/// older format leaves them.
pub(crate) fn escape(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            _ => out.push(c),
        }
    }
}

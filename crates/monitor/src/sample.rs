//! One sample line of an OpenMetrics page: name, labels, value, timestamp, exemplar.

const EXEMPLAR_CHARS: usize = 128;

type Checked<T> = Result<T, &'static str>;

/// A parsed sample line.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    /// Sorted by name, values as written.
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: f64,
    pub(crate) timestamp: Option<f64>,
    pub(crate) has_exemplar: bool,
}

impl Sample {
    pub(crate) fn parse(line: &str) -> Checked<Self> {
        let name_end = line.find(['{', ' ']).ok_or("a sample without a value")?;
        let (name, rest) = line.split_at(name_end);
        if !is_metric_name(name) {
            return Err("illegal metric name");
        }
        let (labels, rest) = if rest.starts_with('{') {
            labels(rest)?
        } else {
            (Vec::new(), rest)
        };
        let (figures, exemplar) = match rest.split_once(" # ") {
            Some((figures, exemplar)) => (figures, Some(exemplar)),
            None => (rest, None),
        };
        let (value, timestamp) = value_and_timestamp(figures)?;
        exemplar.map_or(Ok(()), check_exemplar)?;
        Ok(Self {
            name: name.to_owned(),
            labels,
            value,
            timestamp,
            has_exemplar: exemplar.is_some(),
        })
    }

    /// A label's value.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.labels
            .iter()
            .find(|(label, _)| label == name)
            .map(|(_, value)| value.as_str())
    }
}

fn check_exemplar(text: &str) -> Checked<()> {
    if !text.starts_with('{') {
        return Err("an exemplar starts with its labels");
    }
    let (labels, rest) = labels(text)?;
    let chars = |(name, value): &(String, String)| name.chars().count() + unescaped_chars(value);
    if labels.iter().map(chars).sum::<usize>() > EXEMPLAR_CHARS {
        return Err("exemplar labels above 128 characters");
    }
    value_and_timestamp(rest).map(|_| ())
}

fn unescaped_chars(value: &str) -> usize {
    let mut chars = value.chars();
    let mut count = 0;
    while let Some(c) = chars.next() {
        if c == '\\' && chars.as_str().starts_with(['\\', '"', 'n']) {
            chars.next();
        }
        count += 1;
    }
    count
}

/// ` value` or ` value timestamp`, single spaces only.
fn value_and_timestamp(text: &str) -> Checked<(f64, Option<f64>)> {
    let mut parts = text
        .strip_prefix(' ')
        .ok_or("no space before the value")?
        .split(' ');
    let value = number(parts.next().unwrap_or_default()).ok_or("illegal value")?;
    let timestamp = parts.next().map(|text| {
        number(text)
            .filter(|t| t.is_finite())
            .ok_or("illegal timestamp")
    });
    match parts.next() {
        Some(_) => Err("text after the timestamp"),
        None => Ok((value, timestamp.transpose()?)),
    }
}

/// A decimal number, an infinity or NaN: no hexadecimal, no underscores.
pub(crate) fn number(text: &str) -> Option<f64> {
    let word = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    let decimal = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    (decimal || ["nan", "inf", "infinity"].contains(&word.as_str()))
        .then(|| text.parse().ok())
        .flatten()
}

/// `{a="1",b="2"}` from the start of `text`, and what follows.
fn labels(text: &str) -> Checked<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    let mut rest = text.strip_prefix('{').ok_or("no `{`")?;
    if let Some(rest) = rest.strip_prefix('}') {
        return Ok((labels, rest));
    }
    loop {
        let (name, after) = rest.split_once('=').ok_or("a label without `=`")?;
        if !is_label_name(name) {
            return Err("illegal label name");
        }
        let after = after
            .strip_prefix('"')
            .ok_or("a label value without quotes")?;
        let end = closing_quote(after).ok_or("a label value that does not end")?;
        labels.push((name.to_owned(), after[..end].to_owned()));
        let after = &after[end + 1..];
        if let Some(after) = after.strip_prefix('}') {
            labels.sort();
            return match labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                true => Err("a label twice"),
                false => Ok((labels, after)),
            };
        }
        rest = after.strip_prefix(',').ok_or("no `,` between labels")?;
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

/// Letters, digits, `_` and `:`, no digit first.
pub(crate) fn is_metric_name(name: &str) -> bool {
    is_name(name, b"_:")
}

fn is_label_name(name: &str) -> bool {
    is_name(name, b"_")
}

fn is_name(name: &str, more: &[u8]) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
}

//! Snapshots as JSON.

use crate::distribution::HistogramSnapshot;
use crate::number::{push_json_f64, push_u64};
use crate::snapshot::{FamilySnapshot, SeriesSnapshot, Snapshot, Value};

impl Snapshot {
    /// The snapshot as one JSON object:
    /// `{"families":[{"name","kind","help","series":[{"labels":{…},"value":…}]}]}`, a histogram's
    /// value being `{"count","sum","mean","min","max","p50","p95","p99"}`. What is not finite is
    /// `null`. Safe to embed in an HTML script: `<`, `>` and `&` are escaped.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::from("{\"families\":");
        array(&mut out, &self.families, family);
        out.push('}');
        out
    }
}

fn family(out: &mut String, family: &FamilySnapshot) {
    out.push_str("{\"name\":");
    string(out, &family.name);
    out.push_str(",\"kind\":");
    string(out, family.kind.name());
    out.push_str(",\"help\":");
    string(out, &family.help);
    out.push_str(",\"series\":");
    array(out, &family.series, series);
    out.push('}');
}

fn series(out: &mut String, series: &SeriesSnapshot) {
    out.push_str("{\"labels\":{");
    for (at, (name, value)) in series.labels.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        string(out, name);
        out.push(':');
        string(out, value);
    }
    out.push_str("},\"value\":");
    match &series.value {
        Value::Count(count) => push_u64(out, *count),
        Value::Number(number) => push_json_f64(out, *number),
        Value::Distribution(values) => distribution(out, values),
    }
    out.push('}');
}

fn distribution(out: &mut String, values: &HistogramSnapshot) {
    out.push_str("{\"count\":");
    push_u64(out, values.count());
    let figures = [
        ("sum", values.sum()),
        ("mean", values.mean()),
        ("min", values.min()),
        ("max", values.max()),
        ("p50", values.p50()),
        ("p95", values.p95()),
        ("p99", values.p99()),
    ];
    for (name, figure) in figures {
        out.push_str(",\"");
        out.push_str(name);
        out.push_str("\":");
        push_json_f64(out, figure);
    }
    out.push('}');
}

fn array<T>(out: &mut String, items: &[T], each: fn(&mut String, &T)) {
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(']');
}

/// Appends a JSON string.
pub(crate) fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            // Line separators end a statement in older script engines, brackets a script element.
            '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let code = c as u32;
                out.push_str("\\u");
                (0..4).rev().for_each(|nibble| {
                    out.push(char::from_digit(code >> (4 * nibble) & 15, 16).unwrap_or('0'));
                });
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

//! The scoreboard as a person reads it on a terminal.

use crate::{Report, Row, Verdict};

/// The table, with what each row stands on.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut out = format!("{} · {}\n", report.commit, report.machine);
    if report.quick {
        out.push_str(
            "quick run: fewer rounds, and smaller inputs where a title names large ones\n",
        );
    }
    out.push('\n');
    out.push_str(&format!(
        "{:<26} {:>10} {:>10} {:>22}  {:<13} title\n",
        "row", "bar", "measured", "99 % interval", "verdict"
    ));
    for row in &report.rows {
        lines(row, &mut out);
    }
    let count = |verdict| {
        report
            .rows
            .iter()
            .filter(|row| row.verdict == verdict)
            .count()
    };
    out.push_str(&format!(
        "\n{} met, {} missed, {} inconclusive, {} skipped\n",
        count(Verdict::Met),
        count(Verdict::Missed),
        count(Verdict::Inconclusive),
        count(Verdict::Skipped)
    ));
    out
}

fn lines(row: &Row, out: &mut String) {
    let measured = row
        .measured
        .map_or("-".to_owned(), |value| beside_bar(value, row.bar));
    let interval = row.interval.filter(|[low, high]| low < high);
    let interval = interval.map_or("-".to_owned(), |[low, high]| {
        format!("{} .. {}", number(low), number(high))
    });
    out.push_str(&format!(
        "{:<26} {:>10} {measured:>10} {interval:>22}  {:<13} {} [{}]\n",
        row.id,
        number(row.bar),
        word(row.verdict),
        row.title,
        row.unit
    ));
    let mut below = |text: &str| out.push_str(&format!("{:>28}{text}\n", ""));
    if !row.documented.is_empty() {
        below(&format!("documented: {}", row.documented));
    }
    if !row.reason.is_empty() {
        below(&row.reason);
    }
    if let Some(own) = row.own.filter(|_| !row.peers.is_empty()) {
        below(&format!("ours: {} {}", number(own), row.peer_unit));
    }
    if let Some(best) = row.best() {
        below(&format!(
            "best peer: {} {} ({}× ours over its)",
            best.name,
            best.version,
            number(best.ratio)
        ));
    }
    for peer in &row.peers {
        below(&format!(
            "{} {}: {} {} ({}× ours over its)",
            peer.name,
            peer.version,
            number(peer.value),
            row.peer_unit,
            number(peer.ratio)
        ));
    }
    for input in &row.per_input {
        let values = input.values.iter();
        let values: Vec<_> = values
            .map(|(name, value)| format!("{name} {}", number(*value)))
            .collect();
        below(&format!("{}: {}", input.input, values.join(", ")));
    }
    if !row.note.is_empty() {
        below(&row.note);
    }
    if row.verdict != Verdict::Skipped {
        below(&row.command);
    }
}

/// The verdict as it is printed: a lost row stands out.
#[must_use]
pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "met",
        Verdict::Missed => "MISSED",
        Verdict::Inconclusive => "inconclusive",
        Verdict::Skipped => "skipped",
    }
}

/// A figure, with enough places to tell it from its bar.
#[must_use]
pub fn beside_bar(value: f64, bar: f64) -> String {
    let short = number(value);
    if short == number(bar) && value != bar {
        return format!("{value:.5}");
    }
    short
}

/// A figure with three significant places or so.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{:.2} M", value / 1e6),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.01 || v == 0.0 => format!("{value:.3}"),
        _ => format!("{value:.2e}"),
    }
}

//! The scoreboard as a page: one file, no script, light and dark, readable on a phone.

mod plot;

use std::fmt::Write as _;

use crate::{Comparison, History, Report, Row, Verdict, explored::Explored, number, word};

const STYLE: &str = include_str!("page/style.css");

/// The page of a report, with what earlier runs and criterion found.
#[must_use]
pub fn page(report: &Report, history: &History, explored: &[Explored]) -> String {
    let mut body = head(report);
    let mut area = "";
    for row in &report.rows {
        if row.area != area {
            area = &row.area;
            let _ = write!(body, "<h2 id=\"{0}\">{0}</h2>", escaped(area));
        }
        body.push_str(&article(row, history));
    }
    body.push_str(&exploration(explored));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>mainspring scoreboard</title><style>{STYLE}</style></head>\
         <body><main>{body}</main></body></html>\n"
    )
}

fn head(report: &Report) -> String {
    let count = |verdict| {
        report
            .rows
            .iter()
            .filter(|row| row.verdict == verdict)
            .count()
    };
    let mut chips = String::new();
    for verdict in [
        Verdict::Met,
        Verdict::Missed,
        Verdict::Inconclusive,
        Verdict::Skipped,
    ] {
        let _ = write!(
            chips,
            "<li>{} <b>{}</b></li>",
            pill(verdict),
            count(verdict)
        );
    }
    let mut areas: Vec<&str> = report.rows.iter().map(|row| row.area.as_str()).collect();
    areas.dedup();
    let links: Vec<String> = areas
        .iter()
        .map(|area| format!("<a href=\"#{0}\">{0}</a>", escaped(area)))
        .collect();
    let kind = if report.quick {
        "quick run"
    } else {
        "full run"
    };
    format!(
        "<header><h1>mainspring scoreboard</h1><p class=\"about\">commit <code>{}</code> · {} · {} · {kind}</p>\
         <ul class=\"chips\">{chips}</ul><nav>{}</nav></header>",
        escaped(&report.commit),
        escaped(&report.machine),
        report.day(),
        links.join(" ")
    )
}

fn pill(verdict: Verdict) -> String {
    let class = match verdict {
        Verdict::Met => "met",
        Verdict::Missed => "missed",
        Verdict::Inconclusive => "inconclusive",
        Verdict::Skipped => "skipped",
    };
    format!(
        "<span class=\"pill {class}\">{}</span>",
        word(verdict).to_lowercase()
    )
}

fn article(row: &Row, history: &History) -> String {
    let mut out = format!(
        "<article id=\"{id}\"><h3>{} <span class=\"id\">{id}</span></h3><p class=\"title\">{}</p>",
        pill(row.verdict),
        escaped(&row.title),
        id = escaped(&row.id),
    );
    out.push_str(&figures(row));
    out.push_str(&plot::distribution(row));
    out.push_str(&plot::peers(row));
    out.push_str(&plot::history(row, &history.of(&row.id)));
    for text in [&row.reason, &row.note] {
        if !text.is_empty() {
            let _ = write!(out, "<p class=\"note\">{}</p>", escaped(text));
        }
    }
    out.push_str(&inputs(row));
    let _ = write!(
        out,
        "<p class=\"command\"><code>{}</code></p></article>",
        escaped(&row.command)
    );
    out
}

fn figures(row: &Row) -> String {
    let unit = escaped(&row.unit);
    let side = match row.comparison {
        Comparison::AtMost => "at most",
        Comparison::AtLeast => "at least",
    };
    let measured = row.measured.map_or("not measured".to_owned(), |value| {
        format!("{} <small>{unit}</small>", number(value))
    });
    let interval = row.interval.filter(|[low, high]| low < high);
    let interval = interval.map_or(String::new(), |[low, high]| {
        format!("<small>99 %: {} to {}</small>", number(low), number(high))
    });
    let documented = if row.documented.is_empty() {
        "a bar of our own".to_owned()
    } else {
        escaped(&row.documented)
    };
    format!(
        "<dl><div><dt>measured</dt><dd class=\"big\">{measured}<br>{interval}</dd></div>\
         <div><dt>our bar</dt><dd>{side} {} <small>{unit}</small></dd></div>\
         <div><dt>documented</dt><dd>{documented}</dd></div></dl>",
        number(row.bar)
    )
}

fn inputs(row: &Row) -> String {
    let Some(first) = row.per_input.first() else {
        return String::new();
    };
    let names: Vec<&String> = first.values.keys().collect();
    let mut out = format!(
        "<details><summary>{} inputs</summary><div class=\"wide\"><table><tr><th>input</th>",
        row.per_input.len()
    );
    for name in &names {
        let _ = write!(out, "<th>{}</th>", escaped(name));
    }
    for input in &row.per_input {
        let _ = write!(out, "</tr><tr><td>{}</td>", escaped(&input.input));
        for name in &names {
            let value = input.values.get(*name);
            let _ = write!(
                out,
                "<td>{}</td>",
                value.map_or("-".to_owned(), |v| number(*v))
            );
        }
    }
    out.push_str("</tr></table></div></details>");
    out
}

fn exploration(explored: &[Explored]) -> String {
    if explored.is_empty() {
        return String::new();
    }
    let mut out = "<h2 id=\"explored\">explored with criterion</h2>\
                   <p class=\"about\">Wall times of the hot paths, for looking and not for judging.</p>"
        .to_owned();
    for one in explored {
        let _ = write!(
            out,
            "<article><h3><span class=\"id\">{}</span></h3><dl><div><dt>median</dt>\
             <dd class=\"big\">{} <small>ns</small><br><small>95 %: {} to {}</small></dd></div></dl>{}</article>",
            escaped(&one.name),
            number(one.median),
            number(one.interval[0]),
            number(one.interval[1]),
            plot::strip(&one.samples, None, "ns")
        );
    }
    out
}

/// Text as it may stand in HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

//! A live view for a terminal: a line for each series with its value, its rate and how it went.

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

use crate::snapshot::{FamilySnapshot, Kind, SeriesSnapshot, Snapshot, Value};

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const VALUE_COLUMNS: usize = 30;
const LEAST_COLUMNS: usize = 40;
const MOST_COLUMNS: usize = 1_000;

/// Draws snapshots into a terminal, or into anything else that takes text.
///
/// Counters show their rate and a plot of it, gauges their value, histograms what came since the
/// look before: how many, the median and the 95 and 99 % quantiles. It is drawn with plain escape
/// sequences from the upper left corner; nothing but the escape sequences of this view reaches the
/// terminal, whatever names and labels hold.
///
/// ```
/// use mainspring_monitor::{Registry, TerminalView};
/// use std::time::Duration;
///
/// let registry = Registry::new();
/// let calls = registry.counter("tool_calls", &[("tool", "grep")]);
/// let mut view = TerminalView::new(80, 24).plain();
/// view.lines(&registry.snapshot(), Duration::from_secs(0));
/// calls.add(30);
/// let lines = view.lines(&registry.snapshot(), Duration::from_secs(2));
/// assert!(lines.iter().any(|line| line.contains("tool=grep") && line.contains("15/s")));
/// ```
#[derive(Debug)]
pub struct TerminalView {
    columns: usize,
    rows: usize,
    colour: bool,
    only: String,
    series: HashMap<String, Seen>,
    last: Option<Duration>,
}

/// What was seen of a series before.
#[derive(Debug, Default)]
struct Seen {
    value: Option<Value>,
    points: Vec<f64>,
}

#[derive(Clone, Copy)]
enum Paint {
    Plain,
    Strong,
    Faint,
    Line,
}

impl TerminalView {
    /// A view of so many columns (at least 40) and rows (at least 4).
    #[must_use]
    pub fn new(columns: usize, rows: usize) -> Self {
        Self {
            columns: columns.clamp(LEAST_COLUMNS, MOST_COLUMNS),
            rows: rows.max(4),
            colour: true,
            only: String::new(),
            series: HashMap::new(),
            last: None,
        }
    }

    /// Without colours.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.colour = false;
        self
    }

    /// Shows only families whose name holds `part`.
    #[must_use]
    pub fn only(mut self, part: &str) -> Self {
        self.only = part.to_owned();
        self
    }

    /// Draws one frame over the one before. `at` is a time that grows from frame to frame.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn draw(
        &mut self,
        snapshot: &Snapshot,
        at: Duration,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let mut frame = String::from("\x1b[H");
        for line in self.lines(snapshot, at) {
            frame.push_str(&line);
            frame.push_str("\x1b[K\r\n");
        }
        frame.push_str("\x1b[J");
        out.write_all(frame.as_bytes())?;
        out.flush()
    }

    /// The lines of a frame, at most as many as there are rows less one.
    pub fn lines(&mut self, snapshot: &Snapshot, at: Duration) -> Vec<String> {
        let passed = self.last.map(|last| at.saturating_sub(last).as_secs_f64());
        self.last = Some(at);
        let shown = || {
            snapshot
                .families
                .iter()
                .filter(|f| f.name.contains(&self.only))
        };
        let total: usize = shown().map(|family| family.series.len()).sum();
        let title = format!("{} series in {} families", total, shown().count());
        let mut lines = vec![self.paint(Paint::Strong, &fit(&title, self.columns))];
        let (mut before, mut drawn) = (std::mem::take(&mut self.series), 0);
        'all: for family in shown() {
            for (at, series) in family.series.iter().enumerate() {
                // A family of one series without labels needs no line of its own for its name.
                let alone = series.labels.is_empty() && family.series.len() == 1;
                let named = alone && self.fits_beside(&family.name);
                let head = usize::from(at == 0 && !named);
                if lines.len() + head + 1 >= self.rows - 1 && drawn + 1 < total
                    || lines.len() + head >= self.rows - 1
                {
                    break 'all;
                }
                if head == 1 {
                    lines.push(self.head(family));
                }
                let key = key(family, series);
                let mut seen = before.remove(&key).unwrap_or_default();
                lines.push(self.line(family, series, &mut seen, passed, named));
                self.series.insert(key, seen);
                drawn += 1;
            }
        }
        if drawn < total {
            let more = format!("and {} more", total - drawn);
            lines.push(self.paint(Paint::Faint, &fit(&more, self.columns)));
        }
        lines
    }

    /// Columns for names: two fifths, of which the last stays empty.
    fn names(&self) -> usize {
        (self.columns * 2 / 5).max(16)
    }

    fn fits_beside(&self, name: &str) -> bool {
        name.chars().count() < self.names()
    }

    fn head(&self, family: &FamilySnapshot) -> String {
        let name = fit(&clean(&family.name), self.columns);
        let room = self.columns - name.chars().count();
        let kind = match family.kind {
            Kind::Histogram => " histogram: p50 p95 p99".to_owned(),
            kind => format!(" {kind}"),
        };
        let kind = if kind.len() <= room {
            kind
        } else {
            String::new()
        };
        self.paint(Paint::Strong, &name) + &self.paint(Paint::Faint, &kind)
    }

    fn line(
        &self,
        family: &FamilySnapshot,
        series: &SeriesSnapshot,
        seen: &mut Seen,
        passed: Option<f64>,
        named: bool,
    ) -> String {
        let (value, note, point) = figures(family, seen.value.as_ref(), &series.value, passed);
        seen.value = Some(series.value.clone());
        let names = self.names();
        let values = VALUE_COLUMNS.min(self.columns - names);
        let plot = self.columns.saturating_sub(names + values + 2);
        if let Some(point) = point.filter(|point| point.is_finite()) {
            seen.points.push(point);
        }
        let surplus = seen.points.len().saturating_sub(plot);
        seen.points.drain(..surplus);
        let labels: Vec<String> = series
            .labels
            .iter()
            .map(|(n, v)| format!("{n}={}", clean(v)))
            .collect();
        let labels = match labels.is_empty() {
            true => "–".to_owned(),
            false => labels.join(" "),
        };
        let value = fit(&value, values);
        let note = fit(&note, values.saturating_sub(value.chars().count() + 1));
        let gap = values - value.chars().count() - note.chars().count();
        let head = match named {
            true => self.paint(Paint::Strong, &format!("{:<names$}", clean(&family.name))),
            false => format!("  {:<rest$}", fit(&labels, names - 3), rest = names - 2),
        };
        let (value, note) = (
            self.paint(Paint::Plain, &value),
            self.paint(Paint::Faint, &note),
        );
        let plot = self.paint(Paint::Line, &sparkline(&seen.points));
        let all = format!("{head}{value}{}{note}  {plot}", " ".repeat(gap));
        all.trim_end().to_owned()
    }

    fn paint(&self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Plain => return text.to_owned(),
            Paint::Strong => "1",
            Paint::Faint => "2",
            Paint::Line => "36",
        };
        if self.colour && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// What to say of a series: its value, a note, and the point of its plot.
fn figures(
    family: &FamilySnapshot,
    before: Option<&Value>,
    now: &Value,
    passed: Option<f64>,
) -> (String, String, Option<f64>) {
    let name = family.name.as_str();
    let rate = |growth: f64| passed.filter(|s| *s > 0.0).map(|s| growth.max(0.0) / s);
    let per_second = |rate: Option<f64>| rate.map_or_else(String::new, |r| quantity(r, "") + "/s");
    match (now, before) {
        (Value::Count(now), before) => {
            let rate = match before {
                Some(Value::Count(before)) => rate(now.saturating_sub(*before) as f64),
                _ => None,
            };
            (quantity(*now as f64, name), per_second(rate), rate)
        }
        (Value::Number(now), before) if family.kind == Kind::Counter => {
            let rate = match before {
                Some(Value::Number(before)) => rate(now - before),
                _ => None,
            };
            (quantity(*now, name), per_second(rate), rate)
        }
        (Value::Number(now), _) => (quantity(*now, name), String::new(), Some(*now)),
        (Value::Distribution(now), before) => {
            let since = match before {
                Some(Value::Distribution(before)) => now.since(before),
                _ => now.clone(),
            };
            let rate = before.and_then(|_| rate(since.count() as f64));
            let shown = if since.count() > 0 { &since } else { now };
            let quantiles = [shown.p50(), shown.p95(), shown.p99()].map(|v| quantity(v, name));
            let point = (since.count() > 0).then(|| since.p95());
            (quantiles.join(" "), per_second(rate), point)
        }
    }
}

fn key(family: &FamilySnapshot, series: &SeriesSnapshot) -> String {
    let mut key = family.name.clone();
    for (name, value) in &series.labels {
        for part in ["\0", name, "\0", value] {
            key.push_str(part);
        }
    }
    key
}

/// What a terminal would obey becomes a dot.
fn clean(text: &str) -> String {
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    text.replace(obeyed, "·")
}

fn fit(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
    if columns == 0 { kept } else { kept + "…" }
}

fn sparkline(points: &[f64]) -> String {
    let low = points.iter().copied().fold(f64::INFINITY, f64::min);
    let high = points.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if high == low && low != 0.0 {
        return "▄".repeat(points.len());
    }
    // From zero where that is near, so that a steady figure does not look wild.
    let low = if low > 0.0 && high < low * 1.5 {
        0.0
    } else {
        low
    };
    let span = if high > low { high - low } else { 1.0 };
    let bar = |value: &f64| BARS[(((value - low) / span * 7.0).round() as usize).min(7)];
    points.iter().map(bar).collect()
}

/// A figure with at most four digits and the unit that its family's name ends in.
fn quantity(value: f64, name: &str) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return value.to_string();
    }
    if name.ends_with("_seconds") {
        return match size {
            0.0 => "0s".to_owned(),
            _ if size >= 1.0 => digits(value) + "s",
            _ if size >= 1e-3 => digits(value * 1e3) + "ms",
            _ if size >= 1e-6 => digits(value * 1e6) + "µs",
            _ => digits(value * 1e9) + "ns",
        };
    }
    let (step, units) = match name.ends_with("_bytes") {
        true => (1024.0, ["B", "KiB", "MiB", "GiB", "TiB"]),
        false => (1000.0, ["", "k", "M", "G", "T"]),
    };
    let (mut rest, mut unit) = (value, 0);
    while rest.abs() >= step && unit + 1 < units.len() {
        rest /= step;
        unit += 1;
    }
    digits(rest) + units[unit]
}

fn digits(value: f64) -> String {
    let size = value.abs();
    let text = match size {
        _ if size >= 1e7 => format!("{value:.1e}"),
        _ if size >= 100.0 => format!("{value:.0}"),
        _ if size >= 10.0 => format!("{value:.1}"),
        _ if size >= 0.01 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    };
    match text.split_once('.') {
        Some((whole, rest)) if !rest.contains('e') => {
            let rest = rest.trim_end_matches('0');
            if rest.is_empty() {
                whole.to_owned()
            } else {
                format!("{whole}.{rest}")
            }
        }
        _ => text,
    }
}

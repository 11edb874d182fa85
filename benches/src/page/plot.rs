//! Plots of a row. Text stands in HTML and not in the drawing, so that it keeps its size on a phone.

use std::fmt::Write as _;

use super::escaped;
use crate::{Comparison, Row, history::Point, number, quantile};

const WIDTH: f64 = 600.0;

/// The distribution of the rounds, with the bar.
pub(super) fn distribution(row: &Row) -> String {
    if row.samples.len() < 4 {
        return String::new();
    }
    strip(&row.samples, Some((row.bar, row.comparison)), &row.unit)
}

/// A histogram over one axis with the median, and the bar where there is one.
///
/// The axis ends at the first and the 99th percentile or at the bar, whichever lies further out:
/// what a disturbed machine adds beyond that is counted in words.
pub(super) fn strip(samples: &[f64], bar: Option<(f64, Comparison)>, unit: &str) -> String {
    const BINS: usize = 60;
    const HEIGHT: f64 = 64.0;
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let bar = bar.map(|(bar, side)| (bar, side == Comparison::AtMost));
    let (first, last) = (quantile(&sorted, 0.01), quantile(&sorted, 0.99));
    let near = bar.filter(|(bar, _)| (first / 4.0..=last * 4.0).contains(bar));
    let low = near.map_or(first, |(bar, _)| first.min(bar));
    let high = near.map_or(last, |(bar, _)| last.max(bar));
    let (low, high) = padded(low, high);
    let x = |value: f64| (value - low) / (high - low) * WIDTH;
    let mut bins = [0u32; BINS];
    let inside = sorted.iter().filter(|value| (low..=high).contains(*value));
    inside.for_each(|value| {
        let bin = ((value - low) / (high - low) * BINS as f64) as usize;
        bins[bin.min(BINS - 1)] += 1;
    });
    let most = f64::from(*bins.iter().max().unwrap_or(&1)).max(1.0);
    let mut drawing = String::new();
    for (bin, count) in bins.iter().enumerate().filter(|(_, count)| **count > 0) {
        let height = f64::from(*count) / most * (HEIGHT - 8.0);
        let _ = write!(
            drawing,
            "<rect class=\"bin\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
            bin as f64 * WIDTH / BINS as f64,
            HEIGHT - height,
            WIDTH / BINS as f64 - 1.0
        );
    }
    let median = quantile(&sorted, 0.5);
    let _ = write!(drawing, "{}", upright("median", x(median), HEIGHT));
    if let Some((bar, _)) = near {
        let _ = write!(drawing, "{}", upright("bar", x(bar), HEIGHT));
    }
    let outside = sorted
        .iter()
        .filter(|value| !(low..=high).contains(*value))
        .count();
    let mut legend = format!(
        "<span>{}</span><span class=\"key\"><i class=\"median\"></i>median {}",
        number(low),
        number(median)
    );
    if let Some((bar, at_most)) = bar {
        let side = if at_most { "≤" } else { "≥" };
        let beyond = if near.is_none() {
            ", beyond the picture"
        } else {
            ""
        };
        let _ = write!(
            legend,
            " <i class=\"bar\"></i>bar {side} {}{beyond}",
            number(bar)
        );
    }
    if outside > 0 {
        let _ = write!(legend, " · {outside} of {} rounds outside", sorted.len());
    }
    let _ = write!(
        legend,
        "</span><span>{} {}</span>",
        number(high),
        escaped(unit)
    );
    figure("rounds", &drawing, HEIGHT, &legend)
}

/// Ours and the peers, as bars of their own figures.
pub(super) fn peers(row: &Row) -> String {
    let Some(own) = row.own.filter(|_| !row.peers.is_empty()) else {
        return String::new();
    };
    let all = row.peers.iter().map(|peer| peer.value).chain([own]);
    let (least, most) = all.fold((f64::MAX, 0.0f64), |(a, b), v| (a.min(v), b.max(v)));
    // Where one is far beyond another, lengths are logarithmic, and the caption says so.
    let wide = most > least * 30.0 && least > 0.0;
    let length = |value: f64| {
        let share = if wide {
            0.08 + 0.92 * (value / least).ln() / (most / least).ln()
        } else {
            value / most.max(f64::MIN_POSITIVE)
        };
        share.clamp(0.005, 1.0) * 100.0
    };
    let unit = escaped(&row.peer_unit);
    let line = |name: &str, version: &str, value: f64, ratio: Option<f64>, class: &str| {
        let ratio = ratio.map_or(String::new(), |ratio| {
            format!(" <small>ours is {}×</small>", number(ratio))
        });
        format!(
            "<div class=\"peer {class}\"><span class=\"name\">{} <small>{}</small></span>\
             <span class=\"track\"><span class=\"length\" style=\"width:{:.1}%\"></span></span>\
             <span class=\"value\">{} {unit}{ratio}</span></div>",
            escaped(name),
            escaped(version),
            length(value),
            number(value)
        )
    };
    let mut out = line("mainspring", "", own, None, "ours");
    for peer in &row.peers {
        out.push_str(&line(
            &peer.name,
            &peer.version,
            peer.value,
            Some(peer.ratio),
            "",
        ));
    }
    let scale = if wide {
        "logarithmic lengths"
    } else {
        "lengths to scale"
    };
    let better = if row.more_is_better { "more" } else { "less" };
    format!(
        "<figure class=\"peers\"><figcaption>side by side <small>{better} is better, {scale}</small></figcaption>{out}</figure>"
    )
}

/// The row over saved baselines and this run.
pub(super) fn history(row: &Row, earlier: &[Point]) -> String {
    const HEIGHT: f64 = 80.0;
    let mut points = earlier.to_vec();
    if let (Some(value), Some(interval)) = (row.measured, row.interval) {
        points.push(Point {
            name: "this run".to_owned(),
            value,
            interval,
        });
    }
    if points.len() < 2 {
        return String::new();
    }
    let low = points.iter().map(|p| p.interval[0]).fold(row.bar, f64::min);
    let high = points.iter().map(|p| p.interval[1]).fold(row.bar, f64::max);
    let (low, high) = padded(low, high);
    let y = |value: f64| HEIGHT - (value - low) / (high - low) * HEIGHT;
    let x = |at: usize| (at as f64 + 0.5) * WIDTH / points.len() as f64;
    let mut drawing = format!(
        "<line class=\"bar\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{0:.1}\" y2=\"{0:.1}\"/>",
        y(row.bar)
    );
    let line: Vec<String> = points
        .iter()
        .enumerate()
        .map(|(at, point)| format!("{:.1},{:.1}", x(at), y(point.value)))
        .collect();
    let _ = write!(
        drawing,
        "<polyline class=\"history\" points=\"{}\"/>",
        line.join(" ")
    );
    for (at, point) in points.iter().enumerate() {
        let _ = write!(
            drawing,
            "<line class=\"range\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{1:.1}\" y2=\"{2:.1}\"/>\
             <circle cx=\"{0:.1}\" cy=\"{3:.1}\" r=\"4\"><title>{4}: {5}</title></circle>",
            x(at),
            y(point.interval[0]),
            y(point.interval[1]),
            y(point.value),
            escaped(&point.name),
            number(point.value)
        );
    }
    let names: Vec<String> = points
        .iter()
        .map(|p| format!("{} {}", escaped(&p.name), number(p.value)))
        .collect();
    let legend = format!("<span>{}</span>", names.join(" → "));
    figure("over baselines", &drawing, HEIGHT, &legend)
}

fn figure(caption: &str, drawing: &str, height: f64, legend: &str) -> String {
    format!(
        "<figure><figcaption>{caption}</figcaption>\
         <svg viewBox=\"0 0 {WIDTH} {height}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{caption}\">{drawing}</svg>\
         <div class=\"legend\">{legend}</div></figure>"
    )
}

fn upright(class: &str, x: f64, height: f64) -> String {
    format!("<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{height}\"/>")
}

/// A range with room at both ends, and never empty.
fn padded(low: f64, high: f64) -> (f64, f64) {
    let room = ((high - low) * 0.06).max(high.abs() * 1e-3).max(1e-12);
    (low - room, high + room)
}

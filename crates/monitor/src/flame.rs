//! Flame graphs as SVG.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::profile::Profile;

const WIDTH: f64 = 1200.0;
const ROW: f64 = 18.0;
const HEAD: f64 = 44.0;
/// The least share that is drawn.
const LEAST: f64 = 0.001;
/// What a character of the labels is wide.
const CHARACTER: f64 = 6.7;

#[derive(Default)]
struct Node {
    weight: u64,
    callees: BTreeMap<String, Node>,
}

impl Node {
    fn depth(&self, least: u64) -> usize {
        let shown = self.callees.values().filter(|node| node.weight >= least);
        shown.map(|node| 1 + node.depth(least)).max().unwrap_or(0)
    }
}

pub(crate) fn draw(profile: &Profile, title: &str) -> String {
    let mut root = Node::default();
    for (stack, weight) in profile.stacks() {
        root.weight = root.weight.saturating_add(weight);
        let mut node = &mut root;
        for name in stack {
            node = node.callees.entry(name.clone()).or_default();
            node.weight = node.weight.saturating_add(weight);
        }
    }
    let least = ((root.weight as f64 * LEAST).ceil() as u64).max(1);
    let height = HEAD + ROW * root.depth(least) as f64 + 12.0;
    let mut out = String::new();
    let _infallible = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"ui-monospace,monospace\" font-size=\"11\" role=\"img\">\n\
         <style>rect{{stroke:#fff;stroke-width:.5}}g:hover rect{{stroke:#000}}\
         text{{pointer-events:none}}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fffdf8\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\" font-weight=\"600\">"
    );
    escape(&mut out, title);
    let _infallible = write!(out, "</text>\n<text x=\"10\" y=\"36\" fill=\"#666\">");
    let mut drawing = Drawing {
        out,
        height,
        least,
        total: root.weight,
        unit: profile.unit(),
    };
    drawing.figure(root.weight);
    drawing.out.push_str("</text>\n");
    drawing.callees(&root, 0, 10.0, WIDTH - 20.0);
    drawing.out.push_str("</svg>\n");
    drawing.out
}

struct Drawing<'a> {
    out: String,
    height: f64,
    least: u64,
    total: u64,
    unit: &'a str,
}

impl Drawing<'_> {
    /// The callees of one box that is `width` wide, side by side on the row above it.
    fn callees(&mut self, node: &Node, row: usize, mut x: f64, width: f64) {
        for (name, callee) in &node.callees {
            let share = width * callee.weight as f64 / node.weight.max(1) as f64;
            if callee.weight >= self.least {
                self.function(name, callee, row, x, share);
                self.callees(callee, row + 1, x, share);
            }
            x += share;
        }
    }

    fn function(&mut self, name: &str, node: &Node, row: usize, x: f64, width: f64) {
        let y = self.height - 12.0 - ROW * (row + 1) as f64;
        self.out.push_str("<g><title>");
        escape(&mut self.out, name);
        self.out.push_str(": ");
        self.figure(node.weight);
        let (hue, light) = colour(name);
        let (rect, baseline) = (ROW - 1.0, y + 12.5);
        let _infallible = write!(
            self.out,
            "</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{rect}\" rx=\"1\" \
             fill=\"hsl({hue},78%,{light}%)\"/>"
        );
        let room = ((width - 6.0) / CHARACTER).max(0.0) as usize;
        if room >= 3 {
            let _infallible = write!(self.out, "<text x=\"{:.1}\" y=\"{baseline:.1}\">", x + 3.0);
            escape(&mut self.out, &shortened(name, room));
            self.out.push_str("</text>");
        }
        self.out.push_str("</g>\n");
    }

    fn figure(&mut self, weight: u64) {
        let share = weight as f64 * 100.0 / self.total.max(1) as f64;
        let _infallible = write!(self.out, "{weight} ");
        escape(&mut self.out, self.unit);
        let _infallible = write!(self.out, " ({share:.1} %)");
    }
}

/// A warm colour that a function keeps from picture to picture.
fn colour(name: &str) -> (u32, u32) {
    let hash = name.bytes().fold(0x811C_9DC5u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    (14 + hash % 40, 62 + (hash >> 8) % 14)
}

/// As much of a name as there is room for: without its generic arguments, then its last part alone,
/// which says more than the path to it.
fn shortened(name: &str, room: usize) -> String {
    let fits = |text: &str| text.chars().count() <= room;
    if fits(name) {
        return name.to_owned();
    }
    let mut depth = 0usize;
    let mut plain = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    let mut parts = plain.rsplit("::").filter(|part| !part.is_empty());
    let Some(last) = parts.next() else {
        return cut(name, room);
    };
    match parts.next() {
        Some(before) if fits(&format!("{before}::{last}")) => format!("{before}::{last}"),
        _ => cut(last, room),
    }
}

fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars()
        .take(room.saturating_sub(1))
        .chain(['…'])
        .collect()
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // Control characters are not allowed in XML at all.
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
}

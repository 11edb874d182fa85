//! Repetition and white space.

/// Longest group of lines whose repetition is looked for.
const PERIOD: usize = 8;
/// Repetitions from which counting is shorter than showing.
const TIMES: usize = 3;

/// The text with lines, or groups of up to eight lines, that repeat at once shown one time.
///
/// Linear: each line is compared with at most eight before it.
pub(super) fn counted(text: &str) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < lines.len() {
        let (period, times) = repetition(&lines, at);
        lines[at..at + period]
            .iter()
            .for_each(|line| out.push_str(line));
        if times >= TIMES {
            if !out.ends_with('\n') {
                out.push('\n');
            }
            let what = if period == 1 { "line" } else { "lines" };
            out.push_str(&format!(
                "[the last {period} {what}: {times} times in all]\n"
            ));
            at += period * times;
        } else {
            at += period;
        }
    }
    out
}

/// The shortest group that repeats at once from `at` on, and how often it stands there.
fn repetition(lines: &[&str], at: usize) -> (usize, usize) {
    for period in 1..=PERIOD.min(lines.len() - at) {
        let mut next = at + period;
        while next < lines.len() && lines[next] == lines[next - period] {
            next += 1;
        }
        let times = (next - at) / period;
        let blank = lines[at..at + period]
            .iter()
            .all(|line| line.trim().is_empty());
        if times >= TIMES && !blank {
            return (period, times);
        }
    }
    (1, 1)
}

/// The text without blanks at line ends and with at most one empty line in a row.
pub(super) fn trimmed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.split_inclusive('\n') {
        let ended = line.ends_with('\n');
        let line = line.trim_end();
        empty = if line.is_empty() { empty + 1 } else { 0 };
        if empty > 1 {
            continue;
        }
        out.push_str(line);
        if ended {
            out.push('\n');
        }
    }
    out
}

//! Where something went: stacks of calls and how much of it each stack had.

use std::collections::BTreeMap;

use crate::flame;

/// Frames kept of one stack, from the outermost.
const DEPTH: usize = 128;

/// Weighted call stacks: samples of CPU time, or bytes of memory.
///
/// Made by `CpuProfiler` (feature `pprof`) and `heap_profile` (feature `heap-profile`), or from
/// stacks that come from elsewhere.
///
/// ```
/// use mainspring_monitor::Profile;
///
/// let stacks = [(vec!["main", "parse"], 30), (vec!["main", "parse", "escape"], 10)];
/// let profile = Profile::from_stacks("samples", stacks);
/// let top = profile.top(1);
/// assert_eq!((top[0].name.as_str(), top[0].own, top[0].with_callees), ("parse", 30, 40));
/// assert!(profile.to_svg("one run").starts_with("<svg"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    unit: String,
    stacks: BTreeMap<Vec<String>, u64>,
}

/// One function of a profile; see [`Profile::top`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hot {
    /// The function.
    pub name: String,
    /// What it had itself.
    pub own: u64,
    /// What it had together with everything it called.
    pub with_callees: u64,
}

impl Profile {
    /// A profile of stacks, each from the outermost call to the innermost, of which the outermost
    /// 128 are kept. Equal stacks are added up; empty ones are left out.
    #[must_use]
    pub fn from_stacks<S: Into<String>>(
        unit: &str,
        stacks: impl IntoIterator<Item = (Vec<S>, u64)>,
    ) -> Self {
        let mut profile = Self {
            unit: unit.to_owned(),
            stacks: BTreeMap::new(),
        };
        for (stack, weight) in stacks {
            let stack: Vec<String> = stack.into_iter().take(DEPTH).map(Into::into).collect();
            if !stack.is_empty() && weight > 0 {
                let total = profile.stacks.entry(stack).or_default();
                *total = total.saturating_add(weight);
            }
        }
        profile
    }

    /// What the weights count.
    #[must_use]
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// The weight of all stacks.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.stacks
            .values()
            .fold(0, |sum, weight| sum.saturating_add(*weight))
    }

    /// The stacks, from the outermost call to the innermost, and their weights.
    pub fn stacks(&self) -> impl Iterator<Item = (&[String], u64)> {
        self.stacks
            .iter()
            .map(|(stack, weight)| (stack.as_slice(), *weight))
    }

    /// The `n` functions that had most themselves. A function that calls itself counts once a stack.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<Hot> {
        let mut functions: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (stack, weight) in self.stacks() {
            for (at, name) in stack.iter().enumerate() {
                let (own, all) = functions.entry(name).or_default();
                if !stack[..at].contains(name) {
                    *all = all.saturating_add(weight);
                }
                if at + 1 == stack.len() {
                    *own = own.saturating_add(weight);
                }
            }
        }
        let hot = functions.into_iter().map(|(name, (own, all))| Hot {
            name: name.to_owned(),
            own,
            with_callees: all,
        });
        let mut hot: Vec<Hot> = hot.collect();
        hot.sort_by_key(|hot| std::cmp::Reverse((hot.own, hot.with_callees)));
        hot.truncate(n);
        hot
    }

    /// One line a stack, `outer;inner weight`, as flame graph tools read it.
    #[must_use]
    pub fn to_folded(&self) -> String {
        let mut out = String::new();
        for (stack, weight) in self.stacks() {
            for (at, name) in stack.iter().enumerate() {
                out.push_str(if at > 0 { ";" } else { "" });
                // The two characters that the form gives a meaning.
                out.extend(name.chars().map(|c| match c {
                    ';' => ':',
                    '\n' | '\r' => ' ',
                    c => c,
                }));
            }
            out.push(' ');
            crate::number::push_u64(&mut out, weight);
            out.push('\n');
        }
        out
    }

    /// A flame graph as a self-contained SVG without scripts: one box a function, as wide as its
    /// share, on top of its caller; pointing at a box shows its name and figures.
    ///
    /// What has less than a thousandth is left out. O(stacks × depth).
    #[must_use]
    pub fn to_svg(&self, title: &str) -> String {
        flame::draw(self, title)
    }
}

/// What a program starts a thread's own code with; whatever called it says nothing.
#[cfg(any(feature = "heap-profile", feature = "pprof"))]
const BEGIN: &str = "__rust_begin_short_backtrace";

/// A stack, outermost call first, from the thread's own code on.
#[cfg(any(feature = "heap-profile", feature = "pprof"))]
pub(crate) fn without_start(mut stack: Vec<String>) -> Vec<String> {
    match stack.iter().rposition(|name| name.contains(BEGIN)) {
        Some(at) if at + 1 < stack.len() => stack.split_off(at + 1),
        _ => stack,
    }
}

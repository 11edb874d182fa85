//! Every call has one result, and no two conflicting ones touch their resources at once.

use std::collections::{HashMap, HashSet};

use crate::{Call, Report, documents::Documents};

/// What one call must have seen.
#[derive(Debug)]
struct Expected {
    required: Vec<(u32, u64)>,
    answered: bool,
}

/// A tool that touches resources.
#[derive(Debug)]
struct Touching {
    w: u32,
    x: u64,
    reads: Vec<String>,
    writes: Vec<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// Open runs, by name: who asked, and for what.
    runs: HashMap<String, (u32, HashMap<String, Expected>)>,
    touching: Vec<Touching>,
    seen: HashSet<String>,
}

impl Calls {
    pub(crate) fn asked(
        &mut self,
        at: u64,
        (t, w): (u64, u32),
        run: String,
        calls: Vec<Call>,
        (documents, report): (&Documents, &mut Report),
    ) {
        let expected = calls.into_iter().map(|call| {
            let required = |document: u32| (document, documents.required((t, w), document));
            let expected = Expected {
                required: call.reads.into_iter().map(required).collect(),
                answered: false,
            };
            (call.id, expected)
        });
        let expected: HashMap<_, _> = expected.collect();
        report.add("calls of tools", expected.len() as u64);
        if self.runs.insert(run.clone(), (w, expected)).is_some() {
            report.violation(at, "log", format!("run {run} began twice"));
        }
    }

    pub(crate) fn outcome(
        &mut self,
        at: u64,
        (run, id): (&str, &str),
        saw: &[(u32, u64)],
        (documents, report): (&Documents, &mut Report),
    ) {
        let open = self.runs.get_mut(run);
        let Some(expected) = open.and_then(|(_, calls)| calls.get_mut(id)) else {
            let what = format!("a result for call {id} of run {run}, which nobody waits for");
            return report.violation(at, "results", what);
        };
        if expected.answered {
            let what = format!("call {id} of run {run} has a second result");
            report.violation(at, "results", what);
        }
        expected.answered = true;
        for &(document, version) in saw {
            let required = expected.required.iter().find(|(d, _)| *d == document);
            let required = required.map_or(0, |(_, required)| *required);
            documents.saw(at, (document, version), required, report);
        }
    }

    pub(crate) fn ran(&mut self, at: u64, run: &str, report: &mut Report) {
        let Some((_, calls)) = self.runs.remove(run) else {
            return report.violation(at, "log", format!("run {run} ended without a beginning"));
        };
        for (id, expected) in calls {
            if !expected.answered {
                let what = format!("call {id} of run {run} has no result");
                report.violation(at, "results", what);
            }
        }
    }

    pub(crate) fn dropped(&mut self, run: &str, report: &mut Report) {
        report.count("runs whose caller went away");
        self.runs.remove(run);
    }

    pub(crate) fn begin(
        &mut self,
        at: u64,
        (w, x): (u32, u64),
        (reads, writes): (Vec<String>, Vec<String>),
        report: &mut Report,
    ) {
        report.count("tools that touched resources");
        let fresh = Touching {
            w,
            x,
            reads,
            writes,
        };
        for other in self.touching.iter().filter(|other| other.w == w) {
            if let Some((mine, theirs)) = conflict(&fresh, other) {
                let what = format!("{mine} and {theirs} were touched at once, one by a writer");
                report.violation(at, "writers", what);
            }
        }
        self.touching.push(fresh);
    }

    pub(crate) fn end(&mut self, (w, x): (u32, u64)) {
        self.touching.retain(|open| (open.w, open.x) != (w, x));
    }

    /// A process is gone, and what it was doing with it.
    pub(crate) fn gone(&mut self, w: u32) {
        self.touching.retain(|open| open.w != w);
        self.runs.retain(|_, (asked, _)| *asked != w);
    }

    /// Notes the id of an answer; false when it was there before.
    pub(crate) fn first_answer(&mut self, id: &str) -> bool {
        self.seen.insert(id.to_owned())
    }

    pub(crate) fn finish(&self, report: &mut Report) {
        for (run, (w, _)) in &self.runs {
            let what = format!("run {run} of process {w} never ended");
            report.violation(0, "results", what);
        }
    }
}

fn conflict<'a>(a: &'a Touching, b: &'a Touching) -> Option<(&'a String, &'a String)> {
    let pairs = [
        (&a.writes, &b.writes),
        (&a.writes, &b.reads),
        (&a.reads, &b.writes),
    ];
    pairs.into_iter().find_map(|(mine, theirs)| {
        mine.iter().find_map(|own| {
            let other = theirs.iter().find(|other| overlap(own, other))?;
            Some((own, other))
        })
    })
}

/// A directory and what lies in it overlap.
fn overlap(a: &str, b: &str) -> bool {
    let covers = |a: &str, b: &str| {
        b.strip_prefix(a)
            .is_some_and(|rest| a.is_empty() || rest.is_empty() || rest.starts_with('/'))
    };
    covers(a, b) || covers(b, a)
}

//! Reading a log in order.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, BufRead},
    path::Path,
};

use crate::{
    Entry, Latency, Line, Report,
    calls::Calls,
    damage::Damages,
    documents::Documents,
    money::Money,
    resources::{Look, Resources},
    sessions::Sessions,
};

/// Faults under which the runtime may refuse to write.
const REFUSING: [&str; 3] = ["disk full", "file size limit", "memory limit"];
/// How long after their end it may go on, in microseconds: sessions are opened again meanwhile.
const GRACE: u64 = 5_000_000;
/// Longest line of a log.
const MAX_LINE: usize = 1 << 20;

/// Checks a log; the files that it names lie in `folder`.
///
/// # Errors
/// When the log cannot be read. A line that is no [`Entry`] is a violation.
pub fn check(log: impl BufRead, folder: &Path) -> io::Result<Report> {
    let mut checker = Checker::new(folder);
    for line in log.split(b'\n') {
        let line = line?;
        checker.at += 1;
        if line.is_empty() {
            continue;
        }
        let read = match line.len() <= MAX_LINE {
            true => serde_json::from_slice(&line).ok(),
            false => None,
        };
        match read {
            Some(entry) => checker.take(entry),
            None => checker
                .report
                .violation(checker.at, "log", "the line cannot be understood"),
        }
    }
    Ok(checker.finish())
}

struct Checker<'a> {
    folder: &'a Path,
    at: u64,
    report: Report,
    sessions: Sessions,
    calls: Calls,
    documents: Documents,
    money: Money,
    damages: Damages,
    resources: Resources,
    served: HashMap<String, Option<String>>,
    latencies: BTreeMap<&'static str, [Latency; 3]>,
    faults: Faults,
}

/// Which faults are on.
#[derive(Default)]
struct Faults {
    on: Vec<String>,
    any: bool,
    over: bool,
    /// Until when writing may be refused.
    refusing: Option<u64>,
}

impl Faults {
    fn note(&mut self, t: u64, fault: String, event: &str) {
        if event == "begin" {
            self.any = true;
            self.on.push(fault);
        } else if event == "end" {
            if REFUSING.contains(&&*fault) {
                self.refusing = Some(t + GRACE);
            }
            self.on.retain(|on| *on != fault);
        } else if event == "over" {
            self.over = true;
        }
    }

    fn refuse(&self, t: u64) -> bool {
        self.on.iter().any(|on| REFUSING.contains(&&**on))
            || self.refusing.is_some_and(|until| t < until)
    }

    /// 0 before the faults, 1 among them, 2 after them.
    fn phase(&self) -> usize {
        match (self.any, self.over) {
            (_, true) => 2,
            (any, false) => usize::from(any),
        }
    }
}

impl<'a> Checker<'a> {
    fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            at: 0,
            report: Report::default(),
            sessions: Sessions::default(),
            calls: Calls::default(),
            documents: Documents::new(0),
            money: Money::default(),
            damages: Damages::default(),
            resources: Resources::default(),
            served: HashMap::new(),
            latencies: BTreeMap::new(),
            faults: Faults::default(),
        }
    }

    fn took(&mut self, operation: &'static str, us: u64) {
        self.latencies.entry(operation).or_default()[self.faults.phase()].record(us);
    }

    fn take(&mut self, entry: Entry) {
        let Entry { t, w, line } = entry;
        let at = self.at;
        let report = &mut self.report;
        match line {
            Line::Run { seed, bound_us, .. } => {
                report.seed = seed;
                self.documents = Documents::new(bound_us);
            }
            Line::Server { event } => match &*event {
                "died" | "stopped" => self.calls.gone(w),
                "last look" => self.sessions.last_look(),
                _ => {}
            },
            Line::Fault {
                fault,
                event,
                detail,
            } => {
                match &*event {
                    "begin" => *report.faults.entry(fault.clone()).or_default() += 1,
                    "skipped" => {
                        report
                            .faults
                            .insert(format!("skipped: {fault}: {detail}"), 0);
                    }
                    _ => {}
                }
                self.documents.fault(t, &fault, &event);
                self.faults.note(t, fault, &event);
            }
            Line::Flip { file, offset } => self.damages.flip(&file, offset),
            Line::Damage { file, offset, len } => {
                self.damages.reported(at, (&file, offset, len), report);
            }
            Line::Resources {
                phase,
                anonymous,
                descriptors,
                threads,
            } => {
                let look = Look {
                    anonymous,
                    descriptors,
                    threads,
                };
                self.resources.look(at, &phase, look, report);
            }
            Line::Refused { op, s, error } => self.refused(t, &op, &s, &error),
            Line::Served { id, mode, dg } => {
                self.served.insert(id, (mode == "whole").then_some(dg));
            }
            Line::Answered { id, dg, us } => self.answered(&id, &dg, us),
            Line::Budget { b, limit } => self.money.budget(&b, limit),
            Line::Charge { b, money } => self.money.charge(at, &b, money, report),
            Line::Wrote { d, v } => self.documents.committed(d, v),
            other => self.take_session(t, w, other),
        }
    }

    fn take_session(&mut self, t: u64, w: u32, line: Line) {
        let (at, report) = (self.at, &mut self.report);
        match line {
            Line::Opened { s, n, us } => {
                self.sessions.opened(at, &s, n, report);
                self.took("open", us);
            }
            Line::TryAppend { s, n, dg } => self.sessions.try_append(at, (&s, n), dg, report),
            Line::Append { s, n, us } => {
                self.sessions.appended(at, &s, n, report);
                self.took("append", us);
            }
            Line::Read { s, n, dg, us } => {
                self.sessions.read(at, (&s, n), &dg, report);
                self.took("read a message", us);
            }
            Line::Fork { s, from, n } => self.sessions.fork(&s, &from, n),
            Line::Checkpoint {
                s,
                v,
                header,
                n,
                us,
            } => {
                self.sessions.checkpoint(at, v, (s, header, n), report);
                self.took("checkpoint", us);
            }
            Line::Restore { v, dg, us, .. } => {
                self.sessions.restored(at, &v, dg, report);
                self.took("restore", us);
            }
            Line::Unreadable { s, what, error } => {
                let what = (&*s, &*what, &*error);
                self.sessions.unreadable(at, what, &self.damages, report);
            }
            Line::Context {
                s,
                tokens,
                window,
                us,
            } => {
                report.count("contexts");
                if tokens > window {
                    let what = format!("{s} would send {tokens} tokens into {window}");
                    report.violation(at, "bytes", what);
                }
                self.took("context", us);
            }
            Line::Exported { s, file } => {
                let file = self.folder.join(file);
                self.sessions.exported(at, &s, &file, report);
            }
            other => self.take_call(t, w, other),
        }
    }

    fn take_call(&mut self, t: u64, w: u32, line: Line) {
        let (at, report) = (self.at, &mut self.report);
        match line {
            Line::Calls { r, calls } => {
                let others = (&self.documents, report);
                self.calls.asked(at, (t, w), r, calls, others);
            }
            Line::Outcome {
                r,
                id,
                saw,
                wrote,
                why,
                ..
            } => {
                if why == "Panicked" {
                    report.count("tools that panicked");
                }
                let others = (&self.documents, report);
                self.calls.outcome(at, (&r, &id), &saw, others);
                for (document, version) in wrote {
                    self.documents.wrote((t, w), document, version);
                }
            }
            Line::Ran { r, us } => {
                self.calls.ran(at, &r, report);
                self.took("tools", us);
            }
            Line::Dropped { r } => self.calls.dropped(&r, report),
            Line::Begin { x, reads, writes } => {
                self.calls.begin(at, (w, x), (reads, writes), report);
            }
            Line::End { x } => self.calls.end((w, x)),
            _ => {}
        }
    }

    fn refused(&mut self, t: u64, op: &str, session: &str, error: &str) {
        self.report.count("operations refused");
        // One damaged record is no reason not to serve all the others.
        let excused = op != "start" && self.damages.excuses(error);
        if !self.faults.refuse(t) && !excused {
            let what = format!("{op} of {session} was refused without a cause: {error}");
            self.report.violation(self.at, "refused", what);
        }
    }

    fn answered(&mut self, id: &str, digest: &str, us: u64) {
        self.report.count("answers of the model");
        self.took("model", us);
        if self.served.get(id) != Some(&Some(digest.to_owned())) {
            let what = format!("the answer to {id} is not what the provider sent whole");
            self.report.violation(self.at, "bytes", what);
        }
        if !self.calls.first_answer(id) {
            let what = format!("request {id} was answered twice");
            self.report.violation(self.at, "results", what);
        }
    }

    fn finish(mut self) -> Report {
        self.sessions.finish(&mut self.report);
        self.calls.finish(&mut self.report);
        self.damages.finish(&mut self.report);
        self.resources.finish(&mut self.report);
        for (operation, phases) in &self.latencies {
            let percentiles = [0, 1, 2].map(|phase| phases[phase].percentiles());
            self.report.latencies.insert(operation, percentiles);
        }
        self.report
    }
}

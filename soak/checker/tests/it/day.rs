//! A little day without a fault of the runtime: every kind of line, and the exports that it names.

use mainspring_soak_checker::{Call, Entry, Line, Report, check, digest};

/// Longer than another process may serve what was invalidated.
pub(crate) const BOUND: u64 = 1_000;
/// A process on another machine.
pub(crate) const PEER: u32 = mainspring_soak_checker::PEERS;

pub(crate) struct Day {
    pub(crate) lines: Vec<Entry>,
    folder: tempfile::TempDir,
}

fn s(text: &str) -> String {
    text.to_owned()
}

pub(crate) fn message(number: u64) -> String {
    format!(r#"{{"role":"user","content":"message {number}"}}"#)
}

pub(crate) fn state(messages: std::ops::Range<u64>) -> String {
    let messages: Vec<String> = messages.map(message).collect();
    format!(
        r#"{{"header":{{"step":1}},"messages":[{}]}}"#,
        messages.join(",")
    )
}

pub(crate) fn dg(text: &str) -> String {
    digest(text.as_bytes())
}

impl Day {
    pub(crate) fn new() -> Self {
        let mut day = Self {
            lines: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
        };
        day.morning();
        day.calls();
        day.money();
        day.faults();
        day.evening();
        day
    }

    pub(crate) fn say(&mut self, w: u32, line: Line) {
        let t = 10 * self.lines.len() as u64;
        self.lines.push(Entry { t, w, line });
    }

    pub(crate) fn append(&mut self, session: &str, n: u64, acknowledged: bool) {
        let (s, dg) = (s(session), dg(&message(n)));
        self.say(
            1,
            Line::TryAppend {
                s: s.clone(),
                n,
                dg,
            },
        );
        if acknowledged {
            self.say(1, Line::Append { s, n, us: 20 });
        }
    }

    fn opened(&mut self, w: u32, session: &str, n: u64) {
        let s = s(session);
        self.say(w, Line::Opened { s, n, us: 100 });
    }

    fn server(&mut self, w: u32, event: &str) {
        self.say(w, Line::Server { event: s(event) });
    }

    fn fault(&mut self, event: &str) {
        let (fault, detail) = (s("kill -9"), String::new());
        self.say(
            0,
            Line::Fault {
                fault,
                event: s(event),
                detail,
            },
        );
    }

    pub(crate) fn restored(&mut self, w: u32, session: &str, version: &str, state: &str) {
        let (s, v, dg) = (s(session), s(version), dg(state));
        self.say(w, Line::Restore { s, v, dg, us: 50 });
    }

    fn resources(&mut self, phase: &str, anonymous: u64) {
        let phase = s(phase);
        self.say(
            1,
            Line::Resources {
                phase,
                anonymous,
                descriptors: 20,
                threads: 9,
            },
        );
    }

    /// Two sessions, a checkpoint each, the second a fork.
    fn morning(&mut self) {
        self.say(
            0,
            Line::Run {
                seed: 7,
                sessions: 2,
                bound_us: BOUND,
            },
        );
        self.opened(1, "a", 0);
        (0..4).for_each(|n| self.append("a", n, true));
        let checkpoint = |session: &str, version: &str, n| Line::Checkpoint {
            s: s(session),
            v: s(version),
            header: s(r#"{"step":1}"#),
            n,
            us: 900,
        };
        self.say(1, checkpoint("a", "v1", 3));
        self.say(
            1,
            Line::Fork {
                s: s("b"),
                from: s("a"),
                n: 3,
            },
        );
        self.opened(1, "b", 3);
        self.append("b", 3, true);
        self.say(1, checkpoint("b", "v2", 4));
        self.restored(1, "a", "v1", &state(0..3));
        self.say(
            1,
            Line::Read {
                s: s("a"),
                n: 1,
                dg: dg(&message(1)),
                us: 5,
            },
        );
        self.say(
            1,
            Line::Context {
                s: s("a"),
                tokens: 40,
                window: 100,
                us: 2,
            },
        );
        self.resources("baseline", 100 << 20);
    }

    /// Two readers at once.
    fn calls(&mut self) {
        let call = |id: &str, reads: &[u32]| Call {
            id: s(id),
            reads: reads.to_vec(),
        };
        let calls = vec![call("c1", &[5]), call("c2", &[5])];
        self.say(1, Line::Calls { r: s("r1"), calls });
        for x in [1, 2] {
            self.say(
                1,
                Line::Begin {
                    x,
                    reads: vec![s("doc/5")],
                    writes: vec![],
                },
            );
        }
        [1, 2]
            .into_iter()
            .for_each(|x| self.say(1, Line::End { x }));
        ["c1", "c2"]
            .into_iter()
            .for_each(|id| self.outcome("r1", id, &[(5, 0)], &[]));
        self.say(
            1,
            Line::Ran {
                r: s("r1"),
                us: 700,
            },
        );
        self.write_and_ask();
    }

    /// A writer, a reader of what it wrote, and the model once.
    fn write_and_ask(&mut self) {
        let call = |id: &str, reads: &[u32]| Call {
            id: s(id),
            reads: reads.to_vec(),
        };
        self.say(
            1,
            Line::Calls {
                r: s("r2"),
                calls: vec![call("c3", &[])],
            },
        );
        self.say(
            1,
            Line::Begin {
                x: 3,
                reads: vec![],
                writes: vec![s("doc/5")],
            },
        );
        self.say(0, Line::Wrote { d: 5, v: 1 });
        self.say(1, Line::End { x: 3 });
        self.outcome("r2", "c3", &[], &[(5, 1)]);
        self.say(
            1,
            Line::Ran {
                r: s("r2"),
                us: 700,
            },
        );
        self.say(
            1,
            Line::Calls {
                r: s("r3"),
                calls: vec![call("c4", &[5])],
            },
        );
        self.outcome("r3", "c4", &[(5, 1)], &[]);
        self.say(1, Line::Ran { r: s("r3"), us: 30 });
        let (id, mode) = (s("c9#1"), s("whole"));
        self.say(
            0,
            Line::Served {
                id: id.clone(),
                mode,
                dg: dg("hello"),
            },
        );
        self.say(
            1,
            Line::Answered {
                id,
                dg: dg("hello"),
                us: 30_000,
            },
        );
    }

    pub(crate) fn outcome(
        &mut self,
        run: &str,
        id: &str,
        saw: &[(u32, u64)],
        wrote: &[(u32, u64)],
    ) {
        self.say(
            1,
            Line::Outcome {
                r: s(run),
                id: s(id),
                ok: true,
                saw: saw.to_vec(),
                wrote: wrote.to_vec(),
                why: String::new(),
            },
        );
    }

    fn money(&mut self) {
        self.say(
            1,
            Line::Budget {
                b: s("day"),
                limit: 100,
            },
        );
        self.say(
            1,
            Line::Budget {
                b: s("purse"),
                limit: 50,
            },
        );
        for money in [30, 20] {
            self.say(
                1,
                Line::Charge {
                    b: vec![s("day"), s("purse")],
                    money,
                },
            );
        }
    }

    /// A server is killed while it appends; the message is there all the same.
    fn faults(&mut self) {
        self.fault("begin");
        self.append("a", 4, false);
        self.say(
            1,
            Line::Begin {
                x: 9,
                reads: vec![],
                writes: vec![s("doc")],
            },
        );
        self.server(1, "died");
        self.server(2, "ready");
        self.opened(2, "a", 5);
        self.opened(2, "b", 4);
        self.fault("end");
        self.fault("over");
        self.resources("after", 110 << 20);
    }

    fn evening(&mut self) {
        self.server(3, "last look");
        for (session, version, messages, checkpointed) in [("a", "v1", 5, 3), ("b", "v2", 4, 4)] {
            self.restored(3, session, version, &state(0..checkpointed));
            self.opened(3, session, messages);
            self.write(session, &(0..messages).map(message).collect::<Vec<_>>());
            let (s, file) = (s(session), s(session));
            self.say(3, Line::Exported { s, file });
        }
    }

    /// What a session's export has.
    pub(crate) fn write(&self, session: &str, messages: &[String]) {
        let text: String = messages
            .iter()
            .map(|message| format!("{message}\n"))
            .collect();
        std::fs::write(self.folder.path().join(session), text).unwrap();
    }

    /// Where the first line is of which `wanted` holds.
    pub(crate) fn find(&self, wanted: impl Fn(&Line) -> bool) -> usize {
        self.lines
            .iter()
            .position(|entry| wanted(&entry.line))
            .unwrap()
    }

    pub(crate) fn change(&mut self, wanted: impl Fn(&Line) -> bool, change: impl Fn(&mut Line)) {
        let at = self.find(wanted);
        change(&mut self.lines[at].line);
    }

    pub(crate) fn check(&self) -> Report {
        let mut log = Vec::new();
        for entry in &self.lines {
            serde_json::to_writer(&mut log, entry).unwrap();
            log.push(b'\n');
        }
        check(&log[..], self.folder.path()).unwrap()
    }

    /// Checks that exactly this promise was found broken.
    pub(crate) fn breaks(&self, promise: &str) -> Report {
        let report = self.check();
        let broken: Vec<&str> = report.listed.iter().map(|found| found.promise).collect();
        assert!(!broken.is_empty(), "nothing was found");
        assert!(broken.iter().all(|found| *found == promise), "{report}");
        report
    }
}

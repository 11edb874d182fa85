//! Memory and descriptors come back.

use crate::Report;

/// What may be left over above the baseline: half of it and 48 MiB; 16 descriptors and threads.
const SLACK_BYTES: u64 = 48 << 20;
const SLACK: u64 = 16;

/// One look at the process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) anonymous: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Resources {
    baseline: Option<Look>,
    after: bool,
}

impl Resources {
    pub(crate) fn look(&mut self, at: u64, phase: &str, look: Look, report: &mut Report) {
        if phase == "baseline" {
            self.baseline = Some(look);
            report.add("bytes of anonymous memory at the baseline", look.anonymous);
            report.add("descriptors at the baseline", look.descriptors);
            return;
        }
        if phase != "after" {
            return;
        }
        self.after = true;
        report.add("bytes of anonymous memory after the faults", look.anonymous);
        report.add("descriptors after the faults", look.descriptors);
        let Some(baseline) = self.baseline else {
            report.violation(at, "log", "resources were looked at without a baseline");
            return;
        };
        let bounds = [
            (
                "anonymous memory",
                look.anonymous,
                baseline.anonymous,
                baseline.anonymous / 2 + SLACK_BYTES,
            ),
            ("descriptors", look.descriptors, baseline.descriptors, SLACK),
            ("threads", look.threads, baseline.threads, SLACK),
        ];
        for (what, now, before, slack) in bounds {
            if now > before + slack {
                let what = format!("{what}: {now} after the faults, {before} before them");
                report.violation(at, "resources", what);
            }
        }
    }

    pub(crate) fn finish(&self, report: &mut Report) {
        if !self.after {
            report.violation(0, "log", "nobody looked at memory after the faults");
        }
    }
}

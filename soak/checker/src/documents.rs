//! No read is staler than the bound after an acknowledged invalidation.

use std::collections::{HashMap, VecDeque};

use crate::Report;

/// One acknowledged write.
#[derive(Debug, Clone, Copy)]
struct Write {
    t: u64,
    server: bool,
    version: u64,
}

/// The time of a write that the other machine cannot know of yet.
const HELD: u64 = u64::MAX;

/// One document.
#[derive(Debug, Default)]
struct Document {
    /// What lies where documents lie.
    committed: u64,
    /// Acknowledged writes, by time; older ones than the bound are folded into the first.
    acknowledged: VecDeque<Write>,
}

/// Faults in which what one machine invalidates does not reach what they share.
const APART: [&str; 2] = ["dead redis", "slow redis"];
/// How long a machine leaves what they share alone after it failed, in microseconds; then it empties it.
const LEFT_ALONE: u64 = 1_000_000;

/// All documents.
#[derive(Debug)]
pub(crate) struct Documents {
    known: HashMap<u32, Document>,
    bound_us: u64,
    apart: bool,
}

/// Processes from this number on are peers of the server: another machine.
pub const PEERS: u32 = 1_000_000;

impl Documents {
    pub(crate) fn new(bound_us: u64) -> Self {
        Self {
            known: HashMap::new(),
            bound_us,
            apart: false,
        }
    }

    /// What is invalidated while the machines are apart counts from when they met again.
    pub(crate) fn fault(&mut self, t: u64, fault: &str, event: &str) {
        if !APART.contains(&fault) {
            return;
        }
        self.apart = event == "begin";
        let held = self
            .known
            .values_mut()
            .flat_map(|known| &mut known.acknowledged);
        for write in held.filter(|write| write.t == HELD && event == "end") {
            write.t = t + LEFT_ALONE;
        }
    }

    pub(crate) fn committed(&mut self, document: u32, version: u64) {
        let known = self.known.entry(document).or_default();
        known.committed = known.committed.max(version);
    }

    pub(crate) fn wrote(&mut self, (t, w): (u64, u32), document: u32, version: u64) {
        let known = self.known.entry(document).or_default();
        let server = w < PEERS;
        known.acknowledged.push_back(Write {
            t: if self.apart { HELD } else { t },
            server,
            version,
        });
        let old = t.saturating_sub(self.bound_us);
        // Beyond the bound only the newest version counts, whoever wrote it.
        while known.acknowledged.len() > 1 && known.acknowledged[1].t < old {
            let gone = known
                .acknowledged
                .pop_front()
                .map_or(0, |gone| gone.version);
            let first = &mut known.acknowledged[0];
            first.version = first.version.max(gone);
        }
    }

    /// The version that a read which begins now must at least see.
    pub(crate) fn required(&self, (t, w): (u64, u32), document: u32) -> u64 {
        let Some(known) = self.known.get(&document) else {
            return 0;
        };
        let known_there = |write: &Write| write.t.saturating_add(self.bound_us) < t;
        let binding = |write: &&Write| write.server == (w < PEERS) || known_there(write);
        let versions = known.acknowledged.iter().filter(binding);
        versions.map(|write| write.version).max().unwrap_or(0)
    }

    pub(crate) fn saw(
        &self,
        at: u64,
        (document, version): (u32, u64),
        required: u64,
        report: &mut Report,
    ) {
        report.count("reads of documents");
        if version < required {
            let what = format!(
                "document {document} was read as version {version}; version {required} was acknowledged before"
            );
            report.violation(at, "stale", what);
        }
        let committed = self.known.get(&document).map_or(0, |known| known.committed);
        if version > committed {
            let what = format!("document {document} was read as version {version} of {committed}");
            report.violation(at, "bytes", what);
        }
    }
}

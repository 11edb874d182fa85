use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::block;
use crate::error::{Error, GET, Result};
use crate::ledger::{Ledger, SegmentInfo, parse_key, segment_key};
use crate::replay::Replay;
use crate::segment::Segment;
use crate::signal::{self, Call};
use crate::snapshots::Snapshots;
use crate::store::{Cell, Store, lock};
use crate::text::{BlockId, Piece};
use crate::tree::State;
use crate::version::VersionId;

/// A place where stored bytes are not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// Key in the backing (the file, for a directory).
    pub key: String,
    /// Byte offset in the value of that key where the damaged record begins.
    pub offset: u64,
    /// What does not fit.
    pub what: String,
    /// True when nothing follows it: the end of a write that never finished, or damage to the very last record.
    pub at_end: bool,
    /// Versions that cannot be restored because of it, as far as they are known, in all threads.
    pub versions: Vec<VersionId>,
}

/// What [`Snapshots::verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Versions that were restored and checked.
    pub versions: u64,
    /// Blocks that were read and checked.
    pub blocks: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is wrong.
    pub damage: Vec<Damage>,
}

impl VerifyReport {
    /// Nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty()
    }
}

impl Snapshots {
    /// Reads everything that is stored, replays every version and checks it.
    ///
    /// Cost: every byte once, and for each segment the state it continues. Changing a thread waits while that thread is
    /// looked at.
    ///
    /// # Errors
    /// Only when the backing fails: damage is in the report.
    pub fn verify(&self) -> Result<VerifyReport> {
        signal::during(Call::Verify, || {
            let _turn = lock(&self.store.turn);
            let mut verifier = Verifier {
                store: &self.store,
                cells: self.store.ledgers()?,
                report: VerifyReport::default(),
                bad_blocks: HashSet::new(),
            };
            verifier.blocks()?;
            verifier.segments()?;
            verifier.spread();
            Ok(verifier.report)
        })
    }
}

struct Verifier<'a> {
    store: &'a Store,
    cells: BTreeMap<u64, Arc<Cell>>,
    report: VerifyReport,
    bad_blocks: HashSet<BlockId>,
}

impl Verifier<'_> {
    fn list(&self, prefix: &str) -> Result<Vec<crate::backing::Entry>> {
        self.store
            .backing
            .list(prefix)
            .map_err(Error::io("list", prefix))
    }

    /// The value, or what the backing's own checks found wrong with it.
    fn read(&mut self, key: &str) -> Result<Result<Bytes>> {
        match self.store.backing.get(key).map_err(Error::io(GET, key)) {
            Ok(stored) => {
                let bytes = stored.unwrap_or_default();
                self.report.bytes += bytes.len() as u64;
                Ok(Ok(bytes))
            }
            Err(error) if error.is_outage() => Err(error),
            Err(damage) => Ok(Err(damage)),
        }
    }

    fn add(&mut self, key: &str, offset: u64, what: &str, at_end: bool, versions: Vec<VersionId>) {
        self.report.damage.push(Damage {
            key: key.to_owned(),
            offset,
            what: what.to_owned(),
            at_end,
            versions,
        });
    }

    fn blocks(&mut self) -> Result<()> {
        let mut missing = BTreeSet::new();
        for cell in self.cells.values() {
            let ledger = lock(&cell.ledger);
            missing.extend(
                ledger
                    .versions
                    .values()
                    .flat_map(|entry| &entry.meta.blocks)
                    .map(|block| block.id),
            );
        }
        for entry in self.list(block::PREFIX)? {
            self.report.blocks += 1;
            if let Some(id) = block::id_of(&entry.key) {
                missing.remove(&id);
            }
            let stored = self.read(&entry.key)?;
            let id = block::id_of(&entry.key);
            let limit = self.store.options.max_state;
            let checked = stored
                .and_then(|stored| block::decode(&entry.key, &stored, limit, self.store.cipher()));
            let fits = checked
                .as_ref()
                .ok()
                .map(|bytes| block::address(bytes, self.store.cipher()).id)
                == id;
            if !fits {
                self.bad_blocks.extend(id);
                id.iter().for_each(|id| self.store.known.forget(id));
                let offset = match &checked {
                    Err(Error::Damaged { offset, .. }) => *offset,
                    _ => 0,
                };
                let what = checked
                    .err()
                    .map_or("not the bytes of its address".to_owned(), |e| e.to_string());
                self.add(&entry.key, offset, &what, false, Vec::new());
            }
        }
        for id in missing {
            self.bad_blocks.insert(id);
            self.store.known.forget(&id);
            self.add(
                &block::key(&id),
                0,
                "the block is missing",
                false,
                Vec::new(),
            );
        }
        Ok(())
    }

    fn segments(&mut self) -> Result<()> {
        for cell in self.cells.values().cloned().collect::<Vec<_>>() {
            // Nothing is committed to the thread that is looked at.
            let _work = lock(&cell.work);
            let prefix = crate::ledger::thread_prefix(cell.uid);
            let mut present = BTreeSet::new();
            for entry in self.list(&prefix)? {
                let Some((_, number)) = parse_key(&entry.key) else {
                    self.add(
                        &entry.key,
                        0,
                        "a key that is none of ours",
                        false,
                        Vec::new(),
                    );
                    continue;
                };
                present.insert(number);
                let stored = self.read(&entry.key)?;
                self.segment(&cell, number, &entry.key, stored)?;
            }
            let lost = {
                let ledger = lock(&cell.ledger);
                let lost = ledger
                    .segments
                    .keys()
                    .filter(|number| !present.contains(number));
                lost.map(|number| (*number, known(&ledger, *number)))
                    .collect::<Vec<_>>()
            };
            for (number, versions) in lost {
                let key = segment_key(cell.uid, number);
                self.add(&key, 0, "the segment is missing", false, versions);
            }
        }
        Ok(())
    }

    fn segment(
        &mut self,
        cell: &Cell,
        number: u64,
        key: &str,
        stored: Result<Bytes>,
    ) -> Result<()> {
        let (known, orphan, continued) = {
            let ledger = lock(&cell.ledger);
            let flaw = ledger.segments.get(&number).map(|info| &info.flaw);
            (
                known(&ledger, number),
                ledger.orphans.iter().any(|orphan| orphan == key),
                // A later segment tells that there was more.
                matches!(flaw, Some(Some(flaw)) if !flaw.tail),
            )
        };
        let len = stored.as_ref().map_or(0, Bytes::len) as u64;
        let cipher = self.store.cipher();
        let segment = match stored.and_then(|bytes| Segment::parse(key, &bytes, cipher)) {
            Ok(segment) => segment,
            Err(error) => {
                // What the backing refuses is no write that did not finish.
                let at_end = known.is_empty() && matches!(error, Error::Damaged { .. });
                let at = offset_of(&error);
                self.add(key, at, &error.to_string(), at_end, known);
                return Ok(());
            }
        };
        if orphan {
            return Ok(());
        }
        let listed: BTreeSet<u64> = known.iter().map(|id| id.seq).collect();
        let found = segment
            .groups
            .iter()
            .flat_map(|group| &group.versions)
            .map(|meta| meta.seq);
        let missing: BTreeSet<u64> = {
            let found: BTreeSet<u64> = found.collect();
            listed.difference(&found).copied().collect()
        };
        let id = |seq| VersionId {
            thread: cell.uid,
            seq,
        };
        if let Some(flaw) = &segment.flaw {
            let behind = segment.groups[flaw.from_group..]
                .iter()
                .flat_map(|group| &group.versions);
            let mut versions: BTreeSet<u64> = behind
                .map(|meta| meta.seq)
                .filter(|seq| listed.is_empty() || listed.contains(seq))
                .collect();
            versions.extend(&missing);
            versions.extend(swallowed(&segment, flaw.from_group));
            let versions = versions.into_iter().map(id).collect();
            let at_end = flaw.tail && !continued;
            self.add(key, flaw.offset as u64, flaw.what, at_end, versions);
        } else if !missing.is_empty() {
            let versions = missing.into_iter().map(id).collect();
            self.add(
                key,
                len,
                "the end of the segment is missing",
                true,
                versions,
            );
        }
        self.replay(cell, key, &segment, &listed)
    }

    fn replay(
        &mut self,
        cell: &Cell,
        key: &str,
        segment: &Segment,
        listed: &BTreeSet<u64>,
    ) -> Result<()> {
        let usable = segment
            .flaw
            .as_ref()
            .map_or(segment.groups.len(), |flaw| flaw.from_group);
        let Some(last) = usable.checked_sub(1) else {
            return Ok(());
        };
        let base = segment
            .header
            .parent
            .as_ref()
            .filter(|parent| parent.is_base);
        let state = base.map_or(Ok(State::Empty), |base| self.store.state_below(base.id));
        let mut state = match state {
            Ok(state) => state,
            Err(error) if error.is_outage() || matches!(error, Error::Cipher { .. }) => {
                return Err(error);
            }
            // What is wrong is reported where it is; what depends on it is found afterwards.
            Err(_) => return Ok(()),
        };
        let replay = Replay::new(self.store, key, segment);
        let mut good: BTreeSet<u64> = BTreeSet::new();
        let mut on_bad_block: Vec<(BlockId, VersionId)> = Vec::new();
        let bad_blocks = &self.bad_blocks;
        let done = replay.each(&mut state, last, &mut |meta, _, state, applied| {
            applied?;
            replay.check(meta, state)?;
            good.insert(meta.seq);
            if !bad_blocks.is_empty() {
                let id = VersionId {
                    thread: cell.uid,
                    seq: meta.seq,
                };
                on_bad_block.extend(
                    used_of(state, bad_blocks)
                        .into_iter()
                        .map(|block| (block, id)),
                );
            }
            Ok(true)
        });
        self.report.versions += good.iter().filter(|seq| listed.contains(seq)).count() as u64;
        if let Err(error) = done {
            if error.is_outage() {
                return Err(error);
            }
            let metas = segment.groups[..=last]
                .iter()
                .flat_map(|group| &group.versions);
            let failed = metas
                .map(|meta| meta.seq)
                .filter(|seq| !good.contains(seq) && listed.contains(seq));
            let versions = failed
                .map(|seq| VersionId {
                    thread: cell.uid,
                    seq,
                })
                .collect();
            self.add(key, offset_of(&error), &error.to_string(), false, versions);
        }
        self.blame_blocks(on_bad_block);
        Ok(())
    }

    fn blame_blocks(&mut self, uses: Vec<(BlockId, VersionId)>) {
        for (block, version) in uses {
            let key = block::key(&block);
            let damaged = self
                .report
                .damage
                .iter_mut()
                .filter(|damage| damage.key == key);
            damaged.for_each(|damage| damage.versions.push(version));
        }
    }

    /// Adds the versions that are stored on top of damaged ones.
    fn spread(&mut self) {
        let mut children: Vec<(VersionId, Vec<VersionId>)> = Vec::new();
        for cell in self.cells.values() {
            let ledger = lock(&cell.ledger);
            for (number, info) in &ledger.segments {
                if let Some(base) = base(info) {
                    children.push((base, known(&ledger, *number)));
                }
            }
        }
        for damage in &mut self.report.damage {
            if damage.key.starts_with(block::PREFIX) {
                continue;
            }
            let mut all: BTreeSet<VersionId> = damage.versions.iter().copied().collect();
            loop {
                let before = all.len();
                for (base, versions) in &children {
                    if all.contains(base) {
                        all.extend(versions);
                    }
                }
                if all.len() == before {
                    break;
                }
            }
            damage.versions = all.into_iter().collect();
        }
    }
}

fn base(info: &SegmentInfo) -> Option<VersionId> {
    let parent = info.header.parent.as_ref()?;
    parent.is_base.then_some(parent.id)
}

/// Versions whose own records are damaged: the numbers between the good ones before and those behind.
fn swallowed(segment: &Segment, from_group: usize) -> Range<u64> {
    let (good, behind) = segment.groups.split_at(from_group);
    let last = good
        .iter()
        .flat_map(|group| &group.versions)
        .next_back()
        .map_or(segment.header.seq, |meta| meta.seq);
    let next = behind
        .iter()
        .flat_map(|group| &group.versions)
        .next()
        .map_or(0, |meta| meta.seq);
    // More than a few would mean that the numbers cannot be trusted either.
    last.saturating_add(1)..next.min(last.saturating_add(8))
}

fn known(ledger: &Ledger, number: u64) -> Vec<VersionId> {
    let of = ledger.entries().filter(|entry| entry.segment == number);
    of.map(|entry| ledger.id(entry.meta.seq)).collect()
}

fn offset_of(error: &Error) -> u64 {
    match error {
        Error::Damaged { offset, .. } => *offset,
        _ => 0,
    }
}

/// The damaged blocks that a state needs.
fn used_of(state: &State, bad: &HashSet<BlockId>) -> HashSet<BlockId> {
    let mut used = HashSet::new();
    state.visit(&mut |piece| {
        if let Piece::Block(block) = piece
            && bad.contains(&block.id)
        {
            used.insert(block.id);
        }
    });
    used
}

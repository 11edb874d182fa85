//! Writing a thread anew: sealed (all versions) or pruned (some). The old segments are deleted last, so that every
//! kept version can be restored whatever call is the last one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::dictionary::dictionary;
use crate::error::{Error, Result};
use crate::ledger::{Ledger, parse_key, segment_key, thread_prefix};
use crate::op::{Op, OpReader, OpWriter};
use crate::pointer;
use crate::renumber::renumbered;
use crate::replay::Replay;
use crate::segment::{FORMAT, Header, Meta, Parent, Segment, SegmentWriter};
use crate::store::{Cell, Store, lock};
use crate::stream::{Effort, Encoder};
use crate::tree::State;
use crate::version::VersionId;
use crate::work::Work;

/// Operations per group: what a restore decompresses at most beyond what it needs.
const GROUP: usize = 512 << 10;
const PRIME: u64 = 128 << 10;

/// A version taken out of its old segment.
#[derive(Debug)]
struct Piece {
    ops: Bytes,
    meta: Meta,
    parent: Option<VersionId>,
}

/// Versions that go into one new segment.
#[derive(Debug, Default)]
struct Run {
    base: Option<VersionId>,
    parent: Option<VersionId>,
    versions: Vec<Written>,
    ops: u64,
    /// What it takes to replay to its last version, that of its base included.
    replay: u64,
}

#[derive(Debug)]
struct Written {
    meta: Meta,
    ops: Vec<u8>,
}

impl Written {
    /// Bytes it takes to replay: a patch builds the whole state anew.
    fn replay(&self) -> Result<u64> {
        let buffer = Bytes::copy_from_slice(&self.ops);
        let mut reader = OpReader::new("plan", &buffer, &self.meta.blocks);
        let mut replay = self.ops.len() as u64;
        while let Some(op) = reader.next()? {
            if let Op::Patch { len, .. } = op {
                replay = replay.saturating_add(len);
            }
        }
        Ok(replay)
    }
}

/// Writes the thread with exactly the versions in `keep`. What they replace is still there: [`delete_orphans`].
pub(crate) fn rewrite(
    store: &Store,
    cell: &Cell,
    work: &mut Work,
    keep: &BTreeSet<u64>,
) -> Result<()> {
    work.live = None;
    let pieces = collect(store, cell, keep)?;
    let runs = plan(store, cell, &pieces, keep)?;
    let (first, next_seq) = {
        let mut ledger = lock(&cell.ledger);
        let first = ledger.next_segment;
        ledger.next_segment += runs.len() as u64;
        (first, ledger.next_seq)
    };
    let mut fresh = Ledger::new(cell.uid);
    let mut written: Vec<(u64, Vec<u8>)> = Vec::new();
    let count = runs.len();
    for (index, run) in runs.iter().enumerate() {
        let number = first + index as u64;
        let replaces = if index + 1 == count { first } else { 0 };
        let header = Header {
            thread: cell.name.clone(),
            replaces,
            next_seq,
            ..Header::default()
        };
        let bytes = write(store, cell, run, number, header)?;
        let segment = prove(store, cell, run, number, &bytes)?;
        fresh.add(number, bytes.len() as u64, &segment);
        written.push((number, bytes));
    }
    // Also what failed writes and earlier attempts have left.
    let old = segment_keys(store, cell)?
        .into_iter()
        .filter(|(number, _)| *number < first);
    let orphans = old.map(|(_, key)| key).collect();
    replace(store, cell, keep, &written)?;
    let mut ledger = lock(&cell.ledger);
    fresh.head = ledger.head;
    fresh.next_segment = ledger.next_segment;
    fresh.next_seq = ledger.next_seq;
    fresh.orphans = orphans;
    *ledger = fresh;
    store.rewritten.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

/// Puts the new segments; the last one replaces the old ones.
fn replace(
    store: &Store,
    cell: &Cell,
    keep: &BTreeSet<u64>,
    written: &[(u64, Vec<u8>)],
) -> Result<()> {
    for (index, (number, bytes)) in written.iter().enumerate() {
        let key = segment_key(cell.uid, *number);
        if index + 1 == written.len() {
            store.backing.sync().map_err(Error::io("sync", &key))?;
            // From here on nothing new may be put on top of what goes away, even if the outcome stays unknown.
            let mut ledger = lock(&cell.ledger);
            for (seq, entry) in &mut ledger.versions {
                entry.dropped = entry.dropped || !keep.contains(seq);
            }
        }
        store
            .backing
            .put(&key, bytes)
            .map_err(Error::io("put", &key))?;
    }
    store.backing.sync().map_err(Error::io("sync", &cell.name))
}

/// Everything that is stored of a thread: numbers and keys.
pub(crate) fn segment_keys(store: &Store, cell: &Cell) -> Result<Vec<(u64, String)>> {
    let prefix = thread_prefix(cell.uid);
    let entries = store.backing.list(&prefix);
    let entries = entries.map_err(Error::io("list", &prefix))?;
    let numbered = entries
        .into_iter()
        .filter_map(|entry| Some((parse_key(&entry.key)?.1, entry.key)));
    Ok(numbered.collect())
}

/// Deletes segments that others replace, after those who may be reading them; gives how many. Whoever reads for longer
/// than anybody waits keeps them all until the next time.
pub(crate) fn delete_orphans(store: &Store, cell: &Cell) -> Result<u64> {
    let any = !lock(&cell.ledger).orphans.is_empty();
    if any && !store.outlast_readers() {
        return Ok(0);
    }
    let mut deleted = 0;
    loop {
        let Some(key) = lock(&cell.ledger).orphans.last().cloned() else {
            return Ok(deleted);
        };
        store
            .backing
            .delete(&key)
            .map_err(Error::io("delete", &key))?;
        lock(&cell.ledger).orphans.pop();
        deleted += 1;
    }
}

/// The operations of every version that is kept or that a kept one is stored on top of, each checked.
fn collect(store: &Store, cell: &Cell, keep: &BTreeSet<u64>) -> Result<BTreeMap<u64, Piece>> {
    let (segments, needed) = {
        let ledger = lock(&cell.ledger);
        ledger.unblocked()?;
        let needed = needed(&ledger, keep)?;
        let segments: BTreeSet<u64> = needed
            .iter()
            .filter_map(|seq| Some(ledger.versions.get(seq)?.segment))
            .collect();
        (segments, needed)
    };
    let mut pieces = BTreeMap::new();
    for number in segments {
        let key = segment_key(cell.uid, number);
        let segment = store.segment(&key)?;
        let base = segment
            .header
            .parent
            .as_ref()
            .filter(|parent| parent.is_base);
        let mut state = base.map_or(Ok(State::Empty), |base| store.state_below(base.id))?;
        let usable = segment
            .flaw
            .as_ref()
            .map_or(segment.groups.len(), |flaw| flaw.from_group);
        let Some(last) = usable.checked_sub(1) else {
            continue;
        };
        let replay = Replay::new(store, &key, &segment);
        replay.each(&mut state, last, &mut |meta, ops, state, applied| {
            applied?;
            replay.check(meta, state)?;
            let ledger = lock(&cell.ledger);
            if let Some(entry) = ledger
                .versions
                .get(&meta.seq)
                .filter(|e| e.segment == number && needed.contains(&meta.seq))
            {
                let piece = Piece {
                    ops: Bytes::copy_from_slice(ops),
                    meta: meta.clone(),
                    parent: entry.parent,
                };
                pieces.insert(meta.seq, piece);
            }
            Ok(true)
        })?;
    }
    match needed.iter().find(|seq| !pieces.contains_key(seq)) {
        Some(seq) => {
            let id = lock(&cell.ledger).id(*seq);
            // Says where the damage is.
            store.state_below(id).map(|_| ())?;
            Err(Error::missing("version", id.to_string()))
        }
        None => Ok(pieces),
    }
}

/// The kept versions and what lies between them and their bases.
fn needed(ledger: &Ledger, keep: &BTreeSet<u64>) -> Result<BTreeSet<u64>> {
    let mut needed = BTreeSet::new();
    for &seq in keep {
        let mut at = Some(seq);
        while let Some(seq) = at.filter(|seq| !needed.contains(seq)) {
            needed.insert(seq);
            let entry = ledger.stored(seq)?;
            let parent = entry
                .parent
                .filter(|parent| parent.thread == ledger.thread && !entry.meta.full);
            at = parent.map(|parent| parent.seq);
        }
    }
    Ok(needed)
}

/// The way from a version back to the nearest kept one: versions to fold (oldest first), and what was reached.
fn way(
    pieces: &BTreeMap<u64, Piece>,
    keep: &BTreeSet<u64>,
    thread: u64,
    seq: u64,
) -> (Vec<u64>, Option<VersionId>, bool) {
    let mut folded = vec![seq];
    let mut at = seq;
    loop {
        let Some(piece) = pieces.get(&at) else {
            break (folded, None, true);
        };
        if piece.meta.full {
            folded.reverse();
            return (folded, piece.parent, true);
        }
        match piece.parent {
            Some(parent) if parent.thread == thread && !keep.contains(&parent.seq) => {
                at = parent.seq;
                folded.push(at);
            }
            reached => {
                folded.reverse();
                return (folded, reached, false);
            }
        }
    }
}

fn plan(
    store: &Store,
    cell: &Cell,
    pieces: &BTreeMap<u64, Piece>,
    keep: &BTreeSet<u64>,
) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    // What it takes to replay to each version as it will be written.
    let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
    for &seq in keep {
        let Some(piece) = pieces.get(&seq) else {
            continue;
        };
        let (folded, reached, full) = way(pieces, keep, cell.uid, seq);
        let bound = store.options.replay_limit(piece.meta.size);
        let tip = |run: &Run| {
            run.versions.last().map(|w| VersionId {
                thread: cell.uid,
                seq: w.meta.seq,
            })
        };
        let run = runs
            .iter()
            .position(|run| !full && reached.is_some() && tip(run) == reached);
        // A first version that others were folded into starts afresh: nothing older is worth replaying for it.
        let afresh = full || (reached.is_none() && folded.len() > 1);
        let written = if afresh {
            whole(store, cell, piece, seq)?
        } else {
            fold(pieces, &folded, piece)?
        };
        let before = match (run, reached) {
            _ if afresh => 0,
            (Some(at), _) => runs[at].replay,
            (None, Some(id)) if id.thread == cell.uid => ends.get(&id.seq).copied().unwrap_or(0),
            (None, Some(id)) => store.chain_below(id)?.iter().map(|link| link.replay).sum(),
            (None, None) => 0,
        };
        let replay = before.saturating_add(written.replay()?);
        let continues = reached.is_some() && !afresh;
        // What would take too long to replay starts afresh.
        let (written, continues, replay) = if continues && replay > bound {
            let written = whole(store, cell, piece, seq)?;
            let replay = written.ops.len() as u64;
            (written, false, replay)
        } else {
            (written, continues, replay)
        };
        ends.insert(seq, replay);
        let ops = written.ops.len() as u64;
        match run.filter(|_| continues) {
            Some(at) => {
                runs[at].ops += ops;
                runs[at].replay = replay;
                runs[at].versions.push(written);
            }
            None => runs.push(Run {
                base: reached.filter(|_| continues),
                parent: reached.filter(|p| p.thread != cell.uid || keep.contains(&p.seq)),
                ops,
                replay,
                versions: vec![written],
            }),
        }
    }
    // What this process goes on from is written last. The head of a reopened thread does not depend on that: it is the
    // version with the highest number, wherever that stands.
    let head = lock(&cell.ledger).head.map(|head| head.seq);
    let ends_with = |seq: Option<u64>| {
        let mut runs = runs.iter();
        runs.position(|run| run.versions.last().map(|w| w.meta.seq) == seq)
    };
    if let Some(at) = ends_with(head).or_else(|| ends_with(keep.last().copied())) {
        let run = runs.remove(at);
        runs.push(run);
    }
    Ok(runs)
}

fn whole(store: &Store, cell: &Cell, piece: &Piece, seq: u64) -> Result<Written> {
    let state = store.state_below(VersionId {
        thread: cell.uid,
        seq,
    })?;
    let mut writer = OpWriter::default();
    writer.put(&Op::Full { state });
    let mut meta = piece.meta.clone();
    meta.full = true;
    Ok(finish(meta, writer))
}

fn finish(mut meta: Meta, writer: OpWriter) -> Written {
    meta.ops = writer.bytes.len() as u64;
    meta.blocks = writer.blocks;
    Written {
        meta,
        ops: writer.bytes,
    }
}

/// The operations of several versions as those of one.
fn fold(pieces: &BTreeMap<u64, Piece>, seqs: &[u64], last: &Piece) -> Result<Written> {
    if seqs.len() == 1 {
        return Ok(Written {
            meta: last.meta.clone(),
            ops: last.ops.to_vec(),
        });
    }
    let mut ops = Vec::new();
    for piece in seqs.iter().filter_map(|seq| pieces.get(seq)) {
        let mut reader = OpReader::new("fold", &piece.ops, &piece.meta.blocks);
        while let Some(op) = reader.next()? {
            push_folded(&mut ops, op);
        }
    }
    let mut writer = OpWriter::default();
    ops.iter().for_each(|op| writer.put(op));
    Ok(finish(last.meta.clone(), writer))
}

/// A value that was set and set again is set once, at the first place (which decides the order of keys).
fn push_folded(ops: &mut Vec<Op>, op: Op) {
    let (Op::Set { path, .. } | Op::Renumber { path, .. }) = &op else {
        ops.push(op);
        return;
    };
    for earlier in ops.iter_mut().rev() {
        match earlier {
            Op::Set { path: other, .. } | Op::Renumber { path: other, .. }
                if pointer::is_same(path, other) =>
            {
                if let Some(both) = joined(earlier, &op) {
                    *earlier = both;
                    return;
                }
                break;
            }
            Op::Set { path: other, .. }
            | Op::Renumber { path: other, .. }
            | Op::Append { path: other, .. }
                if pointer::are_apart(path, other) => {}
            _ => break,
        }
    }
    ops.push(op);
}

/// Two operations that set the same value, as one.
fn joined(first: &Op, second: &Op) -> Option<Op> {
    match (first, second) {
        (_, Op::Set { .. }) => Some(second.clone()),
        (Op::Set { path, value }, Op::Renumber { differences, .. })
            if value.blocks().is_empty() =>
        {
            let value = renumbered(value.literals(), differences)?;
            Some(Op::Set {
                path: path.clone(),
                value: Bytes::from(value).into(),
            })
        }
        _ => None,
    }
}

fn write(
    store: &Store,
    cell: &Cell,
    run: &Run,
    number: u64,
    mut header: Header,
) -> Result<Vec<u8>> {
    let first = run.versions.first().map_or(1, |written| written.meta.seq);
    header.seq = first - 1;
    header.time = run.versions.first().map_or(0, |written| written.meta.time);
    let mut primed = dictionary(FORMAT, &State::Empty, 0);
    if let Some(base) = run.base {
        let mut state = store.state_below(base)?;
        header.size = state.len();
        header.prime = PRIME;
        primed = dictionary(FORMAT, &state, PRIME);
        let root = state.hash();
        header.parent = Some(Parent {
            id: base,
            is_base: true,
            root,
        });
    } else if let Some(id) = run.parent {
        header.parent = Some(Parent {
            id,
            is_base: false,
            root: 0,
        });
    }
    let effort = Effort::Sealed(store.options.seal_level, window_for(run.ops));
    let mut encoder = Encoder::new(effort, &primed)?;
    let mut writer = SegmentWriter::new(segment_key(cell.uid, number), header);
    let mut out = Vec::new();
    let mut metas = Vec::new();
    let mut ops = Vec::new();
    let count = run.versions.len();
    for (index, written) in run.versions.iter().enumerate() {
        metas.push(written.meta.clone());
        ops.extend_from_slice(&written.ops);
        let last = index + 1 == count;
        if last || ops.len() >= GROUP {
            let payload = if last {
                encoder.finish(&ops)?
            } else {
                encoder.flush(&ops)?
            };
            out.extend(writer.group(&metas, &payload, last, store.cipher())?);
            metas.clear();
            ops.clear();
        }
    }
    Ok(out)
}

fn window_for(bytes: u64) -> u32 {
    (bytes + PRIME).max(1 << 17).ilog2() + 1
}

/// Reads the new segment back from its bytes and checks every version in it.
fn prove(store: &Store, cell: &Cell, run: &Run, number: u64, bytes: &[u8]) -> Result<Segment> {
    let key = segment_key(cell.uid, number);
    let segment = Segment::parse(&key, &Bytes::copy_from_slice(bytes), store.cipher())?;
    let mut state = match run.base {
        Some(base) => store.state_below(base)?,
        None => State::Empty,
    };
    let replay = Replay::new(store, &key, &segment);
    let mut seen = 0;
    replay.each(
        &mut state,
        segment.groups.len().saturating_sub(1),
        &mut |meta, _, state, applied| {
            applied?;
            replay.check(meta, state)?;
            seen += 1;
            Ok(true)
        },
    )?;
    if seen != run.versions.len() {
        return Err(Error::damaged(&key, 0, "not every version was written"));
    }
    Ok(segment)
}

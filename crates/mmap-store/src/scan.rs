//! Ordered scans: a merge of the sorted runs of all segments.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::footer::{Directory, Entry, Order};
use crate::order;
use crate::place::Place;
use crate::queue::lock;
use crate::record::{Kind, hash_key};
use crate::segment::Segment;
use crate::store::Store;
use crate::table::Slot;

/// The pairs whose key begins with a prefix, made by [`Store::scan_prefix`](crate::Store::scan_prefix).
///
/// Memory: the keys of the active segment that match, and two blocks of 64 keys per sealed segment.
pub struct Scan {
    store: Store,
    runs: Vec<Run>,
    errors: VecDeque<Error>,
    /// Something is damaged, so that the newest record of a key may be missing among the runs: only
    /// what the index agrees with is shown.
    flawed: bool,
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("runs", &self.runs.len())
            .finish()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

enum Keys {
    Memory(Vec<Entry>),
    Footer(Arc<Directory>),
}

/// Where the winner lies, what it is, its key.
type Choice = (Arc<Segment>, Place, Kind, Box<[u8]>);

/// A block of a footer: number of its first entry, entries.
type Block = (usize, Arc<[Entry]>);

/// What one segment contributes: its entries number `low..high`.
struct Run {
    segment: Arc<Segment>,
    keys: Keys,
    low: usize,
    high: usize,
    front: Option<Block>,
    back: Option<Block>,
}

impl Scan {
    pub(crate) fn new(store: &Store, prefix: &[u8]) -> Result<Self> {
        let mut scan = Scan {
            store: store.clone(),
            runs: Vec::new(),
            errors: VecDeque::new(),
            flawed: false,
        };
        let (members, active) = scan.snapshot(prefix)?;
        for segment in members.into_iter().filter(|s| s.sealed) {
            let run = match Run::of_footer(&segment, prefix)? {
                Some(run) => run,
                None => scan.run_of_log(&segment, prefix)?,
            };
            scan.runs.push(run);
        }
        scan.runs.extend(active);
        Ok(scan)
    }

    /// The segments and, from the same instant, the active one's matching keys.
    fn snapshot(&mut self, prefix: &[u8]) -> Result<(Vec<Arc<Segment>>, Option<Run>)> {
        let inner = Arc::clone(&self.store.inner);
        let mut order = lock(&inner.order);
        let view = inner.view.load_full();
        let Some(active) = view.active() else {
            return Ok((view.members.clone(), None));
        };
        let order = match order.take() {
            Some(known) => order.insert(known),
            None => order.insert(order::build(active)?.0),
        };
        self.suspect(active, order);
        let run = Run::of_memory(active, matching(order, prefix));
        Ok((view.members.clone(), Some(run)))
    }

    /// For a segment without a good footer.
    fn run_of_log(&mut self, segment: &Arc<Segment>, prefix: &[u8]) -> Result<Run> {
        let (order, _) = order::build(segment)?;
        self.suspect(segment, &order);
        Ok(Run::of_memory(segment, matching(&order, prefix)))
    }

    /// Notes what the index says is in a flawed segment and its records do not bear out.
    fn suspect(&mut self, segment: &Segment, order: &Order) {
        if !segment.flawed.load(Ordering::Relaxed) {
            return;
        }
        self.flawed = true;
        let readable: HashSet<u64> = order.values().map(|v| v.offset).collect();
        let known = self.store.inner.view.load().index.entries_of(segment.id);
        for slot in known.unwrap_or_else(|e| self.unsure(e)) {
            let offset = slot.place.offset();
            if !readable.contains(&offset) {
                let error = segment.damaged(offset, "a record that exists cannot be read");
                self.errors.push_back(error);
            }
        }
    }

    /// Without the index nothing can be said of what is missing; that itself is said.
    fn unsure(&mut self, error: Error) -> Vec<Slot> {
        self.errors.push_back(error);
        Vec::new()
    }

    fn step(&mut self, end: End) -> Option<Result<(Bytes, Bytes)>> {
        loop {
            if let Some(error) = self.errors.pop_front() {
                return Some(Err(error));
            }
            for run in &mut self.runs {
                if let Err(e) = run.load(end) {
                    // Without this run older values could show: the scan ends here.
                    self.runs.clear();
                    return Some(Err(e));
                }
            }
            let (segment, place, kind, key) = self.choose(end)?;
            for run in &mut self.runs {
                if run.peek(end).is_some_and(|(k, _)| **k == *key) {
                    run.advance(end);
                }
            }
            if kind != Kind::Put {
                continue;
            }
            match self.flawed.then(|| self.is_stale(&key, place)) {
                Some(Err(e)) => return Some(Err(e)),
                Some(Ok(true)) => {}
                _ => return Some(fetch(&segment, place, &key)),
            }
        }
    }

    /// True if the index points elsewhere: to a damaged record (whose error was an item already),
    /// or nowhere because a damaged tombstone said so.
    fn is_stale(&self, key: &[u8], place: Place) -> Result<bool> {
        let hash = hash_key(self.store.inner.store_id, key);
        let index = &self.store.inner.view.load().index;
        Ok(!index.points_at(hash, place)?)
    }

    /// The outermost key and its newest version: the runs are in the order of age.
    fn choose(&self, end: End) -> Option<Choice> {
        let mut best: Option<(&Run, &Entry)> = None;
        for run in &self.runs {
            let Some(entry) = run.peek(end) else { continue };
            let wins = best.is_none_or(|(_, (key, _))| match end {
                End::Front => entry.0 <= *key,
                End::Back => entry.0 >= *key,
            });
            if wins {
                best = Some((run, entry));
            }
        }
        let (run, (key, version)) = best?;
        let place = Place::new(run.segment.id, version.offset, version.total(key.len()));
        Some((Arc::clone(&run.segment), place, version.kind, key.clone()))
    }
}

fn fetch(segment: &Segment, place: Place, key: &[u8]) -> Result<(Bytes, Bytes)> {
    let record = segment.read(place)?;
    match record.key() == key {
        true => segment.pair_of(record, place.offset()),
        false => Err(segment.damaged(place.offset(), "the footer names another key")),
    }
}

fn matching(order: &Order, prefix: &[u8]) -> Vec<Entry> {
    let range = (Bound::Included(prefix), Bound::Unbounded);
    order
        .range::<[u8], _>(range)
        .take_while(|(key, _)| key.starts_with(prefix))
        .map(|(key, version)| (key.clone(), *version))
        .collect()
}

/// The least key above all that begin with `prefix`; `None` when there is none.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|b| *b != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

/// The numbers of the first entry that begins with `prefix` and of the first behind those.
fn bounds(directory: &Directory, segment: &Segment, prefix: &[u8]) -> Result<(usize, usize)> {
    let find = |key: &[u8]| -> Result<usize> {
        let block = directory.block_before(key);
        let entries = directory.read(segment, block)?;
        Ok(directory.start_of(block) + entries.partition_point(|(k, _)| **k < *key))
    };
    if directory.len() == 0 {
        return Ok((0, 0));
    }
    let high = match successor(prefix) {
        Some(next) => find(&next)?,
        None => directory.len(),
    };
    Ok((find(prefix)?, high))
}

impl Run {
    fn of_memory(segment: &Arc<Segment>, keys: Vec<Entry>) -> Self {
        Self {
            high: keys.len(),
            segment: Arc::clone(segment),
            keys: Keys::Memory(keys),
            low: 0,
            front: None,
            back: None,
        }
    }

    /// The part of a footer whose keys begin with `prefix`; `None` when any of it is bad.
    fn of_footer(segment: &Arc<Segment>, prefix: &[u8]) -> Result<Option<Self>> {
        let directory = match segment.directory.get() {
            Some(known) => known.clone(),
            None => {
                let loaded = Directory::load(segment)?.map(Arc::new);
                segment.directory.get_or_init(|| loaded).clone()
            }
        };
        let Some(directory) = directory else {
            return Ok(None);
        };
        let (low, high) = match bounds(&directory, segment, prefix) {
            Err(Error::Damaged { .. }) => return Ok(None),
            found => found?,
        };
        if !directory.is_good(segment, low, high)? {
            return Ok(None);
        }
        Ok(Some(Self {
            segment: Arc::clone(segment),
            keys: Keys::Footer(directory),
            low,
            high,
            front: None,
            back: None,
        }))
    }

    fn position(&self, end: End) -> Option<usize> {
        (self.low < self.high).then(|| match end {
            End::Front => self.low,
            End::Back => self.high - 1,
        })
    }

    /// Reads the block that [`peek`](Self::peek) will look into.
    fn load(&mut self, end: End) -> Result<()> {
        let (Some(at), Keys::Footer(directory)) = (self.position(end), &self.keys) else {
            return Ok(());
        };
        let (block, start) = directory.block_of(at);
        let held = match end {
            End::Front => &mut self.front,
            End::Back => &mut self.back,
        };
        if held.as_ref().is_some_and(|(known, _)| *known == start) {
            return Ok(());
        }
        *held = Some((start, directory.read(&self.segment, block)?));
        Ok(())
    }

    fn peek(&self, end: End) -> Option<&Entry> {
        let at = self.position(end)?;
        let block = match (&self.keys, end) {
            (Keys::Memory(entries), _) => return entries.get(at),
            (Keys::Footer(_), End::Front) => &self.front,
            (Keys::Footer(_), End::Back) => &self.back,
        };
        let (start, entries) = block.as_ref()?;
        entries.get(at.checked_sub(*start)?)
    }

    fn advance(&mut self, end: End) {
        match end {
            End::Front => self.low += 1,
            End::Back => self.high -= 1,
        }
    }
}

impl Iterator for Scan {
    type Item = Result<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(End::Front)
    }
}

impl DoubleEndedIterator for Scan {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(End::Back)
    }
}

impl std::iter::FusedIterator for Scan {}

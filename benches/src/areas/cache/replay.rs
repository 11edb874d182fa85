//! Hit ratios on traces, as fractions of the clairvoyant optimum.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use anyhow::Result;
use foldhash::fast::RandomState;
use mainspring_inputs::{Trace, TraceFolder, TraceLimits};

use super::{
    peers::{Foyer, MiniMoka, Moka, MutexLru, Ours, Peer as Cache, QuickCache, Shape, Stretto},
    policies::{Tally, arc, lru, optimum},
};
use crate::{Bench, Measured, Peer, PerInput, Scale, areas::Unavailable, check};

/// Capacities, in percent of a trace's different keys.
const PERCENT: [usize; 3] = [1, 5, 10];
const OURS: &str = "ours";
/// Those that ours is to keep up with, wherever each is at its best.
const RIVALS: [&str; 5] = ["LRU", "ARC", "moka", "quick_cache", "foyer"];
const UNSETTLED: &str = "moka as it comes";

/// Every trace in every size through every cache.
pub(super) struct Replays {
    inputs: Vec<Replayed>,
    note: String,
}

pub(super) struct Replayed {
    name: String,
    phases: bool,
    accesses: u64,
    optimum: Tally,
    /// The crate lru, which has to agree with our LRU.
    lru: Tally,
    sides: Vec<Side>,
}

struct Side {
    name: &'static str,
    version: &'static str,
    tally: Tally,
    /// Most entries that were there at once, over the capacity.
    peak: f64,
    /// What no cache of that size can pass.
    bound: u64,
    wrong: u64,
}

impl Replays {
    pub(super) fn new(bench: &Bench) -> Result<Self> {
        let (traces, note) = traces(bench)?;
        Ok(Self {
            inputs: replayed(&traces),
            note,
        })
    }

    fn verify(&self, bench: &Bench) -> Result<()> {
        for input in &self.inputs {
            input.verify(bench)?;
        }
        Ok(())
    }

    fn per_input(&self) -> Vec<PerInput> {
        let inputs = self.inputs.iter();
        inputs.map(|input| input.per_input(&input.name)).collect()
    }

    fn mean(&self, name: &str, phases: bool) -> f64 {
        let counted = self.inputs.iter().filter(|input| phases || !input.phases);
        let fractions: Vec<f64> = counted.map(|input| input.fraction(name)).collect();
        fractions.iter().sum::<f64>() / fractions.len().max(1) as f64
    }
}

impl Replayed {
    /// Sees that every access was a hit or a miss, that every hit gave the right value, and that nobody
    /// knows the future better than the optimum.
    pub(super) fn verify(&self, bench: &Bench) -> Result<()> {
        let complete = |hits: u64, tally: &Tally| hits + tally.misses == self.accesses;
        let best = bench.answer(self.optimum.hits);
        check(complete(best, &self.optimum), "the optimum lost an access")?;
        for side in &self.sides {
            let hits = bench.answer(side.tally.hits);
            let what = format!("{} on {}", side.name, self.name);
            check(
                complete(hits, &side.tally),
                &format!("{what}: hits and misses are not the accesses"),
            )?;
            check(side.wrong == 0, &format!("{what}: another key's value"))?;
            check(hits <= side.bound, &format!("{what}: above the optimum"))?;
        }
        let lru = bench.answer(self.lru.hits);
        check(
            lru == self.side("LRU").tally.hits,
            "two LRUs that differ on the same trace",
        )
    }

    fn side(&self, name: &str) -> &Side {
        let side = self.sides.iter().find(|side| side.name == name);
        side.expect("every side replays every input")
    }

    fn ratio(&self, tally: &Tally) -> f64 {
        tally.hits as f64 / self.accesses.max(1) as f64
    }

    /// Hits of all that were attainable.
    fn fraction(&self, name: &str) -> f64 {
        if self.optimum.hits == 0 {
            return 1.0;
        }
        self.side(name).tally.hits as f64 / self.optimum.hits as f64
    }

    /// Points of the hit ratio below the best of those named and ours.
    fn below_best(&self, name: &str) -> f64 {
        let points = |name: &str| 100.0 * self.ratio(&self.side(name).tally);
        let best = RIVALS.iter().map(|rival| points(rival));
        best.fold(points(OURS), f64::max) - points(name)
    }

    /// Hit ratios and peak residencies, under a name.
    pub(super) fn per_input(&self, name: &str) -> PerInput {
        let mut values = BTreeMap::from([("optimum".to_owned(), self.ratio(&self.optimum))]);
        for side in &self.sides {
            values.insert(side.name.to_owned(), self.ratio(&side.tally));
            if !matches!(side.name, "LRU" | "ARC") {
                values.insert(format!("peak {}", side.name), side.peak);
            }
        }
        values.insert("fraction".to_owned(), self.fraction(OURS));
        values.insert("points below best".to_owned(), self.below_best(OURS));
        PerInput {
            input: name.to_owned(),
            values,
        }
    }
}

/// The mean fraction of the optimum.
pub(super) fn policy(bench: &Bench) -> Result<Measured> {
    let replays = bench.fixture(|| Replays::new(bench))?;
    replays.verify(bench)?;
    let ours = replays.mean(OURS, true);
    let within = |name: &str| {
        let mut inputs = replays.inputs.iter();
        inputs.all(|input| input.side(name).peak <= 1.05)
    };
    // Who holds more than its capacity is no peer at this capacity; the inputs still show it.
    let sides = replays.inputs[0].sides.iter();
    let peers = sides
        .filter(|side| side.name != OURS && within(side.name))
        .map(|side| Peer::counted(side.name, side.version, replays.mean(side.name, true), ours));
    Ok(Measured::counted(ours)
        .beside("of the optimum", ours, peers.collect())
        .more_is_better()
        .on_inputs(replays.per_input())
        .noting(format!(
            "{:.3} without the concatenation; {}",
            replays.mean(OURS, false),
            replays.note
        )))
}

/// The most points that ours is below the best on any one input.
pub(super) fn worst(bench: &Bench) -> Result<Measured> {
    let replays = bench.fixture(|| Replays::new(bench))?;
    replays.verify(bench)?;
    let worst = |name: &str| {
        let inputs = replays.inputs.iter();
        let by_points = |a: &&Replayed, b: &&Replayed| {
            let (a, b) = (a.below_best(name), b.below_best(name));
            a.total_cmp(&b)
        };
        inputs.max_by(by_points).expect("there is an input")
    };
    let ours = worst(OURS);
    let points = ours.below_best(OURS);
    let peers = RIVALS.iter().map(|rival| {
        let version = ours.side(rival).version;
        // Nobody is best everywhere; a ratio to zero would be no number.
        let theirs = worst(rival).below_best(rival).max(0.01);
        Peer::counted(rival, version, theirs, points)
    });
    Ok(Measured::counted(points)
        .beside("points", points, peers.collect())
        .on_inputs(vec![ours.per_input(&ours.name)])
        .noting(format!("worst on {}; {}", ours.name, replays.note)))
}

/// The traces of the folder, or a generated one, and a remark about them.
fn traces(bench: &Bench) -> Result<(Vec<Trace>, String)> {
    let scale = bench.scale();
    let Some(folder) = &bench.options().traces else {
        if scale != Scale::Tiny {
            let missing = "its bar is that of public traces: pass their folder with --traces DIR";
            return Err(Unavailable(missing.to_owned()).into());
        }
        let trace = Trace::generated(7, scale.pick(2_000, 60_000, 400_000));
        return Ok((vec![trace], "a generated trace".to_owned()));
    };
    let limits = TraceLimits {
        first: scale.pick(Some(1_000), Some(60_000), None),
        ..TraceLimits::default()
    };
    let mut found = TraceFolder::read(folder, &limits)?;
    let aside = set_aside(&mut found);
    if found.traces.is_empty() {
        let none = format!("no traces in {}{aside}", folder.display());
        return Err(Unavailable(none).into());
    }
    let mut note = match limits.first {
        Some(first) => format!("the first {first} keys of each trace"),
        None => "whole traces".to_owned(),
    };
    note.push_str(&aside);
    if found.traces.len() > 1 {
        let each = scale.pick(500, 20_000, 100_000);
        found.traces.push(Trace::phases(&found.traces, each, 2));
    }
    Ok((found.traces, note))
}

/// Takes out what cannot be replayed, and names each file with the reason.
fn set_aside(found: &mut TraceFolder) -> String {
    let mut note = String::new();
    if !found.others.is_empty() {
        note.push_str(&format!("; {} files are no traces", found.others.len()));
    }
    for error in &found.damaged {
        note.push_str(&format!("; set aside: {error}"));
    }
    found.traces.retain(|trace| {
        if trace.keys.is_empty() {
            note.push_str(&format!("; set aside: {}: no keys", trace.name));
        }
        !trace.keys.is_empty()
    });
    note
}

/// Replays are counted and not timed: as many at once as there are cores.
fn replayed(traces: &[Trace]) -> Vec<Replayed> {
    let jobs: Vec<_> = traces
        .iter()
        .flat_map(|trace| PERCENT.map(|percent| (trace, percent)))
        .collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((trace, percent)) = jobs.get(at) else {
                        break;
                    };
                    let replayed = replay_all(trace, *percent);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((at, replayed));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, replayed)| replayed).collect()
}

fn replay_all(trace: &Trace, percent: usize) -> Replayed {
    let (keys, unique) = trace.numbered();
    let entries = (unique * percent / 100).max(1);
    let mut replayed = at_capacity(&keys, unique, entries);
    replayed.name = format!("{} {percent} % ({entries} entries)", trace.name);
    replayed.phases = trace.name == "phases";
    replayed
}

/// The keys through every cache of that size.
pub(super) fn at_capacity(keys: &[u32], unique: usize, entries: usize) -> Replayed {
    let best = optimum(keys, unique, entries);
    let reference = |name, tally| Side {
        name,
        version: "by the book",
        tally,
        peak: 1.0,
        bound: best.hits,
        wrong: 0,
    };
    let measured = |name, run: Run| {
        let mut side = run(name, keys, entries);
        // One that takes more room than it was given is held to what that room allows; the 64 are what
        // it may have held between two counts.
        let room = (side.peak * entries as f64).ceil() as usize + 64;
        side.bound = if side.peak > 1.0 {
            optimum(keys, unique, room).hits
        } else {
            best.hits
        };
        side
    };
    Replayed {
        name: String::new(),
        phases: false,
        accesses: keys.len() as u64,
        optimum: best,
        lru: replay::<MutexLru<u64>>("", keys, entries).tally,
        sides: vec![
            measured(OURS, replay::<Ours<u64>>),
            measured("quick_cache", replay::<QuickCache<u64>>),
            measured("foyer", replay::<Foyer<u64>>),
            measured("moka", replay::<Moka<u64>>),
            measured("mini-moka", replay::<MiniMoka<u64>>),
            measured("stretto", replay::<Unsettled<Stretto<u64>>>),
            measured(UNSETTLED, replay::<CountedMoka>),
            reference("LRU", lru(keys, unique, entries)),
            reference("ARC", arc(keys, unique, entries)),
        ],
    }
}

type Run = fn(&'static str, &[u32], usize) -> Side;

/// Asks for every key and inserts those that are not there. What a cache puts off is done after every
/// insert, so that it holds the capacity that the others hold.
fn replay<P: Cache<u64>>(name: &'static str, keys: &[u32], entries: usize) -> Side {
    let cache = P::new(entries, Shape::OnePiece);
    let mut tally = Tally::default();
    let (mut wrong, mut peak) = (0, 0);
    for key in keys {
        let key = u64::from(*key);
        let found = cache.get(&key);
        tally.count(found.is_some());
        match found {
            Some(value) => wrong += u64::from(value != key + 1),
            None => {
                cache.insert(key, key + 1);
                cache.settle();
                peak = peak.max(cache.len());
            }
        }
    }
    Side {
        name,
        version: P::VERSION,
        tally,
        peak: peak as f64 / entries as f64,
        bound: 0,
        wrong,
    }
}

/// A cache that is not waited for: stretto's thread takes tens of microseconds an insert. What it holds is
/// counted now and then, because that takes as long.
struct Unsettled<P> {
    cache: P,
    asked: AtomicUsize,
}

impl<P: Cache<u64>> Cache<u64> for Unsettled<P> {
    const NAME: &'static str = P::NAME;
    const VERSION: &'static str = P::VERSION;

    fn new(capacity: usize, shape: Shape) -> Self {
        Self {
            cache: P::new(capacity, shape),
            asked: AtomicUsize::new(0),
        }
    }

    fn get(&self, key: &u64) -> Option<u64> {
        self.cache.get(key)
    }

    fn insert(&self, key: u64, value: u64) {
        self.cache.insert(key, value);
    }

    fn len(&self) -> usize {
        if self
            .asked
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(32)
        {
            self.cache.len()
        } else {
            0
        }
    }
}

/// moka as it comes: evicting when it gets round to it, with what it holds counted from outside.
struct CountedMoka {
    cache: Moka<u64>,
    resident: Arc<AtomicI64>,
}

impl Cache<u64> for CountedMoka {
    const NAME: &'static str = UNSETTLED;
    const VERSION: &'static str = <Moka<u64> as Cache<u64>>::VERSION;

    fn new(capacity: usize, _: Shape) -> Self {
        let resident = Arc::new(AtomicI64::new(0));
        let counter = Arc::clone(&resident);
        let builder = moka::sync::Cache::<u64, u64>::builder().max_capacity(capacity as u64);
        let cache = builder
            .eviction_listener(move |_, _, _| {
                counter.fetch_sub(1, Ordering::Relaxed);
            })
            .build_with_hasher(RandomState::default());
        Self { cache, resident }
    }

    fn get(&self, key: &u64) -> Option<u64> {
        self.cache.get(key)
    }

    fn insert(&self, key: u64, value: u64) {
        self.resident.fetch_add(1, Ordering::Relaxed);
        self.cache.insert(key, value);
    }

    fn len(&self) -> usize {
        usize::try_from(self.resident.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

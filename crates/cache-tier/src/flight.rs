//! One lookup and one load per key at a time, whoever asks.

use crate::error::SharedError;
use crate::key::Key;
use crate::label::Label;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};
use hashbrown::hash_map::Entry;
use hashbrown::{Equivalent, HashMap};
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// How a flight ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome<V> {
    Found(V),
    /// No tier has it, and this flight had no loader.
    Missing,
    Failed(SharedError),
    /// The leader was dropped or panicked: somebody else leads next.
    Abandoned,
}

/// One key being looked up or loaded.
#[derive(Debug)]
pub(crate) struct Flight<V> {
    key: Key,
    /// Logical time: what this flight brings was read no earlier.
    birth: AtomicU64,
    labels: Vec<Label>,
    signature: Option<u64>,
    /// Set once the key was written or invalidated: nothing of this flight is published from then on.
    superseded: AtomicBool,
    state: Mutex<State<V>>,
}

#[derive(Debug)]
struct State<V> {
    outcome: Option<Outcome<V>>,
    waiting: Vec<Option<Waker>>,
}

impl<V> Flight<V> {
    pub(crate) fn birth(&self) -> u64 {
        self.birth.load(Ordering::Acquire)
    }

    /// Other processes' invalidations were learnt before anything was read.
    pub(crate) fn advance(&self, birth: u64) {
        self.birth.store(birth, Ordering::Release);
    }

    fn land(&self, outcome: Outcome<V>) {
        let waiting = {
            let mut state = self.state.lock();
            if state.outcome.is_some() {
                return;
            }
            state.outcome = Some(outcome);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}

/// The flights under way.
#[derive(Debug)]
pub(crate) struct Flights<V> {
    flights: Mutex<HashMap<Key, Arc<Flight<V>>, foldhash::fast::RandomState>>,
}

/// What a caller that found nothing in memory does next.
pub(crate) enum Join<'a, V> {
    Lead(Leader<'a, V>),
    Follow(Follower<V>),
}

/// What a caller wants from a flight.
pub(crate) struct Wanted<'a> {
    pub(crate) key: &'a Key,
    pub(crate) labels: &'a [Label],
    pub(crate) signature: Option<u64>,
    pub(crate) birth: u64,
    /// The time now, in milliseconds.
    pub(crate) now: u64,
}

impl<V: Clone> Flights<V> {
    pub(crate) fn new() -> Self {
        Self {
            flights: Mutex::new(HashMap::default()),
        }
    }

    /// Joins the flight of that key, unless it began before an invalidation that `is_stale` knows of, or is
    /// for another signature than the one wanted: then a new one takes its place.
    pub(crate) fn join(
        &self,
        wanted: &Wanted<'_>,
        is_stale: impl Fn(u64, &[Label]) -> bool,
    ) -> Join<'_, V> {
        let mut flights = self.flights.lock();
        let entry = flights.entry(wanted.key.clone());
        if let Entry::Occupied(found) = &entry {
            let flight = found.get();
            let birth = flight.birth();
            let signed = wanted.signature.is_none() || flight.signature == wanted.signature;
            let usable =
                signed && !is_stale(birth, &flight.labels) && !is_stale(birth, wanted.labels);
            if usable {
                return Join::Follow(Follower {
                    flight: Arc::clone(flight),
                    slot: None,
                });
            }
            flight.superseded.store(true, Ordering::Release);
        }
        let flight = Arc::new(Flight {
            key: wanted.key.clone(),
            birth: AtomicU64::new(wanted.birth),
            labels: wanted.labels.to_vec(),
            signature: wanted.signature,
            superseded: AtomicBool::new(false),
            state: Mutex::new(State {
                outcome: None,
                waiting: Vec::new(),
            }),
        });
        match entry {
            Entry::Occupied(mut found) => {
                found.insert(Arc::clone(&flight));
            }
            Entry::Vacant(free) => {
                free.insert(Arc::clone(&flight));
            }
        }
        Join::Lead(Leader {
            flights: self,
            flight,
            began: wanted.now,
            landed: false,
        })
    }

    /// The key is being written or invalidated: its flight publishes nothing any more, and whoever asks
    /// from now on starts another. `also` runs before any other flight of the key can publish.
    pub(crate) fn supersede<R, Q>(&self, key: &Q, also: impl FnOnce() -> R) -> R
    where
        Q: Hash + Equivalent<Key> + ?Sized,
    {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.remove(key) {
            flight.superseded.store(true, Ordering::Release);
        }
        also()
    }

    pub(crate) fn supersede_all<R>(&self, also: impl FnOnce() -> R) -> R {
        let mut flights = self.flights.lock();
        for (_, flight) in flights.drain() {
            flight.superseded.store(true, Ordering::Release);
        }
        also()
    }

    pub(crate) fn len(&self) -> usize {
        self.flights.lock().len()
    }
}

/// The one that does the work. Dropped before it landed (cancelled, panicked), it hands over.
pub(crate) struct Leader<'a, V> {
    flights: &'a Flights<V>,
    pub(crate) flight: Arc<Flight<V>>,
    /// The time when it began, in milliseconds.
    pub(crate) began: u64,
    landed: bool,
}

impl<V> Leader<'_, V> {
    /// Runs `publish` unless the flight was superseded; no invalidation of the key comes between the check
    /// and the end of `publish`.
    pub(crate) fn publish(&self, publish: impl FnOnce()) -> bool {
        let _held = self.flights.flights.lock();
        let current = !self.flight.superseded.load(Ordering::Acquire);
        if current {
            publish();
        }
        current
    }

    pub(crate) fn is_superseded(&self) -> bool {
        self.flight.superseded.load(Ordering::Acquire)
    }

    pub(crate) fn land(mut self, outcome: Outcome<V>) {
        self.landed = true;
        self.leave();
        self.flight.land(outcome);
    }

    fn leave(&self) {
        let mut flights = self.flights.flights.lock();
        if flights
            .get(&self.flight.key)
            .is_some_and(|flight| Arc::ptr_eq(flight, &self.flight))
        {
            flights.remove(&self.flight.key);
        }
    }
}

impl<V> Drop for Leader<'_, V> {
    fn drop(&mut self) {
        if !self.landed {
            self.leave();
            self.flight.land(Outcome::Abandoned);
        }
    }
}

/// One that waits for the leader. Dropped, it leaves nothing behind.
pub(crate) struct Follower<V> {
    flight: Arc<Flight<V>>,
    slot: Option<usize>,
}

impl<V: Clone> Future for Follower<V> {
    type Output = Outcome<V>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome<V>> {
        let this = self.get_mut();
        let mut state = this.flight.state.lock();
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(outcome.clone());
        }
        let waker = Some(context.waker().clone());
        match this.slot {
            Some(slot) => state.waiting[slot] = waker,
            None => {
                let free = state.waiting.iter().position(Option::is_none);
                let slot = free.unwrap_or(state.waiting.len());
                if free.is_none() {
                    state.waiting.push(None);
                }
                state.waiting[slot] = waker;
                this.slot = Some(slot);
            }
        }
        Poll::Pending
    }
}

impl<V> Drop for Follower<V> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot
            && let Some(place) = self.flight.state.lock().waiting.get_mut(slot)
        {
            *place = None;
        }
    }
}

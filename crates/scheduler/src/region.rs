//! Which region of an endpoint answers soonest.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{Balancer, Error, ExecutorStats, Lease};

/// Another region must be this much quicker before everybody moves there.
const WORTH_MOVING: f64 = 0.8;
/// Share of a new latency in a region's average: of the one where everybody goes, and of the others, which are seldom
/// measured.
const LEARN: f64 = 0.2;
const LEARN_ELSEWHERE: f64 = 0.5;
/// One pick in so many goes to the region that was measured longest ago.
const LOOK_ELSEWHERE: u64 = 32;

struct Region<E> {
    name: String,
    executors: Balancer<E>,
    /// Seconds; `None` until something came back.
    latency: Option<f64>,
    /// The pick by which it was last chosen.
    chosen: u64,
}

struct Map<E> {
    regions: Vec<Region<E>>,
    /// Where everybody goes.
    home: Option<String>,
    picks: u64,
    seed: u64,
}

/// The figures of one region.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RegionStats {
    /// Its name.
    pub name: String,
    /// Moving average of what came back well; `None` while unknown.
    pub latency: Option<Duration>,
    /// Whether work goes there now.
    pub home: bool,
    /// Its executors.
    pub executors: Vec<ExecutorStats>,
}

/// The regions of an endpoint: work goes to the one with the lowest measured latency that has a healthy executor, there to
/// one of its executors by a [`Balancer`] of its own.
///
/// Each region is tried once at first. From then on it takes a latency below 0.8 of the present one's to move everybody,
/// so that two alike do not take turns, and one pick in 32 goes to the region that was not measured for longest, so that
/// one which became quicker is found. Clones share. Picking is O(regions + executors).
///
/// ```
/// # use mainspring_scheduler::Regions;
/// # use std::time::Duration;
/// let regions = Regions::new(7);
/// regions.add("eu", "eu-1", 1.0, "https://eu.example");
/// regions.add("us", "us-1", 1.0, "https://us.example");
/// let lease = regions.pick(Duration::ZERO)?;
/// assert!(lease.executor().starts_with("https://"));
/// lease.finish(true, Duration::from_millis(80));
/// # Ok::<(), mainspring_scheduler::Error>(())
/// ```
pub struct Regions<E> {
    map: Arc<Mutex<Map<E>>>,
}

impl<E> Regions<E> {
    /// No regions yet; draws are made from the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let map = Map {
            regions: Vec::new(),
            home: None,
            picks: 0,
            seed,
        };
        Self {
            map: Arc::new(Mutex::new(map)),
        }
    }

    /// Adds an executor to a region, which is there from its first executor on; see [`Balancer::add`].
    pub fn add(&self, region: &str, name: impl Into<String>, weight: f64, executor: E) {
        let mut map = self.lock();
        let executors = match map.regions.iter().find(|known| known.name == region) {
            Some(known) => known.executors.clone(),
            None => {
                let executors = Balancer::new(map.seed.wrapping_add(map.regions.len() as u64));
                map.regions.push(Region {
                    name: region.to_owned(),
                    executors: executors.clone(),
                    latency: None,
                    chosen: 0,
                });
                executors
            }
        };
        drop(map);
        executors.add(name, weight, executor);
    }

    /// Takes a region out; work that it has goes on. Returns whether it was there.
    pub fn remove(&self, region: &str) -> bool {
        let mut map = self.lock();
        let index = map.regions.iter().position(|known| known.name == region);
        let removed = index.map(|index| map.regions.remove(index));
        drop(map);
        removed.is_some()
    }

    /// Picks a region and in it an executor, for one piece of work.
    ///
    /// # Errors
    /// [`Error::NoExecutor`] when the executors of all regions are ejected, or there are none.
    pub fn pick(&self, now: Duration) -> Result<RegionLease<E>, Error> {
        let mut map = self.lock();
        map.picks += 1;
        let mut soonest: Option<Duration> = None;
        for index in map.order() {
            let region = &map.regions[index];
            match region.executors.pick(now) {
                Ok(lease) => {
                    let name = region.name.clone();
                    map.regions[index].chosen = map.picks;
                    drop(map);
                    return Ok(RegionLease {
                        map: self.map.clone(),
                        region: name,
                        started: now,
                        lease,
                    });
                }
                Err(Error::NoExecutor { retry_after }) if !region.executors.is_empty() => {
                    let sooner = soonest.map_or(retry_after, |at| at.min(retry_after));
                    soonest = Some(sooner);
                }
                Err(_) => {}
            }
        }
        Err(Error::NoExecutor {
            retry_after: soonest.unwrap_or(Duration::ZERO),
        })
    }

    /// The figures of every region.
    #[must_use]
    pub fn stats(&self) -> Vec<RegionStats> {
        let map = self.lock();
        let stats = map.regions.iter().map(|region| RegionStats {
            name: region.name.clone(),
            latency: region
                .latency
                .map(|latency| Duration::try_from_secs_f64(latency).unwrap_or(Duration::MAX)),
            home: map.home.as_ref() == Some(&region.name),
            executors: region.executors.stats(),
        });
        stats.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Map<E>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E> Map<E> {
    /// All regions, the one to be tried first in front: one that is to be measured, home, then by latency.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.regions.len()).collect();
        let looks = self.picks.is_multiple_of(LOOK_ELSEWHERE);
        order.sort_by(|&a, &b| {
            let (a, b) = (&self.regions[a], &self.regions[b]);
            let rank = |region: &Region<E>| {
                // One that cannot be looked at now must not keep the next from it.
                let looked_at = if looks { region.chosen } else { u64::MAX };
                let untried = region.chosen == 0;
                let home = self.home.as_ref() == Some(&region.name);
                (!untried, looked_at, !home)
            };
            let latency = |region: &Region<E>| region.latency.unwrap_or(f64::MAX);
            rank(a)
                .cmp(&rank(b))
                .then(latency(a).total_cmp(&latency(b)))
        });
        order
    }

    /// Something came back from a region.
    fn learn(&mut self, name: &str, taken: Duration) {
        let taken = taken.as_secs_f64();
        let share = match self.home.as_deref() == Some(name) {
            true => LEARN,
            false => LEARN_ELSEWHERE,
        };
        let Some(region) = self.regions.iter_mut().find(|region| region.name == name) else {
            return;
        };
        let latency = match region.latency {
            None => taken,
            Some(latency) => latency + share * (taken - latency),
        };
        region.latency = Some(latency);
        let best = self.regions.iter().filter_map(|region| {
            let latency = region.latency?;
            Some((latency, &region.name))
        });
        let Some((latency, best)) = best.min_by(|a, b| a.0.total_cmp(&b.0)) else {
            return;
        };
        let home = self.home.as_ref().and_then(|home| {
            let region = self.regions.iter().find(|region| region.name == *home)?;
            region.latency
        });
        if home.is_none_or(|home| latency < WORTH_MOVING * home) {
            self.home = Some(best.clone());
        }
    }
}

impl<E> Clone for Regions<E> {
    fn clone(&self) -> Self {
        Self {
            map: self.map.clone(),
        }
    }
}

impl<E> fmt::Debug for Regions<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.stats()).finish()
    }
}

/// One piece of work on one executor of a region. Dropped unfinished (cancelled), it counts neither way.
#[must_use = "dropping the lease ends it"]
pub struct RegionLease<E> {
    map: Arc<Mutex<Map<E>>>,
    region: String,
    started: Duration,
    lease: Lease<E>,
}

impl<E> RegionLease<E> {
    /// The executor.
    #[must_use]
    pub fn executor(&self) -> &Arc<E> {
        self.lease.executor()
    }

    /// The region's name.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The work ended: well or not, at this time. Failures say nothing about latency; five in a row eject the executor.
    pub fn finish(self, success: bool, now: Duration) {
        if success {
            let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
            map.learn(&self.region, now.saturating_sub(self.started));
        }
        self.lease.finish(success, now);
    }
}

impl<E> fmt::Debug for RegionLease<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegionLease")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

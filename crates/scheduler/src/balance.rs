//! Which of several executors gets the next piece of work.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::Error;

/// Failures in a row that eject an executor.
const EJECT_AFTER: u32 = 5;
/// How long the first ejection lasts; doubles with each further one in a row.
const FIRST_EJECTION: Duration = Duration::from_secs(5);
const LONGEST_EJECTION: Duration = Duration::from_secs(300);
/// Share of a new latency in the moving average.
const LEARN: f64 = 0.2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Well,
    /// Until then; after that, one piece of work at a time tries it.
    Ejected(Duration),
}

struct Member<E> {
    name: String,
    executor: Arc<E>,
    weight: f64,
    /// Seconds; a new executor counts as quick, so that it is tried.
    latency: f64,
    in_flight: usize,
    failures_in_row: u32,
    ejections_in_row: u32,
    health: Health,
    done: u64,
    failed: u64,
}

impl<E> Member<E> {
    fn may_take(&self, now: Duration) -> bool {
        match self.health {
            Health::Well => true,
            Health::Ejected(until) => until <= now && self.in_flight == 0,
        }
    }

    /// Expected wait: lower is better.
    fn load(&self) -> f64 {
        (self.latency + 1e-6) * (self.in_flight + 1) as f64 / self.weight
    }
}

struct Pool<E> {
    members: Vec<Member<E>>,
    random: fastrand::Rng,
}

/// The figures of one executor.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ExecutorStats {
    /// Its name.
    pub name: String,
    /// Pieces of work it has now.
    pub in_flight: usize,
    /// Moving average of its latency.
    pub latency: Duration,
    /// Ended well.
    pub done: u64,
    /// Failed.
    pub failed: u64,
    /// Whether it gets no work for now.
    pub ejected: bool,
}

/// Spreads work over executors by the power of two choices (Mitzenmacher 2001): of two
/// drawn by chance, the one with the lower measured latency × work in flight / weight. Five failures in a row eject
/// an executor for 5 s, doubling up to 300 s; afterwards one piece of work at a time probes it. Clones share.
///
/// Picking is O(executors). Whatever can execute fits: a client, a handle, a tower service (which `BalancedService` calls,
/// feature `tower`). Where it stands matters too: [`Regions`](crate::Regions).
///
/// ```
/// # use mainspring_scheduler::Balancer;
/// # use std::time::Duration;
/// let hosts = Balancer::new(7);
/// hosts.add("a", 1.0, "https://a.example");
/// hosts.add("b", 1.0, "https://b.example");
/// let lease = hosts.pick(Duration::ZERO)?;
/// assert!(lease.executor().starts_with("https://"));
/// lease.finish(true, Duration::from_millis(80));
/// # Ok::<(), mainspring_scheduler::Error>(())
/// ```
pub struct Balancer<E> {
    pool: Arc<Mutex<Pool<E>>>,
}

impl<E> Balancer<E> {
    /// No executors yet; draws are made from the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let pool = Pool {
            members: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
        };
        Self {
            pool: Arc::new(Mutex::new(pool)),
        }
    }

    /// Adds an executor; `weight` is relative to the others' (1.0 where it is no positive number). An executor of
    /// the same name is replaced.
    pub fn add(&self, name: impl Into<String>, weight: f64, executor: E) {
        let name = name.into();
        self.remove(&name);
        self.lock().members.push(Member {
            name,
            executor: Arc::new(executor),
            weight: if weight.is_finite() && weight > 0.0 {
                weight
            } else {
                1.0
            },
            latency: 0.0,
            in_flight: 0,
            failures_in_row: 0,
            ejections_in_row: 0,
            health: Health::Well,
            done: 0,
            failed: 0,
        });
    }

    /// Takes an executor out; work that it has goes on. Returns whether it was there.
    pub fn remove(&self, name: &str) -> bool {
        let removed = {
            let mut pool = self.lock();
            let index = pool.members.iter().position(|member| member.name == name);
            index.map(|index| pool.members.remove(index))
        };
        removed.is_some()
    }

    /// Picks an executor for one piece of work.
    ///
    /// # Errors
    /// [`Error::NoExecutor`] when all are ejected or none was added.
    pub fn pick(&self, now: Duration) -> Result<Lease<E>, Error> {
        let mut guard = self.lock();
        let pool = &mut *guard;
        let able = |member: &Member<E>| member.may_take(now);
        // One whose ejection is over goes first: it is the only way back, and it is tried alone.
        let probe = pool
            .members
            .iter()
            .position(|m| m.health != Health::Well && able(m));
        let chosen = match probe {
            Some(index) => index,
            None => {
                let well: Vec<usize> = (0..pool.members.len())
                    .filter(|&i| able(&pool.members[i]))
                    .collect();
                let Some(&first) = pool.random.choice(&well) else {
                    return Err(Error::NoExecutor {
                        retry_after: next_try(&pool.members, now),
                    });
                };
                let others: Vec<usize> = well.into_iter().filter(|&index| index != first).collect();
                match pool.random.choice(&others) {
                    Some(&second) if pool.members[second].load() < pool.members[first].load() => {
                        second
                    }
                    _ => first,
                }
            }
        };
        let member = &mut pool.members[chosen];
        member.in_flight += 1;
        Ok(Lease {
            pool: self.pool.clone(),
            executor: member.executor.clone(),
            name: member.name.clone(),
            started: now,
            ended: None,
        })
    }

    /// Whether no executor was added, or all were taken out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().members.is_empty()
    }

    /// The figures of every executor.
    #[must_use]
    pub fn stats(&self) -> Vec<ExecutorStats> {
        let pool = self.lock();
        let stats = pool.members.iter().map(|member| ExecutorStats {
            name: member.name.clone(),
            in_flight: member.in_flight,
            latency: Duration::try_from_secs_f64(member.latency).unwrap_or(Duration::MAX),
            done: member.done,
            failed: member.failed,
            ejected: member.health != Health::Well,
        });
        stats.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Pool<E>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn next_try<E>(members: &[Member<E>], now: Duration) -> Duration {
    let until = members.iter().map(|member| match member.health {
        Health::Ejected(until) => until,
        Health::Well => now,
    });
    until
        .min()
        .map_or(Duration::ZERO, |until| until.saturating_sub(now))
}

impl<E> Clone for Balancer<E> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
        }
    }
}

impl<E> fmt::Debug for Balancer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.stats()).finish()
    }
}

/// One piece of work on one executor. Dropped unfinished (cancelled), it counts neither way.
#[must_use = "dropping the lease ends it"]
pub struct Lease<E> {
    pool: Arc<Mutex<Pool<E>>>,
    executor: Arc<E>,
    name: String,
    started: Duration,
    ended: Option<(bool, Duration)>,
}

impl<E> Lease<E> {
    /// The executor.
    #[must_use]
    pub fn executor(&self) -> &Arc<E> {
        &self.executor
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The work ended: well or not, at this time.
    pub fn finish(mut self, success: bool, now: Duration) {
        self.ended = Some((success, now));
    }
}

impl<E> Drop for Lease<E> {
    fn drop(&mut self) {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |member: &&mut Member<E>| Arc::ptr_eq(&member.executor, &self.executor);
        let Some(member) = pool.members.iter_mut().find(same) else {
            return;
        };
        member.in_flight = member.in_flight.saturating_sub(1);
        let Some((success, now)) = self.ended else {
            return;
        };
        let taken = now.saturating_sub(self.started).as_secs_f64();
        if success {
            member.latency += if member.done == 0 {
                taken
            } else {
                LEARN * (taken - member.latency)
            };
            member.done += 1;
            member.failures_in_row = 0;
            member.ejections_in_row = 0;
            member.health = Health::Well;
            return;
        }
        member.failed += 1;
        member.failures_in_row = member.failures_in_row.saturating_add(1);
        let eject = match member.health {
            Health::Well => member.failures_in_row >= EJECT_AFTER,
            // Work that was under way at the ejection tells nothing new; a probe does.
            Health::Ejected(until) => self.started >= until,
        };
        if eject {
            let pause = FIRST_EJECTION.saturating_mul(1 << member.ejections_in_row.min(8));
            member.ejections_in_row = member.ejections_in_row.saturating_add(1);
            member.health = Health::Ejected(now.saturating_add(pause.min(LONGEST_EJECTION)));
        }
    }
}

impl<E> fmt::Debug for Lease<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

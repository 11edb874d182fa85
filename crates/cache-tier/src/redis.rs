//! A tier that several machines share: Redis or Valkey.

use crate::breaker::Breaker;
use crate::change::{Change, Tell};
use crate::clock::Clock;
use crate::entry::TierEntry;
use crate::error::Error;
use crate::key::Key;
use crate::label::Label;
use crate::record;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::tier::{Marks, Tier, TierFuture};
use crate::tracking::{LATEST, Link, field, unfield};
use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline};
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// A tier in Redis or Valkey, which several processes and machines share. Feature `redis`; needs tokio.
///
/// - **Fail-open**: every call ends within the timeout, and after five failures in a row the server is not
///   asked for a second. The cache goes on without the tier, and empties it before it uses it again when it missed
///   an invalidation or a removal meanwhile; a process that ends before has not done so. Opening a cache
///   is the exception: while the server is down it fails.
/// - **Invalidation across processes**: epochs of labels live in one hash, without an expiry, and the server
///   orders them. Before a lookup or a load that memory could not answer, and before an insertion, their readings
///   are fetched; where that fails, the lookup goes without the tier. What
///   another process has in memory it serves until its time to live there ends: that is the bound of staleness.
///   With [`TieredCache::track`](crate::TieredCache::track) running, the server tells each process what the others
///   write and invalidate, and the bound is a second.
/// - Entries expire by `PX`; the keys are `<namespace>:{<hash of the scope>}:<digest>`, so that a scope stays on one
///   node of a cluster behind a proxy. `get_many` is one pipeline.
/// - When the server loses the hash of epochs (flushed, evicted, restarted empty) every entry it still has
///   is dead, for each carries the identity of the hash it was written under.
pub struct RedisTier {
    client: Client,
    namespace: String,
    timeout: Duration,
    link: Mutex<Option<Link>>,
    /// Held while a connection is made, so that there is one.
    connecting: tokio::sync::Mutex<()>,
    /// Held while somebody watches.
    watching: tokio::sync::Mutex<()>,
    /// Whom changes are told to.
    tell: Mutex<Option<Tell>>,
    breaker: Breaker,
    clock: Clock,
    /// The identity of the hash of epochs, as seen last; zero before the first answer.
    identity: AtomicU64,
    /// The latest logical time seen.
    latest: AtomicU64,
}

/// Labels that the hash of epochs holds before they are folded into one floor.
const LABELS: u64 = 65_536;

/// Notes labels at the next logical time, at least the one proposed.
/// ARGV: proposed time, an identity to use if there is none, the bound, then the labels' fields.
const MARK: &str = r"
local marks = KEYS[1]
local identity = redis.call('HGET', marks, 'identity')
if not identity then
  identity = ARGV[2]
  redis.call('HSET', marks, 'identity', identity)
end
local clock = tonumber(redis.call('HGET', marks, 'clock') or '0')
if #ARGV > 3 then clock = clock + 1 end
if tonumber(ARGV[1]) > clock then clock = tonumber(ARGV[1]) end
local text = string.format('%.0f', clock)
local message = text
if redis.call('HLEN', marks) + #ARGV - 3 > tonumber(ARGV[3]) then
  redis.call('DEL', marks)
  redis.call('HSET', marks, 'identity', identity, 'floor', text)
  message = 'floor'
end
redis.call('HSET', marks, 'clock', text)
for at = 4, #ARGV do
  redis.call('HSET', marks, ARGV[at], text)
  message = message .. ' ' .. ARGV[at]
end
if #ARGV > 3 then redis.call('PUBLISH', marks, message) end
return {identity, text}
";

impl RedisTier {
    /// A tier on the server at `url` (`redis://[user:password@]host:port/db`), under keys that begin with
    /// `namespace`, with a timeout of 100 ms. Connects at the first call.
    ///
    /// # Errors
    /// [`Error::Tier`] when the address cannot be understood, or the namespace contains a brace.
    pub fn open(url: &str, namespace: &str) -> Result<Self, Error> {
        Self::open_with(url, namespace, Duration::from_millis(100), Clock::system())
    }

    /// A tier with a timeout of its own, for connecting and asking together, and the clock
    /// of the cache above it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(
        url: &str,
        namespace: &str,
        timeout: Duration,
        clock: Clock,
    ) -> Result<Self, Error> {
        if namespace.contains(['{', '}']) {
            return Err(failure("the namespace contains a brace"));
        }
        Ok(Self {
            client: Client::open(url).map_err(failure)?,
            namespace: namespace.to_owned(),
            timeout,
            link: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(()),
            watching: tokio::sync::Mutex::new(()),
            tell: Mutex::new(None),
            breaker: Breaker::new(5, Duration::from_secs(1), clock.clone()),
            clock,
            identity: AtomicU64::new(0),
            latest: AtomicU64::new(0),
        })
    }

    fn key(&self, key: &Key) -> String {
        let scope = Label::scope(key.scope().as_str()).to_u64();
        format!("{}:{{{scope:016x}}}:{:032x}", self.namespace, key.digest())
    }

    fn marks_key(&self) -> String {
        format!("{}:{{epochs}}", self.namespace)
    }

    /// The name of the channel that invalidations of labels are told in.
    fn channel(&self) -> String {
        self.marks_key()
    }

    fn linked(&self) -> Option<Link> {
        self.link.lock().clone().filter(Link::is_current)
    }

    async fn connected(&self) -> Result<Link, redis::RedisError> {
        if let Some(link) = self.linked() {
            return Ok(link);
        }
        let _one = self.connecting.lock().await;
        if let Some(link) = self.linked() {
            return Ok(link);
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let names = (format!("{}:{{", self.namespace), self.channel());
        let tell = self.tell.lock().clone();
        let link = Link::open(&self.client, config, tell, names).await?;
        *self.link.lock() = Some(link.clone());
        Ok(link)
    }

    /// Whatever is still on its way belongs to a connection that nobody uses any more.
    fn give_up(&self, link: Option<&Link>) {
        let given_up = {
            let mut held = self.link.lock();
            let same = match (&*held, link) {
                (Some(held), Some(link)) => held.is(link),
                _ => true,
            };
            if same { held.take() } else { None }
        };
        if let Some(link) = given_up {
            link.give_up();
        }
    }

    /// Runs one exchange with the server under the timeout and the breaker.
    async fn exchange<T, F>(&self, ask: impl FnOnce(MultiplexedConnection) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, redis::RedisError>>,
    {
        if !self.breaker.admits() {
            return Err(Error::Unavailable {
                what: "the server failed several times in a row",
            });
        }
        let mut used = None;
        let talk = async {
            let link = self.connected().await?;
            used = Some(link.clone());
            ask(link.connection).await
        };
        let answer = tokio::time::timeout(self.timeout, talk).await;
        // A refusal is an answer, too: the server is there.
        let answered = match &answer {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => used.is_some() && error.code().is_some(),
            Err(_) => false,
        };
        self.breaker.record(answered);
        if !answered {
            self.give_up(used.as_ref());
        }
        match answer {
            Ok(answer) => answer.map_err(failure),
            Err(_) => Err(failure("no answer in time")),
        }
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        self.exchange(|mut connection| async move { command.query_async(&mut connection).await })
            .await
    }

    fn saw(&self, identity: u64, latest: u64) {
        self.identity.store(identity, Ordering::Release);
        self.latest.fetch_max(latest, Ordering::AcqRel);
    }

    async fn note(&self, labels: &[Label], epoch: u64) -> Result<u64, Error> {
        let mut command = redis::cmd("EVAL");
        command
            .arg(MARK)
            .arg(1)
            .arg(self.marks_key())
            .arg(epoch)
            .arg(identity())
            .arg(LABELS);
        labels.iter().for_each(|label| {
            command.arg(field(*label));
        });
        let (identity, clock): (u64, u64) = self.ask(&command).await?;
        let clock = credible(clock)?;
        self.saw(identity, clock);
        Ok(clock)
    }

    async fn all_marks(&self) -> Result<Marks, Error> {
        self.note(&[], 0).await?;
        let all: Vec<(String, u64)> = self
            .ask(redis::cmd("HGETALL").arg(self.marks_key()))
            .await?;
        let mut marks = Marks::default();
        for (name, value) in all {
            match name.as_str() {
                "identity" => {}
                "floor" => marks.floor = credible(value)?,
                "clock" => marks.latest = credible(value)?,
                name => {
                    if let Some(label) = unfield(name) {
                        marks.marks.push((label, credible(value)?));
                    }
                }
            }
        }
        Ok(marks)
    }

    async fn observed(&self, labels: &[Label]) -> Result<Marks, Error> {
        let mut command = redis::cmd("HMGET");
        command
            .arg(self.marks_key())
            .arg("identity")
            .arg("clock")
            .arg("floor");
        labels.iter().for_each(|label| {
            command.arg(field(*label));
        });
        let values: Vec<Option<u64>> = self.ask(&command).await?;
        let [Some(identity), Some(clock), floor, epochs @ ..] = values.as_slice() else {
            // The server lost the hash: a new one makes every entry there dead, and what this process has, too.
            let clock = self
                .note(labels, self.latest.load(Ordering::Acquire))
                .await?;
            return Ok(Marks {
                marks: labels.iter().map(|label| (*label, clock)).collect(),
                floor: 0,
                latest: clock,
            });
        };
        let times = [*clock].into_iter().chain(floor.iter().copied());
        for time in times.chain(epochs.iter().flatten().copied()) {
            credible(time)?;
        }
        self.saw(*identity, *clock);
        let floor = floor.unwrap_or(0);
        let epochs = epochs.iter().map(|epoch| epoch.unwrap_or(floor));
        Ok(Marks {
            marks: labels.iter().copied().zip(epochs).collect(),
            floor,
            latest: *clock,
        })
    }

    /// The entry of a stored value, when it was written under the hash of epochs that is there now.
    fn entry(&self, stored: Option<Vec<u8>>, key: &Key) -> Result<Option<TierEntry>, Error> {
        let Some(stored) = stored else {
            return Ok(None);
        };
        let Some((identity, _)) = stored.split_first_chunk::<8>() else {
            return Err(Error::Damaged {
                offset: 0,
                what: "shorter than an identity",
            });
        };
        if u64::from_le_bytes(*identity) != self.identity.load(Ordering::Acquire) {
            return Ok(None);
        }
        record::decode(&Bytes::from(stored).slice(8..), key)
    }

    async fn store(&self, key: &Key, entry: &TierEntry, now: u64) -> Result<(), Error> {
        if entry.expires_at != 0 && entry.expires_at <= now {
            return self.ask(redis::cmd("DEL").arg(self.key(key))).await;
        }
        let mut stored = self.identity.load(Ordering::Acquire).to_le_bytes().to_vec();
        stored.extend_from_slice(&record::encode(key, entry)?);
        let mut command = redis::cmd("SET");
        command.arg(self.key(key)).arg(stored);
        if entry.expires_at != 0 {
            command.arg("PX").arg(entry.expires_at - now);
        }
        self.ask(&command).await
    }
}

fn failure(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::tier("redis", error)
}

/// A logical time that the server can have counted to; a later one would leave no room for the next.
fn credible(time: u64) -> Result<u64, Error> {
    if time > LATEST {
        return Err(failure("the logical time is out of range"));
    }
    Ok(time)
}

/// A number that no other hash of epochs has. Fits the exact integers of the server's scripts.
fn identity() -> u64 {
    (std::hash::RandomState::new().build_hasher().finish() >> 12) | 1
}

impl fmt::Debug for RedisTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTier")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// How often a watched server is asked whether it is there.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// A tier that is watched; nothing is told any more once this is dropped.
struct Watched<'a>(&'a RedisTier);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        *self.0.tell.lock() = None;
        self.0.give_up(None);
    }
}

impl Tier for RedisTier {
    fn name(&self) -> &str {
        "redis"
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn get<'a>(&'a self, key: &'a Key) -> TierFuture<'a, Option<TierEntry>> {
        Box::pin(async move {
            let stored = self.ask(redis::cmd("GET").arg(self.key(key))).await?;
            self.entry(stored, key)
        })
    }

    fn get_many<'a>(&'a self, keys: &'a [Key]) -> TierFuture<'a, Vec<Option<TierEntry>>> {
        Box::pin(async move {
            let mut pipeline = Pipeline::with_capacity(keys.len());
            keys.iter().for_each(|key| {
                pipeline.cmd("GET").arg(self.key(key));
            });
            let ask = |mut connection| async move { pipeline.query_async(&mut connection).await };
            let stored: Vec<Option<Vec<u8>>> = self.exchange(ask).await?;
            // One damaged value is a miss of its own and does not spoil the others.
            let entry = |(stored, key)| self.entry(stored, key).unwrap_or_default();
            Ok(stored.into_iter().zip(keys).map(entry).collect())
        })
    }

    fn put<'a>(&'a self, key: &'a Key, entry: &'a TierEntry) -> TierFuture<'a, ()> {
        Box::pin(self.store(key, entry, self.clock.millis()))
    }

    fn remove<'a>(&'a self, key: &'a Key) -> TierFuture<'a, ()> {
        Box::pin(async move { self.ask(redis::cmd("DEL").arg(self.key(key))).await })
    }

    fn mark<'a>(&'a self, labels: &'a [Label], epoch: u64) -> TierFuture<'a, u64> {
        Box::pin(self.note(labels, epoch))
    }

    fn marks(&self) -> TierFuture<'_, Marks> {
        Box::pin(self.all_marks())
    }

    fn observe<'a>(&'a self, labels: &'a [Label]) -> TierFuture<'a, Marks> {
        Box::pin(self.observed(labels))
    }

    /// Needs a server that speaks RESP3 (Redis 6 and later, Valkey). Changes come over the connection that the tier
    /// asks its questions on, as broadcasts of every key in the namespace (`CLIENT TRACKING ON BCAST NOLOOP`) and
    /// as messages about labels. Twice a second, and whenever a call fails, the tier makes sure that the
    /// connection stands. One cache is told at a time: another on the same tier waits, as one that is not told.
    fn watch(&self, tell: Tell) -> TierFuture<'_, ()> {
        Box::pin(async move {
            tell.tell(Change::Lost);
            let _one = self.watching.lock().await;
            let _watched = Watched(self);
            *self.tell.lock() = Some(tell);
            // The connection that stands tells nothing.
            self.give_up(None);
            loop {
                let answer: Result<String, Error> = self.ask(&redis::cmd("PING")).await;
                drop(answer);
                tokio::time::sleep(HEARTBEAT).await;
            }
        })
    }

    /// O(1): the hash of epochs gets a new identity, so every entry is dead and expires in its time.
    fn clear(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            let identity = identity();
            let marks = self.marks_key();
            let mut clear = redis::pipe();
            clear.cmd("HSET").arg(&marks).arg("identity").arg(identity);
            clear.cmd("PUBLISH").arg(&marks).arg("cleared");
            let ask = |mut connection| async move { clear.query_async(&mut connection).await };
            let _: (u64, u64) = self.exchange(ask).await?;
            self.identity.store(identity, Ordering::Release);
            Ok(())
        })
    }
}

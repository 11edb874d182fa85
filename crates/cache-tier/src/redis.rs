//! A tier that several machines share: Redis or Valkey.

use crate::breaker::Breaker;
use crate::change::{Change, Tell};
use crate::clock::Clock;
use crate::entry::TierEntry;
use crate::error::Error;
use crate::key::Key;
use crate::label::Label;
use crate::record;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};
use crate::tier::{Marks, Tier, TierFuture};
use crate::tracking::Link;
use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline};
use std::fmt;
use std::future::Future;
use std::time::Duration;

mod hash;
mod reign;

pub(crate) use reign::Reign;

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
///   is dead, for each carries the identity of the hash it was written under. So is what any process has in memory
///   or began to load before, whoever makes the hash anew and however far behind that one was.
/// - The hash says on which server it was written. Whoever first connects to another one (a replica that took the place of
///   its primary and may lag behind, or the same started anew from its file) invalidates everything before anything is
///   read from it. A server whose scripts may not ask `INFO server` is taken for the same for ever.
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
    /// Changes whenever `tell` does, after it.
    watches: AtomicU64,
    breaker: Breaker,
    clock: Clock,
    /// The hash of epochs, as seen last.
    reign: Arc<Reign>,
}

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
            watches: AtomicU64::new(0),
            breaker: Breaker::new(5, Duration::from_secs(1), clock.clone()),
            clock,
            reign: Arc::new(Reign::default()),
        })
    }

    /// A tier on a server that is reached by TLS (`rediss://...`) and is known by certificates in PEM of authorities
    /// of one's own, instead of those that the system trusts, which [`open`](Self::open) goes by. Feature `redis-tls`.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when the certificates cannot be read.
    #[cfg(feature = "redis-tls")]
    pub fn open_trusting(
        url: &str,
        namespace: &str,
        authorities: &[u8],
        timeout: Duration,
        clock: Clock,
    ) -> Result<Self, Error> {
        let certificates = redis::TlsCertificates {
            client_tls: None,
            root_cert: Some(authorities.to_vec()),
        };
        let client = Client::build_with_tls(url, certificates).map_err(failure)?;
        let tier = Self::open_with("redis://localhost", namespace, timeout, clock)?;
        Ok(Self { client, ..tier })
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
        loop {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(self.timeout))
                .set_response_timeout(Some(self.timeout));
            let names = (format!("{}:{{", self.namespace), self.channel());
            let watch = self.watches.load(Ordering::Acquire);
            let tell = self.tell.lock().clone();
            let told = tell.map(|tell| (tell, Arc::clone(&self.reign)));
            let greeting = self.greeting();
            let (link, answer) = Link::open(&self.client, config, told, names, &greeting).await?;
            // A time that cannot be is told by the call that follows.
            let _ = self.saw(answer);
            let mut held = self.link.lock();
            // Somebody began or ended to watch while it was made: it tells nobody, or the wrong one.
            if self.watches.load(Ordering::Acquire) == watch {
                *held = Some(link.clone());
                return Ok(link);
            }
            drop(held);
            link.give_up();
        }
    }

    /// Has connections tell somebody else. The one that stands does not, and neither does one that is being made.
    fn tell_to(&self, tell: Option<Tell>) {
        *self.tell.lock() = tell;
        self.watches.fetch_add(1, Ordering::AcqRel);
        self.give_up(None);
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
        if u64::from_le_bytes(*identity) != self.reign.identity() {
            return Ok(None);
        }
        record::decode(&Bytes::from(stored).slice(8..), key)
    }

    async fn store(&self, key: &Key, entry: &TierEntry, now: u64) -> Result<(), Error> {
        let expired = entry.expires_at != 0 && entry.expires_at <= now;
        // What was born under a hash that was lost cannot be judged under this one.
        let Some(identity) = self.reign.stamp(entry.birth).filter(|_| !expired) else {
            return self.ask(redis::cmd("DEL").arg(self.key(key))).await;
        };
        let mut stored = identity.to_le_bytes().to_vec();
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
        self.0.tell_to(None);
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
            self.tell_to(Some(tell));
            loop {
                let answer: Result<String, Error> = self.ask(&redis::cmd("PING")).await;
                drop(answer);
                tokio::time::sleep(HEARTBEAT).await;
            }
        })
    }

    /// O(1): the hash of epochs gets a new identity, so every entry is dead and expires in its time.
    fn clear(&self) -> TierFuture<'_, ()> {
        Box::pin(self.renew())
    }
}

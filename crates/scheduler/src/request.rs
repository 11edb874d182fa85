//! HTTP requests on their way out: bodies compressed, safe reads of one endpoint together.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Request};
use tokio::sync::Semaphore;

use crate::gzip::compress_body;
use crate::{BatchResults, BatchSettings, Batcher, BoxFuture, Error};

/// Endpoints of one type that have a queue at a time; reads of further ones go alone.
const MAX_ENDPOINTS: usize = 1_024;
/// A body larger than this is compressed on a thread for blocking work, so that others are not kept from theirs.
const LONG_WORK: usize = 256 << 10;

type Queue<R> = Batcher<Request<Bytes>, R>;
type Sender<R> = dyn Fn(Vec<Request<Bytes>>) -> BoxFuture<'static, BatchResults<R>> + Send + Sync;

/// What the requests of a registered type do: it decides whether they may share a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RequestKind {
    /// They may change something: each goes alone.
    #[default]
    Write,
    /// They change nothing, whatever their method is: those to one endpoint may go together. A request with `PUT`,
    /// `PATCH` or `DELETE` goes alone nevertheless.
    SafeRead,
}

/// Figures of a [`RequestOptimiser`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RequestStats {
    /// Requests taken in.
    pub requests: u64,
    /// Of these, bodies compressed.
    pub compressed: u64,
    /// Bytes of body that need not be sent.
    pub bytes_saved: u64,
    /// Requests given to a queue that batches.
    pub batched: u64,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    compressed: AtomicU64,
    bytes_saved: AtomicU64,
    batched: AtomicU64,
}

/// One registered type: a queue per endpoint, and one for what goes alone.
struct Registered<R> {
    kind: RequestKind,
    settings: BatchSettings,
    send: Arc<Sender<R>>,
    endpoints: Mutex<HashMap<String, Queue<R>>>,
    alone: Queue<R>,
}

/// Sends requests of registered types: bodies over 1,024 bytes compressed ([`compress_body`](crate::compress_body)),
/// safe reads to one endpoint together, everything else alone. An endpoint is scheme, authority and path; what comes
/// after `?` may differ. Every request keeps its own headers: how a batch goes over the wire is up to `send`.
///
/// Bodies over 256 KiB are compressed on threads for blocking work, as many at a time as there are processors; `urgent`
/// ones do not wait for a place. Memory: per type at most 1,024 endpoints, [`max_waiting`](BatchSettings::max_waiting) requests each. Dropping the
/// future of a request takes it out.
///
/// ```
/// # use mainspring_scheduler::{BatchSettings, RequestKind, RequestOptimiser};
/// # use bytes::Bytes;
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let mut optimiser = RequestOptimiser::new();
/// let settings = BatchSettings::default(); // 10 requests or 100 ms
/// optimiser.register("prices", RequestKind::SafeRead, settings, |requests| async move {
///     requests.iter().map(|request| Ok(request.uri().query().unwrap_or("").to_owned())).collect()
/// });
/// let get = |uri: &str| http::Request::get(uri).body(Bytes::new()).unwrap();
/// let (a, b) = tokio::join!(
///     optimiser.call("prices", get("https://shop.example/price?of=a")),
///     optimiser.call("prices", get("https://shop.example/price?of=b")),
/// );
/// assert_eq!((a.unwrap(), b.unwrap()), ("of=a".to_owned(), "of=b".to_owned()));
/// assert_eq!(optimiser.stats().batched, 2);
/// # }
/// ```
pub struct RequestOptimiser<R> {
    registered: HashMap<String, Registered<R>>,
    counts: Counts,
    /// Threads that may be busy with long bodies.
    packers: Arc<Semaphore>,
}

impl<R: Send + 'static> RequestOptimiser<R> {
    /// No types.
    #[must_use]
    pub fn new() -> Self {
        Self {
            registered: HashMap::new(),
            counts: Counts::default(),
            packers: Arc::new(Semaphore::new(
                std::thread::available_parallelism().map_or(1, usize::from),
            )),
        }
    }

    /// Registers a type of requests; a second registration replaces the first. `send` gets one request, or several
    /// safe reads to one endpoint, and must give one result for each, in order. Of the settings, what goes alone
    /// obeys the concurrency and the bound on those that wait.
    pub fn register<F, Fut>(
        &mut self,
        name: impl Into<String>,
        kind: RequestKind,
        settings: BatchSettings,
        send: F,
    ) where
        F: Fn(Vec<Request<Bytes>>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = BatchResults<R>> + Send + 'static,
    {
        let send: Arc<Sender<R>> =
            Arc::new(move |requests| -> BoxFuture<'static, _> { Box::pin(send(requests)) });
        let one = BatchSettings {
            max_items: 1,
            ..settings
        };
        let registered = Registered {
            kind,
            settings,
            alone: queue(one, &send),
            send,
            endpoints: Mutex::new(HashMap::new()),
        };
        self.registered.insert(name.into(), registered);
    }

    /// Sends a request of a type and gives its result.
    ///
    /// # Errors
    /// [`Error::UnknownType`], or as [`Batcher::call`].
    pub async fn call(&self, name: &str, request: Request<Bytes>) -> Result<R, Error> {
        let registered = self.find(name)?;
        let request = self.smaller(request, false).await?;
        match registered.together(&request) {
            Some(queue) => {
                self.counts.batched.fetch_add(1, Ordering::Relaxed);
                queue.call(request).await
            }
            None => registered.alone.call(request).await,
        }
    }

    /// Sends a request of a type at once, alone, past every queue and bound.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn urgent(&self, name: &str, request: Request<Bytes>) -> Result<R, Error> {
        let registered = self.find(name)?;
        let request = self.smaller(request, true).await?;
        registered.alone.urgent(request).await
    }

    /// The figures.
    #[must_use]
    pub fn stats(&self) -> RequestStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        RequestStats {
            requests: read(&self.counts.requests),
            compressed: read(&self.counts.compressed),
            bytes_saved: read(&self.counts.bytes_saved),
            batched: read(&self.counts.batched),
        }
    }

    fn find(&self, name: &str) -> Result<&Registered<R>, Error> {
        self.registered.get(name).ok_or_else(|| Error::UnknownType {
            name: name.to_owned(),
        })
    }

    async fn smaller(
        &self,
        mut request: Request<Bytes>,
        urgent: bool,
    ) -> Result<Request<Bytes>, Error> {
        let size = request.body().len();
        if size > LONG_WORK {
            tokio::runtime::Handle::try_current().map_err(|_| Error::NoRuntime)?;
            let place = match urgent {
                true => None,
                false => self.packers.clone().acquire_owned().await.ok(),
            };
            let work = tokio::task::spawn_blocking(move || {
                compress_body(&mut request);
                // Not earlier: a caller who leaves does not stop the thread.
                drop(place);
                request
            });
            request = work.await.map_err(|why| Error::Failed {
                message: format!("a request's body could not be compressed: {why}"),
            })?;
        } else {
            compress_body(&mut request);
        }
        let saved = size - request.body().len();
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        self.counts
            .compressed
            .fetch_add(u64::from(saved > 0), Ordering::Relaxed);
        self.counts
            .bytes_saved
            .fetch_add(saved as u64, Ordering::Relaxed);
        Ok(request)
    }
}

impl<R: Send + 'static> Registered<R> {
    /// The queue of the request's endpoint, if it may share a batch.
    fn together(&self, request: &Request<Bytes>) -> Option<Queue<R>> {
        let changes = [Method::PUT, Method::PATCH, Method::DELETE].contains(request.method());
        if self.kind != RequestKind::SafeRead || changes {
            return None;
        }
        let endpoint = endpoint(request);
        let mut endpoints = self
            .endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = endpoints.get(&endpoint) {
            return Some(queue.clone());
        }
        if endpoints.len() >= MAX_ENDPOINTS {
            endpoints.retain(|_, queue| {
                let stats = queue.stats();
                stats.waiting > 0 || stats.in_flight > 0
            });
        }
        if endpoints.len() >= MAX_ENDPOINTS {
            return None;
        }
        let queue = queue(self.settings, &self.send);
        endpoints.insert(endpoint, queue.clone());
        Some(queue)
    }
}

fn queue<R: Send + 'static>(settings: BatchSettings, send: &Arc<Sender<R>>) -> Queue<R> {
    let send = send.clone();
    Batcher::new(settings, move |requests| send(requests))
}

/// Where a request goes: a URI without authority leaves that to the header `Host`.
fn endpoint(request: &Request<Bytes>) -> String {
    let uri = request.uri();
    let host = request.headers().get(http::header::HOST);
    let host = host.map_or(Default::default(), |host| {
        String::from_utf8_lossy(host.as_bytes()).to_ascii_lowercase()
    });
    let scheme = uri.scheme_str().unwrap_or("");
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    format!(
        "{host} {scheme}://{}{}",
        authority.to_ascii_lowercase(),
        uri.path()
    )
}

impl<R: Send + 'static> Default for RequestOptimiser<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> fmt::Debug for RequestOptimiser<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.registered.keys()).finish()
    }
}

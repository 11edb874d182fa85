//! Pushes metrics to a collector by OTLP over HTTP.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::otlp::{Batch, Temporality, Told};
use crate::protobuf::{Field, Fields};
use crate::registry::Registry;

const PATH: &str = "/v1/metrics";
const ANSWER_BYTES: usize = 64 << 10;
const MESSAGE_CHARS: usize = 500;
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Pushes a registry to a collector: OTLP metrics in protocol buffers over HTTP/1.1.
///
/// Histograms go with the family's bounds, count, sum, least and greatest. Nothing is lost by a push
/// that fails: the next one tells what it would have told. There is no TLS: let a collector on this
/// machine carry it further.
pub struct OtlpExporter {
    registry: Registry,
    address: Uri,
    resource: Vec<(String, String)>,
    temporality: Temporality,
    timeout: Duration,
    /// Unix time in nanoseconds since when the next figures count.
    since: u64,
    told: Told,
    pending: Option<(u64, Told)>,
}

/// What became of a push; see [`OtlpExporter::push`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Pushed {
    /// Data points sent.
    pub points: usize,
    /// Of these, refused by the collector, which then says why.
    pub rejected: u64,
    /// What the collector has to say.
    pub message: String,
}

impl OtlpExporter {
    /// An exporter of `registry` to an address such as `http://127.0.0.1:4318`, where a missing path
    /// is `/v1/metrics`.
    ///
    /// # Errors
    /// When the address is not one of `http`.
    pub fn new(registry: &Registry, address: &str) -> Result<Self, Error> {
        let parsed: Option<Uri> = address.parse().ok();
        let known = parsed.filter(|uri: &Uri| {
            uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty())
        });
        let Some(address) = known else {
            return Err(Error::Export {
                what: format!("`{address}` is no address like http://127.0.0.1:4318"),
                again: false,
            });
        };
        Ok(Self {
            registry: registry.clone(),
            address,
            resource: vec![("service.name".to_owned(), program())],
            temporality: Temporality::Cumulative,
            timeout: Duration::from_secs(10),
            since: unix_nanos(SystemTime::now()),
            told: Told::new(),
            pending: None,
        })
    }

    /// An attribute of the resource: whose metrics these are. `service.name` is the program's name
    /// until it is set.
    #[must_use]
    pub fn resource(mut self, name: &str, value: &str) -> Self {
        self.resource.retain(|(known, _)| known != name);
        self.resource.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Default: cumulative.
    #[must_use]
    pub fn temporality(mut self, temporality: Temporality) -> Self {
        self.temporality = temporality;
        self
    }

    /// How long one push may take. Default 10 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// When the figures began to count, where that is earlier than this exporter.
    #[must_use]
    pub fn since(mut self, start: SystemTime) -> Self {
        self.since = unix_nanos(start);
        self
    }

    /// The request as bytes, for those who send it themselves, and its number of data points. Tell
    /// [`OtlpExporter::accepted`] when it arrived.
    pub fn batch(&mut self, now: SystemTime) -> (Vec<u8>, usize) {
        let now = unix_nanos(now).max(self.since);
        let batch = Batch {
            temporality: self.temporality,
            resource: &self.resource,
            times: (self.since, now),
            before: &self.told,
        };
        let (bytes, told, points) = self.registry.with_families(|all| batch.encode(all));
        self.pending = Some((now, told));
        (bytes, points)
    }

    /// The last batch arrived: deltas count from there.
    pub fn accepted(&mut self) {
        if let Some((now, told)) = self.pending.take()
            && self.temporality == Temporality::Delta
        {
            (self.since, self.told) = (now, told);
        }
    }

    /// Pushes everything now, over a connection of its own.
    ///
    /// # Errors
    /// [`Error::Io`] when the collector cannot be reached in time; [`Error::Export`] when it does not
    /// accept, which says whether to try again.
    pub async fn push(&mut self) -> Result<Pushed, Error> {
        let (bytes, points) = self.batch(SystemTime::now());
        let sent = tokio::time::timeout(self.timeout, self.send(bytes)).await;
        let timed_out = |_| self.failed(io::Error::from(io::ErrorKind::TimedOut));
        let (status, answer) = sent.map_err(timed_out)??;
        if !status.is_success() {
            let again = [429, 502, 503, 504].contains(&status.as_u16());
            let what = format!("{} answered {status}", self.address);
            return Err(Error::Export { what, again });
        }
        self.accepted();
        Ok(read_answer(&answer, points))
    }

    async fn send(&self, body: Vec<u8>) -> Result<(StatusCode, Bytes), Error> {
        let host = self.address.host().unwrap_or_default();
        let port = self.address.port_u16().unwrap_or(80);
        // An address in brackets is one of IPv6.
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, port)).await;
        let stream = TokioIo::new(stream.map_err(|error| self.failed(error))?);
        let other = |error: hyper::Error| self.failed(io::Error::other(error));
        let (mut sender, connection) = http1::handshake(stream).await.map_err(other)?;
        let _connection = Ended(tokio::spawn(async move {
            // What goes wrong with it, the request is told.
            let _told = connection.await;
        }));
        let request = Request::post(&*self.target())
            .header(HOST, format!("{host}:{port}"))
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(Bytes::from(body)));
        let request = request.map_err(|error| self.failed(io::Error::other(error)))?;
        let response = sender.send_request(request).await.map_err(other)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES);
        let answer = match body.collect().await {
            Ok(body) => body.to_bytes(),
            // Too long to be read: the status says what became of the push.
            Err(error) if error.is::<LengthLimitError>() => Bytes::new(),
            Err(error) => return Err(self.failed(io::Error::other(error))),
        };
        Ok((status, answer))
    }

    /// Path and query of the address.
    fn target(&self) -> Cow<'_, str> {
        let given = self.address.path_and_query().map_or("", |all| all.as_str());
        match given.trim_start_matches('/') {
            "" => Cow::Borrowed(PATH),
            query if query.starts_with('?') => Cow::Owned(format!("{PATH}{query}")),
            _ => Cow::Borrowed(given),
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Io {
            what: format!("push metrics to {}", self.address),
            source,
        }
    }

    /// Pushes every `interval` (at least 1 ms; 60 s is usual) on the current tokio runtime until the
    /// handle is dropped. What fails is counted in `monitor_otlp_failures_total`.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and I/O enabled.
    #[must_use = "the pushes stop when the handle is dropped"]
    pub fn start(mut self, interval: Duration) -> Exporting {
        let failures = self.registry.counter("monitor_otlp_failures", &[]);
        let task = tokio::spawn(async move {
            let mut turns = tokio::time::interval(interval.max(Duration::from_millis(1)));
            turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                turns.tick().await;
                if self.push().await.is_err() {
                    failures.increment();
                }
            }
        });
        Exporting { _task: Ended(task) }
    }
}

/// A running exporter; see [`OtlpExporter::start`].
#[derive(Debug)]
pub struct Exporting {
    _task: Ended,
}

/// A task that ends with its handle.
#[derive(Debug)]
struct Ended(JoinHandle<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for OtlpExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpExporter")
            .field("address", &self.address)
            .field("temporality", &self.temporality)
            .finish_non_exhaustive()
    }
}

/// `ExportMetricsServiceResponse`: a partial success says how many points were refused, and why.
fn read_answer(answer: &[u8], points: usize) -> Pushed {
    let mut pushed = Pushed {
        points,
        ..Pushed::default()
    };
    for (field, value) in Fields(answer) {
        let (1, Field::Bytes(partial)) = (field, value) else {
            continue;
        };
        for (field, value) in Fields(partial) {
            match (field, value) {
                (1, Field::Number(rejected)) => pushed.rejected = rejected,
                (2, Field::Bytes(text)) => {
                    let text = String::from_utf8_lossy(text);
                    pushed.message = text.chars().take(MESSAGE_CHARS).collect();
                }
                _ => {}
            }
        }
    }
    pushed
}

fn unix_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn program() -> String {
    let path = std::env::current_exe().ok();
    let name = path.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    name.unwrap_or_else(|| "unknown_service".to_owned())
}

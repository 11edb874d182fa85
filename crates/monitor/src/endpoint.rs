//! The scrape endpoint over HTTP/1.1.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::counter::Counter;
use crate::error::Error;
use crate::html;
use crate::registry::Registry;
use crate::text::Format;

const BUFFER_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

/// Serves a registry's metrics.
///
/// `/metrics` in text 0.0.4 or OpenMetrics as the `Accept` header prefers, `/metrics.json`, and `/`
/// a page to look at. There is no authentication: bind it to an address that only the right people
/// reach.
#[derive(Debug, Clone)]
#[must_use]
pub struct Endpoint {
    registry: Registry,
    connections: usize,
    timeout: Duration,
    scrapes: Counter,
}

impl Endpoint {
    /// An endpoint for `registry`, not yet serving.
    pub fn new(registry: &Registry) -> Self {
        Self {
            registry: registry.clone(),
            connections: 32,
            timeout: Duration::from_secs(10),
            scrapes: registry.counter("monitor_http_requests", &[]),
        }
    }

    /// Most connections at a time, at least one; more wait in the kernel's queue. Default 32, each
    /// with up to 16 KiB of buffer and the page being sent.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How long a client may take to send a request, or stay silent between two. A connection ends
    /// after six times this, whatever it does. Default 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Binds and serves on the current tokio runtime until the returned handle is dropped.
    ///
    /// # Errors
    /// When the address cannot be bound.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and I/O enabled.
    pub async fn serve(self, address: SocketAddr) -> Result<Serving, Error> {
        let failed = |source| Error::Io {
            what: format!("bind {address} for the scrape endpoint"),
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Serving {
            address,
            task: tokio::spawn(self.accept(listener)),
        })
    }

    /// The answer to a request, for those who serve HTTP already. `accept` is the `Accept` header.
    #[must_use]
    pub fn answer(&self, path: &str, accept: &str) -> Answer {
        self.scrapes.increment();
        match path {
            "/metrics" => {
                let format = Format::negotiate(accept);
                Answer::ok(format.content_type(), self.registry.render(format))
            }
            "/metrics.json" => Answer::ok("application/json", self.registry.snapshot().to_json()),
            "/" => Answer::ok(
                "text/html; charset=utf-8",
                html::page(&self.registry.snapshot(), true),
            ),
            _ => Answer {
                status: 404,
                content_type: "text/plain; charset=utf-8",
                body: "not found: try /metrics, /metrics.json or /\n".to_owned(),
            },
        }
    }

    async fn accept(self, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(self.connections));
        // Dropped with this future, it ends the connections too.
        let mut connections = JoinSet::new();
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = self.clone().connection(stream);
                    connections.spawn(async move {
                        connection.await;
                        drop(slot);
                    });
                }
                // Out of descriptors, say: the listener is still good, but there is no hurry.
                Err(_) => tokio::time::sleep(AFTER_FAILED_ACCEPT).await,
            }
        }
    }

    async fn connection(self, stream: TcpStream) {
        let (timeout, lifetime) = (self.timeout, self.timeout.saturating_mul(6));
        let service = service_fn(move |request| {
            let response = self.respond(&request);
            async move { Ok::<_, Infallible>(response) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(timeout)
            .max_buf_size(BUFFER_BYTES)
            .max_headers(HEADERS);
        let served = http.serve_connection(TokioIo::new(stream), service);
        // A client that breaks off or is too slow has only itself to tell.
        let _either = tokio::time::timeout(lifetime, served).await;
    }

    fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let accept = request
            .headers()
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let answer = self.answer(request.uri().path(), &accept.collect::<Vec<_>>().join(","));
        let mut response = Response::new(Full::new(Bytes::from(answer.body)));
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(html::POLICY),
        );
        response
    }
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The MIME type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Answer {
    fn ok(content_type: &'static str, body: String) -> Self {
        Self {
            status: 200,
            content_type,
            body,
        }
    }
}

/// A serving endpoint. Dropping it closes the listener and every connection.
#[derive(Debug)]
pub struct Serving {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Serving {
    /// The address it listens on, with the port that the system chose when it was asked for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

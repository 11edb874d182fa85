use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    connections::{Connections, Dial, tcp},
    error::{BuildError, Error},
    events::{Events, Limits, message_of},
    options::WallClock,
    provider::{ChunkStream, Provider, Request},
    registry::BoxFuture,
};

/// Bytes of a refusal's text that are read.
const MAX_REFUSAL_BYTES: usize = 16 * 1024;

/// A provider behind a server that speaks OpenAI's chat completions, streaming, over HTTP/1.1.
///
/// Connections are kept (up to 32) and used again. Nothing is retried here: a 429 (or a 503 that says how long)
/// is [`Error::RateLimited`] with the server's Retry-After, in seconds or as a date, for whoever
/// schedules the calls. Dropping the future or the stream closes the connection.
///
/// Needs a tokio runtime with time and I/O. The built-in connector speaks plain HTTP, which is what a
/// gateway or a local model wants; for `https` give connections with TLS to [`OpenAiBuilder::dial`].
///
/// ```no_run
/// use mainspring_agents::{Answer, OpenAiProvider, Provider, Request};
///
/// # async fn ask() -> Result<(), Box<dyn std::error::Error>> {
/// let provider = OpenAiProvider::builder("http://localhost:8080/v1").api_key("secret").build()?;
/// let request = Request::new("local-model", r#"[{"role":"user","content":"Hello"}]"#);
/// let answer = Answer::collect(provider.stream(request).await?, 1 << 20).await?;
/// println!("{}", answer.text);
/// # Ok(()) }
/// ```
pub struct OpenAiProvider {
    name: String,
    uri: Uri,
    authorization: Option<HeaderValue>,
    begin_timeout: Duration,
    idle_timeout: Duration,
    max_answer_bytes: u64,
    clock: WallClock,
    connections: Arc<Connections>,
    requests: AtomicU64,
}

/// A cheap snapshot of a provider's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderStats {
    /// Requests sent, whatever came of them.
    pub requests: u64,
    /// Connections that wait for a request now.
    pub idle_connections: usize,
}

/// Settings of an [`OpenAiProvider`].
#[must_use = "settings do nothing until `build` is called"]
pub struct OpenAiBuilder {
    name: String,
    address: String,
    key: Option<String>,
    begin_timeout: Duration,
    idle_timeout: Duration,
    max_answer_bytes: u64,
    clock: WallClock,
    dial: Option<Dial>,
}

impl OpenAiBuilder {
    /// Sends `Authorization: Bearer key`. Default no such header.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The name for logs and figures. Default `openai`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How long connecting, sending and waiting for the answer's beginning may take together. Default 60 s.
    pub const fn begin_timeout(mut self, allowed: Duration) -> Self {
        self.begin_timeout = allowed;
        self
    }

    /// How long the answer may pause. Default 30 s.
    pub const fn idle_timeout(mut self, allowed: Duration) -> Self {
        self.idle_timeout = allowed;
        self
    }

    /// Largest answer in bytes on the wire. Default 16 MiB.
    pub const fn max_answer_bytes(mut self, bytes: u64) -> Self {
        self.max_answer_bytes = bytes;
        self
    }

    /// The clock that a Retry-After date is compared with. Default the system's.
    pub fn clock(mut self, clock: WallClock) -> Self {
        self.clock = clock;
        self
    }

    /// How connections are made. Default TCP; an `https` address needs a function that speaks TLS, for
    /// instance with tokio-rustls.
    pub fn dial(mut self, dial: Dial) -> Self {
        self.dial = Some(dial);
        self
    }

    /// The provider; it connects when it is first asked.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(self) -> Result<OpenAiProvider, BuildError> {
        let uri = self.uri()?;
        if self.dial.is_none() && uri.scheme_str() == Some("https") {
            return Err(BuildError::NeedsTls);
        }
        let bearer = |key: &String| -> Result<HeaderValue, BuildError> {
            let mut value =
                HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| BuildError::Key)?;
            value.set_sensitive(true);
            Ok(value)
        };
        Ok(OpenAiProvider {
            authorization: self.key.as_ref().map(bearer).transpose()?,
            connections: Arc::new(Connections::new(uri.clone(), self.dial.unwrap_or_else(tcp))),
            name: self.name,
            uri,
            begin_timeout: self.begin_timeout,
            idle_timeout: self.idle_timeout,
            max_answer_bytes: self.max_answer_bytes,
            clock: self.clock,
            requests: AtomicU64::new(0),
        })
    }

    fn uri(&self) -> Result<Uri, BuildError> {
        let fail = || BuildError::Address {
            address: self.address.clone(),
        };
        let full = format!("{}/chat/completions", self.address.trim_end_matches('/'));
        let uri: Uri = full.parse().map_err(|_| fail())?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty());
        if known { Ok(uri) } else { Err(fail()) }
    }
}

impl OpenAiProvider {
    /// A provider at this base address, such as `http://localhost:8080/v1`.
    pub fn builder(address: impl Into<String>) -> OpenAiBuilder {
        OpenAiBuilder {
            name: "openai".to_owned(),
            address: address.into(),
            key: None,
            begin_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(30),
            max_answer_bytes: 16 << 20,
            clock: Arc::new(SystemTime::now),
            dial: None,
        }
    }

    /// A cheap snapshot of its figures.
    #[must_use]
    pub fn stats(&self) -> ProviderStats {
        ProviderStats {
            requests: self.requests.load(Ordering::Relaxed),
            idle_connections: self.connections.idle_count(),
        }
    }

    async fn ask(&self, request: Request) -> Result<ChunkStream, Error> {
        let http = self.http(body(&request)?);
        self.requests.fetch_add(1, Ordering::Relaxed);
        let late = |_| Error::Timeout {
            what: "the beginning of the answer",
            allowed: self.begin_timeout,
        };
        let (response, sender) = timeout(self.begin_timeout, self.connections.send(http))
            .await
            .map_err(late)??;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let content_type = response
            .headers()
            .get(header::CONTENT_TYPE)
            .map_or(&b""[..], HeaderValue::as_bytes);
        if !content_type.starts_with(b"text/event-stream") {
            return Err(Error::Damaged {
                offset: 0,
                what: "the answer is no event stream; does the server stream?",
            });
        }
        let limits = Limits {
            idle: self.idle_timeout,
            bytes: self.max_answer_bytes,
        };
        Ok(Box::pin(Events::new(
            response.into_body(),
            sender,
            &self.connections,
            limits,
        )))
    }

    fn http(&self, body: Bytes) -> http::Request<Full<Bytes>> {
        let mut http = http::Request::new(Full::new(body));
        *http.method_mut() = http::Method::POST;
        *http.uri_mut() = self
            .uri
            .path_and_query()
            .map_or_else(Uri::default, |path| Uri::from(path.clone()));
        let headers = http.headers_mut();
        let host = self.uri.authority().map_or("", |authority| {
            authority.as_str().rsplit('@').next().unwrap_or("")
        });
        if let Ok(host) = HeaderValue::from_str(host) {
            headers.insert(header::HOST, host);
        }
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("text/event-stream"),
        );
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        http
    }

    async fn refusal(&self, response: Response<Incoming>) -> Error {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| self.wait(value));
        let unavailable = status == StatusCode::SERVICE_UNAVAILABLE && retry_after.is_some();
        if status == StatusCode::TOO_MANY_REQUESTS || unavailable {
            return Error::RateLimited { retry_after };
        }
        let text = timeout(self.idle_timeout, beginning_of(response.into_body()))
            .await
            .unwrap_or_default();
        Error::Refused {
            status: status.as_u16(),
            message: message_of(&text),
        }
    }

    /// Retry-After: seconds (some servers give fractions) or an HTTP date.
    fn wait(&self, value: &HeaderValue) -> Option<Duration> {
        let text = value.to_str().ok()?.trim();
        if let Ok(seconds) = text.parse::<f64>() {
            return Duration::try_from_secs_f64(seconds).ok();
        }
        let date = httpdate::parse_http_date(text).ok()?;
        Some(date.duration_since((self.clock)()).unwrap_or_default())
    }
}

impl Provider for OpenAiProvider {
    fn name(&self) -> &str {
        &self.name
    }

    fn stream(&self, request: Request) -> BoxFuture<'_, Result<ChunkStream, Error>> {
        Box::pin(self.ask(request))
    }
}

impl fmt::Debug for OpenAiProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiProvider")
            .field("name", &self.name)
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OpenAiBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiBuilder")
            .field("name", &self.name)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// The request as JSON; messages and tools go in byte for byte.
fn body(request: &Request) -> Result<Bytes, Error> {
    let array = |what: &str, json: &str| -> Result<(), Error> {
        let valid = json.trim_start().starts_with('[')
            && serde_json::from_str::<&serde_json::value::RawValue>(json).is_ok();
        let message = format!("the {what} are no JSON array; nothing was sent");
        if valid {
            Ok(())
        } else {
            Err(Error::Refused { status: 0, message })
        }
    };
    array("messages", &request.messages)?;
    let model = Value::from(request.model.as_str());
    let mut json = format!(
        r#"{{"model":{model},"messages":{},"stream":true,"stream_options":{{"include_usage":true}}"#,
        request.messages
    );
    if let Some(tools) = &request.tools {
        array("tools", tools)?;
        json.push_str(&format!(r#","tools":{tools}"#));
    }
    if let Some(tokens) = request.max_output_tokens {
        json.push_str(&format!(r#","max_tokens":{tokens}"#));
    }
    json.push('}');
    Ok(Bytes::from(json))
}

async fn beginning_of(mut body: Incoming) -> Vec<u8> {
    let mut text = Vec::new();
    while text.len() < MAX_REFUSAL_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
    }
    text
}

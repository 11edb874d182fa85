//! HTTP/1.1 connections to one server, kept for the next request.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{error::Error, registry::BoxFuture};

/// A connection that requests can go over: TCP, TLS, a pipe.
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<C: AsyncRead + AsyncWrite + Unpin + Send> Connection for C {}

/// How connections to a server are made.
pub type Dial =
    Arc<dyn Fn(Uri) -> BoxFuture<'static, io::Result<Box<dyn Connection>>> + Send + Sync>;

/// One end of a connection that is ready for a request.
pub(crate) type Sender = SendRequest<Full<Bytes>>;

/// Most connections that are kept without a request.
const MAX_IDLE: usize = 32;

pub(crate) struct Connections {
    uri: Uri,
    dial: Dial,
    idle: Mutex<Vec<Sender>>,
}

impl Connections {
    pub(crate) fn new(uri: Uri, dial: Dial) -> Self {
        Self {
            uri,
            dial,
            idle: Mutex::default(),
        }
    }

    /// Sends a request over a kept connection, or a new one. A kept one that the server closed in the
    /// meantime, before it took the request, is replaced.
    pub(crate) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Sender), Error> {
        while let Some(mut sender) = self.kept() {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, sender)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(transport("sending the request", error.into_error())),
                },
            }
        }
        let mut sender = self.connect().await?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| transport("sending the request", error))?;
        Ok((response, sender))
    }

    /// Keeps a connection whose answer was read to its end.
    pub(crate) fn keep(&self, sender: Sender) {
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE && !sender.is_closed() {
            idle.push(sender);
        }
    }

    /// Connections that wait for a request now.
    pub(crate) fn idle_count(&self) -> usize {
        self.idle()
            .iter()
            .filter(|sender| sender.is_ready())
            .count()
    }

    fn kept(&self) -> Option<Sender> {
        let mut idle = self.idle();
        idle.retain(|sender| !sender.is_closed());
        let ready = idle.iter().rposition(SendRequest::is_ready)?;
        Some(idle.remove(ready))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Sender>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Sender, Error> {
        let connection = (self.dial)(self.uri.clone())
            .await
            .map_err(|error| transport("connecting", error))?;
        let handshake = http1::handshake(TokioIo::new(connection)).await;
        let (sender, driver) = handshake.map_err(|error| transport("connecting", error))?;
        // It ends with the connection; what goes wrong there is told by the request or its answer.
        tokio::spawn(async move { drop(driver.await) });
        Ok(sender)
    }
}

pub(crate) fn transport(
    what: &'static str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::Transport {
        what,
        source: Arc::new(error),
    }
}

/// Plain TCP.
pub(crate) fn tcp() -> Dial {
    Arc::new(|uri| {
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
            let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Connection>)
        })
    })
}

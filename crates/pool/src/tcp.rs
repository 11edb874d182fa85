//! TCP connections.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, ToSocketAddrs};

use crate::keyed::KeyedManager;

/// Connects TCP sockets for a [`KeyedPool`](crate::KeyedPool) whose keys are addresses:
/// `"host:port"` as a `String`, or a `SocketAddr`.
///
/// Sockets have `TCP_NODELAY` and keep-alive on. A socket that its peer has closed, or that has
/// bytes to read which nobody asked for, is not lent again: one system call per checkout and return
/// finds out, without waiting.
#[derive(Debug, Clone)]
pub struct TcpManager {
    keepalive: Option<Duration>,
}

impl Default for TcpManager {
    fn default() -> Self {
        Self {
            keepalive: Some(Duration::from_secs(30)),
        }
    }
}

impl TcpManager {
    /// A manager with the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Time after which the system probes a silent peer; `None` turns keep-alive off. Default 30 s.
    #[must_use]
    pub fn keepalive(mut self, time: Option<Duration>) -> Self {
        self.keepalive = time;
        self
    }
}

impl<K> KeyedManager<K> for TcpManager
where
    K: ToSocketAddrs + Clone + Send + Sync + 'static,
{
    type Resource = TcpStream;
    type Error = io::Error;

    async fn connect(&self, key: &K) -> Result<TcpStream, io::Error> {
        let addresses: Vec<_> = tokio::net::lookup_host(key.clone()).await?.collect();
        let stream = TcpStream::connect(&addresses[..]).await?;
        stream.set_nodelay(true)?;
        if let Some(time) = self.keepalive {
            SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(time))?;
        }
        Ok(stream)
    }

    fn is_broken(&self, stream: &mut TcpStream) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        match SockRef::from(&*stream).peek(&mut byte) {
            Ok(_) => true,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

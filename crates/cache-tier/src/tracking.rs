//! A connection to the server on which it tells what other clients change.

use crate::change::{Change, Tell};
use crate::label::Label;
use crate::redis::Reign;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ProtocolVersion, PushInfo, PushKind, RedisResult, Value,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The latest logical time that is believed: the last that the server's scripts count to exactly.
pub(crate) const LATEST: u64 = 1 << 53;

/// What a script answers: the identity and the origin of the hash of epochs, and the logical time.
pub(crate) type Answer = (u64, u64, u64);

/// A connection with whom it tells of changes, until it is given up.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) connection: MultiplexedConnection,
    current: Arc<AtomicBool>,
    tell: Option<Tell>,
}

impl Link {
    /// Connects, greets, and has the server tell every change to a key that begins with `prefix`, and every message in
    /// `channel`, when there is somebody to tell. Gives back what the server answered to the greeting.
    pub(crate) async fn open(
        client: &Client,
        config: AsyncConnectionConfig,
        tell: Option<(Tell, Arc<Reign>)>,
        (prefix, channel): (String, String),
        greeting: &Cmd,
    ) -> RedisResult<(Self, Answer)> {
        // Until the connection is ready, and when it is dropped before, nobody hears of it.
        let current = Arc::new(AtomicBool::new(false));
        let Some((tell, reign)) = tell else {
            let mut connection = client
                .get_multiplexed_async_connection_with_config(&config)
                .await?;
            let answer = greeting.query_async(&mut connection).await?;
            current.store(true, Ordering::Release);
            let link = Self {
                connection,
                current,
                tell: None,
            };
            return Ok((link, answer));
        };
        let (hear, heard_by, start) = (tell.clone(), Arc::clone(&current), prefix.clone());
        let config = config.set_push_sender(move |push: PushInfo| {
            let lost = push.kind == PushKind::Disconnection;
            let current = if lost {
                heard_by.swap(false, Ordering::AcqRel)
            } else {
                heard_by.load(Ordering::Acquire)
            };
            match (current, lost) {
                (true, true) => hear.tell(Change::Lost),
                (true, false) => pass_on(&push, &start, &reign, &hear),
                (false, _) => {}
            }
            Ok::<(), redis::aio::SendError>(())
        });
        let info = client.get_connection_info().clone();
        let settings = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings))?;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let answer = greeting.query_async(&mut connection).await?;
        let mut track = redis::cmd("CLIENT");
        track.arg("TRACKING").arg("ON").arg("BCAST").arg("NOLOOP");
        track.arg("PREFIX").arg(&prefix);
        track.exec_async(&mut connection).await?;
        connection.subscribe(channel).await?;
        current.store(true, Ordering::Release);
        tell.tell(Change::Started);
        let link = Self {
            connection,
            current,
            tell: Some(tell),
        };
        Ok((link, answer))
    }

    /// True while nobody gave the connection up.
    pub(crate) fn is_current(&self) -> bool {
        self.current.load(Ordering::Acquire)
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.current, &other.current)
    }

    /// Gives the connection up: nothing that it says counts from now on.
    pub(crate) fn give_up(&self) {
        if self.current.swap(false, Ordering::AcqRel)
            && let Some(tell) = &self.tell
        {
            tell.tell(Change::Lost);
        }
    }
}

/// Tells what a push of the server says.
fn pass_on(push: &PushInfo, prefix: &str, reign: &Reign, tell: &Tell) {
    match (&push.kind, push.data.as_slice()) {
        (PushKind::Invalidate, [Value::Array(keys)]) => keys
            .iter()
            .filter_map(|key| digest(text(key)?, prefix))
            .for_each(|digest| tell.tell(Change::Written(digest))),
        // The whole database was emptied.
        (PushKind::Invalidate, _) => tell.tell(Change::Everything),
        (PushKind::Message, [_, payload]) => tell.tell(marks(payload, reign)),
        _ => {}
    }
}

/// The digest in the name of an entry's key, `<prefix><scope's hash>}:<digest>`.
fn digest(key: &str, prefix: &str) -> Option<u128> {
    let (_, digest) = key.strip_prefix(prefix)?.split_once("}:")?;
    u128::from_str_radix(digest, 16).ok()
}

/// What a message in the channel of invalidations says: the origin of the hash of epochs, the logical time and the labels.
/// Times of a hash that is not known yet cannot be compared.
fn marks(payload: &Value, reign: &Reign) -> Change {
    parsed(payload, reign).map_or(Change::Everything, Change::Invalidated)
}

fn parsed(payload: &Value, reign: &Reign) -> Option<Vec<(Label, u64)>> {
    let mut words = text(payload)?.split(' ');
    words
        .next()?
        .parse()
        .ok()
        .filter(|origin| reign.is_of(*origin))?;
    let epoch = words
        .next()?
        .parse()
        .ok()
        .filter(|epoch| *epoch <= LATEST)?;
    reign.heard_of(epoch);
    words.map(|word| Some((unfield(word)?, epoch))).collect()
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// A label as the server's hash of epochs and its messages name it.
pub(crate) fn field(label: Label) -> String {
    format!("{:016x}", label.to_u64())
}

pub(crate) fn unfield(name: &str) -> Option<Label> {
    (name.len() == 16)
        .then(|| u64::from_str_radix(name, 16).ok())
        .flatten()
        .map(Label::from_u64)
}

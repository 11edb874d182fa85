//! What happens in a runtime, told to whoever listens.

use std::{fmt, sync::Arc, time::Duration};

use mainspring_delta_snapshot::VersionId;
use tokio::sync::broadcast::{self, error};

use crate::Divergence;

/// Something that happened. Cloning copies a few words and reference counts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The definition of an agent changed; what is cached under `agent:{id}` was invalidated.
    AgentUpdated {
        /// The agent.
        id: Arc<str>,
    },
    /// A setting changed; what is cached under `config:{key}` was invalidated.
    ConfigChanged {
        /// The knob, or any name of your own.
        key: Arc<str>,
    },
    /// A message is in the log.
    SessionAppended {
        /// The session.
        session: Arc<str>,
        /// The message's number, from 0.
        message: u64,
    },
    /// A version was made.
    SessionCheckpointed {
        /// The session.
        session: Arc<str>,
        /// The version.
        version: VersionId,
    },
    /// A session was resumed of which a power cut took messages, or a checkpoint.
    SessionDiverged {
        /// The session.
        session: Arc<str>,
        /// What is left of which.
        divergence: Divergence,
    },
    /// A session was resumed of which damage took the saved context, or messages: see
    /// [`Session::mended`](crate::Session::mended).
    SessionMended {
        /// The session.
        session: Arc<str>,
        /// Whether its context was made again from the messages.
        context: bool,
        /// Messages that it is without.
        messages: u64,
    },
    /// The context was compacted.
    SessionCompacted {
        /// The session.
        session: Arc<str>,
        /// Its tokens before.
        before: usize,
        /// Its tokens after.
        after: usize,
    },
    /// A tool of [`Runtime::toolbox`](crate::Runtime::toolbox) begins, once for each attempt.
    ToolStarted {
        /// The session.
        session: Arc<str>,
        /// The tool.
        tool: Arc<str>,
    },
    /// A call of [`Session::run_tools`](crate::Session::run_tools) ended, well or not.
    ToolEnded {
        /// The session.
        session: Arc<str>,
        /// The tool.
        tool: Arc<str>,
        /// Whether it has a result.
        succeeded: bool,
        /// How long it ran; zero when it never did.
        ran: Duration,
    },
    /// A call left its budget, or one above it, at the level where it warns or beyond: told with the
    /// first call for which that is so, and again after it was not.
    BudgetWarned {
        /// The session that paid.
        session: Arc<str>,
        /// The call's own budget.
        budget: Arc<str>,
    },
    /// Memory was short, and a stage of [`Runtime::pressure`](crate::Runtime::pressure) gave some back.
    Pressure {
        /// The stage: `trim` or `clear`.
        stage: &'static str,
        /// Bytes of buffers that were freed.
        freed: u64,
    },
}

/// One to many, within the process: [`publish`](Self::publish) never waits, and who cannot keep up is
/// told how many events it missed. Cloning is a reference count; any number of threads may publish.
///
/// Memory: `capacity` events, whatever the number of subscribers.
///
/// ```
/// use mainspring::{Event, EventBus, Missed};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let bus = EventBus::new(2);
/// let mut events = bus.subscribe();
/// for key in ["a", "b", "c"] {
///     bus.publish(Event::ConfigChanged { key: key.into() });
/// }
/// assert_eq!(events.recv().await, Some(Err(Missed(1))));
/// assert_eq!(events.recv().await, Some(Ok(Event::ConfigChanged { key: "b".into() })));
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct EventBus {
    sender: broadcast::Sender<Event>,
}

/// A subscription of an [`EventBus`]: sees what is published from the moment it was made.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
}

/// So many events were overwritten before this subscriber took them; it goes on with the oldest that
/// is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed(pub u64);

impl EventBus {
    /// A bus that keeps the last `capacity` events for slow subscribers: 1 to 65,536, rounded up to a
    /// power of two. [`Config::events`](crate::Config::events) has the default, 1,024.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            sender: broadcast::Sender::new(capacity.clamp(1, 1 << 16)),
        }
    }

    /// Tells everybody who is subscribed now, and returns how many that are. Never waits for any of
    /// them. Cost: one short lock, and a wake-up for each that is waiting.
    pub fn publish(&self, event: Event) -> usize {
        self.sender.send(event).unwrap_or(0)
    }

    /// As [`publish`](Self::publish), and makes the event only when somebody listens.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if self.sender.receiver_count() > 0 {
            self.publish(event());
        }
    }

    /// Listens from now on; drop it to stop.
    #[must_use]
    pub fn subscribe(&self) -> Events {
        Events {
            receiver: self.sender.subscribe(),
        }
    }

    /// How many listen.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.sender.receiver_count()
    }
}

impl Events {
    /// The next event, or how many were missed before it; `None` when the last bus is gone and
    /// everything was taken. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Result<Event, Missed>> {
        match self.receiver.recv().await {
            Ok(event) => Some(Ok(event)),
            Err(error::RecvError::Lagged(missed)) => Some(Err(Missed(missed))),
            Err(error::RecvError::Closed) => None,
        }
    }

    /// As [`recv`](Self::recv), without waiting: `None` when there is nothing now.
    pub fn try_recv(&mut self) -> Option<Result<Event, Missed>> {
        match self.receiver.try_recv() {
            Ok(event) => Some(Ok(event)),
            Err(error::TryRecvError::Lagged(missed)) => Some(Err(Missed(missed))),
            Err(error::TryRecvError::Empty | error::TryRecvError::Closed) => None,
        }
    }
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events were missed; take them sooner, or raise `events`",
            self.0
        )
    }
}

impl std::error::Error for Missed {}

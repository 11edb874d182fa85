//! The server: a runtime with many busy sessions, told what to do over its standard input.

mod backend;
mod control;
mod last_look;
mod shared;
mod slot;
mod tell;
mod texts;
mod tools;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use mainspring::{
    Config, Event, Parts, Profile, Runtime,
    agents::OpenAiProvider,
    cache_tier::{Clock, RedisTier},
    mmap_store::Store,
    monitor::Watch,
    scheduler::Budget,
};
use mainspring_soak_checker::Line;
use tokio::sync::watch;

use slot::Slot;
use tell::Tell;

/// What the tool that panics says.
pub(crate) const EXPECTED_PANIC: &str = "a tool that panics, as it should";
/// Sent and kept small, so that compaction, saved contexts and pressure happen within a minute.
const WINDOW: usize = 16_000;
const MIB: u64 = 1 << 20;
/// What all sessions of one process may spend.
const DAY: u64 = 60_000;

/// How a server process is started.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// The runtime's folder.
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Where the last look puts its exports.
    #[arg(long)]
    pub(crate) last_look: Option<PathBuf>,
    #[arg(long)]
    pub(crate) seed: u64,
    /// Which process this is, from 1.
    #[arg(long)]
    pub(crate) number: u32,
    #[arg(long)]
    pub(crate) sessions: u32,
    /// The socket of the place where documents lie.
    #[arg(long)]
    pub(crate) backend: PathBuf,
    #[arg(long)]
    pub(crate) provider: String,
    #[arg(long)]
    pub(crate) redis: Option<String>,
    /// Another machine: it serves the sessions that two machines share, and no others.
    #[arg(long)]
    pub(crate) peer: bool,
    /// Bytes were changed: report the damage, and rewrite nothing any more.
    #[arg(long)]
    pub(crate) damaged: bool,
    /// How far the clock is ahead, in milliseconds.
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    pub(crate) clock_ahead: i64,
}

/// What sessions do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Work,
    Rest,
    Stop,
}

/// One server process.
pub(crate) struct Server {
    pub(crate) arguments: Arguments,
    pub(crate) runtime: Runtime,
    pub(crate) tell: Arc<Tell>,
    pub(crate) provider: OpenAiProvider,
    pub(crate) pace: watch::Sender<Pace>,
    pub(crate) resting: AtomicUsize,
    clock_ahead: Arc<AtomicI64>,
    day: Budget,
    /// The budget that each session pays from.
    purses: Mutex<HashMap<String, String>>,
}

pub(crate) fn main(arguments: Arguments) -> Result<()> {
    let tell = Arc::new(Tell::new(arguments.number));
    hush(&tell);
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()?;
    threads.block_on(async {
        tell.server("start");
        let server = Server::open(arguments, tell).await?;
        match server.arguments.last_look.clone() {
            Some(exports) => last_look::look(&server, &exports)?,
            None => server.serve().await?,
        }
        server.stop().await
    })
}

/// Panics of tools belong to the day; any other is told.
fn hush(tell: &Arc<Tell>) {
    let tell = Arc::clone(tell);
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.to_string();
        if !text.contains(EXPECTED_PANIC) {
            tell.line(Line::Refused {
                op: "panic".to_owned(),
                s: String::new(),
                error: text,
            });
        }
    }));
}

impl Server {
    async fn open(arguments: Arguments, tell: Arc<Tell>) -> Result<Arc<Self>> {
        let clock_ahead = Arc::new(AtomicI64::new(arguments.clock_ahead));
        let ahead = Arc::clone(&clock_ahead);
        let mut parts = Parts::new().clock(move || now(ahead.load(Ordering::Relaxed)));
        if let Some(url) = &arguments.redis {
            let timeout = Duration::from_millis(400);
            let tier = RedisTier::open_with(url, "soak", timeout, Clock::system())?;
            parts = parts.shared_tier(Arc::new(tier));
        }
        let runtime = Runtime::open_parts(&arguments.dir, config(&arguments), parts).await;
        let runtime = runtime.inspect_err(|error| tell.refused("start", "", error))?;
        let provider = OpenAiProvider::builder(&*arguments.provider)
            .begin_timeout(Duration::from_millis(600))
            .idle_timeout(Duration::from_millis(400))
            .build()
            .context("the provider")?;
        let name = format!("day-{}", arguments.number);
        let server = Self {
            day: Budget::new(&name, DAY),
            purses: Mutex::default(),
            pace: watch::Sender::new(Pace::Work),
            resting: AtomicUsize::new(0),
            arguments,
            runtime,
            tell,
            provider,
            clock_ahead,
        };
        server.tell.line(Line::Budget {
            b: name,
            limit: DAY,
        });
        server.verify()?;
        Ok(Arc::new(server))
    }

    /// Reads every byte after somebody changed some, and reports the damage.
    fn verify(&self) -> Result<()> {
        if !self.arguments.damaged {
            return Ok(());
        }
        let stores: [(&str, &Store); 3] = [
            ("sessions", self.runtime.session_store()),
            ("snapshots", self.runtime.snapshot_store()),
            ("cache", self.runtime.cache_store()),
        ];
        for (folder, store) in stores {
            for damage in store.verify()?.damage {
                self.tell.line(Line::Damage {
                    file: format!("{folder}/{}", damage.file),
                    offset: damage.offset,
                    len: damage.len,
                });
            }
        }
        Ok(())
    }

    /// Serves until told to stop, or until nobody tells any more.
    async fn serve(self: &Arc<Self>) -> Result<()> {
        let watching = Watch::new(self.runtime.registry())?
            .interval(Duration::from_millis(500))
            .pressure(self.runtime.pressure())
            .start()?;
        let relieved = tokio::spawn(Arc::clone(self).tell_relief());
        let upkeep = tokio::spawn(Arc::clone(self).keep_up());
        let mut slots = tokio::task::JoinSet::new();
        let own = if self.arguments.peer {
            0
        } else {
            self.arguments.sessions
        };
        for number in 0..own {
            slots.spawn(Slot::new(self, number).run());
        }
        for number in 0..shared::SHARED {
            slots.spawn(Slot::shared(self, number).share(number));
        }
        self.tell.server("ready");
        control::listen(self).await;
        self.pace.send_replace(Pace::Stop);
        while slots.join_next().await.is_some() {}
        upkeep.abort();
        relieved.abort();
        drop(watching);
        Ok(())
    }

    async fn stop(self: Arc<Self>) -> Result<()> {
        let (runtime, tell) = (self.runtime.clone(), Arc::clone(&self.tell));
        drop(self);
        let report = runtime
            .shutdown(tokio::time::sleep(Duration::from_secs(3)))
            .await;
        for (part, error) in &report.failures {
            tell.refused("stop", part, error);
        }
        tell.server("stopped");
        Ok(())
    }

    async fn keep_up(self: Arc<Self>) {
        let tick = || tokio::time::sleep(Duration::from_secs(2));
        let tell = Arc::clone(&self.tell);
        let report = |done: mainspring::Upkeep| {
            for (part, error) in &done.failures {
                tell.refused("upkeep", part, error);
            }
            for (part, _) in &done.compacted {
                tell.server(format!("compacted {part}"));
            }
        };
        self.runtime.keep_up(tick, report).await;
    }

    async fn tell_relief(self: Arc<Self>) {
        let mut events = self.runtime.events().subscribe();
        while let Some(event) = events.recv().await {
            if let Ok(Event::Pressure { stage, .. }) = event {
                self.tell.server(format!("relieved: {stage}"));
            }
        }
    }

    /// A purse for a session's handle.
    pub(crate) fn purse(&self, session: &str, limit: u64, handle: u64) -> Budget {
        let name = format!("{session}-{}-{handle}", self.arguments.number);
        self.tell.line(Line::Budget {
            b: name.clone(),
            limit,
        });
        let purse = self.day.child(&name, limit);
        let mut purses = self.purses.lock().unwrap_or_else(PoisonError::into_inner);
        purses.insert(session.to_owned(), name);
        purse
    }

    /// Notes what was spent.
    pub(crate) fn charge(&self, session: &str, money: u64) {
        let purses = self.purses.lock().unwrap_or_else(PoisonError::into_inner);
        let mut from = vec![format!("day-{}", self.arguments.number)];
        from.extend(purses.get(session).cloned());
        drop(purses);
        self.tell.line(Line::Charge { b: from, money });
    }

    pub(crate) fn forget(&self, session: &str) {
        let mut purses = self.purses.lock().unwrap_or_else(PoisonError::into_inner);
        purses.remove(session);
    }

    pub(crate) fn set_clock(&self, ahead: i64) {
        self.clock_ahead.store(ahead, Ordering::Relaxed);
    }
}

fn now(ahead: i64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_millis() as u64);
    now.saturating_add_signed(ahead)
}

fn config(arguments: &Arguments) -> Config {
    let mut config = Profile::Server.config();
    config.window = WINDOW;
    config.active_bytes = 60_000;
    config.interactions = 40;
    config.cache_entries = 200;
    config.cache_disk_entries = 2_000;
    config.trim_above = 128 * MIB;
    config.clear_above = 160 * MIB;
    config.sweep_every = Duration::from_secs(4);
    // What lies around a damaged place must stay where it was reported.
    config.compact_above = if arguments.damaged { 100 } else { 30 };
    config
}

//! The day from outside: starts a server, harms it, and looks after it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use fastrand::Rng;
use mainspring_soak_checker::{Line, PEERS};
use rustix::process::Signal;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, timeout_at},
};

use crate::{
    disk::Disk,
    journal::Journal,
    process::{News, Process},
    provider::Provider,
    redis::Redis,
};

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a server that does not start is started again.
const STARTS: u32 = 20;

/// Everything that a day needs.
pub(crate) struct Supervisor {
    pub(crate) folder: PathBuf,
    pub(crate) seed: u64,
    pub(crate) sessions: u32,
    pub(crate) journal: Arc<Journal>,
    pub(crate) disk: Disk,
    pub(crate) redis: Option<Redis>,
    pub(crate) provider: Provider,
    pub(crate) rng: Rng,
    pub(crate) clock_ahead: i64,
    pub(crate) damaged: bool,
    /// A server did not start any more: the day is over, and the log says why.
    pub(crate) given_up: bool,
    process: Option<Process>,
    /// Another machine, when there is something to share.
    peer: Option<Process>,
    servers: u32,
    tell: UnboundedSender<News>,
    news: UnboundedReceiver<News>,
}

impl Supervisor {
    pub(crate) fn new(
        (folder, seed, sessions): (PathBuf, u64, u32),
        journal: Arc<Journal>,
        (disk, redis, provider): (Disk, Option<Redis>, Provider),
    ) -> Self {
        let (tell, news) = unbounded_channel();
        Self {
            folder,
            seed,
            sessions,
            journal,
            disk,
            redis,
            provider,
            rng: Rng::with_seed(seed),
            clock_ahead: 0,
            damaged: false,
            given_up: false,
            process: None,
            peer: None,
            servers: 0,
            tell,
            news,
        }
    }

    pub(crate) fn runtime(&self) -> PathBuf {
        self.disk.folder.join("runtime")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("documents")
    }

    pub(crate) fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("there is no server")
    }

    fn arguments(&self, number: u32, folder: PathBuf) -> Vec<String> {
        let path = |path: PathBuf| path.display().to_string();
        let mut arguments: Vec<String> = vec!["server".to_owned()];
        let mut option = |name: &str, value: String| {
            arguments.push(format!("--{name}={value}"));
        };
        option("dir", path(folder));
        option("seed", self.seed.to_string());
        option("number", number.to_string());
        option("sessions", self.sessions.to_string());
        option("backend", path(self.socket()));
        option("provider", self.provider.url.clone());
        option("clock-ahead", self.clock_ahead.to_string());
        if let Some(redis) = &self.redis {
            option("redis", redis.url());
        }
        arguments
    }

    /// Starts the other machine, which stays well all day.
    pub(crate) fn start_peer(&mut self) -> Result<()> {
        if self.redis.is_none() {
            return Ok(());
        }
        let mut arguments = self.arguments(PEERS, self.folder.join("peer"));
        arguments.push("--peer".to_owned());
        let (log, journal) = (self.folder.join("peer.log"), &self.journal);
        let started = Process::start(PEERS, &arguments, &log, journal, &self.tell)?;
        self.peer = Some(started);
        Ok(())
    }

    /// Stops the other machine.
    pub(crate) async fn stop_peer(&mut self) -> Result<()> {
        let Some(mut peer) = self.peer.take() else {
            return Ok(());
        };
        peer.tell("stop");
        loop {
            match timeout_at(Instant::now() + PATIENCE, self.news.recv()).await? {
                Some(News::Gone(PEERS)) => break,
                Some(News::Gone(w)) if w == self.servers => self.ended_by_itself().await?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Starts a server, again when it ends before it is ready.
    pub(crate) async fn start(&mut self) -> Result<()> {
        for _ in 0..STARTS {
            self.launch(false)?;
            if self.heard("ready").await? {
                return Ok(());
            }
            self.bury("died");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        self.given_up = true;
        bail!(
            "the server does not start; its log is {}",
            self.log().display()
        )
    }

    fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    fn launch(&mut self, last_look: bool) -> Result<()> {
        self.servers += 1;
        let mut arguments = self.arguments(self.servers, self.runtime());
        if last_look {
            arguments.push(format!(
                "--last-look={}",
                self.folder.join("exports").display()
            ));
        }
        if self.damaged {
            arguments.push("--damaged".to_owned());
        }
        let started = Process::start(
            self.servers,
            &arguments,
            &self.log(),
            &self.journal,
            &self.tell,
        )?;
        self.process = Some(started);
        Ok(())
    }

    /// Waits for an event of the server; false when it ends before.
    async fn heard(&mut self, event: &str) -> Result<bool> {
        self.heard_in(event, PATIENCE).await
    }

    async fn heard_in(&mut self, event: &str, patience: Duration) -> Result<bool> {
        let until = Instant::now() + patience;
        loop {
            let news = timeout_at(until, self.news.recv()).await;
            match news.with_context(|| format!("the server never was {event}"))? {
                Some(News::Event(w, heard)) if w == self.servers && heard == event => {
                    return Ok(true);
                }
                Some(News::Gone(w)) if w == self.servers => return Ok(false),
                _ => {}
            }
        }
    }

    /// Writes down the end of a server that is gone.
    fn bury(&mut self, event: &str) -> String {
        let Some(mut process) = self.process.take() else {
            return String::new();
        };
        let status = process.ended();
        let event = event.to_owned();
        self.journal.line_of(process.w, Line::Server { event });
        status
    }

    /// Lets time pass, and starts a server again that ended by itself.
    pub(crate) async fn pass(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while let Ok(news) = timeout_at(until, self.news.recv()).await {
            match news {
                Some(News::Gone(w)) if w == self.servers => self.ended_by_itself().await?,
                Some(News::Gone(PEERS)) => bail!("the other machine ended; its log is peer.log"),
                _ => {}
            }
        }
        Ok(self.journal.sync()?)
    }

    async fn ended_by_itself(&mut self) -> Result<()> {
        let error = self.bury("died");
        // The checker knows when that may be.
        self.journal.line(Line::Refused {
            op: "to live on".to_owned(),
            s: "the server".to_owned(),
            error,
        });
        self.start().await
    }

    /// Signal 9, from one instruction to the next.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.process()?.signal(Signal::KILL);
        while self.heard("stopped").await? {}
        self.bury("died");
        Ok(())
    }

    /// Asks the server to stop, and waits for it.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        self.process()?.tell("stop");
        let clean = self.heard("stopped").await?;
        if clean {
            self.gone().await?;
        }
        let status = self.bury("stopped");
        if !clean {
            self.journal.line(Line::Refused {
                op: "to stop".to_owned(),
                s: "the server".to_owned(),
                error: status,
            });
        }
        Ok(())
    }

    async fn gone(&mut self) -> Result<()> {
        while self.heard("").await? {}
        Ok(())
    }

    /// Looks at memory and descriptors while all sessions rest.
    pub(crate) async fn look(&mut self, phase: &str) -> Result<()> {
        self.process()?.tell("rest");
        if !self.heard("resting").await? {
            return self.ended_by_itself().await;
        }
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        self.glance(phase)?;
        self.process()?.tell("work");
        Ok(())
    }

    /// Looks at memory and descriptors as they are.
    pub(crate) fn glance(&mut self, phase: &str) -> Result<()> {
        let folder = self.disk.folder.clone();
        let process = self.process()?;
        let line = Line::Resources {
            phase: phase.to_owned(),
            anonymous: process.status("RssAnon")? * 1_024,
            descriptors: process.descriptors(&folder)?,
            threads: process.status("Threads")?,
        };
        let w = process.w;
        self.journal.line_of(w, line);
        Ok(())
    }

    /// A last server tells and exports everything that is there.
    pub(crate) async fn last_look(&mut self) -> Result<()> {
        std::fs::create_dir_all(self.folder.join("exports"))?;
        self.launch(true)?;
        if !self.heard_in("stopped", Duration::from_secs(600)).await? {
            let error = self.bury("died");
            self.journal.line(Line::Refused {
                op: "the last look".to_owned(),
                s: "the server".to_owned(),
                error,
            });
            self.given_up = true;
            bail!("the last look failed; its log is {}", self.log().display());
        }
        self.gone().await?;
        self.bury("stopped");
        Ok(self.journal.sync()?)
    }
}

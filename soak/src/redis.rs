//! A Redis server of our own.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// The server, ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Redis {
    child: Option<Child>,
    port: u16,
    folder: PathBuf,
}

impl Redis {
    /// `None` where no server is installed.
    pub(crate) async fn start(folder: &Path) -> Result<Option<Self>> {
        let free = TcpListener::bind("127.0.0.1:0")?;
        let port = free.local_addr()?.port();
        drop(free);
        std::fs::create_dir_all(folder)?;
        let mut redis = Self {
            child: None,
            port,
            folder: folder.to_owned(),
        };
        Ok(redis.run().await?.then_some(redis))
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it (again) on its port, empty; false where there is none to start.
    pub(crate) async fn run(&mut self) -> Result<bool> {
        let port = self.port.to_string();
        let options = [
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--maxmemory",
            "200mb",
        ];
        let child = ["redis-server", "valkey-server"]
            .iter()
            .find_map(|program| {
                let mut command = Command::new(program);
                command.args(options).current_dir(&self.folder);
                command.stdout(Stdio::null()).stderr(Stdio::null());
                command.stdin(Stdio::null()).spawn().ok()
            });
        let Some(child) = child else {
            return Ok(false);
        };
        self.child = Some(child);
        let patience = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if Instant::now() > patience {
                bail!("the Redis server does not listen");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(true)
    }

    /// Ends it at once, without a word.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().context("Redis is not running")?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

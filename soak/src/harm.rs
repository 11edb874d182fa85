//! Each fault as it is done, and undone.

use std::time::Duration;

use anyhow::Result;
use rustix::process::{Resource, Signal};

use crate::{damage, disk::Kind, fault::Fault, supervisor::Supervisor};

const HOUR_MS: i64 = 3_600_000;
/// Memory that is really taken for a while, MiB: beyond where the server gives some back.
const BALLAST_MIB: u64 = 200;

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Supervisor {
    /// Does a fault and undoes it; everything is well again when this returns, the log says when.
    pub(crate) async fn harm(&mut self, fault: Fault) -> Result<()> {
        if let Some(why) = self.impossible(fault) {
            self.journal.fault(fault.name(), "skipped", why);
            return Ok(());
        }
        self.journal.fault(fault.name(), "begin", "");
        match fault {
            Fault::Kill => {
                self.kill().await?;
                self.start().await?;
            }
            Fault::Restart => {
                self.stop().await?;
                self.start().await?;
            }
            Fault::DiskFull => self.disk_full().await?,
            Fault::SizeLimit => self.size_limit().await?,
            Fault::Damage => self.damage().await?,
            Fault::MemoryLimit => self.memory_limit().await?,
            Fault::SlowDisk => self.slow_disk().await?,
            Fault::Pause => self.pause().await?,
            Fault::RedisDead => self.redis_dead().await?,
            Fault::RedisSlow => self.redis_slow().await?,
            Fault::Provider => {
                self.provider.trouble(true);
                self.pass(millis(3_000)).await?;
                self.provider.trouble(false);
            }
            Fault::Pressure => {
                self.process()?.tell(&format!("ballast {BALLAST_MIB}"));
                self.pass(millis(2_800)).await?;
            }
            Fault::Clock => {
                // Not so far ahead that retention may delete what is acknowledged.
                let day = 24 * HOUR_MS;
                self.clock_ahead = self.rng.i64(-2 * day..20 * day);
                let ahead = self.clock_ahead;
                self.process()?.tell(&format!("clock {ahead}"));
                self.pass(millis(2_500)).await?;
            }
        }
        self.journal.fault(fault.name(), "end", "");
        self.glance("during")
    }

    fn impossible(&self, fault: Fault) -> Option<&'static str> {
        match fault {
            Fault::DiskFull if self.disk.kind == Kind::Folder => {
                Some("no disk of limited size can be mounted here")
            }
            Fault::RedisDead | Fault::RedisSlow if self.redis.is_none() => {
                Some("no redis-server and no valkey-server is installed")
            }
            _ => None,
        }
    }

    async fn disk_full(&mut self) -> Result<()> {
        self.disk.fill()?;
        self.pass(millis(1_500)).await?;
        self.disk.empty();
        self.pass(millis(500)).await
    }

    /// No file of the server may grow.
    async fn size_limit(&mut self) -> Result<()> {
        self.process()?.limit(Resource::Fsize, Some(0))?;
        self.pass(millis(1_500)).await?;
        self.process()?.limit(Resource::Fsize, None)?;
        self.pass(millis(500)).await
    }

    /// A server may have little more address space than it has; it may end by that.
    async fn memory_limit(&mut self) -> Result<()> {
        let process = self.process()?;
        let now = process.status("VmSize")? * 1_024;
        process.limit(Resource::As, Some(now + (1 << 20)))?;
        process.tell(&format!("ballast {BALLAST_MIB}"));
        self.pass(millis(1_500)).await?;
        self.process()?.limit(Resource::As, None)?;
        self.pass(millis(500)).await
    }

    async fn damage(&mut self) -> Result<()> {
        self.stop().await?;
        let runtime = self.runtime();
        for flip in damage::flip(&runtime, &mut self.rng)? {
            self.journal.line(flip);
        }
        self.damaged = true;
        self.start().await
    }

    /// Every write waits for some hundred milliseconds, again and again.
    async fn slow_disk(&mut self) -> Result<()> {
        for _ in 0..5 {
            let stall = millis(self.rng.u64(100..600));
            if self.disk.freeze() {
                tokio::time::sleep(stall).await;
                self.disk.thaw();
            } else {
                self.process()?.signal(Signal::STOP);
                tokio::time::sleep(stall).await;
                self.process()?.signal(Signal::CONT);
            }
            self.pass(millis(100)).await?;
        }
        Ok(())
    }

    async fn pause(&mut self) -> Result<()> {
        self.process()?.signal(Signal::STOP);
        tokio::time::sleep(millis(self.rng.u64(500..1_500))).await;
        self.process()?.signal(Signal::CONT);
        self.pass(millis(500)).await
    }

    async fn redis_dead(&mut self) -> Result<()> {
        if let Some(redis) = &mut self.redis {
            redis.kill();
        }
        self.pass(millis(2_000)).await?;
        if let Some(redis) = &mut self.redis {
            redis.run().await?;
        }
        self.pass(millis(1_500)).await
    }

    async fn redis_slow(&mut self) -> Result<()> {
        for _ in 0..4 {
            self.redis_signal(Signal::STOP)?;
            let stall = millis(self.rng.u64(50..900));
            self.pass(stall).await?;
            self.redis_signal(Signal::CONT)?;
            self.pass(millis(150)).await?;
        }
        Ok(())
    }

    fn redis_signal(&self, signal: Signal) -> Result<()> {
        self.redis
            .as_ref()
            .map_or(Ok(()), |redis| redis.signal(signal))
    }
}

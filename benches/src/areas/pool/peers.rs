//! Pools of connections that open at once, ours and others'.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicU64, Ordering},
};

use mainspring_pool::Manager;

/// Opens numbered connections.
#[derive(Debug, Default)]
pub(super) struct Numbers(AtomicU64);

impl Numbers {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Manager for Numbers {
    type Resource = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(self.next())
    }
}

impl deadpool::managed::Manager for Numbers {
    type Type = u64;
    type Error = Infallible;

    async fn create(&self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    async fn recycle(
        &self,
        _: &mut u64,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<Infallible> {
        Ok(())
    }
}

impl bb8::ManageConnection for Numbers {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    async fn is_valid(&self, _: &mut u64) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

#[async_trait::async_trait]
impl mobc::Manager for Numbers {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    async fn check(&self, connection: u64) -> Result<u64, Infallible> {
        Ok(connection)
    }
}

#[async_trait::async_trait]
impl qp::resource::Manage for Numbers {
    type Output = u64;
    type Error = Infallible;

    async fn try_create(&self) -> Result<u64, Infallible> {
        Ok(self.next())
    }
}

pub(super) type Mobc = mobc::Pool<Numbers>;
pub(super) type Qp = qp::Pool<Numbers>;
pub(super) type Deadpool = deadpool::managed::Pool<Numbers>;
pub(super) type Bb8 = bb8::Pool<Numbers>;

/// No check at checkout, as ours has none for what was used a moment ago.
pub(super) async fn bb8(max: u32) -> Bb8 {
    let builder = bb8::Pool::builder().max_size(max).test_on_check_out(false);
    let built = builder.build(Numbers::default()).await;
    built.unwrap_or_else(|never| match never {})
}

/// With its default settings: no timeouts.
pub(super) fn deadpool(max: usize) -> anyhow::Result<Deadpool> {
    let builder = deadpool::managed::Pool::builder(Numbers::default());
    Ok(builder.max_size(max).build()?)
}

/// No check at checkout and no timeout, as deadpool has none; it wants to be built inside a runtime.
pub(super) fn mobc(max: u64) -> Mobc {
    let builder = mobc::Pool::builder().max_open(max).max_idle(max);
    let builder = builder.test_on_check_out(false).get_timeout(None);
    builder.build(Numbers::default())
}

/// It has no settings. Its check at checkout says yes at once.
pub(super) fn qp(max: usize) -> Qp {
    Qp::new(Numbers::default(), max)
}

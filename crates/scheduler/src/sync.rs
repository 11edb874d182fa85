//! Locks, flags and the runtime: the real ones, or the model checker's under `cfg(shuttle)`.

#[cfg(shuttle)]
pub(crate) use model::{Handle, sleep};
#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic::AtomicBool};
#[cfg(not(shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic::AtomicBool};
#[cfg(not(shuttle))]
pub(crate) use tokio::{runtime::Handle, time::sleep};

/// Tasks of the checker, which is always there; time stands still.
#[cfg(shuttle)]
mod model {
    use std::convert::Infallible;
    use std::future::Future;
    use std::time::Duration;

    pub(crate) struct Handle;

    impl Handle {
        pub(crate) fn try_current() -> Result<Self, Infallible> {
            Ok(Self)
        }

        pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
            drop(shuttle::future::spawn(task));
        }
    }

    pub(crate) async fn sleep(_: Duration) {
        std::future::pending().await
    }
}

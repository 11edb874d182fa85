//! Changes of agent definitions on disk, told to a runtime.

use std::{
    collections::BTreeSet,
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use mainspring_agents::{AgentCatalog, Error, Watching};
use tokio::{
    runtime::Handle,
    sync::Notify,
    task::{AbortHandle, JoinHandle},
};

use crate::{Runtime, runtime::Inner};

/// Says [`Runtime::agent_updated`] of every agent whose definition comes, changes or goes on disk, once nothing
/// has happened for `settle` (50 ms is usual): what is cached under `agent:{id}` is not served from then
/// on, and subscribers are told [`Event::AgentUpdated`](crate::Event::AgentUpdated). It stops when the
/// answer is dropped.
///
/// What changed while nobody watched is not noticed, and the cache on disk outlives the process: after
/// a start say it of the agents of which you cannot be sure.
///
/// The thread of the watcher never waits: it leaves the ids to a task on `tokio`, each once however
/// often it changes meanwhile. Neither keeps the runtime or the catalog.
///
/// # Errors
/// As [`AgentCatalog::watch`].
pub fn forget_changed_agents(
    runtime: &Runtime,
    catalog: &Arc<AgentCatalog>,
    settle: Duration,
    tokio: &Handle,
) -> Result<ChangedAgents, Error> {
    let due = Arc::new(Due::default());
    let changed = Arc::clone(&due);
    let watching = catalog.watch(settle, move |changes| {
        changed.ids().extend(changes.ids().map(str::to_owned));
        changed.more.notify_one();
    })?;
    let task: JoinHandle<()> = tokio.spawn(forget(Arc::downgrade(&runtime.inner), due));
    Ok(ChangedAgents {
        watching: Some(watching),
        task: task.abort_handle(),
    })
}

/// Eyes on the definitions; see [`forget_changed_agents`].
#[must_use = "nothing is forgotten any more when it is dropped"]
pub struct ChangedAgents {
    watching: Option<Watching>,
    task: AbortHandle,
}

impl Drop for ChangedAgents {
    fn drop(&mut self) {
        drop(self.watching.take());
        self.task.abort();
    }
}

impl fmt::Debug for ChangedAgents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangedAgents")
            .field("watching", &self.watching)
            .finish_non_exhaustive()
    }
}

/// Ids that the cache was not told of yet: at most those of all agents.
#[derive(Default)]
struct Due {
    ids: Mutex<BTreeSet<String>>,
    more: Notify,
}

impl Due {
    fn ids(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn forget(runtime: Weak<Inner>, due: Arc<Due>) {
    loop {
        due.more.notified().await;
        let ids = mem::take(&mut *due.ids());
        for id in ids {
            let Some(inner) = runtime.upgrade() else {
                return;
            };
            Runtime { inner }.agent_updated(&id).await;
        }
    }
}

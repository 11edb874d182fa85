//! Changes of the definitions' files, told as they happen.

use std::{
    collections::BTreeMap,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::{catalog::AgentCatalog, discovery::is_markdown, error::Error};

/// Turns of silence waited for at most, so that a folder that never rests is looked at nevertheless.
const TURNS: u32 = 20;
/// Between attempts to watch what could not be watched.
const RETRY: Duration = Duration::from_secs(1);

/// What became different since the last look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Changes {
    /// Ids of agents that are new.
    pub added: Vec<String>,
    /// Ids of agents whose definition is another.
    pub changed: Vec<String>,
    /// Ids of agents that are gone.
    pub removed: Vec<String>,
}

impl Changes {
    /// Whether nothing is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    /// All ids, for those to whom every difference means the same: forget what you know of them.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let all = [&self.added, &self.changed, &self.removed];
        all.into_iter().flatten().map(String::as_str)
    }

    fn between(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Self {
        let mut changes = Self::default();
        for (id, content) in after {
            match before.get(id) {
                None => changes.added.push(id.clone()),
                Some(known) if known != content => changes.changed.push(id.clone()),
                Some(_) => {}
            }
        }
        let gone = before.keys().filter(|id| !after.contains_key(*id));
        changes.removed.extend(gone.cloned());
        changes
    }
}

impl AgentCatalog {
    /// Watches the directories: after a change, and once nothing has happened for `settle` (50 ms is
    /// usual; editors write a file in several steps), the catalog is refreshed and `on_change` hears
    /// which agents are different from what it heard last. What [`get`](Self::get) noticed meanwhile is
    /// told too. It stops when the handle is dropped or the catalog is.
    ///
    /// A directory that does not exist yet, or goes away and comes back, is found when it is there;
    /// that one further up was renamed is not noticed. When the system says that it dropped events, all
    /// directories are looked at and watched anew. Links to directories are not followed, nor is what a
    /// link to a file leads to watched.
    ///
    /// One thread, and on Linux one inotify watch per directory. A callback that panics is called
    /// again at the next change.
    ///
    /// # Errors
    /// [`Error::Io`] when the system watches no more (on Linux `fs.inotify.max_user_watches`).
    pub fn watch(
        self: &Arc<Self>,
        settle: Duration,
        on_change: impl FnMut(&Changes) + Send + 'static,
    ) -> Result<Watching, Error> {
        let (sender, changed) = sync_channel(1);
        let eye = Eye {
            roots: self
                .options
                .roots
                .iter()
                .map(|root| absolute(root))
                .collect(),
            cache_file: self.options.cache_file.as_deref().map(absolute),
            stale: AtomicBool::new(false),
        };
        let shared = Arc::new(Shared {
            eye: Arc::new(eye),
            sender: Mutex::new(Some(sender)),
            watcher: Mutex::new(None),
        });
        // What was there before the first watch is what changes are told against.
        let seen = self.contents();
        shared.arm()?;
        let look = Look {
            catalog: Arc::downgrade(self),
            shared: Arc::clone(&shared),
            seen,
            on_change,
        };
        let thread = thread::Builder::new()
            .name("agents-watch".to_owned())
            .spawn(move || look.run(&changed, settle))
            .map_err(|error| Error::io(Path::new("a thread that watches"), error))?;
        Ok(Watching {
            shared,
            thread: Some(thread),
        })
    }
}

/// Running eyes on a catalog's directories; see [`AgentCatalog::watch`].
///
/// Dropping it waits for a callback that is running, unless it is dropped by that callback.
#[must_use = "nobody watches when it is dropped"]
pub struct Watching {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.shared.close();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // Callbacks are called where a panic is caught.
            let _ended = thread.join();
        }
    }
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watching")
            .field("roots", &self.shared.eye.roots)
            .finish_non_exhaustive()
    }
}

/// What the handle and the thread have in common. The channel ends with its sender, of which the
/// watcher holds a copy, and so does the thread.
struct Shared {
    eye: Arc<Eye>,
    sender: Mutex<Option<SyncSender<()>>>,
    watcher: Mutex<Option<RecommendedWatcher>>,
}

impl Shared {
    /// Watches every root, or where it is missing what it would appear in.
    fn arm(&self) -> Result<(), Error> {
        let mut result = Ok(());
        for _ in 0..TURNS {
            let targets = self.eye.targets();
            result = self.watch(&targets);
            // What came or went before its watch was set, no event tells.
            if self.eye.targets() == targets {
                break;
            }
        }
        result
    }

    fn watch(&self, targets: &[(PathBuf, RecursiveMode)]) -> Result<(), Error> {
        let Some(sender) = lock(&self.sender).clone() else {
            return Ok(());
        };
        let eye = Arc::clone(&self.eye);
        let handler = move |event: notify::Result<Event>| {
            if eye.concerns(&event) {
                // One that is there already says the same.
                let _told = sender.try_send(());
            }
        };
        let failed = |error| Error::io(Path::new("the watcher of files"), other(error));
        let config = Config::default().with_follow_symlinks(false);
        let mut watcher = RecommendedWatcher::new(handler, config).map_err(failed)?;
        for (path, mode) in targets {
            // A root may be a link itself: with a separator behind it, its name means what it leads to.
            let watched = watcher.watch(&path.join(""), *mode);
            watched.map_err(|error| Error::io(path, other(error)))?;
        }
        let open = lock(&self.sender);
        // The handle went meanwhile: a watcher that is kept now would keep the thread.
        let kept = open.is_some().then_some(watcher);
        let before = std::mem::replace(&mut *lock(&self.watcher), kept);
        drop(open);
        drop(before);
        Ok(())
    }

    fn close(&self) {
        let sender = lock(&self.sender).take();
        let watcher = lock(&self.watcher).take();
        drop((sender, watcher));
    }
}

/// Tells events that may concern a definition from others.
struct Eye {
    roots: Vec<PathBuf>,
    cache_file: Option<PathBuf>,
    /// A root, or what it lies in, came or went, or events were lost, that of a new directory maybe: what
    /// is watched may not be what is there.
    stale: AtomicBool,
}

impl Eye {
    /// Each root with what it lies in, or the closest directory above one that is missing.
    fn targets(&self) -> Vec<(PathBuf, RecursiveMode)> {
        let mut targets = Vec::new();
        for root in &self.roots {
            let there = root.is_dir();
            if there {
                targets.push((root.clone(), RecursiveMode::Recursive));
            }
            if let Some(above) = root.ancestors().skip(1).find(|path| path.is_dir()) {
                targets.push((above.to_owned(), RecursiveMode::NonRecursive));
            }
        }
        // A root that lies in another one is watched with it.
        let recursive: Vec<PathBuf> = targets
            .iter()
            .filter(|(_, mode)| *mode == RecursiveMode::Recursive)
            .map(|(path, _)| path.clone())
            .collect();
        targets.retain(|(path, mode)| {
            let mut wider = recursive.iter().filter(|root| path.starts_with(root));
            match mode {
                RecursiveMode::Recursive => wider.all(|root| root == path),
                RecursiveMode::NonRecursive => wider.next().is_none(),
            }
        });
        targets.dedup();
        targets
    }

    fn concerns(&self, event: &notify::Result<Event>) -> bool {
        let lost = match event {
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => return false,
            Ok(event) => event.need_rescan() || event.paths.is_empty(),
            Err(_) => true,
        };
        let paths = event.as_ref().map_or(&[][..], |event| &event.paths);
        if lost || paths.iter().any(|path| self.leads_to_a_root(path)) {
            self.stale.store(true, Ordering::Release);
            return true;
        }
        paths.iter().any(|path| self.may_define(path))
    }

    fn leads_to_a_root(&self, path: &Path) -> bool {
        self.roots.iter().any(|root| root.starts_with(path))
    }

    /// A Markdown file, or a directory with some; writing our own cache file is no change.
    fn may_define(&self, path: &Path) -> bool {
        let Some(root) = self.roots.iter().find(|root| path.starts_with(root)) else {
            return false;
        };
        let below = path.strip_prefix(root).unwrap_or(path);
        let mut names = below.iter();
        if names.any(|name| name.as_encoded_bytes().starts_with(b".")) {
            return false;
        }
        let ours = self.cache_file.as_ref().is_some_and(|cache| {
            let cache = cache.as_os_str().as_encoded_bytes();
            path.as_os_str().as_encoded_bytes().starts_with(cache)
        });
        // A directory that is gone cannot be asked whether it was one.
        !ours && (is_markdown(path) || path.is_dir() || !path.exists())
    }
}

struct Look<F> {
    catalog: Weak<AgentCatalog>,
    shared: Arc<Shared>,
    /// Content by id, as last told.
    seen: BTreeMap<String, u64>,
    on_change: F,
}

impl<F: FnMut(&Changes)> Look<F> {
    fn run(mut self, changed: &Receiver<()>, settle: Duration) {
        // What changed while the watches were set, nobody was told of.
        let mut alive = self.look();
        while alive && self.wait(changed, settle) {
            if self.shared.eye.stale.swap(false, Ordering::AcqRel) && self.shared.arm().is_err() {
                self.shared.eye.stale.store(true, Ordering::Release);
            }
            alive = self.look();
        }
    }

    /// Until something changed and rests again; false at the end.
    fn wait(&self, changed: &Receiver<()>, settle: Duration) -> bool {
        let first = if self.shared.eye.stale.load(Ordering::Acquire) {
            changed.recv_timeout(RETRY)
        } else {
            changed.recv().map_err(RecvTimeoutError::from)
        };
        if first == Err(RecvTimeoutError::Timeout) {
            return true;
        }
        let mut turns = 0;
        let mut last = first;
        while last.is_ok() && turns < TURNS {
            last = changed.recv_timeout(settle);
            turns += 1;
        }
        last != Err(RecvTimeoutError::Disconnected)
    }

    /// False when the catalog is gone.
    fn look(&mut self) -> bool {
        let Some(catalog) = self.catalog.upgrade() else {
            return false;
        };
        // One that fails has changed nothing, and the catalog lists what it met.
        if catalog.refresh().is_err() {
            return true;
        }
        let now = catalog.contents();
        drop(catalog);
        let changes = Changes::between(&self.seen, &now);
        self.seen = now;
        if !changes.is_empty() {
            let _panicked = catch_unwind(AssertUnwindSafe(|| (self.on_change)(&changes)));
        }
        // Its last owner may have let go while it was looked at.
        self.catalog.strong_count() > 0
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn other(error: notify::Error) -> io::Error {
    match error.kind {
        notify::ErrorKind::Io(error) => error,
        _ => io::Error::other(error),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, CreateKind, Flag};

    use super::*;

    fn eye() -> Eye {
        Eye {
            roots: vec![PathBuf::from("/project/agents")],
            cache_file: Some(PathBuf::from("/project/agents/cache.bin")),
            stale: AtomicBool::new(false),
        }
    }

    fn created(path: &str) -> notify::Result<Event> {
        Ok(Event::new(EventKind::Create(CreateKind::Any)).add_path(PathBuf::from(path)))
    }

    #[test]
    fn what_defines_nothing_and_what_we_write_ourselves_is_passed_over() {
        let eye = eye();
        for path in ["a.md", "deep/er/B.MD", "a-directory-that-went"] {
            assert!(eye.concerns(&created(&format!("/project/agents/{path}"))));
        }
        let ours = ["cache.bin", "cache.bin.77-0.new", ".git/a.md", ".hidden.md"];
        for path in ours.map(|name| format!("/project/agents/{name}")) {
            assert!(!eye.concerns(&created(&path)), "{path}");
        }
        assert!(!eye.concerns(&created("/project/other.md")));
        let read = Event::new(EventKind::Access(AccessKind::Any));
        assert!(!eye.concerns(&Ok(read.add_path(PathBuf::from("/project/agents/a.md")))));
        assert!(!eye.stale.load(Ordering::Relaxed));
    }

    #[test]
    fn lost_events_and_a_moved_root_mean_a_look_and_new_watches() {
        let eye = eye();
        let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        for lost in [Err(notify::Error::generic("overflow")), Ok(overflow)] {
            assert!(eye.concerns(&lost) && eye.stale.swap(false, Ordering::Relaxed));
        }
        for path in ["/project/agents", "/project"] {
            assert!(eye.concerns(&created(path)) && eye.stale.swap(false, Ordering::Relaxed));
        }
    }
}

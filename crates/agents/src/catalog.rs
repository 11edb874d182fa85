mod scan;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    cache::{self, Encoder},
    definition::AgentDefinition,
    discovery::{self, Content},
    error::Error,
    index::{AgentIndex, Ranked},
    options::CatalogOptions,
    signature::{Known, Signature, nanos_of},
    stat,
};

/// The agent definitions below some directories: discovered, parsed once, revalidated by one `stat`.
///
/// Opening lists the directories and asks each file's `stat`; only files that the cache file does not
/// prove unchanged are read, and only those whose content differs are parsed. After that
/// [`get`](Self::get) costs one `stat` and no read as long as the file stays as it is, and notices
/// every change: the content decides, and a `stat` stands for it only where it cannot lie (see
/// [`CatalogOptions::racy_window`]). New files are found by [`refresh`](Self::refresh).
///
/// Everything here blocks on the file system for a moment; in an asynchronous program open and refresh
/// it where blocking is allowed.
///
/// ```
/// use mainspring_agents::{AgentCatalog, CatalogOptions};
///
/// # let directory = tempfile::tempdir()?;
/// # let root = directory.path().join("agents");
/// # std::fs::create_dir(&root)?;
/// std::fs::write(root.join("tester.md"), "---\ndescription: Writes tests\n---\nYou write tests.\n")?;
///
/// let catalog = AgentCatalog::open(CatalogOptions::new([&root]).cache_file(root.join(".cache")))?;
/// assert_eq!(catalog.get("tester")?.prompt, "You write tests.\n");
/// assert_eq!(catalog.select("test the parser", 3)[0].definition.id, "tester");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AgentCatalog {
    pub(crate) options: CatalogOptions,
    state: RwLock<State>,
    /// One scan at a time.
    scan: Mutex<()>,
    counters: Counters,
}

#[derive(Default)]
struct State {
    /// By id.
    agents: HashMap<String, Arc<Entry>>,
    /// Markdown files that are no definitions, so that they are not read again.
    others: HashMap<PathBuf, Known>,
    /// Definitions of agents that an earlier file defines, so that they are not read again either.
    shadowed: Vec<Arc<Entry>>,
    /// Built when the first task is ranked after a change.
    index: Option<Arc<AgentIndex>>,
    problems: Vec<Error>,
}

struct Entry {
    definition: Arc<AgentDefinition>,
    known: Known,
    uses: Arc<AtomicU64>,
}

#[derive(Default)]
struct Counters {
    stats: AtomicU64,
    reads: AtomicU64,
    parses: AtomicU64,
}

/// A cheap snapshot of a catalog's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CatalogStats {
    /// Definitions at hand.
    pub definitions: usize,
    /// Files whose `stat` was asked, since the catalog was opened.
    pub files_checked: u64,
    /// Files that were read.
    pub files_read: u64,
    /// Files that were parsed.
    pub files_parsed: u64,
    /// Problems that the last scan met.
    pub problems: usize,
}

impl AgentCatalog {
    /// Scans the directories, with the help of the cache file if one is set.
    ///
    /// A definition that cannot be read or understood does not stop the others; it is listed by
    /// [`problems`](Self::problems), as is a cache file that could not be used or written.
    ///
    /// # Errors
    /// [`Error::Io`] when a root exists but cannot be listed.
    pub fn open(options: CatalogOptions) -> Result<Self, Error> {
        let catalog = Self {
            options,
            state: RwLock::default(),
            scan: Mutex::default(),
            counters: Counters::default(),
        };
        let mut problems = Vec::new();
        let known = catalog.cached(&mut problems);
        catalog.scan_with(known, problems)?;
        Ok(catalog)
    }

    /// Scans the directories again: finds new files and forgets those that are gone. Costs a `stat` per
    /// file, and a read of those that changed, rest too short a time, or were left out as a problem of
    /// their own.
    ///
    /// # Errors
    /// As [`open`](Self::open); nothing has changed then.
    pub fn refresh(&self) -> Result<CatalogStats, Error> {
        let one = self.one_scan();
        let known = self.at_hand();
        self.scan_with(known, Vec::new())?;
        drop(one);
        Ok(self.stats())
    }

    /// The definition of an agent, as its file is now.
    ///
    /// Costs one `stat`; a file that changed, or whose `stat` proves nothing yet, is read.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such agent (any more), [`Error::Definition`] when its file
    /// was changed into something that cannot be understood, [`Error::Io`].
    pub fn get(&self, id: &str) -> Result<Arc<AgentDefinition>, Error> {
        let entry = self.entry(id)?;
        entry.uses.fetch_add(1, Ordering::Relaxed);
        self.validated(&entry)
    }

    /// Brings definitions up to date ahead of their use: those of the list, then the `most_used` ones
    /// by measured frequency, in that order and each once. It fails none for another's sake and counts
    /// as no use.
    pub fn preload(
        &self,
        list: &[&str],
        most_used: usize,
    ) -> Vec<(String, Result<Arc<AgentDefinition>, Error>)> {
        let mut ids: Vec<String> = list.iter().map(|&id| id.to_owned()).collect();
        ids.extend(self.most_used(most_used));
        let mut seen = std::collections::HashSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        ids.into_iter()
            .map(|id| {
                let definition = self.entry(&id).and_then(|entry| self.validated(&entry));
                (id, definition)
            })
            .collect()
    }

    /// The ids of the agents asked for most often, most often first; equal ones by id. Counts survive
    /// in the cache file. Agents that were never asked for are left out.
    #[must_use]
    pub fn most_used(&self, limit: usize) -> Vec<String> {
        let state = self.state();
        let uses = state
            .agents
            .iter()
            .map(|(id, entry)| (entry.uses.load(Ordering::Relaxed), id));
        let mut used: Vec<_> = uses.filter(|&(uses, _)| uses > 0).collect();
        used.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        used.into_iter()
            .take(limit)
            .map(|(_, id)| id.clone())
            .collect()
    }

    /// The agents that fit a task, best first, at most `limit`: those that share words with it, ranked
    /// by an [`AgentIndex`] over the definitions at hand. Touches no file.
    #[must_use]
    pub fn select(&self, task: &str, limit: usize) -> Vec<Ranked> {
        self.index().rank(task, limit)
    }

    /// The index over the definitions at hand; built at the first call after a change.
    #[must_use]
    pub fn index(&self) -> Arc<AgentIndex> {
        if let Some(index) = &self.state().index {
            return Arc::clone(index);
        }
        let mut state = self.state_mut();
        let State { agents, index, .. } = &mut *state;
        let build = || {
            Arc::new(AgentIndex::new(
                agents.values().map(|entry| Arc::clone(&entry.definition)),
            ))
        };
        Arc::clone(index.get_or_insert_with(build))
    }

    /// The ids of all agents, sorted.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        let mut ids: Vec<_> = self.state().agents.keys().cloned().collect();
        ids.sort_unstable();
        ids
    }

    /// What the last scan could not read, understand or keep.
    #[must_use]
    pub fn problems(&self) -> Vec<Error> {
        self.state().problems.clone()
    }

    /// Writes the cache file, if one is set: scans do it by themselves; call this before the end of the
    /// program so that use counts survive.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self) -> Result<(), Error> {
        let Some(path) = &self.options.cache_file else {
            return Ok(());
        };
        let mut encoder = Encoder::new();
        let state = self.state();
        let mut entries: Vec<_> = state.agents.values().chain(&state.shadowed).collect();
        entries.sort_unstable_by(|a, b| a.definition.path.cmp(&b.definition.path));
        for entry in entries {
            let uses = entry.uses.load(Ordering::Relaxed);
            encoder.record(
                &entry.definition.path,
                &entry.known,
                uses,
                Some(&entry.definition),
            );
        }
        for (path, known) in &state.others {
            encoder.record(path, known, 0, None);
        }
        drop(state);
        cache::save(path, &encoder.finish())
    }

    /// A cheap snapshot of its figures.
    #[must_use]
    pub fn stats(&self) -> CatalogStats {
        let state = self.state();
        CatalogStats {
            definitions: state.agents.len(),
            files_checked: self.counters.stats.load(Ordering::Relaxed),
            files_read: self.counters.reads.load(Ordering::Relaxed),
            files_parsed: self.counters.parses.load(Ordering::Relaxed),
            problems: state.problems.len(),
        }
    }

    /// The hash of each definition's file, by id.
    #[cfg(feature = "watch")]
    pub(crate) fn contents(&self) -> std::collections::BTreeMap<String, u64> {
        let state = self.state();
        let agents = state.agents.iter();
        agents
            .map(|(id, entry)| (id.clone(), entry.known.content))
            .collect()
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn one_scan(&self) -> MutexGuard<'_, ()> {
        self.scan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, id: &str) -> Result<Arc<Entry>, Error> {
        let found = self.state().agents.get(id).cloned();
        found.ok_or_else(|| not_found(id))
    }

    fn proves(&self, known: &Known, now: &Signature) -> bool {
        known.proves(now, nanos_of(self.options.racy_window))
    }

    fn validated(&self, entry: &Arc<Entry>) -> Result<Arc<AgentDefinition>, Error> {
        self.counters.stats.fetch_add(1, Ordering::Relaxed);
        let path = &entry.definition.path;
        match stat::of_path(path) {
            Ok(now) if now.is_file && self.proves(&entry.known, &now.signature) => {
                Ok(Arc::clone(&entry.definition))
            }
            Ok(now) if now.is_file => self.reload(entry),
            Ok(_) => self.gone(entry, Error::io(path, io::ErrorKind::NotFound.into())),
            Err(error) => self.gone(entry, Error::io(path, error)),
        }
    }

    fn reload(&self, entry: &Arc<Entry>) -> Result<Arc<AgentDefinition>, Error> {
        let content = match self.read(&entry.definition.path) {
            Ok(content) => content,
            Err(error) => return self.gone(entry, error),
        };
        let definition = if content.known.content == entry.known.content {
            Arc::clone(&entry.definition)
        } else {
            Arc::new(self.parse(&entry.definition.path, &content.text)?)
        };
        self.replace(entry, definition, content.known)
    }

    /// Puts a newer state of a file in the place of `entry`.
    fn replace(
        &self,
        entry: &Arc<Entry>,
        definition: Arc<AgentDefinition>,
        known: Known,
    ) -> Result<Arc<AgentDefinition>, Error> {
        let id = &entry.definition.id;
        let same = definition.id == *id;
        let mut state = self.state_mut();
        if state.holds(entry) {
            if !Arc::ptr_eq(&definition, &entry.definition) {
                state.index = None;
            }
            if same {
                let new = Entry {
                    definition: Arc::clone(&definition),
                    known,
                    uses: Arc::clone(&entry.uses),
                };
                state.agents.insert(id.clone(), Arc::new(new));
            } else {
                state.agents.remove(id);
            }
        }
        // A file that now defines another agent: a scan decides which file that one's is.
        if same {
            Ok(definition)
        } else {
            Err(not_found(id))
        }
    }

    /// A file that is not there any more takes its agent along.
    fn gone(&self, entry: &Arc<Entry>, error: Error) -> Result<Arc<AgentDefinition>, Error> {
        use io::ErrorKind::{NotADirectory, NotFound};
        let missing = matches!(&error, Error::Io { source, .. } if matches!(source.kind(), NotFound | NotADirectory));
        if !missing {
            return Err(error);
        }
        let mut state = self.state_mut();
        if state.holds(entry) {
            state.agents.remove(&entry.definition.id);
            state.index = None;
        }
        Err(not_found(&entry.definition.id))
    }

    fn read(&self, path: &Path) -> Result<Content, Error> {
        self.counters.reads.fetch_add(1, Ordering::Relaxed);
        discovery::read(path, &self.options)
    }

    fn parse(&self, path: &Path, text: &str) -> Result<AgentDefinition, Error> {
        self.counters.parses.fetch_add(1, Ordering::Relaxed);
        AgentDefinition::parse_file(path, text)
    }
}

impl State {
    /// Whether this is still what is known of its agent; a scan may have found something newer since.
    fn holds(&self, entry: &Arc<Entry>) -> bool {
        let current = self.agents.get(&entry.definition.id);
        current.is_some_and(|current| Arc::ptr_eq(current, entry))
    }
}

fn not_found(id: &str) -> Error {
    Error::NotFound {
        kind: "agent",
        name: id.to_owned(),
    }
}

impl std::fmt::Debug for AgentCatalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentCatalog")
            .field("options", &self.options)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_look_up_that_was_overtaken_by_a_scan_takes_nothing_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.md");
        fs::write(&path, "---\ndescription: first\n---\n").unwrap();
        let catalog = AgentCatalog::open(CatalogOptions::new([folder.path()])).unwrap();
        let slow = catalog.entry("a").unwrap();
        let old = discovery::read(&path, &catalog.options).unwrap();
        fs::write(&path, "---\ndescription: second\n---\n").unwrap();
        catalog.refresh().unwrap();

        let missing = Error::io(&path, io::ErrorKind::NotFound.into());
        assert!(matches!(
            catalog.gone(&slow, missing),
            Err(Error::NotFound { .. })
        ));
        let definition = Arc::clone(&slow.definition);
        let served = catalog.replace(&slow, definition, old.known).unwrap();
        assert_eq!(served.description, "first");
        let at_hand = catalog.select("second", 1);
        assert_eq!(at_hand[0].definition.description, "second");
        assert_eq!(catalog.get("a").unwrap().description, "second");
    }
}

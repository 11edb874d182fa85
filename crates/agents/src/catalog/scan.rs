//! Scanning the directories with as little reading as what is known allows.

use std::{
    collections::HashMap,
    ffi::OsString,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{AgentCatalog, Entry, State};
use crate::{
    cache::{self, Record},
    definition::AgentDefinition,
    discovery::{self, Candidate},
    error::Error,
    front_matter,
    signature::Known,
};

impl AgentCatalog {
    /// What the cache file knows, by path; as bytes, which hash faster than paths.
    pub(super) fn cached(&self, problems: &mut Vec<Error>) -> HashMap<OsString, Seen> {
        let Some(path) = &self.options.cache_file else {
            return HashMap::new();
        };
        let bound = (self.options.max_total_bytes as u64)
            .saturating_mul(2)
            .saturating_add(1 << 20);
        let records = cache::load(path, bound).unwrap_or_else(|error| {
            problems.push(error);
            Vec::new()
        });
        records.into_iter().map(Seen::from_record).collect()
    }

    /// What this catalog knows, by path.
    pub(super) fn at_hand(&self) -> HashMap<OsString, Seen> {
        let state = self.state();
        let entries = state.agents.values().chain(&state.shadowed);
        let agents = entries.map(|entry| {
            let Entry {
                definition,
                known,
                uses,
            } = &**entry;
            (
                definition.path.clone().into_os_string(),
                Seen {
                    known: *known,
                    uses: Arc::clone(uses),
                    definition: Some(Arc::clone(definition)),
                },
            )
        });
        let others = state
            .others
            .iter()
            .map(|(path, &known)| (path.clone().into_os_string(), Seen::other(known)));
        agents.chain(others).collect()
    }

    /// Replaces the state; the caller sees to it that nobody else scans.
    pub(super) fn scan_with(
        &self,
        mut seen: HashMap<OsString, Seen>,
        mut problems: Vec<Error>,
    ) -> Result<(), Error> {
        // A cache file that could not be used is written anew.
        let mut unchanged = problems.is_empty();
        let candidates = discovery::find(&self.options, &mut problems)?;
        self.counters
            .stats
            .fetch_add(candidates.len() as u64, Ordering::Relaxed);
        let mut next = State {
            problems,
            ..State::default()
        };
        let mut bytes = 0;
        for candidate in &candidates {
            let earlier = seen.remove(candidate.path.as_os_str());
            let before = earlier.as_ref().map(|earlier| earlier.known);
            let now = self.current(candidate, earlier);
            unchanged &= before == now.as_ref().ok().map(|now| now.known);
            match now {
                Ok(seen) => self.admit(&mut next, &mut bytes, candidate, seen),
                Err(error) => next.problems.push(error),
            }
        }
        unchanged &= seen.is_empty();
        *self.state_mut() = next;
        if !unchanged && let Err(error) = self.save() {
            self.state_mut().problems.push(error);
        }
        Ok(())
    }

    /// The present state of a file, with as little work as its earlier state allows.
    fn current(&self, candidate: &Candidate, earlier: Option<Seen>) -> Result<Seen, Error> {
        let earlier = match earlier {
            Some(earlier) if self.proves(&earlier.known, &candidate.signature) => {
                return Ok(earlier);
            }
            earlier => earlier,
        };
        let content = self.read(&candidate.path)?;
        let uses = earlier
            .as_ref()
            .map_or_else(Arc::default, |seen| Arc::clone(&seen.uses));
        if let Some(earlier) = earlier.filter(|seen| seen.known.content == content.known.content) {
            return Ok(Seen {
                known: content.known,
                ..earlier
            });
        }
        if !front_matter::has_opening_fence(&content.text) {
            return Ok(Seen::other(content.known));
        }
        let definition = self.parse(&candidate.path, &content.text)?;
        Ok(Seen {
            known: content.known,
            uses,
            definition: Some(Arc::new(definition)),
        })
    }

    fn admit(&self, next: &mut State, bytes: &mut usize, candidate: &Candidate, seen: Seen) {
        let Seen {
            known,
            uses,
            definition,
        } = seen;
        let Some(definition) = definition else {
            next.others.insert(candidate.path.clone(), known);
            return;
        };
        *bytes += definition.weight();
        let entry = |definition| {
            Arc::new(Entry {
                definition,
                known,
                uses,
            })
        };
        if *bytes > self.options.max_total_bytes {
            let limit = self.options.max_total_bytes as u64;
            next.problems.push(Error::LimitExceeded {
                what: "the memory of all definitions",
                limit,
            });
        } else if let Some(first) = next.agents.get(&definition.id) {
            next.problems.extend(self.duplicate(
                &first.definition.path,
                &candidate.path,
                &definition.id,
            ));
            next.shadowed.push(entry(definition));
        } else {
            next.agents.insert(definition.id.clone(), entry(definition));
        }
    }

    /// A complaint about a second definition under one root; one from an earlier root wins silently.
    fn duplicate(&self, first: &Path, second: &Path, id: &str) -> Option<Error> {
        let root_of = |path: &Path| {
            self.options
                .roots
                .iter()
                .position(|root| path.starts_with(root))
        };
        let same_root = root_of(first) == root_of(second);
        same_root.then(|| Error::Definition {
            path: second.to_owned(),
            line: 1,
            what: format!("the agent `{id}` is already defined by {}", first.display()),
        })
    }
}

/// What is known of a file before it is looked at.
pub(super) struct Seen {
    known: Known,
    uses: Arc<AtomicU64>,
    definition: Option<Arc<AgentDefinition>>,
}

impl Seen {
    fn other(known: Known) -> Self {
        Self {
            known,
            uses: Arc::default(),
            definition: None,
        }
    }

    fn from_record(record: Record) -> (OsString, Self) {
        let Record {
            known,
            uses,
            definition,
            path,
        } = record;
        (
            path.into_os_string(),
            Self {
                known,
                uses: Arc::new(AtomicU64::new(uses)),
                definition: definition.map(Arc::new),
            },
        )
    }
}

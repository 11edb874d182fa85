use std::collections::{BTreeMap, HashMap};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use tokio::runtime::Handle;

use crate::backing::{Backing, Entry};

/// Keys of this length name one block and are no beginning of another key.
const WHOLE_KEY: usize = 66;

/// A store of the `object_store` crate (S3, GCS, Azure, a folder, memory) as a [`Backing`]; feature `object-store`.
///
/// An object cannot be appended to, so a value is a row of objects `KEY/GENERATION-PART`: an append adds a part, a
/// put begins a generation and deletes the ones before it. Each commit is one request; sealing joins the parts.
/// Calls block: inside an async task use `spawn_blocking`, otherwise they are refused with an error
/// (tokio's panic is caught; a program built with `panic = "abort"` ends).
#[derive(Debug)]
pub struct ObjectBacking {
    store: Arc<dyn ObjectStore>,
    root: Path,
    runtime: Handle,
    /// Where the next append of a key goes.
    next: Mutex<HashMap<String, Place>>,
}

/// Keys whose next place is remembered.
const PLACES: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    generation: u64,
    part: u64,
}

/// The newest generation of a key: sizes of its parts from 0 on, without a gap.
#[derive(Debug, Default, PartialEq, Eq)]
struct Value {
    generation: u64,
    parts: BTreeMap<u64, u64>,
}

impl Value {
    fn sizes(&self) -> impl Iterator<Item = u64> {
        let in_row = self.parts.iter().enumerate();
        in_row
            .take_while(|(i, (part, _))| *i as u64 == **part)
            .map(|(_, (_, size))| *size)
    }
}

impl ObjectBacking {
    /// Keeps everything below `root` in `store`; `runtime` drives the requests. For a store behind a network that is a
    /// multi-thread runtime, or a current-thread one that some other thread is running.
    pub fn new(store: Arc<dyn ObjectStore>, root: impl Into<Path>, runtime: Handle) -> Self {
        Self {
            store,
            root: root.into(),
            runtime,
            next: Mutex::default(),
        }
    }

    fn wait<T>(&self, work: impl Future<Output = object_store::Result<T>>) -> io::Result<T> {
        if Handle::try_current().is_err() {
            return self.runtime.block_on(work).map_err(io::Error::from);
        }
        // Threads of `spawn_blocking` are inside a runtime too: only the attempt tells them from async tasks, where
        // tokio panics before anything is sent.
        let attempt = AssertUnwindSafe(|| self.runtime.block_on(work));
        match catch_unwind(attempt) {
            Ok(done) => done.map_err(io::Error::from),
            Err(_) => Err(io::Error::other(
                "called from an async task: use spawn_blocking",
            )),
        }
    }

    fn directory(&self, key: &str) -> Path {
        let parts = key.split('/').filter(|part| !part.is_empty());
        parts.fold(self.root.clone(), |path, part| path.join(part))
    }

    fn object(&self, key: &str, place: Place) -> Path {
        self.directory(key)
            .join(format!("{:08x}-{:08x}", place.generation, place.part))
    }

    /// The key and place of an object, if it is one of ours.
    fn parse(&self, path: &Path) -> Option<(String, Place)> {
        let parts: Vec<String> = path
            .prefix_match(&self.root)?
            .map(|part| part.as_ref().to_owned())
            .collect();
        let (last, key) = parts.split_last()?;
        let (generation, part) = last.split_once('-')?;
        let place = Place {
            generation: u64::from_str_radix(generation, 16).ok()?,
            part: u64::from_str_radix(part, 16).ok()?,
        };
        Some((key.join("/"), place))
    }

    fn objects(&self, directory: &Path) -> io::Result<Vec<(String, Place, u64)>> {
        let found = self.wait(self.store.list(Some(directory)).try_collect::<Vec<_>>());
        let found = match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            found => found?,
        };
        let parsed = found.iter().filter_map(|meta| {
            let (key, place) = self.parse(&meta.location)?;
            Some((key, place, meta.size))
        });
        Ok(parsed.collect())
    }

    fn values(&self, directory: &Path) -> io::Result<BTreeMap<String, Value>> {
        let mut values: BTreeMap<String, Value> = BTreeMap::new();
        for (key, place, size) in self.objects(directory)? {
            let value = values.entry(key).or_default();
            if place.generation > value.generation {
                *value = Value {
                    generation: place.generation,
                    parts: BTreeMap::new(),
                };
            }
            if place.generation == value.generation {
                value.parts.insert(place.part, size);
            }
        }
        values.retain(|_, value| value.sizes().next().is_some());
        Ok(values)
    }

    fn value(&self, key: &str) -> io::Result<Option<Value>> {
        Ok(self.values(&self.directory(key))?.remove(key))
    }

    /// The value of a key that was listed like that.
    fn read(&self, key: &str, mut listed: Option<Value>) -> io::Result<Option<Bytes>> {
        while let Some(value) = &listed {
            match self.parts(key, value) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Replaced or deleted since.
                    let now = self.value(key)?;
                    if now == listed {
                        return Err(error);
                    }
                    listed = now;
                }
                read => return read.map(Some),
            }
        }
        Ok(None)
    }

    fn parts(&self, key: &str, value: &Value) -> io::Result<Bytes> {
        let mut whole = BytesMut::new();
        for part in 0..value.sizes().count() as u64 {
            let place = Place {
                generation: value.generation,
                part,
            };
            let path = self.object(key, place);
            let bytes = self.wait(async { self.store.get(&path).await?.bytes().await })?;
            if value.parts.len() == 1 {
                return Ok(bytes);
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole.freeze())
    }

    fn next_place(&self, key: &str) -> io::Result<Place> {
        let known = self
            .next
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .copied();
        if let Some(place) = known {
            return Ok(place);
        }
        let value = self.value(key)?.unwrap_or_default();
        Ok(Place {
            generation: value.generation,
            part: value.sizes().count() as u64,
        })
    }

    fn remember(&self, key: &str, place: Option<Place>) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.len() >= PLACES {
            next.clear();
        }
        match place {
            Some(place) => drop(next.insert(key.to_owned(), place)),
            None => drop(next.remove(key)),
        }
    }

    fn write(&self, key: &str, place: Place, value: &[u8]) -> io::Result<()> {
        let payload = PutPayload::from(Bytes::copy_from_slice(value));
        self.wait(self.store.put(&self.object(key, place), payload))?;
        self.remember(
            key,
            Some(Place {
                generation: place.generation,
                part: place.part + 1,
            }),
        );
        Ok(())
    }

    /// Deletes objects of a key, older generations first and the last part of each first.
    fn remove(&self, key: &str, below: u64) -> io::Result<()> {
        let mut places: Vec<Place> = self
            .objects(&self.directory(key))?
            .into_iter()
            .filter(|(found, place, _)| found == key && place.generation < below)
            .map(|(_, place, _)| place)
            .collect();
        places.sort_by_key(|place| (place.generation, u64::MAX - place.part));
        for place in places {
            match self.wait(self.store.delete(&self.object(key, place))) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                deleted => deleted?,
            }
        }
        Ok(())
    }
}

impl Backing for ObjectBacking {
    fn get(&self, key: &str) -> io::Result<Option<Bytes>> {
        self.read(key, self.value(key)?)
    }

    fn put(&self, key: &str, value: &[u8]) -> io::Result<()> {
        let old = self.value(key)?;
        let generation = old.as_ref().map_or(0, |old| old.generation + 1);
        self.write(
            key,
            Place {
                generation,
                part: 0,
            },
            value,
        )?;
        if old.is_some() {
            self.remove(key, generation)?;
        }
        Ok(())
    }

    fn append(&self, key: &str, value: &[u8]) -> io::Result<()> {
        let place = self.next_place(key)?;
        self.write(key, place, value)
    }

    fn delete(&self, key: &str) -> io::Result<()> {
        self.remember(key, None);
        self.remove(key, u64::MAX)
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<Entry>> {
        let within = match prefix.rsplit_once('/') {
            _ if prefix.len() >= WHOLE_KEY => prefix,
            Some((directory, _)) => directory,
            None => "",
        };
        let values = self.values(&self.directory(within))?;
        let entries = values
            .into_iter()
            .filter(|(key, _)| key.starts_with(prefix));
        Ok(entries
            .map(|(key, value)| Entry {
                key,
                len: value.sizes().sum(),
            })
            .collect())
    }

    /// Nothing to do: a request that succeeded is durable.
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    #[test]
    fn a_value_that_is_replaced_or_deleted_after_it_was_listed_is_looked_up_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("runtime");
        let backing = ObjectBacking::new(Arc::new(InMemory::new()), "", runtime.handle().clone());
        for part in ["one ", "two"] {
            backing.append("s/a/1", part.as_bytes()).expect("append");
        }
        let listed = || backing.value("s/a/1").expect("list");
        let old = listed();
        backing.put("s/a/1", b"new").expect("put");
        let read = backing.read("s/a/1", old).expect("the new one");
        assert_eq!(read.expect("there"), "new");
        let old = listed();
        backing.delete("s/a/1").expect("delete");
        assert_eq!(backing.read("s/a/1", old).expect("none"), None);
    }
}

use std::{
    collections::HashMap,
    fs::File,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{PoisonError, RwLock},
};

use anyhow::{Context as _, Result};

use super::{Job, Peer};

const HEAD: usize = 8;

/// The least that could do the work: lengths, keys and values in one growing file, places in a map.
/// It checks nothing, so it promises nothing after a crash.
struct BareLog {
    file: File,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    places: HashMap<Box<[u8]>, (u64, u32)>,
    end: u64,
}

pub(super) fn open(dir: &Path, _: &Job) -> Result<Box<dyn Peer>> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(dir.join("records.log"))?;
    let log = BareLog {
        state: RwLock::new(replay(&std::fs::read(dir.join("records.log"))?)?),
        file,
    };
    Ok(Box::new(log))
}

fn replay(log: &[u8]) -> Result<State> {
    let mut state = State::default();
    let mut at = 0;
    while let Some(head) = log.get(at..at + HEAD) {
        let len = |word: &[u8]| word.try_into().map(u32::from_le_bytes);
        let (key_len, value_len) = (len(&head[..4])? as usize, len(&head[4..])?);
        let key = log.get(at + HEAD..at + HEAD + key_len);
        let value = at + HEAD + key_len;
        let place = (value as u64, value_len);
        state
            .places
            .insert(key.context("a torn log")?.into(), place);
        at = value + value_len as usize;
    }
    state.end = at as u64;
    Ok(state)
}

impl BareLog {
    fn write(&self, pairs: &[(&[u8], &[u8])], sync: bool) -> Result<()> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Vec::new();
        let mut places = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            for len in [key.len(), value.len()] {
                bytes.extend_from_slice(&(len as u32).to_le_bytes());
            }
            bytes.extend_from_slice(key);
            places.push((state.end + bytes.len() as u64, value.len() as u32));
            bytes.extend_from_slice(value);
        }
        self.file.write_all_at(&bytes, state.end)?;
        if sync {
            self.file.sync_data()?;
        }
        state.end += bytes.len() as u64;
        for ((key, _), place) in pairs.iter().zip(places) {
            state.places.insert((*key).into(), place);
        }
        Ok(())
    }
}

impl Peer for BareLog {
    fn put_many(&self, pairs: &[(&[u8], &[u8])]) -> Result<()> {
        self.write(pairs, false)
    }

    fn flush(&self) -> Result<()> {
        Ok(self.file.sync_all()?)
    }

    fn put_durable(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.write(&[(key, value)], true)
    }

    fn visit(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let Some(&(at, len)) = state.places.get(key) else {
            return Ok(false);
        };
        let mut value = vec![0; len as usize];
        self.file.read_exact_at(&mut value, at)?;
        see(&value);
        Ok(true)
    }
}

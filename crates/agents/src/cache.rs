//! The cache file: parsed definitions, their signatures and use counts.
//!
//! A header of 32 bytes (magic, version, length and XXH3 of what follows) and one record per
//! definition; integers little-endian, texts with a 32-bit length before them. The file is
//! disposable: one that is not understood to the last byte is thrown away and written anew, so there
//! is nothing to migrate. It is replaced by renaming, so a reader never sees half of it.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    definition::{AgentDefinition, ModelTier},
    error::Error,
    front_matter::Value,
    signature::{Known, Signature},
    stat,
};

const MAGIC: [u8; 8] = *b"MSAGENT\0";
const VERSION: u64 = 1;
const HEADER_BYTES: usize = 32;
const MAX_DEPTH: usize = 16;

/// What is kept of one file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) known: Known,
    pub(crate) uses: u64,
    /// `None` for a Markdown file that is no definition.
    pub(crate) definition: Option<AgentDefinition>,
    pub(crate) path: PathBuf,
}

/// The records of the file; none when there is no file.
pub(crate) fn load(path: &Path, max_bytes: u64) -> Result<Vec<Record>, Error> {
    let (file, stat) = match stat::open(path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(path, error)),
    };
    if !stat.is_file {
        let other = io::Error::new(io::ErrorKind::InvalidInput, "no regular file");
        return Err(Error::io(path, other));
    }
    let len = stat.signature.size;
    let mut bytes = Vec::with_capacity(len.min(max_bytes) as usize + 1);
    file.take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| Error::io(path, error))?;
    if bytes.len() as u64 > max_bytes {
        return Err(Error::LimitExceeded {
            what: "the size of the cache file",
            limit: max_bytes,
        });
    }
    decode(&bytes)
}

/// Replaces the file by one with these records.
pub(crate) fn save(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{number}.new", std::process::id()));
    let new = PathBuf::from(name);
    let write = || {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::File::create(&new)?.write_all(bytes)?;
        fs::rename(&new, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&new);
        Error::io(path, error)
    })
}

/// Collects the file's bytes.
pub(crate) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; HEADER_BYTES],
        }
    }

    /// A path that is not UTF-8 is left out: its file is read anew at the next start.
    pub(crate) fn record(
        &mut self,
        path: &Path,
        known: &Known,
        uses: u64,
        definition: Option<&AgentDefinition>,
    ) {
        let Some(path) = path.to_str() else { return };
        self.text(path);
        let Known {
            signature,
            content,
            observed,
        } = known;
        for number in [
            signature.device,
            signature.inode,
            signature.size,
            *content,
            uses,
        ] {
            self.number(number);
        }
        for time in [signature.modified, signature.changed, *observed] {
            self.number(time.cast_unsigned());
        }
        self.bytes.push(u8::from(definition.is_some()));
        if let Some(definition) = definition {
            self.definition(definition);
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let body = &self.bytes[HEADER_BYTES..];
        let header = [VERSION, body.len() as u64, xxh3_64(body)];
        self.bytes[..8].copy_from_slice(&MAGIC);
        for (slot, value) in self.bytes[8..HEADER_BYTES]
            .as_chunks_mut::<8>()
            .0
            .iter_mut()
            .zip(header)
        {
            *slot = value.to_le_bytes();
        }
        self.bytes
    }

    fn definition(&mut self, definition: &AgentDefinition) {
        self.text(&definition.id);
        self.text(&definition.description);
        self.bytes.push(u8::from(definition.tools.is_some()));
        self.list(definition.tools.as_deref().unwrap_or_default());
        self.list(&definition.tags);
        self.bytes.push(u8::from(definition.model.is_some()));
        self.text(definition.model.as_deref().unwrap_or_default());
        self.text(definition.tier.map_or("", ModelTier::as_str));
        self.map(&definition.extra);
        self.text(&definition.prompt);
    }

    fn map(&mut self, map: &BTreeMap<String, Value>) {
        self.length(map.len());
        for (key, value) in map {
            self.text(key);
            match value {
                Value::Text(text) => {
                    self.bytes.push(0);
                    self.text(text);
                }
                Value::List(items) => {
                    self.bytes.push(1);
                    self.list(items);
                }
                Value::Map(map) => {
                    self.bytes.push(2);
                    self.map(map);
                }
            }
        }
    }

    fn list(&mut self, items: &[String]) {
        self.length(items.len());
        items.iter().for_each(|item| self.text(item));
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Texts are bounded by the size of a file, far below 4 GiB.
    fn length(&mut self, length: usize) {
        self.bytes.extend_from_slice(&(length as u32).to_le_bytes());
    }

    fn number(&mut self, number: u64) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }
}

/// Reads the bytes back; nothing is allocated beyond what the bytes at hand can fill.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Record>, Error> {
    let mut decoder = Decoder { bytes, at: 0 };
    if decoder.take(8)? != MAGIC {
        return Err(decoder.damaged("the magic is not that of an agent cache"));
    }
    let (version, length, sum) = (decoder.number()?, decoder.number()?, decoder.number()?);
    let body = &bytes[HEADER_BYTES..];
    if version != VERSION || length != body.len() as u64 || sum != xxh3_64(body) {
        return Err(decoder.damaged("the version, the length or the checksum does not match"));
    }
    let mut records = Vec::new();
    while decoder.at < bytes.len() {
        records.push(decoder.record()?);
    }
    Ok(records)
}

struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    fn damaged(&self, what: &'static str) -> Error {
        Error::Damaged {
            offset: self.at as u64,
            what,
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let taken = self
            .at
            .checked_add(len)
            .and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or(self.damaged("the record is cut short"))?;
        self.at += len;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, Error> {
        Ok(self
            .take(8)?
            .iter()
            .rev()
            .fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn time(&mut self) -> Result<i64, Error> {
        self.number().map(u64::cast_signed)
    }

    fn length(&mut self) -> Result<usize, Error> {
        Ok(self
            .take(4)?
            .iter()
            .rev()
            .fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }

    fn flag(&mut self) -> Result<bool, Error> {
        Ok(self.take(1)?[0] != 0)
    }

    fn text(&mut self) -> Result<String, Error> {
        let len = self.length()?;
        let text = std::str::from_utf8(self.take(len)?)
            .map_err(|_| self.damaged("a text is not UTF-8"))?;
        Ok(text.to_owned())
    }

    fn list(&mut self) -> Result<Vec<String>, Error> {
        (0..self.length()?).map(|_| self.text()).collect()
    }

    fn map(&mut self, depth: usize) -> Result<BTreeMap<String, Value>, Error> {
        if depth > MAX_DEPTH {
            return Err(self.damaged("mappings are nested too deeply"));
        }
        let mut map = BTreeMap::new();
        for _ in 0..self.length()? {
            let key = self.text()?;
            let value = match self.take(1)?[0] {
                0 => Value::Text(self.text()?),
                1 => Value::List(self.list()?),
                2 => Value::Map(self.map(depth + 1)?),
                _ => return Err(self.damaged("the kind of a value is unknown")),
            };
            map.insert(key, value);
        }
        Ok(map)
    }

    fn record(&mut self) -> Result<Record, Error> {
        let path = PathBuf::from(self.text()?);
        let (device, inode, size) = (self.number()?, self.number()?, self.number()?);
        let (content, uses) = (self.number()?, self.number()?);
        let (modified, changed, observed) = (self.time()?, self.time()?, self.time()?);
        let signature = Signature {
            device,
            inode,
            size,
            modified,
            changed,
        };
        let definition = if self.flag()? {
            Some(self.definition(&path)?)
        } else {
            None
        };
        Ok(Record {
            known: Known {
                signature,
                content,
                observed,
            },
            uses,
            definition,
            path,
        })
    }

    fn definition(&mut self, path: &Path) -> Result<AgentDefinition, Error> {
        let (id, description) = (self.text()?, self.text()?);
        let (has_tools, tools) = (self.flag()?, self.list()?);
        let tools = has_tools.then_some(tools);
        let tags = self.list()?;
        let (has_model, model, tier) = (self.flag()?, self.text()?, self.text()?);
        let tier = if tier.is_empty() {
            None
        } else {
            Some(tier.parse()?)
        };
        let extra = self.map(0)?;
        let prompt = self.text()?;
        let model = has_model.then_some(model);
        Ok(AgentDefinition {
            id,
            description,
            tools,
            tags,
            model,
            tier,
            extra,
            prompt,
            path: path.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Vec<u8> {
        let text = "---\nname: a\ndescription: d\ntools: [x, y]\nmodel: fast\nown:\n  deep: [1]\n  more: t\n---\nprompt";
        let definition = AgentDefinition::parse_file(Path::new("a.md"), text).unwrap();
        let known = Known {
            signature: Signature {
                size: 9,
                ..Signature::default()
            },
            content: 7,
            observed: -1,
        };
        let mut encoder = Encoder::new();
        encoder.record(Path::new("a.md"), &known, 3, Some(&definition));
        encoder.record(Path::new("readme.md"), &known, 0, None);
        encoder.finish()
    }

    #[test]
    fn records_survive() {
        let records = decode(&stored()).unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!((records[0].uses, records[0].known.observed), (3, -1));
        let definition = records[0].definition.as_ref().unwrap();
        assert_eq!(definition.tier, Some(ModelTier::Fast));
        assert!(matches!(&definition.extra["own"], Value::Map(map) if map.len() == 2));
        assert_eq!(records[1].definition, None);
    }

    #[test]
    fn damage_is_noticed_at_every_byte_and_at_every_length() {
        let bytes = stored();
        assert!((0..bytes.len()).all(|len| decode(&bytes[..len]).is_err()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(decode(&damaged).is_err(), "byte {at}");
        }
    }

    #[test]
    fn hostile_bodies_with_a_right_checksum_are_refused_or_read() {
        let bytes = stored();
        for at in HEADER_BYTES..bytes.len() {
            for value in [0, 1, 2, 3, 0x7f, 0xff] {
                let mut hostile = bytes.clone();
                hostile[at] = value;
                let sum = xxh3_64(&hostile[HEADER_BYTES..]).to_le_bytes();
                hostile[24..HEADER_BYTES].copy_from_slice(&sum);
                let _ = decode(&hostile);
            }
        }
    }
}

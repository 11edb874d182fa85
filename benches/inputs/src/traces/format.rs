//! What the files look like.

use std::io::Read;

use super::{Source, TraceError, TraceLimits};

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Zstd,
    Gzip,
    Xz,
}

impl Packing {
    /// The packing that a name's end says, and the name without it.
    pub(super) fn of(name: &str) -> (Self, &str) {
        let ends = [(".zst", Self::Zstd), (".gz", Self::Gzip), (".xz", Self::Xz)];
        ends.into_iter()
            .find_map(|(end, packing)| Some((packing, name.strip_suffix(end)?)))
            .unwrap_or((Self::Plain, name))
    }

    pub(super) fn unpack<'a>(self, packed: impl Read + 'a) -> std::io::Result<Box<dyn Read + 'a>> {
        /// A window of 64 MiB and a little more.
        const XZ_KILOBYTES: u32 = 80 * 1024;
        Ok(match self {
            Self::Plain => Box::new(packed),
            Self::Zstd => Box::new(zstd::Decoder::new(packed)?),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(
                packed,
                true,
                XZ_KILOBYTES,
            )),
        })
    }
}

/// How keys are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    LittleEndian,
    BigEndian32,
    BigEndian64,
    Decimal,
    Ranges,
    HashIds,
}

impl Format {
    /// The format of an unpacked file of that name.
    pub(super) fn of(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension {
            "u64" => Some(Self::LittleEndian),
            "lis" => Some(Self::Ranges),
            "jsonl" => Some(Self::HashIds),
            "trace" if name.starts_with("cache2k") => Some(Self::BigEndian32),
            "trace" if name.starts_with("scarab") => Some(Self::BigEndian64),
            "trace" => Some(Self::Decimal),
            _ => None,
        }
    }

    pub(super) fn keys(
        self,
        source: &mut Source<'_>,
        limits: &TraceLimits,
    ) -> Result<Vec<u64>, TraceError> {
        let mut keys = Keys::new(limits);
        match self {
            Self::LittleEndian => words(source, &mut keys, u64::from_le_bytes)?,
            Self::BigEndian32 => words(source, &mut keys, big_endian::<4>)?,
            Self::BigEndian64 => words(source, &mut keys, big_endian::<8>)?,
            Self::Decimal => lines(source, &mut keys, decimal)?,
            Self::Ranges => lines(source, &mut keys, range)?,
            Self::HashIds => lines(source, &mut keys, hash_ids)?,
        }
        Ok(keys.keys)
    }
}

/// Keys on their way in, within the limits.
struct Keys {
    keys: Vec<u64>,
    most: usize,
    /// What lies beyond is ignored rather than refused.
    cut: bool,
}

impl Keys {
    fn new(limits: &TraceLimits) -> Self {
        let first = limits.first.filter(|first| *first <= limits.keys);
        Self {
            keys: Vec::new(),
            most: first.unwrap_or(limits.keys),
            cut: first.is_some(),
        }
    }

    fn is_done(&self) -> bool {
        self.cut && self.keys.len() >= self.most
    }

    /// Says whether there was room for all of `more`, or what is left out does not matter.
    fn add(&mut self, more: impl Iterator<Item = u64>) -> bool {
        let mut more = more;
        let room = self.most - self.keys.len();
        self.keys.extend(more.by_ref().take(room));
        self.cut || more.next().is_none()
    }
}

fn words<const N: usize>(
    source: &mut Source<'_>,
    keys: &mut Keys,
    decode: fn([u8; N]) -> u64,
) -> Result<(), TraceError> {
    while !keys.is_done() {
        let Some(word) = source.word::<N>()? else {
            break;
        };
        if !keys.add(std::iter::once(decode(word))) {
            return Err(source.too_large("keys"));
        }
    }
    Ok(())
}

/// Adds a line's keys; says what is wrong with it, or that there are too many.
type Line = fn(&str, &mut Keys) -> Result<bool, &'static str>;

fn lines(source: &mut Source<'_>, keys: &mut Keys, decode: Line) -> Result<(), TraceError> {
    let mut line = Vec::new();
    while !keys.is_done() {
        let start = source.offset();
        if !source.line(&mut line)? {
            break;
        }
        let text = std::str::from_utf8(&line)
            .map_err(|_| source.malformed(start, "a line that is not UTF-8"))?;
        match decode(text.trim(), keys) {
            Ok(true) => {}
            Ok(false) => return Err(source.too_large("keys")),
            Err(what) => return Err(source.malformed(start, what)),
        }
    }
    Ok(())
}

fn big_endian<const N: usize>(word: [u8; N]) -> u64 {
    word.into_iter()
        .fold(0, |number, byte| number << 8 | u64::from(byte))
}

fn decimal(line: &str, keys: &mut Keys) -> Result<bool, &'static str> {
    if line.is_empty() || line == "*" {
        return Ok(true);
    }
    let key = line.parse().map_err(|_| "a line that is no number")?;
    Ok(keys.add(std::iter::once(key)))
}

fn range(line: &str, keys: &mut Keys) -> Result<bool, &'static str> {
    if line.is_empty() {
        return Ok(true);
    }
    let mut numbers = line.split_whitespace().map(str::parse::<u64>);
    let (Some(Ok(start)), Some(Ok(count))) = (numbers.next(), numbers.next()) else {
        return Err("a line without a first key and a count");
    };
    let end = start
        .checked_add(count)
        .ok_or("a range of keys beyond 2^64")?;
    Ok(keys.add(start..end))
}

fn hash_ids(line: &str, keys: &mut Keys) -> Result<bool, &'static str> {
    if line.is_empty() {
        return Ok(true);
    }
    let object: serde_json::Value =
        serde_json::from_str(line).map_err(|_| "a line that is no JSON")?;
    let ids = object["hash_ids"]
        .as_array()
        .ok_or("a line without `hash_ids`")?;
    let ids: Option<Vec<u64>> = ids.iter().map(serde_json::Value::as_u64).collect();
    Ok(keys.add(ids.ok_or("a hash id that is no whole number")?.into_iter()))
}

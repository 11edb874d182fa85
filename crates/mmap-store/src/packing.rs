//! How values lie in the log: as they are, or compressed when they are large and it pays.

use bytes::Bytes;

use crate::error::Error;
#[cfg(feature = "zstd")]
use crate::record::le32;

/// Bytes in front of a compressed value: its own length.
#[cfg(feature = "zstd")]
const LENGTH: usize = 4;
#[cfg(feature = "zstd")]
const LEVEL: i32 = 3;

/// What frames are made with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packing {
    pub(crate) store_id: u64,
    /// Values of at least this length are compressed.
    pub(crate) above: Option<usize>,
}

impl Packing {
    /// True if `value` may come out compressed.
    pub(crate) fn applies(&self, value: &[u8]) -> bool {
        cfg!(feature = "zstd") && self.above.is_some_and(|above| value.len() >= above)
    }

    /// The compressed form of `value`, if it is to be compressed and an eighth is saved.
    #[cfg(feature = "zstd")]
    pub(crate) fn pack(&self, value: &[u8]) -> Option<Vec<u8>> {
        use std::io::Write;
        if value.len() < self.above? || value.len() as u64 > crate::record::MAX_VALUE {
            return None;
        }
        let mut packed = Vec::with_capacity(LENGTH + value.len() / 2);
        packed.extend_from_slice(&(value.len() as u32).to_le_bytes());
        let mut encoder = zstd::stream::write::Encoder::new(packed, LEVEL).ok()?;
        encoder
            .set_pledged_src_size(Some(value.len() as u64))
            .ok()?;
        encoder.write_all(value).ok()?;
        let packed = encoder.finish().ok()?;
        (packed.len() <= value.len() - value.len() / 8).then_some(packed)
    }

    #[cfg(not(feature = "zstd"))]
    pub(crate) fn pack(&self, _value: &[u8]) -> Option<Vec<u8>> {
        let _ = self.above;
        None
    }
}

/// The value behind `packed`. Takes no more memory than the length in front of it says, and that
/// only as it comes out. `at` names the place for an error.
#[cfg(feature = "zstd")]
pub(crate) fn unpack(packed: &[u8], at: impl Fn(&'static str) -> Error) -> Result<Bytes, Error> {
    use std::io::Read;
    let Some((_, frame)) = packed.split_at_checked(LENGTH) else {
        return Err(at("a compressed value is cut short"));
    };
    let len = le32(packed, 0) as usize;
    let mut value = Vec::with_capacity(len.min(frame.len().saturating_mul(64)));
    let decoder = zstd::stream::read::Decoder::with_buffer(frame);
    let read = decoder.and_then(|d| d.take(len as u64 + 1).read_to_end(&mut value));
    match read {
        Ok(read) if read == len => Ok(value.into()),
        _ => Err(at("a value cannot be decompressed")),
    }
}

#[cfg(not(feature = "zstd"))]
pub(crate) fn unpack(_packed: &[u8], _at: impl Fn(&'static str) -> Error) -> Result<Bytes, Error> {
    let what = "decompress a value: this build is without the feature zstd, of";
    Err(Error::io(
        what,
        "the store",
        std::io::ErrorKind::Unsupported.into(),
    ))
}

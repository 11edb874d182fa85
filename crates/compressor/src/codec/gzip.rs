//! gzip, as HTTP takes it in `Content-Encoding`.

use super::bounded;
use crate::Error;
use bytes::Bytes;
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use std::io::Write;

/// Bodies above this many bytes are compressed.
pub const GZIP_ABOVE: usize = 1_024;

/// A compressed body, when it is above 1,024 bytes and gets smaller; `None` to send it as it is.
///
/// The same input gives the same bytes.
#[must_use]
pub fn gzip_body(body: &[u8]) -> Option<Bytes> {
    if body.len() <= GZIP_ABOVE {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 3), Compression::default());
    // Writing into memory does not fail.
    encoder.write_all(body).ok()?;
    let packed = encoder.finish().ok()?;
    (packed.len() < body.len()).then(|| packed.into())
}

/// The body again, at most `limit` bytes of it.
///
/// # Errors
///
/// [`Error::Malformed`] when it is damaged, [`Error::Limit`] when it holds more than the limit.
pub fn gunzip(packed: &[u8], limit: usize) -> Result<Bytes, Error> {
    bounded(MultiGzDecoder::new(packed), limit, "gzip")
}

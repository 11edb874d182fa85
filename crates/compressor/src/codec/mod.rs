//! Byte codecs for blobs, logs and HTTP bodies.

#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "zstd")]
mod zstd;

#[cfg(feature = "zstd")]
pub use self::zstd::Zstd;
#[cfg(feature = "gzip")]
pub use gzip::{GZIP_ABOVE, gunzip, gzip_body};

use crate::Error;
use bytes::Bytes;
use std::io::{self, Read};

/// Reads a decoder to its end, refusing to hold more than `limit` bytes.
fn bounded(mut decoder: impl Read, limit: usize, what: &'static str) -> Result<Bytes, Error> {
    let mut out = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    decoder
        .by_ref()
        .take(most)
        .read_to_end(&mut out)
        .map_err(|error| damaged(what, &error))?;
    if out.len() > limit {
        return Err(Error::Limit {
            what: "the size of decompressed data in bytes",
            limit,
            found: out.len(),
        });
    }
    Ok(Bytes::from(out))
}

fn damaged(what: &'static str, error: &io::Error) -> Error {
    Error::Malformed {
        offset: 0,
        line: 1,
        what: format!("no intact {what} data: {error}"),
    }
}

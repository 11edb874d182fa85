//! How a value becomes bytes for the tiers below memory.

use crate::error::Error;
use bytes::Bytes;

/// Turns values into bytes and back.
pub trait Codec<V>: Send + Sync + 'static {
    /// The value's bytes.
    ///
    /// # Errors
    /// [`Error::Codec`] when the value has no such form: it then stays in memory only.
    fn encode(&self, value: &V) -> Result<Bytes, Error>;

    /// The value of bytes that `encode` made, perhaps in an earlier version of the program.
    ///
    /// # Errors
    /// [`Error::Codec`] when the bytes are no value; the lookup goes on as after a miss.
    fn decode(&self, bytes: Bytes) -> Result<V, Error>;
}

/// Values that are bytes already: [`Bytes`], `Vec<u8>`, `String`.
#[derive(Clone, Copy, Debug, Default)]
pub struct BytesCodec;

impl Codec<Bytes> for BytesCodec {
    fn encode(&self, value: &Bytes) -> Result<Bytes, Error> {
        Ok(value.clone())
    }

    fn decode(&self, bytes: Bytes) -> Result<Bytes, Error> {
        Ok(bytes)
    }
}

impl Codec<Vec<u8>> for BytesCodec {
    fn encode(&self, value: &Vec<u8>) -> Result<Bytes, Error> {
        Ok(Bytes::copy_from_slice(value))
    }

    fn decode(&self, bytes: Bytes) -> Result<Vec<u8>, Error> {
        Ok(bytes.into())
    }
}

impl Codec<String> for BytesCodec {
    fn encode(&self, value: &String) -> Result<Bytes, Error> {
        Ok(Bytes::copy_from_slice(value.as_bytes()))
    }

    fn decode(&self, bytes: Bytes) -> Result<String, Error> {
        String::from_utf8(bytes.into()).map_err(Error::codec)
    }
}

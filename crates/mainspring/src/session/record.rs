//! What is kept of a message: its bytes, or where they are.

use std::borrow::Cow;

use mainspring_delta_snapshot::VersionId;

use super::log::version;

/// No JSON text begins with it.
const MARK: u8 = 0;
const SAME: u8 = b'd';
const OUTSIDE: u8 = b'o';
const NOISE: u8 = b'v';

/// One message as it lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// As it came.
    Plain(&'a [u8]),
    /// Byte for byte an earlier message of this session.
    Same(u64),
    /// As it came; no model sees it.
    Outside(&'a [u8]),
    /// No model sees it; its bytes are a version of the session's records.
    Noise(VersionId),
}

impl<'a> Record<'a> {
    pub(crate) fn encode(self) -> Cow<'a, [u8]> {
        match self {
            Self::Plain(raw) => Cow::Borrowed(raw),
            Self::Same(message) => Cow::Owned(marked(SAME, &message.to_le_bytes())),
            Self::Outside(raw) => Cow::Owned(marked(OUTSIDE, raw)),
            Self::Noise(version) => Cow::Owned(marked(NOISE, version.to_string().as_bytes())),
        }
    }

    /// `None` for what no version of the layout wrote.
    pub(crate) fn decode(stored: &'a [u8]) -> Option<Self> {
        let (kind, rest) = match stored {
            [MARK, kind, rest @ ..] => (*kind, rest),
            _ => return Some(Self::Plain(stored)),
        };
        match kind {
            SAME => rest.try_into().ok().map(u64::from_le_bytes).map(Self::Same),
            OUTSIDE => Some(Self::Outside(rest)),
            NOISE => version(rest).map(Self::Noise),
            _ => None,
        }
    }
}

fn marked(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 + rest.len());
    bytes.extend_from_slice(&[MARK, kind]);
    bytes.extend_from_slice(rest);
    bytes
}

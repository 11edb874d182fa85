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
    /// No model sees it; its bytes are a version of the session's records, and have this hash, which
    /// those of an early layout lack.
    Noise(VersionId, Option<u128>),
}

/// Characters of a version's name.
const NAME: usize = 33;

impl<'a> Record<'a> {
    pub(crate) fn encode(self) -> Cow<'a, [u8]> {
        match self {
            Self::Plain(raw) => Cow::Borrowed(raw),
            Self::Same(message) => Cow::Owned(marked(SAME, &message.to_le_bytes())),
            Self::Outside(raw) => Cow::Owned(marked(OUTSIDE, raw)),
            Self::Noise(version, hash) => {
                let mut rest = version.to_string().into_bytes();
                rest.extend(hash.into_iter().flat_map(u128::to_le_bytes));
                Cow::Owned(marked(NOISE, &rest))
            }
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
            NOISE => {
                let (name, hash) = rest.split_at_checked(NAME)?;
                let hash = match hash {
                    [] => None,
                    hash => Some(u128::from_le_bytes(hash.try_into().ok()?)),
                };
                Some(Self::Noise(version(name)?, hash))
            }
            _ => None,
        }
    }

    /// Bytes that resuming reads for it, when it stands for a message of `length`.
    pub(crate) fn read_by_resuming(self, length: u64) -> u64 {
        match self {
            Self::Plain(_) | Self::Same(_) | Self::Outside(_) => length,
            Self::Noise(..) => 2 + NAME as u64 + 16,
        }
    }
}

fn marked(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 + rest.len());
    bytes.extend_from_slice(&[MARK, kind]);
    bytes.extend_from_slice(rest);
    bytes
}

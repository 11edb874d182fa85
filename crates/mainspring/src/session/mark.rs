//! What the log knows of a session's checkpoints.

use mainspring_delta_snapshot::VersionId;

use super::log::version;

/// Characters of a version's name.
const NAME: usize = 33;

/// The checkpoint made last, as the log knows it: written after the checkpoint, and after the messages
/// that are in it, so that a power cut never leaves a mark without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) version: VersionId,
    /// Messages that it has.
    pub(crate) messages: u64,
    /// Hash of what it was made of; the version carries it too, so that no other one passes for it.
    pub(crate) check: u64,
    /// Bytes of the session's own versions when it was written.
    pub(crate) stored: u64,
}

/// How the newest checkpoint of a session and its log have come apart, as a power cut can make them:
/// what the interval of the durability had not made safe yet is lost in each on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Divergence {
    /// The checkpoint has messages that the log has not. It can be restored still; the next checkpoint
    /// has the messages of the log alone.
    Ahead {
        /// The checkpoint.
        version: VersionId,
        /// Messages that it has.
        messages: u64,
        /// Of those, how many of the first ones are the log's.
        agreed: u64,
    },
    /// A checkpoint that was acknowledged is gone. The next one follows the newest that is left, or
    /// begins anew.
    Lost {
        /// The checkpoint.
        version: VersionId,
    },
}

impl Mark {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(NAME + 24);
        bytes.extend_from_slice(self.version.to_string().as_bytes());
        for number in [self.messages, self.check, self.stored] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (name, rest) = bytes.split_at_checked(NAME)?;
        let (numbers, []) = rest.as_chunks::<8>() else {
            return None;
        };
        let &[messages, check, stored] = numbers else {
            return None;
        };
        Some(Self {
            version: version(name)?,
            messages: u64::from_le_bytes(messages),
            check: u64::from_le_bytes(check),
            stored: u64::from_le_bytes(stored),
        })
    }
}

/// The id that the version of a check carries.
pub(crate) fn id(check: u64) -> String {
    let digit = |place: u32| (check >> (4 * place)) as u32 & 15;
    let digits = (0..16).rev().map(digit);
    digits
        .filter_map(|digit| char::from_digit(digit, 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_sixteen_hexadecimal_digits() {
        for check in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(id(check), format!("{check:016x}"));
        }
    }
}

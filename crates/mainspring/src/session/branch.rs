//! What a fork shares with the sessions that it came from.

use mainspring_delta_snapshot::VersionId;

use super::log::version;

/// Forks of forks of forks; more make a chain that no session needs.
const MAX_DEPTH: usize = 4_096;
const VERSION_BYTES: usize = 33;

/// Whose messages a session's first ones are. A session that is no fork has an empty one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Branch {
    /// The session whose saved context it begins with, and what that covers.
    pub(crate) context: Option<(u32, u64)>,
    /// The checkpoint that its first one follows.
    pub(crate) head: Option<VersionId>,
    /// Sessions, each with the number of the message where the next one's begin.
    pub(crate) ancestors: Vec<(u32, u64)>,
}

impl Branch {
    /// The first message of the session itself.
    pub(crate) fn begins(&self) -> u64 {
        self.ancestors.last().map_or(0, |&(_, end)| end)
    }

    /// The session that holds a message; `own` for those after the fork.
    pub(crate) fn holder(&self, own: u32, message: u64) -> u32 {
        let at = self.ancestors.partition_point(|&(_, end)| end <= message);
        self.ancestors.get(at).map_or(own, |&(session, _)| session)
    }

    /// The branch of a fork of `session` made at `messages`; `None` below the depth that is kept.
    pub(crate) fn grown(&self, session: u32, messages: u64) -> Option<Self> {
        if self.ancestors.len() >= MAX_DEPTH {
            return None;
        }
        let mut ancestors = self.ancestors.clone();
        if messages > self.begins() {
            ancestors.push((session, messages));
        }
        Some(Self {
            context: self.context,
            head: None,
            ancestors,
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let (session, covers) = self.context.unwrap_or_default();
        let mut bytes = Vec::with_capacity(13 + VERSION_BYTES + 12 * self.ancestors.len());
        bytes.extend_from_slice(&session.to_le_bytes());
        bytes.extend_from_slice(&covers.to_le_bytes());
        bytes.push(u8::from(self.head.is_some()));
        if let Some(head) = self.head {
            bytes.extend_from_slice(head.to_string().as_bytes());
        }
        for (session, end) in &self.ancestors {
            bytes.extend_from_slice(&session.to_le_bytes());
            bytes.extend_from_slice(&end.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (context, rest) = bytes.split_at_checked(12)?;
        let (head, rest) = match rest.split_first()? {
            (0, rest) => (None, rest),
            (1, rest) => {
                let (name, rest) = rest.split_at_checked(VERSION_BYTES)?;
                (Some(version(name)?), rest)
            }
            _ => return None,
        };
        if rest.len() % 12 != 0 || rest.len() / 12 > MAX_DEPTH {
            return None;
        }
        Some(Self {
            context: Some(pair(context)?),
            head,
            ancestors: rest.chunks_exact(12).map(pair).collect::<Option<_>>()?,
        })
    }
}

fn pair(bytes: &[u8]) -> Option<(u32, u64)> {
    let (session, number) = bytes.split_at_checked(4)?;
    Some((
        u32::from_le_bytes(session.try_into().ok()?),
        u64::from_le_bytes(number.try_into().ok()?),
    ))
}

//! Messages that the next checkpoint will want, at hand since they came.

use std::collections::VecDeque;

use bytes::Bytes;

/// Bytes kept at most; what does not fit is read from the log again.
const MOST: usize = 1 << 20;

/// The newest messages of the log, without a gap.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// With their hashes, where those are known.
    messages: VecDeque<(Bytes, Option<u128>)>,
    bytes: usize,
}

impl Recent {
    /// Takes the message that the log has just taken.
    pub(super) fn push(&mut self, raw: &[u8], hash: Option<u128>) {
        if raw.len() > MOST / 16 {
            return self.clear();
        }
        // A copy: a piece of somebody's buffer would keep all of it.
        self.messages.push_back((Bytes::copy_from_slice(raw), hash));
        self.bytes += raw.len();
        while self.bytes > MOST {
            self.bytes -= self
                .messages
                .pop_front()
                .map_or(0, |(first, _)| first.len());
        }
    }

    /// A message, with its hash if that is known, by how many came after it.
    pub(super) fn get(&self, later: u64) -> Option<&(Bytes, Option<u128>)> {
        let at = self.messages.len().checked_sub(1)?;
        self.messages
            .get(at.checked_sub(usize::try_from(later).ok()?)?)
    }

    pub(super) fn clear(&mut self) {
        self.messages.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_newest_without_a_gap_and_no_more_than_its_bound() {
        let mut recent = Recent::default();
        assert_eq!(recent.get(0), None);
        for number in 0..200u8 {
            recent.push(&vec![number; 10_000], Some(number.into()));
        }
        assert!(recent.bytes <= MOST && recent.bytes > MOST - 10_000);
        for later in 0..100u8 {
            let message = recent.get(later.into()).expect("a recent message");
            assert_eq!(
                (message.0[0], message.1),
                (199 - later, Some((199 - later).into()))
            );
        }
        assert_eq!(recent.get(110), None);
        recent.push(&vec![0; MOST], None);
        assert_eq!((recent.get(0), recent.bytes), (None, 0));
        recent.push(b"next", None);
        assert_eq!(
            (recent.get(0).map(|next| &next.0[..]), recent.get(1)),
            (Some(&b"next"[..]), None)
        );
    }
}

//! What the log of a session has.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use super::{Session, log::damaged, record::Record};
use crate::Error;

impl Session {
    /// A message of the log, by its number from 0, as it came.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it should be there and is not, [`Error::Store`], [`Error::Snapshot`].
    pub fn message(&self, number: u64) -> Result<Bytes, Error> {
        let stored = self.stored(number)?;
        match self.decoded(&stored, number)? {
            Record::Plain(_) => Ok(stored),
            Record::Outside(raw) => Ok(stored.slice_ref(raw)),
            Record::Noise(version, hash) => {
                let raw = self.runtime().inner.snapshots.restore(version)?;
                match hash.is_none_or(|hash| hash == xxh3_128(&raw)) {
                    true => Ok(raw),
                    // A power cut took the one that was meant, and its name was given out again.
                    false => Err(damaged(
                        self.name(),
                        number,
                        "its version holds other bytes",
                    )),
                }
            }
            Record::Same(earlier) if earlier < number => {
                let stored = self.stored(earlier)?;
                match self.decoded(&stored, earlier)? {
                    Record::Plain(_) => Ok(stored),
                    _ => Err(damaged(
                        self.name(),
                        number,
                        "it repeats what is no message",
                    )),
                }
            }
            Record::Same(_) => Err(damaged(self.name(), number, "it repeats a later message")),
        }
    }

    /// The last `count` messages, oldest first. Reads no others.
    ///
    /// # Errors
    /// As [`message`](Self::message).
    pub fn last_messages(&self, count: usize) -> Result<Vec<Bytes>, Error> {
        let first = self.messages.saturating_sub(count as u64);
        (first..self.messages)
            .map(|number| self.message(number))
            .collect()
    }

    pub(super) fn stored(&self, number: u64) -> Result<Bytes, Error> {
        let holder = self.branch.holder(self.number, number);
        let found = self.runtime().inner.log.stored(holder, number)?;
        found.ok_or_else(|| damaged(self.name(), number, "the log has no such message"))
    }

    pub(super) fn decoded<'a>(&self, stored: &'a [u8], number: u64) -> Result<Record<'a>, Error> {
        let what = "it is of a kind not known here";
        Record::decode(stored).ok_or_else(|| damaged(self.name(), number, what))
    }

    /// An output that was moved out of the context, by the id that stands in its place.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn blob(&self, id: &str) -> Result<Option<Bytes>, Error> {
        if let Some(blob) = self.unlogged.iter().find(|blob| blob.id == id) {
            return Ok(Some(blob.bytes.clone()));
        }
        for session in self.holders_of_blob(id) {
            if let Some(found) = self.runtime().inner.log.blob(session, id)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Whether the output is kept already. Of one that is named by anything but its message, those that
    /// this session came from may have another of that name by now.
    pub(super) fn has_blob(&self, id: &str) -> Result<bool, Error> {
        if message_of(id).is_none() {
            return self.runtime().inner.log.has_blob(self.number, id);
        }
        for session in self.holders_of_blob(id) {
            if self.runtime().inner.log.has_blob(session, id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The session, then those that it came from, the nearest first.
    fn holders_of_blob(&self, id: &str) -> impl Iterator<Item = u32> {
        // What came after the fork is not ours.
        let number = message_of(id);
        let ancestors = self.branch.ancestors.iter().rev().copied();
        let holders = std::iter::once((self.number, u64::MAX)).chain(ancestors);
        holders
            .filter(move |&(_, end)| number.is_none_or(|number| number < end))
            .map(|(session, _)| session)
    }

    /// What stands before messages in the imported log that this session was, or came from, and after
    /// the last one, where it is not a line feed; in order.
    pub(crate) fn frames(&self) -> impl Iterator<Item = Result<(u64, Bytes), Error>> {
        type Frames<'a> = Box<dyn Iterator<Item = Result<(u64, Bytes), Error>> + 'a>;
        let log = &self.runtime().inner.log;
        let ancestors = self.branch.ancestors.iter().copied();
        let holders = ancestors.chain([(self.number, u64::MAX)]);
        holders.flat_map(move |(session, end)| -> Frames<'_> {
            match log.frames(session) {
                Ok(frames) => Box::new(frames.take_while(move |frame| {
                    let number = frame.as_ref().map(|&(number, _)| number);
                    number.map_or(true, |number| number <= end)
                })),
                Err(error) => Box::new(std::iter::once(Err(error))),
            }
        })
    }
}

/// The message that a blob's id names: `o57`, `c57.2`.
fn message_of(id: &str) -> Option<u64> {
    let number = id.strip_prefix(['o', 'c'])?;
    number.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_outputs_and_snippets_name_their_message() {
        let named = ["o57", "o57.2", "c57", "c57.1", "h1", "o", "x9", ""].map(message_of);
        let fifty_seven = Some(57);
        assert_eq!(named[..4], [fifty_seven; 4]);
        assert_eq!(named[4..], [None; 4]);
    }
}

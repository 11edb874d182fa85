//! How much of the log no file of the index knows, and when it is to be saved.

/// So many times what is due may come together while a save goes on; then writers wait for one.
const PATIENCE: u64 = 4;
/// After a large group more has to come together, so that a bulk load does not wait for the disk at
/// every step: so many times the group.
const GROUPS: u64 = 8;

/// What a writer is to do about the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// A save beside the writers.
    Beside,
    /// One by the writer itself: what was asked for does not come.
    AtOnce,
}

/// Bytes of log that no file of the index knows.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    bytes: u64,
    /// A save was asked for; with so many bytes writers wait for one.
    patience: Option<u64>,
    /// The last save failed; the next is tried with so many bytes.
    again: u64,
}

impl Backlog {
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            bytes,
            ..Self::default()
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn grow(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// True if a save is due after a group of so many bytes, where one is due `every` so many.
    pub(crate) fn is_due(&self, every: u64, group: u64) -> bool {
        self.bytes >= enough(every, group).max(self.again)
    }

    /// What is due after a group of so many bytes.
    pub(crate) fn ask(&mut self, every: u64, group: u64) -> Due {
        if !self.is_due(every, group) {
            return Due::Nothing;
        }
        let more = enough(every, group).saturating_mul(PATIENCE - 1);
        let patience = self.bytes.saturating_add(more);
        match self.bytes >= *self.patience.get_or_insert(patience) {
            true => Due::AtOnce,
            false => Due::Beside,
        }
    }

    /// A save failed, on a full disk say: the next commit need not try it again.
    pub(crate) fn failed(&mut self, every: u64) {
        self.patience = None;
        self.again = self.bytes.saturating_add(every);
    }
}

fn enough(every: u64, group: u64) -> u64 {
    every.max(group.saturating_mul(GROUPS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_save_that_does_not_come_is_not_waited_for_for_ever() {
        let mut backlog = Backlog::default();
        let mut asked = Vec::new();
        for _ in 0..50 {
            backlog.grow(10);
            asked.push(backlog.ask(100, 10));
        }
        assert!(asked[..9].iter().all(|d| *d == Due::Nothing));
        assert!(asked[9..39].iter().all(|d| *d == Due::Beside));
        assert!(asked[39..].iter().all(|d| *d == Due::AtOnce));
    }

    #[test]
    fn a_large_group_makes_it_due_later() {
        let mut backlog = Backlog::new(700);
        assert_eq!(backlog.ask(100, 100), Due::Nothing);
        backlog.grow(100);
        assert_eq!(backlog.ask(100, 100), Due::Beside);
        // A small one behind it does not wait sooner.
        backlog.grow(1000);
        assert_eq!(backlog.ask(100, 1), Due::Beside);
        backlog.grow(1400);
        assert_eq!(backlog.ask(100, 1), Due::AtOnce);
    }

    #[test]
    fn after_a_failure_more_comes_together_first() {
        let mut backlog = Backlog::new(100);
        assert_eq!(backlog.ask(100, 0), Due::Beside);
        backlog.failed(100);
        backlog.grow(99);
        assert_eq!(backlog.ask(100, 0), Due::Nothing);
        backlog.grow(1);
        assert_eq!(backlog.ask(100, 0), Due::Beside);
    }
}

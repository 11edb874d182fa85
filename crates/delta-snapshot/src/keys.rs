//! Finding a member of a large object again and again.

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;

use crate::tree::Slot;

/// Smaller objects are searched from end to end.
const MANY: usize = 64;
/// Searches before an index is worth its making.
const OFTEN: usize = 8;

/// Where the members of an object are: made when it is asked often, kept up when members are added at the end,
/// forgotten when they come or go elsewhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys {
    asked: Cell<usize>,
    /// Members looked at one after the other.
    #[cfg(test)]
    looked_at: Cell<usize>,
    places: OnceCell<HashMap<String, usize>>,
}

impl Keys {
    /// The last of several equal keys: the one that readers of JSON see.
    pub(crate) fn position(&self, slots: &[Slot], key: &str) -> Option<usize> {
        self.asked.set(self.asked.get() + 1);
        if slots.len() < MANY || self.asked.get() <= OFTEN {
            #[cfg(test)]
            self.looked_at.set(self.looked_at.get() + slots.len());
            return slots.iter().rposition(|slot| slot.has_key(key));
        }
        let places = self.places.get_or_init(|| {
            let named = slots.iter().enumerate();
            named.map(|(at, slot)| (slot.key(), at)).collect()
        });
        places.get(key).copied()
    }

    /// A member that is about to stand at the end.
    pub(crate) fn pushed(&mut self, slot: &Slot, at: usize) {
        if let Some(places) = self.places.get_mut() {
            places.insert(slot.key(), at);
        }
    }

    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Text;

    fn member(n: usize) -> Slot {
        Slot::member(
            format!("\"k{n}\":").as_bytes(),
            Text::from(bytes::Bytes::from("1")),
        )
    }

    /// Each added member is asked for first, as a `set` does.
    #[test]
    fn adding_members_costs_the_same_for_each() {
        for count in [1000, 2000] {
            let (mut keys, mut slots) = (Keys::default(), Vec::new());
            for n in 0..count {
                assert_eq!(keys.position(&slots, &format!("k{n}")), None);
                keys.pushed(&member(n), n);
                slots.push(member(n));
            }
            for n in 0..count {
                assert_eq!(keys.position(&slots, &format!("k{n}")), Some(n));
            }
            assert!(keys.looked_at.get() < MANY * MANY);
        }
    }
}

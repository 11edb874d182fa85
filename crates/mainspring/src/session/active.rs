//! How large the active part of a session is, and when it is too large.

use mainspring_compressor::{Context, Item, Role};

/// Bytes and interactions of the items that are sent. Everything here follows from the context, so
/// that a resumed session decides as one that was never interrupted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Active {
    bytes: u64,
    interactions: u64,
    /// Whether the newest item crossed a bound, or a further quarter of it.
    crossed: bool,
}

/// Bounds; zero stands for none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) bytes: u64,
    pub(crate) interactions: u64,
}

impl Active {
    pub(crate) fn of(context: &Context) -> Self {
        let items = context.transcript().items();
        Self {
            bytes: items.iter().map(|item| item.raw().len() as u64).sum(),
            interactions: items.iter().filter(|item| begins(item)).count() as u64,
            crossed: false,
        }
    }

    /// Takes in the item that was just appended.
    pub(crate) fn note(&mut self, context: &Context, bounds: Bounds) {
        let Some(item) = context.transcript().items().last() else {
            return;
        };
        let before = *self;
        self.bytes += item.raw().len() as u64;
        self.interactions += u64::from(begins(item));
        self.crossed = crosses(before.bytes, self.bytes, bounds.bytes)
            || crosses(before.interactions, self.interactions, bounds.interactions);
    }

    pub(crate) fn is_due(&self) -> bool {
        self.crossed
    }
}

fn begins(item: &Item) -> bool {
    item.role() == Role::Human
}

/// True once above the bound, and once for each further quarter, so that what cannot be made smaller
/// is not tried with every message.
fn crosses(before: u64, after: u64, bound: u64) -> bool {
    let step = (bound / 4).max(1);
    let steps = |value: u64| value.saturating_sub(bound).div_ceil(step);
    bound > 0 && steps(after) > steps(before)
}

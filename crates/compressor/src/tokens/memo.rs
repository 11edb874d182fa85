//! Counts of short texts that were counted before.

/// Longest text that is kept, in bytes: with its length and its count it fills a slot.
const LONGEST: usize = 15;
/// Slots of a memo, 16 bytes each. A text has one slot, which the last one counted holds.
const SLOTS: usize = 1 << 15;

/// A table of counts by the bytes themselves: nothing is taken for something else.
///
/// A slot holds the text in its lower 15 bytes, its length in the next 4 bits and its count in the last
/// 4: a text of 15 bytes has 15 tokens at most.
pub(super) struct Memo {
    slots: Box<[u128; SLOTS]>,
}

const COUNT: u32 = 124;

impl Memo {
    pub(super) fn new() -> Self {
        // By way of a vector, so that it never lies on the stack.
        let slots = vec![0; SLOTS].into_boxed_slice();
        Self {
            slots: slots.try_into().unwrap_or_else(|_| Box::new([0; SLOTS])),
        }
    }

    /// The count of `bytes[from..to]`, computed where it is not kept.
    #[inline(always)]
    pub(super) fn count(
        &mut self,
        bytes: &[u8],
        from: usize,
        to: usize,
        compute: impl FnOnce() -> usize,
    ) -> usize {
        if to - from > LONGEST {
            return compute();
        }
        let key = key(bytes, from, to);
        let slot = &mut self.slots[place(key)];
        if (*slot ^ key) << 4 == 0 {
            return (*slot >> COUNT) as usize;
        }
        let count = compute();
        if count <= LONGEST {
            *slot = key | (count as u128) << COUNT;
        }
        count
    }
}

/// The bytes of a text that is not empty, and their number.
#[inline(always)]
fn key(bytes: &[u8], from: usize, to: usize) -> u128 {
    let len = to - from;
    let window = match bytes.get(from..from + 16) {
        Some(window) => window.try_into().unwrap_or_default(),
        None => last(&bytes[from..to]),
    };
    let text = u128::from_le_bytes(window) & (u128::MAX >> (128 - 8 * len));
    text | (len as u128) << 120
}

#[cold]
fn last(text: &[u8]) -> [u8; 16] {
    let mut window = [0; 16];
    window[..text.len()].copy_from_slice(text);
    window
}

#[inline(always)]
fn place(key: u128) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (low, high) = (key as u64, (key >> 64) as u64);
    let mixed = (low ^ high.rotate_left(29).wrapping_mul(ODD)).wrapping_mul(ODD);
    (mixed >> (64 - SLOTS.trailing_zeros())) as usize
}

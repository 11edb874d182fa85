//! The size classes.

/// Number of size classes.
pub(crate) const CLASSES: usize = 4;
/// Capacity of each class, in bytes.
pub(crate) const CLASS_BYTES: [usize; CLASSES] = [1 << 10, 4 << 10, 16 << 10, 64 << 10];
/// Buffers that each class keeps through quiet times.
pub(crate) const BASE: [usize; CLASSES] = [100, 50, 25, 10];
/// Idle buffers that one thread keeps for itself, by class; half of them spill at a time.
pub(crate) const LOCAL: [usize; CLASSES] = [64, 32, 16, 8];

/// The smallest class that holds `len` bytes, or `None` for an oversize request.
#[inline]
pub(crate) fn class_of(len: usize) -> Option<usize> {
    // Each class is four times the one before, so a class is two bits of the length.
    let bits = usize::BITS - len.saturating_sub(1).leading_zeros();
    let class = (bits.saturating_sub(9) / 2) as usize;
    (class < CLASSES).then_some(class)
}

/// Whether a buffer of this capacity may go back on the shelf of `class`: one that has outgrown it
/// would pin memory that the budget does not know about.
#[inline]
pub(crate) fn fits(class: usize, capacity: usize) -> bool {
    let bytes = CLASS_BYTES[class];
    (bytes..bytes * 2).contains(&capacity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_gets_the_smallest_class_that_holds_it() {
        for len in 0..70_000 {
            assert_eq!(
                class_of(len),
                CLASS_BYTES.iter().position(|&b| len <= b),
                "{len}"
            );
        }
        assert_eq!(class_of(usize::MAX), None);
    }
}

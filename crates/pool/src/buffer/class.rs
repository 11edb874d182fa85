//! The size classes.

/// Number of size classes.
pub(crate) const CLASSES: usize = 4;
/// Capacity of each class, in bytes.
pub(crate) const CLASS_BYTES: [usize; CLASSES] = [1 << 10, 4 << 10, 16 << 10, 64 << 10];
/// Buffers that each class keeps through quiet times.
pub(crate) const BASE: [usize; CLASSES] = [100, 50, 25, 10];
/// Idle buffers that one thread keeps for itself, by class; half of them spill at a time.
#[cfg(not(loom))]
pub(crate) const LOCAL: [usize; CLASSES] = [64, 32, 16, 8];
/// As few as can be, so that a model gets to the shared lists.
#[cfg(loom)]
pub(crate) const LOCAL: [usize; CLASSES] = [2; CLASSES];

/// Number of size buckets.
pub(crate) const SIZES: usize = 24;

/// The bucket of a request of `len` bytes: the power of two that holds it.
#[inline]
pub(crate) fn size_bucket(len: usize) -> usize {
    let bits = usize::BITS - len.saturating_sub(1).leading_zeros();
    (bits as usize).min(SIZES - 1)
}

/// The class that serves a size bucket, or `None` for an oversize one.
#[inline]
pub(crate) fn class_of(bucket: usize) -> Option<usize> {
    // Each class is four times the one before, so a class is two buckets, and the first all below.
    let class = bucket.saturating_sub(9) / 2;
    (class < CLASSES).then_some(class)
}

/// Bytes that `count` buffers of a class hold.
pub(crate) fn bytes_of(class: usize, count: usize) -> usize {
    CLASS_BYTES[class] * count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_gets_the_smallest_class_that_holds_it() {
        for len in 0..70_000 {
            assert_eq!(
                class_of(size_bucket(len)),
                CLASS_BYTES.iter().position(|&b| len <= b),
                "{len}"
            );
        }
        assert_eq!(class_of(size_bucket(usize::MAX)), None);
    }
}

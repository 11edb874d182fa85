//! Where a record lies, in 8 bytes.

use crate::record::ALIGN;

/// Bits of a length class: 5 of exponent, 5 of mantissa.
const CLASS_BITS: u32 = 10;
const CLASS_MASK: u32 = (1 << CLASS_BITS) - 1;
const MANTISSA: u32 = 5;

/// Where a record lies: its segment, its offset, and an upper bound of its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Segment number in the upper 22 bits, length class in the lower 10.
    segment_and_class: u32,
    offset: u32,
}

impl Place {
    /// No place: there is no segment 0.
    pub(crate) const EMPTY: Place = Place {
        segment_and_class: 0,
        offset: 0,
    };
    pub(crate) const MAX_SEGMENT: u32 = (1 << (32 - CLASS_BITS)) - 1;

    pub(crate) fn new(segment: u32, offset: u64, len: u64) -> Self {
        Self {
            segment_and_class: segment << CLASS_BITS | class_of(len),
            offset: (offset / ALIGN) as u32,
        }
    }

    #[inline]
    pub(crate) fn from_words(segment_and_class: u32, offset: u32) -> Self {
        Self {
            segment_and_class,
            offset,
        }
    }

    pub(crate) fn words(self) -> (u32, u32) {
        (self.segment_and_class, self.offset)
    }

    #[inline]
    pub(crate) fn segment(self) -> u32 {
        self.segment_and_class >> CLASS_BITS
    }

    pub(crate) fn offset(self) -> u64 {
        u64::from(self.offset) * ALIGN
    }

    /// At least the length of the record, at most a thirty-second more.
    pub(crate) fn length_bound(self) -> u64 {
        let class = self.segment_and_class & CLASS_MASK;
        let units = match class >> MANTISSA {
            0 => u64::from(class),
            exponent => u64::from(32 + (class & 31)) << (exponent - 1),
        };
        units * ALIGN
    }

    pub(crate) fn present(self) -> Option<Self> {
        (self != Self::EMPTY).then_some(self)
    }
}

/// A small float, rounded up; in units of 8 bytes. Exact below 32 units.
fn class_of(len: u64) -> u32 {
    let units = len.div_ceil(ALIGN);
    if units < 32 {
        return units as u32;
    }
    let exponent = 63 - units.leading_zeros() - MANTISSA;
    let mantissa = (units >> exponent) as u32 - 32;
    let rounded = u32::from((units & ((1 << exponent) - 1)) != 0);
    (((exponent + 1) << MANTISSA) + mantissa + rounded).min(CLASS_MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_bound_is_never_below_the_length_and_close_to_it() {
        for len in (32..200_000_u64)
            .step_by(8)
            .chain([1 << 32, (1 << 32) + 65_600])
        {
            let place = Place::new(Place::MAX_SEGMENT, 64, len);
            let bound = place.length_bound();
            assert!(bound >= len && bound <= len + len / 31, "{len} {bound}");
            assert_eq!(place.segment(), Place::MAX_SEGMENT);
        }
    }
}

//! The checksum of any part of a value without reading that part again.

use std::cell::OnceCell;

/// The polynomial of CRC-32C, lowest power in the highest bit, as all polynomials here.
const POLYNOMIAL: u32 = 0x82f6_3b78;
const ONE: u32 = 1 << 31;
/// One more zero byte.
const BYTE: u32 = 1 << 23;
/// Bytes between two sums that are kept.
const STEP: usize = 1 << 9;
/// A length is taken apart into digits of that many bits.
const DIGIT: u32 = 10;
const DIGITS: u32 = 4;

/// Sums of the beginnings of a value, made at first use.
#[derive(Debug)]
pub(crate) struct Prefixes<'a> {
    bytes: &'a [u8],
    tables: OnceCell<Tables>,
}

#[derive(Debug)]
struct Tables {
    /// The sum of the first `i * STEP` bytes.
    marks: Vec<u32>,
    /// What that many zero bytes multiply a sum with, digit by digit.
    zeros: Vec<u32>,
}

impl<'a> Prefixes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            tables: OnceCell::new(),
        }
    }

    /// The sum of what the sum `before` stands for, followed by `bytes[range]`. Cost: that of summing `STEP` bytes twice.
    pub(crate) fn append(&self, before: u32, range: std::ops::Range<usize>) -> u32 {
        let len = range.len();
        if len <= STEP || len as u64 >> (DIGIT * DIGITS) > 0 {
            return crc32c::crc32c_append(before, &self.bytes[range]);
        }
        let tables = self.tables.get_or_init(|| Tables::new(self.bytes));
        let shifted = tables.shift(before ^ self.up_to(tables, range.start), len);
        shifted ^ self.up_to(tables, range.end)
    }

    fn up_to(&self, tables: &Tables, end: usize) -> u32 {
        let mark = end / STEP;
        crc32c::crc32c_append(tables.marks[mark], &self.bytes[mark * STEP..end])
    }
}

impl Tables {
    fn new(bytes: &[u8]) -> Self {
        let mut marks = vec![0];
        for part in bytes.chunks_exact(STEP) {
            let last = marks[marks.len() - 1];
            marks.push(crc32c::crc32c_append(last, part));
        }
        let mut zeros = Vec::with_capacity((DIGITS as usize) << DIGIT);
        let mut unit = BYTE;
        for _ in 0..DIGITS {
            let mut power = ONE;
            for _ in 0..1 << DIGIT {
                zeros.push(power);
                power = times(power, unit);
            }
            unit = power;
        }
        Self { marks, zeros }
    }

    fn shift(&self, sum: u32, len: usize) -> u32 {
        let digit = |at: u32| (len >> (at * DIGIT)) & ((1 << DIGIT) - 1);
        (0..DIGITS)
            .filter(|at| digit(*at) > 0)
            .fold(sum, |sum, at| {
                times(sum, self.zeros[(at as usize) << DIGIT | digit(at)])
            })
    }
}

/// The product of two polynomials.
fn times(mut a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    while a != 0 {
        if a & ONE != 0 {
            product ^= b;
        }
        a <<= 1;
        b = b >> 1 ^ if b & 1 == 1 { POLYNOMIAL } else { 0 };
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_the_sum_that_reading_it_gives() {
        let mut random = fastrand::Rng::with_seed(9);
        let bytes: Vec<u8> = (0..3 << 20).map(|_| random.u8(..)).collect();
        let prefixes = Prefixes::new(&bytes);
        for round in 0..3000 {
            let from = random.usize(..bytes.len());
            let most = [2000, 1 << 21][round % 2].min(bytes.len() - from);
            let range = from..from + random.usize(..=most);
            let before = random.u32(..);
            let expected = crc32c::crc32c_append(before, &bytes[range.clone()]);
            assert_eq!(prefixes.append(before, range), expected);
        }
    }
}

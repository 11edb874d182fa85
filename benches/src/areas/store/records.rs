//! The records that every store of the area holds.

use std::io::Write as _;

use mainspring_inputs::{Random, SessionSpec, generate};

use crate::{Bench, Scale};

/// Records of a batch.
pub(super) const BATCH: usize = 1_000;
/// The size that the rows on single reads and writes speak of.
pub(super) const KIB: usize = 1_024;

const LIVE_SESSIONS: usize = 8;
const MESSAGES: usize = 200;

/// Messages of many sessions: about 1.7 KB each with a tail, one in four of exactly 1 KiB. Eight
/// sessions grow side by side, so that keys arrive neither sorted nor at random.
pub(super) struct Records {
    text: Vec<u8>,
    parts: Vec<(u32, u32)>,
    bytes: u64,
}

/// Keys and values, borrowed.
pub(super) type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

/// A piece of the records with its bytes made.
pub(super) struct Batch {
    bytes: Vec<u8>,
    ends: Vec<(usize, usize)>,
}

impl Records {
    pub(super) fn new(bench: &Bench) -> Self {
        Self::of(bench.scale(), bench.scale().pick(300, 30_000, 300_000))
    }

    pub(super) fn of(scale: Scale, count: usize) -> Self {
        let text = text(scale.pick(1 << 18, 4 << 20, 16 << 20));
        let mut random = Random::new(0x5704E);
        let mut parts = Vec::with_capacity(count);
        let mut bytes = 0;
        for number in 0..count {
            let len = match number % 4 {
                0 => KIB,
                _ => random.length(1_400, 0.8, 64 << 10).max(64),
            };
            parts.push((random.below(text.len() - len) as u32, len as u32));
            bytes += (key(number).len() + len) as u64;
        }
        Self { text, parts, bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    /// Bytes of all keys and values.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Numbers of the records of 1 KiB, in an order drawn once.
    pub(super) fn of_one_kib(&self) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..self.len()).step_by(4).collect();
        let mut random = Random::new(1);
        for last in (1..numbers.len()).rev() {
            numbers.swap(last, random.below(last + 1));
        }
        numbers
    }

    pub(super) fn value(&self, number: usize) -> Vec<u8> {
        let mut value = Vec::new();
        self.push(number, &mut value);
        value
    }

    /// Text from a place of its own, begun by the record's number: no two values are alike.
    fn push(&self, number: usize, into: &mut Vec<u8>) {
        let (start, len) = self.parts[number];
        let (start, len) = (start as usize, len as usize);
        let begin = into.len();
        write!(into, "{{\"number\":{number:09},\"text\":").expect("memory takes it");
        let head = into.len() - begin;
        into.extend_from_slice(&self.text[start..start + len - head]);
    }

    /// The batches, in the order in which they are written.
    pub(super) fn batches(&self) -> impl Iterator<Item = Batch> {
        (0..self.len())
            .step_by(BATCH)
            .map(|first| self.batch(first..(first + BATCH).min(self.len())))
    }

    fn batch(&self, numbers: std::ops::Range<usize>) -> Batch {
        let mut batch = Batch {
            bytes: Vec::new(),
            ends: Vec::with_capacity(numbers.len()),
        };
        for number in numbers {
            batch.bytes.extend_from_slice(key(number).as_bytes());
            let key_end = batch.bytes.len();
            self.push(number, &mut batch.bytes);
            batch.ends.push((key_end, batch.bytes.len()));
        }
        batch
    }
}

impl Batch {
    pub(super) fn pairs(&self) -> Pairs<'_> {
        let mut start = 0;
        let cut = |&(key_end, end): &(usize, usize)| {
            let pair = (&self.bytes[start..key_end], &self.bytes[key_end..end]);
            start = end;
            pair
        };
        self.ends.iter().map(cut).collect()
    }
}

/// The key of a record: a session's name and the number of a message.
pub(super) fn key(number: usize) -> String {
    let (group, within) = (
        number / (LIVE_SESSIONS * MESSAGES),
        number % (LIVE_SESSIONS * MESSAGES),
    );
    let session = group * LIVE_SESSIONS + within % LIVE_SESSIONS;
    let name = Random::new(session as u64).bits();
    format!("{name:016x}/{:06}", within / LIVE_SESSIONS)
}

/// A key of the same session that nobody wrote.
pub(super) fn absent(number: usize) -> String {
    let mut name = key(number);
    name.replace_range(17..18, "9");
    name
}

/// Whole generated sessions, one after another.
pub(super) fn text(bytes: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes + (1 << 20));
    for seed in 0.. {
        if text.len() >= bytes {
            break;
        }
        text.extend_from_slice(
            generate(&SessionSpec::coding(seed, 100))
                .join("\n")
                .as_bytes(),
        );
    }
    text.truncate(bytes);
    text
}

//! What the headers of zstd's blocks tell without decompressing anything (RFC 8878, section 3.1.1).

/// What one block can become.
pub(crate) const MAX: u64 = 128 << 10;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What whole blocks, with a frame's header before them or not, can become; `None` when they are none.
pub(crate) fn most(bytes: &[u8]) -> Option<u64> {
    let (mut rest, mut most) = (behind_header(bytes)?, 0u64);
    while let [a, b, c, behind @ ..] = rest {
        let head = u32::from_le_bytes([*a, *b, *c, 0]);
        let size = u64::from(head >> 3);
        let (stored, becomes) = match head >> 1 & 3 {
            0 => (size, size),
            1 => (1, size),
            2 => (size, MAX),
            _ => return None,
        };
        most = most.saturating_add(becomes.min(MAX));
        rest = behind.get(stored as usize..)?;
    }
    rest.is_empty().then_some(most)
}

fn behind_header(bytes: &[u8]) -> Option<&[u8]> {
    let Some(header) = bytes.strip_prefix(&MAGIC) else {
        return Some(bytes);
    };
    let descriptor = header.first()?;
    let alone = descriptor >> 5 & 1;
    let id = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content = match descriptor >> 6 {
        0 => alone,
        flag => 1 << flag,
    };
    header.get(usize::from(2 - alone + id + content)..)
}

/// Whether bytes may be the inside of a compressed block that becomes so many bytes: its sections fit into it.
pub(crate) fn is_compressed(bytes: &[u8], becomes: u64) -> bool {
    let len = bytes.len() as u64;
    let Some((literals, at)) = literals(bytes) else {
        return false;
    };
    if becomes > MAX || len >= becomes || literals > becomes {
        return false;
    }
    let Some(sequences) = bytes.get(at..) else {
        return false;
    };
    let (count, modes) = match *sequences {
        [0] => return literals == becomes,
        [a @ 1..=127, modes, ..] => (u64::from(a), modes),
        [a @ 128..=254, b, modes, ..] => (u64::from(a - 128) << 8 | u64::from(b), modes),
        [255, b, c, modes, ..] => (u64::from(b) + (u64::from(c) << 8) + 0x7f00, modes),
        _ => return false,
    };
    // Each sequence copies three bytes or more, and the bits end with a one.
    modes & 3 == 0 && literals + 3 * count <= becomes && bytes.last() != Some(&0)
}

/// How many literals there are, and where the section behind them begins.
fn literals(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut head = [0; 8];
    let near = bytes.len().min(5);
    head[..near].copy_from_slice(&bytes[..near]);
    let head = u64::from_le_bytes(head);
    let bits = |from: u32, count: u32| head >> from & ((1 << count) - 1);
    let (size, packed, header) = match (bits(0, 2), bits(2, 2)) {
        (kind @ (0 | 1), format) => {
            let (size, header) = match format {
                0 | 2 => (bits(3, 5), 1),
                1 => (bits(4, 12), 2),
                _ => (bits(4, 20), 3),
            };
            (size, if kind == 0 { size } else { 1 }, header)
        }
        (_, 0 | 1) => (bits(4, 10), bits(14, 10), 3),
        (_, 2) => (bits(4, 14), bits(18, 14), 4),
        (_, _) => (bits(4, 18), bits(22, 18), 5),
    };
    let end = usize::try_from(packed).ok()?.checked_add(header)?;
    // Coded literals are fewer than plain ones, else they would be plain.
    let shorter = bits(1, 1) == 0 || packed < size;
    (size <= MAX && end <= bytes.len() && shorter).then_some((size, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Effort, Encoder};

    #[test]
    fn what_zstd_writes_fits_and_what_it_does_not_mostly_does_not() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut encoder = Encoder::new(Effort::Live(3), &[]).expect("encoder");
        let mut compressed = 0;
        for round in 0..400 {
            let words = random.usize(1..if round % 40 == 0 { 60_000 } else { 400 });
            let text: String = (0..words)
                .map(|_| ["one ", "two,", "\"three\"", "4", "5.6 "][random.usize(..5)])
                .collect();
            let payload = encoder.flush(text.as_bytes()).expect("flush");
            let most = most(&payload).expect("blocks");
            assert!(most >= text.len() as u64, "{most} for {}", text.len());
            assert!(most <= text.len() as u64 + 2 * MAX);
            if payload[0] & 7 == 4 && text.len() < MAX as usize {
                compressed += 1;
                assert!(is_compressed(&payload[3..], text.len() as u64));
            }
        }
        assert!(compressed > 200, "{compressed}");
        let mut bytes = [0; 900];
        let fits = (0..100_000).filter(|_| {
            let len = random.usize(20..900);
            random.fill(&mut bytes[..len]);
            is_compressed(&bytes[..len], random.u64(20..4_000))
        });
        let fits = fits.count();
        assert!(fits < 4_500, "{fits} of 100,000 made-up ones fit");
    }
}

//! What the payload of a group is, and what of it need not be stored.

use crate::blocks;

/// What the payload of a group is: the low bits of its first number in format 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Blocks,
    Last,
    /// One compressed block without its header.
    Compressed,
    /// The same, of bytes as they are.
    Raw,
}

impl Form {
    const BITS: u32 = 2;

    /// How many bytes of a payload need not be stored, because the rest says what they are.
    pub(crate) fn of(payload: &[u8], ends: bool) -> (Self, usize) {
        let [a, b, c, block @ ..] = payload else {
            return (if ends { Self::Last } else { Self::Blocks }, 0);
        };
        let head = u32::from_le_bytes([*a, *b, *c, 0]);
        match (ends, head & 7) {
            (true, _) => (Self::Last, 0),
            // Longer ones are none: what looks like a header is the beginning of a frame.
            _ if block.len() as u64 > blocks::MAX => (Self::Blocks, 0),
            (false, 0) if head as usize >> 3 == block.len() => (Self::Raw, 3),
            (false, 4) if head as usize >> 3 == block.len() => (Self::Compressed, 3),
            _ => (Self::Blocks, 0),
        }
    }

    /// The first number of a group of so many versions.
    pub(crate) fn count(self, versions: usize) -> u64 {
        (versions as u64) << Self::BITS | self as u64
    }

    /// The reverse: the number of versions, and what the payload is.
    pub(crate) fn counted(format: u8, head: u64) -> (u64, Self) {
        match (format, head & 1) {
            (1 | 2, 1) => (head >> 1, Self::Last),
            (1 | 2, _) => (head >> 1, Self::Blocks),
            _ => {
                let forms = [Self::Blocks, Self::Last, Self::Compressed, Self::Raw];
                (head >> Self::BITS, forms[(head & 3) as usize])
            }
        }
    }

    /// How many bytes a payload of this form can become at most; `None` when it is not of this form.
    pub(crate) fn most(self, payload: &[u8]) -> Option<u64> {
        match self {
            Self::Blocks | Self::Last => blocks::most(payload),
            // The magic number of a frame of just that length was once taken for the header of a block.
            Self::Raw if payload.len() as u64 > blocks::MAX => {
                let header = self.header(payload.len())?;
                blocks::most(&[&header[..], payload].concat())
            }
            Self::Raw => Some(payload.len() as u64),
            Self::Compressed => Some(blocks::MAX),
        }
    }

    /// Whether a payload looks as if it were of this form and became so many bytes.
    pub(crate) fn is_plausible(self, payload: &[u8], becomes: u64) -> bool {
        match self {
            Self::Blocks | Self::Last => self.most(payload).is_some_and(|most| becomes <= most),
            Self::Raw => becomes == payload.len() as u64,
            Self::Compressed => blocks::is_compressed(payload, becomes),
        }
    }

    /// The header of the block, which is not the last one of its frame.
    pub(crate) fn header(self, len: usize) -> Option<[u8; 3]> {
        let kind = match self {
            Self::Raw => 0,
            Self::Compressed => 4,
            Self::Blocks | Self::Last => return None,
        };
        let [a, b, c, _] = ((len as u32) << 3 | kind).to_le_bytes();
        Some([a, b, c])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Effort, Encoder};

    /// The magic number of a frame reads as the header of a raw block of 390,821 bytes.
    #[test]
    fn the_beginning_of_a_frame_is_no_header_of_a_block() {
        let mut random = fastrand::Rng::with_seed(4);
        let noise: Vec<u8> = (0..400_000).map(|_| random.u8(..)).collect();
        let (mut len, mut found) = (390_000usize, None);
        for _ in 0..8 {
            let bytes = [&[0; 300_000], &noise[..len]].concat();
            let mut encoder = Encoder::new(Effort::Live(1), &[]).expect("encoder");
            let payload = encoder.flush(&bytes).expect("flush");
            if payload.len() == 390_824 {
                found = Some((bytes, payload));
                break;
            }
            len = (len + 390_824).saturating_sub(payload.len());
        }
        let (bytes, payload) = found.expect("a payload of that length");
        assert_eq!(Form::of(&payload, false), (Form::Blocks, 0));
        // What was written before this was known is read.
        for (form, implied) in [(Form::Blocks, 0), (Form::Raw, 3)] {
            let most = form.most(&payload[implied..]);
            assert!(most >= Some(bytes.len() as u64), "{form:?}: {most:?}");
        }
        assert_eq!(Form::Raw.header(390_821), payload[..3].try_into().ok());
    }

    #[test]
    fn the_header_that_is_left_out_is_the_one_that_is_put_back() {
        for (kind, form) in [(0u32, Form::Raw), (4, Form::Compressed)] {
            for len in [1usize, 7, 300, 70_000] {
                let mut payload = ((len as u32) << 3 | kind).to_le_bytes()[..3].to_vec();
                let header: [u8; 3] = [payload[0], payload[1], payload[2]];
                payload.resize(3 + len, 9);
                assert_eq!(Form::of(&payload, false), (form, 3));
                assert_eq!(form.header(len), Some(header));
                // Two blocks, the last one of a frame, and a payload that ends the frame stay whole.
                payload.push(1);
                assert_eq!(Form::of(&payload, false), (Form::Blocks, 0));
                payload[0] |= 1;
                assert_eq!(Form::of(&payload, false), (Form::Blocks, 0));
                assert_eq!(Form::of(&payload, true), (Form::Last, 0));
                assert_eq!(Form::counted(3, form.count(len)), (len as u64, form));
            }
        }
    }
}

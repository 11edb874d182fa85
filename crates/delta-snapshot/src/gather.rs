//! Putting a state together inside the buffer that most of it was decompressed into: no second one is needed.

use bytes::Bytes;

use crate::error::Result;
use crate::text::{BlockRef, Fetch, Piece, Text};
use crate::tree::{Container, Kind, Slot, State};

/// Where the next bytes of the result come from.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// That place of the buffer.
    Here {
        at: usize,
        len: usize,
    },
    /// Bytes of their own, by number.
    Apart(usize),
    /// A block, by number.
    Block(usize),
    Byte(u8),
}

/// All parts of a state in order.
#[derive(Debug)]
struct Parts<'a> {
    home: &'a Bytes,
    list: Vec<Part>,
    apart: Vec<Bytes>,
    blocks: Vec<BlockRef>,
    len: usize,
}

impl State {
    /// The bytes of the state, most of which lie in `home`. Memory beyond `home` and the state's own: about 24 bytes for
    /// each value, and what has to change places.
    pub(crate) fn into_bytes_within(self, home: Bytes, fetch: &dyn Fetch) -> Result<Bytes> {
        let mut parts = Parts {
            home: &home,
            list: Vec::new(),
            apart: Vec::new(),
            blocks: Vec::new(),
            len: 0,
        };
        match self {
            Self::Empty => {}
            Self::Json(slot) => parts.slot(slot),
            Self::Bytes(pages) => parts.container(pages),
        }
        let Parts {
            list,
            apart,
            blocks,
            len,
            ..
        } = parts;
        // A copy only when somebody else may still look at it.
        settle(home.into(), list, apart, &blocks, len, fetch)
    }
}

impl Parts<'_> {
    fn slot(&mut self, mut slot: Slot) {
        let container = slot.take_container();
        let text = slot.text();
        match container {
            None => self.text(text),
            Some(container) => {
                self.bytes(text.literals(), slot.prefix());
                self.container(container);
                self.bytes(text.literals(), slot.suffix());
            }
        }
    }

    fn container(&mut self, container: Container) {
        let kind = container.kind;
        let (opening, closing) = container.brackets();
        opening.iter().for_each(|byte| self.byte(*byte));
        let (slots, bare) = container.into_slots();
        if slots.is_empty() {
            self.bytes(&bare, &bare);
        }
        for (i, slot) in slots.into_iter().enumerate() {
            if i > 0 && kind != Kind::Pages {
                self.byte(b',');
            }
            self.slot(slot);
        }
        closing.iter().for_each(|byte| self.byte(*byte));
    }

    fn text(&mut self, text: &Text) {
        for piece in text.pieces() {
            match piece {
                Piece::Literal(bytes) => self.bytes(text.literals(), bytes),
                Piece::Block(block) => {
                    self.list.push(Part::Block(self.blocks.len()));
                    self.blocks.push(*block);
                    self.len += block.len as usize;
                }
            }
        }
    }

    /// `part` of `all`, which is what keeps it alive.
    fn bytes(&mut self, all: &Bytes, part: &[u8]) {
        if part.is_empty() {
            return;
        }
        self.len += part.len();
        let at = (part.as_ptr() as usize).wrapping_sub(self.home.as_ptr() as usize);
        if at.saturating_add(part.len()) > self.home.len() {
            self.list.push(Part::Apart(self.apart.len()));
            self.apart.push(all.slice_ref(part));
            return;
        }
        match self.list.last_mut() {
            Some(Part::Here { at: before, len }) if *before + *len == at => *len += part.len(),
            _ => self.list.push(Part::Here {
                at,
                len: part.len(),
            }),
        }
    }

    fn byte(&mut self, byte: u8) {
        self.len += 1;
        match self.list.last_mut() {
            // The comma between two values that were decompressed together.
            Some(Part::Here { at, len }) if self.home.get(*at + *len) == Some(&byte) => *len += 1,
            _ => self.list.push(Part::Byte(byte)),
        }
    }
}

/// Moves every part to its place, front to back; what would be overwritten before its turn is taken aside.
fn settle(
    mut buffer: Vec<u8>,
    mut list: Vec<Part>,
    mut apart: Vec<Bytes>,
    blocks: &[BlockRef],
    len: usize,
    fetch: &dyn Fetch,
) -> Result<Bytes> {
    let place = |part: &Part| match part {
        Part::Here { at, .. } => *at,
        _ => usize::MAX,
    };
    let mut order: Vec<usize> = (0..list.len()).collect();
    order.retain(|index| place(&list[*index]) < usize::MAX);
    order.sort_unstable_by_key(|index| place(&list[*index]));
    let mut in_danger = order.into_iter().peekable();
    if len > buffer.len() {
        // No more than that: room to grow on would be half of what there is.
        buffer.reserve_exact(len - buffer.len());
        buffer.resize(len, 0);
    }
    let mut to = 0;
    for index in 0..list.len() {
        let end = to
            + match list[index] {
                Part::Here { len, .. } => len,
                Part::Apart(n) => apart[n].len(),
                Part::Block(n) => blocks[n].len as usize,
                Part::Byte(_) => 1,
            };
        while let Some(other) = in_danger.next_if(|other| place(&list[*other]) < end) {
            if let Part::Here { at, len } = list[other]
                && other > index
            {
                list[other] = Part::Apart(apart.len());
                apart.push(Bytes::copy_from_slice(&buffer[at..at + len]));
            }
        }
        match list[index] {
            Part::Here { at, .. } if at == to => {}
            Part::Here { at, len } => buffer.copy_within(at..at + len, to),
            Part::Apart(n) => buffer[to..end].copy_from_slice(&std::mem::take(&mut apart[n])),
            Part::Block(n) => buffer[to..end].copy_from_slice(&fetch.fetch(&blocks[n])?),
            Part::Byte(byte) => buffer[to] = byte,
        }
        to = end;
    }
    buffer.truncate(to);
    if buffer.capacity() - to > to / 8 {
        buffer.shrink_to_fit();
    }
    Ok(buffer.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use proptest::prelude::*;

    struct None;

    impl Fetch for None {
        fn fetch(&self, _: &BlockRef) -> Result<Bytes> {
            Err(Error::missing("block", ""))
        }
    }

    fn pages(texts: impl IntoIterator<Item = Bytes>) -> State {
        let slots = texts.into_iter();
        let slots = slots.map(|text| Slot::closed(text.into(), 0, 0)).collect();
        State::Bytes(Container::new(Kind::Pages, slots, Bytes::new()))
    }

    proptest! {
        #[test]
        fn parts_from_anywhere_in_any_order_come_together(
            places in proptest::collection::vec((0..300usize, 0..90usize, any::<bool>()), 0..40),
        ) {
            let bytes: Vec<u8> = (0..400u32).map(|n| (n * 7) as u8).collect();
            let home = Bytes::from(bytes.clone());
            let mut expected = Vec::new();
            let texts: Vec<Bytes> = places
                .iter()
                .map(|&(at, len, here)| {
                    expected.extend_from_slice(&bytes[at..at + len]);
                    match here {
                        true => home.slice(at..at + len),
                        false => Bytes::copy_from_slice(&bytes[at..at + len]),
                    }
                })
                .collect();
            let done = pages(texts).into_bytes_within(home, &None);
            prop_assert_eq!(&done.expect("gathered")[..], &expected[..]);
        }
    }

    #[test]
    fn the_buffer_itself_is_the_result() {
        let home = Bytes::from(vec![7u8; 10_000]);
        let before = home.as_ptr();
        let state = pages([home.slice(100..6_000), home.slice(6_010..10_000)]);
        let done = state.into_bytes_within(home, &None).expect("gathered");
        assert_eq!((done.as_ptr(), done.len()), (before, 9_890));
    }
}

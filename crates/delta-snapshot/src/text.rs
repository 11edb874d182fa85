//! A run of bytes in which long insides of strings are replaced by references to shared blocks.

use std::ops::Range;

use bytes::Bytes;

use crate::error::Result;

/// Content address: the BLAKE3 hash of the block's bytes.
pub(crate) type BlockId = [u8; 32];

/// A block that stands at some place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BlockRef {
    pub(crate) id: BlockId,
    pub(crate) len: u64,
}

/// Gets the bytes of a block, checked against its address.
pub(crate) trait Fetch {
    fn fetch(&self, block: &BlockRef) -> Result<Bytes>;
}

/// Literal bytes, and the blocks that stand between them (sorted by place).
#[derive(Debug, Clone, Default)]
pub(crate) struct Text {
    literals: Bytes,
    blocks: Option<Box<[(u32, BlockRef)]>>,
}

impl From<Bytes> for Text {
    fn from(literals: Bytes) -> Self {
        Self {
            literals,
            blocks: None,
        }
    }
}

impl Text {
    pub(crate) fn new(literals: Bytes, blocks: Vec<(u32, BlockRef)>) -> Self {
        let blocks = (!blocks.is_empty()).then(|| blocks.into_boxed_slice());
        Self { literals, blocks }
    }

    pub(crate) fn literals(&self) -> &Bytes {
        &self.literals
    }

    pub(crate) fn blocks(&self) -> &[(u32, BlockRef)] {
        self.blocks.as_deref().unwrap_or_default()
    }

    /// Length with the blocks in their places.
    pub(crate) fn len(&self) -> u64 {
        let blocks: u64 = self.blocks().iter().map(|(_, b)| b.len).sum();
        self.literals.len() as u64 + blocks
    }

    /// A part, counted in literal bytes; a block belongs to the part that surrounds it.
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        let inside = |at: u32| (at as usize) >= range.start && (at as usize) < range.end;
        let blocks = self
            .blocks()
            .iter()
            .filter(|(at, _)| inside(*at))
            .map(|(at, block)| (at - range.start as u32, *block))
            .collect();
        Self::new(self.literals.slice(range), blocks)
    }

    /// Both kinds of pieces in order.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let mut from = 0;
        let ends = self
            .blocks()
            .iter()
            .map(|(at, block)| (*at as usize, Some(block)));
        ends.chain(std::iter::once((self.literals.len(), None)))
            .flat_map(move |(at, block)| {
                let at = at.clamp(from, self.literals.len());
                let literal = &self.literals[from..at];
                from = at;
                [Some(Piece::Literal(literal)), block.map(Piece::Block)]
            })
            .flatten()
    }

    pub(crate) fn render(&self, fetch: &dyn Fetch, out: &mut Vec<u8>) -> Result<()> {
        for piece in self.pieces() {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Block(block) => out.extend_from_slice(&fetch.fetch(block)?),
            }
        }
        Ok(())
    }
}

/// Part of a [`Text`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Piece<'a> {
    Literal(&'a [u8]),
    Block(&'a BlockRef),
}

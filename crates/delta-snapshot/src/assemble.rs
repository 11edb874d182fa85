//! Putting a state together for a reader, and letting go of each part once it is written.

use std::io::Write;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::text::{Fetch, Piece, Text};
use crate::tree::{Container, Kind, Slot, State};

/// Where the bytes go.
type Sink<'s> = dyn FnMut(&[u8]) -> Result<()> + 's;

/// Results below this are allocated in one go.
const AT_ONCE: usize = 256 << 10;

impl State {
    /// The bytes of the state. The state is given up part by part, so that both together take less than twice its size.
    pub(crate) fn into_bytes(self, fetch: &dyn Fetch) -> Result<Bytes> {
        let len = self.len() as usize;
        let mut out = Vec::new();
        out.reserve_exact(len.min(AT_ONCE.max(len / 8 * 5)));
        self.pour(fetch, &mut |bytes| {
            if bytes.len() > out.capacity() - out.len() {
                // By now most of the state is given back.
                out.reserve_exact(bytes.len().max(len.saturating_sub(out.len())));
            }
            out.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(out.into())
    }

    /// The same, to a writer; gives the number of bytes.
    pub(crate) fn write_to(self, fetch: &dyn Fetch, writer: &mut dyn Write) -> Result<u64> {
        let len = self.len();
        self.pour(fetch, &mut |bytes| {
            writer
                .write_all(bytes)
                .map_err(Error::io("write", "the restored state"))
        })?;
        writer
            .flush()
            .map_err(Error::io("write", "the restored state"))?;
        Ok(len)
    }

    fn pour(self, fetch: &dyn Fetch, sink: &mut Sink<'_>) -> Result<()> {
        match self {
            Self::Empty => Ok(()),
            Self::Json(slot) => pour_slot(slot, fetch, sink),
            Self::Bytes(pages) => pour_container(pages, fetch, sink),
        }
    }
}

fn pour_slot(mut slot: Slot, fetch: &dyn Fetch, sink: &mut Sink<'_>) -> Result<()> {
    match slot.take_container() {
        None => pour_text(slot.text(), fetch, sink),
        Some(container) => {
            sink(slot.prefix())?;
            pour_container(container, fetch, sink)?;
            sink(slot.suffix())
        }
    }
}

fn pour_container(container: Container, fetch: &dyn Fetch, sink: &mut Sink<'_>) -> Result<()> {
    let kind = container.kind;
    let (opening, closing) = container.brackets();
    sink(opening)?;
    let (slots, bare) = container.into_slots();
    if slots.is_empty() {
        sink(&bare)?;
    }
    for (i, slot) in slots.into_iter().enumerate() {
        if i > 0 && kind != Kind::Pages {
            sink(b",")?;
        }
        pour_slot(slot, fetch, sink)?;
    }
    sink(closing)
}

fn pour_text(text: &Text, fetch: &dyn Fetch, sink: &mut Sink<'_>) -> Result<()> {
    for piece in text.pieces() {
        match piece {
            Piece::Literal(bytes) => sink(bytes)?,
            Piece::Block(block) => sink(&fetch.fetch(block)?)?,
        }
    }
    Ok(())
}

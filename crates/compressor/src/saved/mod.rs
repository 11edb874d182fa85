//! Saving a context and resuming it with the same bytes.
//!
//! Layout, little-endian: magic `MSCTXT\0\0` (8), version (u32), zero (u32), length of the payload
//! (u64), xxh3-64 of the payload (u64), payload. The payload holds the settings of the context, its
//! items with their bytes, the hash chain of what was sent last, and the ledger; texts and bytes
//! are a u32 length and the bytes, lists a u32 count and the elements.
//!
//! Key invariant: resuming and saving again gives the same file, written in the present version.

mod codec;
mod ledger;

use crate::{
    Budget, Context, Error, Format, context::Entry, item::Role, prompt_cache::Sent,
    tokens::Tokenizer, transcript::checked,
};
use bytes::Bytes;
use codec::{Reader, Writer};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: &[u8; 8] = b"MSCTXT\0\0";
const VERSION: u32 = 2;
/// The oldest version that is still read.
const OLDEST: u32 = 1;
const HEADER: usize = 32;
/// No session counts so far; beyond it sums could overflow.
const MOST: u64 = 1 << 40;
const TOO_MUCH: &str = "a count that no session reaches";

const ROLES: [Role; 8] = [
    Role::System,
    Role::Human,
    Role::Assistant,
    Role::ToolCalls,
    Role::ToolResults,
    Role::Observation,
    Role::Summary,
    Role::Meta,
];

impl Context {
    /// The whole state of the context, for [`Context::resume`]. O(bytes of the context).
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.write_head(&mut w);
        w.count(self.entries.len());
        for (item, entry) in self.transcript.items().iter().zip(&self.entries) {
            write_entry(&mut w, entry, item.role(), item.raw());
        }
        w.count(self.sent.len());
        for sent in &self.sent {
            w.u64(sent.hash);
            w.u64(sent.len);
            w.u64(sent.tokens);
        }
        ledger::write(&mut w, &self.ledger);
        frame(&w.finish())
    }

    fn write_head(&self, w: &mut Writer) {
        w.u8(self.transcript.format().number());
        w.u64(self.budget.window as u64);
        w.u64(self.budget.max_output as u64);
        w.u64(self.peak as u64);
        w.u64(self.next_seq);
        w.u64(self.compactions);
        w.u32(self.failures);
        w.u64(self.retry_at as u64);
        w.u8(u8::from(self.asked));
    }

    /// Takes up a saved context. The items are byte for byte what they were, so that the provider's
    /// prompt cache still knows them; nothing is counted again.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] with the offset when the bytes are damaged or of another version.
    pub fn resume(saved: impl Into<Bytes>, tokenizer: Arc<dyn Tokenizer>) -> Result<Self, Error> {
        let saved = saved.into();
        let (version, payload) = unframe(&saved)?;
        let mut r = Reader::new(payload, HEADER);
        let mut context = read_head(&mut r, tokenizer)?;
        for _ in 0..r.count(26)? {
            read_entry(&mut r, &mut context)?;
        }
        for _ in 0..r.count(24)? {
            let (hash, len, tokens) = (r.u64()?, r.u64()?, r.u64()?);
            if tokens > MOST {
                return Err(r.damaged(TOO_MUCH));
            }
            context.sent.push(Sent {
                hash,
                len,
                tokens,
                raw: None,
            });
        }
        context.ledger = ledger::read(&mut r, version)?;
        r.end()?;
        Ok(context)
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + payload.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    out.extend_from_slice(&xxh3_64(payload).to_le_bytes());
    out.extend_from_slice(payload);
    out
}

/// The version and the payload.
fn unframe(saved: &Bytes) -> Result<(u32, Bytes), Error> {
    let bad = |offset, what: &str| Err(codec::damaged(offset, what));
    if saved.len() < HEADER || &saved[..8] != MAGIC {
        return bad(0, "not a saved context");
    }
    let mut header = Reader::new(saved.slice(8..HEADER), 8);
    let version = header.u32()?;
    if !(OLDEST..=VERSION).contains(&version) {
        return bad(
            8,
            &format!("version {version} of a saved context, known are {OLDEST} to {VERSION}"),
        );
    }
    if header.u32()? != 0 {
        return bad(12, "reserved bytes of a saved context are not zero");
    }
    let (length, hash) = (header.u64()?, header.u64()?);
    let payload = saved.slice(HEADER..);
    if payload.len() as u64 != length {
        return bad(16, "the saved context is cut off or has more behind it");
    }
    if xxh3_64(&payload) != hash {
        return bad(24, "the checksum of the saved context does not match");
    }
    Ok((version, payload))
}

fn read_head(r: &mut Reader, tokenizer: Arc<dyn Tokenizer>) -> Result<Context, Error> {
    let number = usize::from(r.u8()?);
    let Some(format) = Format::ALL.get(number) else {
        return Err(r.damaged("an unknown session format"));
    };
    let budget = Budget {
        window: r.size()?,
        max_output: r.size()?,
    };
    let mut context = Context::new(*format, budget, tokenizer);
    context.peak = r.size()?;
    context.next_seq = r.u64()?;
    context.compactions = r.u64()?;
    context.failures = r.u32()?;
    context.retry_at = r.size()?;
    context.asked = r.u8()? != 0;
    let counts = [context.peak as u64, context.next_seq, context.compactions];
    if counts.into_iter().any(|count| count > MOST) {
        return Err(r.damaged(TOO_MUCH));
    }
    Ok(context)
}

fn write_entry(w: &mut Writer, entry: &Entry, role: Role, raw: &Bytes) {
    w.u64(entry.seq);
    w.u64(entry.tokens as u64);
    w.u8(u8::from(entry.pinned));
    w.u8(ROLES.iter().position(|r| *r == role).unwrap_or(0) as u8);
    w.count(entry.stored.len());
    entry.stored.iter().for_each(|part| w.u32(*part));
    w.bytes(raw);
}

fn read_entry(r: &mut Reader, context: &mut Context) -> Result<(), Error> {
    let seq = r.u64()?;
    let tokens = r.size()?;
    // A summary has no number of its own.
    if seq >= context.next_seq && seq != u64::MAX {
        return Err(r.damaged("an item whose number is still to come"));
    }
    if tokens as u64 > MOST {
        return Err(r.damaged(TOO_MUCH));
    }
    let pinned = r.u8()? != 0;
    let number = usize::from(r.u8()?);
    let Some(role) = ROLES.get(number) else {
        return Err(r.damaged("an unknown role"));
    };
    let stored = (0..r.count(4)?)
        .map(|_| r.u32())
        .collect::<Result<_, _>>()?;
    let raw = checked(r.bytes()?)?;
    context.transcript.push_as(raw, *role)?;
    context.tokens = context.tokens.saturating_add(tokens);
    context.entries.push(Entry {
        seq,
        tokens,
        pinned,
        stored,
    });
    Ok(())
}

//! zstd: one frame per segment, flushed after each version; patches of byte states; single blocks.

use std::fmt;

use zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, DictAttachPref, InBuffer, OutBuffer, ResetDirective,
    zstd_sys::ZSTD_EndDirective as End,
};

use crate::error::{Error, Result};

const OTHER_LENGTH: &str = "the data has another length than recorded";
/// An empty last block: ends a frame that is still being written.
const END_OF_FRAME: [u8; 3] = [1, 0, 0];
/// zstd cannot expand a block by more than this.
pub(crate) const MAX_RATIO: u64 = 1 << 16;
const PATCH_WINDOW: u32 = 27;
/// What a segment may grow to.
const SIZE_HINT: u32 = 4 << 20;

fn failed(code: usize) -> Error {
    Error::Io {
        action: "compress",
        key: String::new(),
        source: std::io::Error::other(zstd_safe::get_error_name(code)),
    }
}

/// Largest window of a frame, as a power of two: what a decoder has to hold at most.
pub(crate) const MAX_WINDOW: u32 = 23;

/// How the operations of a segment are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Version by version, as they are committed.
    Live(i32),
    /// All versions of a sealed segment, with a window of that power of two.
    Sealed(i32, u32),
}

impl Effort {
    fn parameters(self) -> Vec<CParameter> {
        match self {
            // Small tables search well enough, stay in the processor's cache and keep a thread's memory small.
            Self::Live(level) if level < 16 => vec![
                CParameter::CompressionLevel(level),
                CParameter::WindowLog(20),
                CParameter::HashLog(16),
                // Up to level 4 that is the table of short matches, which pay only when they are near.
                CParameter::ChainLog(if level < 5 { 14 } else { 16 }),
                // One pair of tables to search instead of two, the dictionary's own being the other.
                CParameter::ForceAttachDict(DictAttachPref::ForceCopy),
            ],
            Self::Live(level) => vec![
                CParameter::CompressionLevel(level),
                CParameter::WindowLog(MAX_WINDOW),
            ],
            Self::Sealed(level, window) => vec![
                CParameter::CompressionLevel(level),
                CParameter::WindowLog(window.min(MAX_WINDOW)),
            ],
        }
    }
}

/// Compresses the operations of one segment as they come.
pub(crate) struct Encoder {
    context: CCtx<'static>,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    /// `prime` is known to the decoder too: earlier bytes to refer to.
    pub(crate) fn new(effort: Effort, prime: &[u8]) -> Result<Self> {
        let mut context = CCtx::try_create().ok_or_else(|| failed(0))?;
        let mut set = |parameter| context.set_parameter(parameter).map_err(failed);
        for parameter in effort.parameters() {
            set(parameter)?;
        }
        set(CParameter::ContentSizeFlag(false))?;
        set(CParameter::DictIdFlag(false))?;
        // Without it the tables are made for what primes the frame, not for what follows.
        set(CParameter::SrcSizeHint(SIZE_HINT))?;
        if !prime.is_empty() {
            context.load_dictionary(prime).map_err(failed)?;
        }
        Ok(Self { context })
    }

    /// Everything that the decoder needs to see `bytes`.
    pub(crate) fn flush(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        self.run(bytes, End::ZSTD_e_flush)
    }

    /// The same, and the end of the frame.
    pub(crate) fn finish(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        self.run(bytes, End::ZSTD_e_end)
    }

    fn run(&mut self, bytes: &[u8], end: End) -> Result<Vec<u8>> {
        let mut out =
            Vec::with_capacity(zstd_safe::compress_bound(bytes.len()).min(bytes.len() / 2 + 512));
        let mut input = InBuffer::around(bytes);
        loop {
            if out.capacity() - out.len() < 256 {
                out.reserve(out.capacity().max(512));
            }
            let used = out.len();
            let mut output = OutBuffer::around_pos(&mut out, used);
            let left = self
                .context
                .compress_stream2(&mut output, &mut input, end)
                .map_err(failed)?;
            if left == 0 && input.pos() == bytes.len() {
                return Ok(out);
            }
        }
    }
}

/// Decompresses (the beginning of) a frame to exactly `len` bytes. Memory: `len`.
pub(crate) fn inflate(
    prime: &[u8],
    mut frame: Vec<u8>,
    ended: bool,
    len: usize,
) -> Result<Vec<u8>, &'static str> {
    if len as u64 / MAX_RATIO > frame.len() as u64 {
        return Err("a length is larger than the data can hold");
    }
    if len == 0 {
        // Nothing was put in, so the frame may not even have begun.
        return Ok(Vec::new());
    }
    if !ended {
        frame.extend_from_slice(&END_OF_FRAME);
    }
    let mut out = Vec::with_capacity(len);
    let mut context = DCtx::try_create().ok_or("no memory for the decoder")?;
    context
        .decompress_using_dict(&mut out, &frame, prime)
        .map_err(zstd_safe::get_error_name)?;
    if out.len() != len {
        return Err(OTHER_LENGTH);
    }
    Ok(out)
}

/// Decompresses a frame group by group. Memory: its window, at most 2 to the [`MAX_WINDOW`] bytes.
pub(crate) struct Inflater {
    context: DCtx<'static>,
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

impl Inflater {
    pub(crate) fn new() -> Result<Self> {
        let context = DCtx::try_create().ok_or_else(|| failed(0))?;
        Ok(Self { context })
    }

    /// A new frame, whatever was read before.
    pub(crate) fn begin(&mut self, prime: &[u8]) -> Result<(), &'static str> {
        let context = &mut self.context;
        let done = context
            .reset(ResetDirective::SessionAndParameters)
            .and_then(|_| context.set_parameter(DParameter::WindowLogMax(MAX_WINDOW)))
            .and_then(|_| match prime {
                [] => Ok(0),
                _ => context.load_dictionary(prime),
            });
        done.map(drop).map_err(zstd_safe::get_error_name)
    }

    /// The next part of the frame, of which it is known how long it has to become. The caller has checked `len`.
    pub(crate) fn next(
        &mut self,
        parts: [&[u8]; 2],
        len: usize,
        ends: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), &'static str> {
        out.clear();
        if len == 0 && parts.iter().all(|part| part.is_empty()) {
            // A version that changed nothing. zstd takes many calls without progress for an error.
            return Ok(());
        }
        let mut written = 0;
        for part in parts {
            let mut read = 0;
            while read < part.len() {
                grow(out, written, len);
                let (took, gave) = self.step(&part[read..], &mut out[written..])?;
                if took == 0 && gave == 0 {
                    return Err(OTHER_LENGTH);
                }
                (read, written) = (read + took, written + gave);
            }
        }
        while written < len {
            grow(out, written, len);
            match self.step(&[], &mut out[written..])?.1 {
                0 => return Err(OTHER_LENGTH),
                gave => written += gave,
            }
        }
        if !ends && self.step(&[], &mut [0])?.1 > 0 {
            return Err(OTHER_LENGTH);
        }
        Ok(())
    }

    /// How many bytes were taken, and how many given.
    fn step(&mut self, from: &[u8], to: &mut [u8]) -> Result<(usize, usize), &'static str> {
        let mut input = InBuffer::around(from);
        let mut output = OutBuffer::around(to);
        let context = &mut self.context;
        let done = context.decompress_stream(&mut output, &mut input);
        done.map_err(zstd_safe::get_error_name)?;
        Ok((input.pos(), output.pos()))
    }
}

/// Makes room for more of `len` bytes, a step at a time: nobody knows yet whether the data has them.
fn grow(out: &mut Vec<u8>, written: usize, len: usize) {
    const STEP: usize = 1 << 20;
    if written == out.len() {
        out.resize(len.min(written + STEP), 0);
    }
}

/// Compresses a value of its own.
pub(crate) fn pack(level: i32, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    zstd_safe::compress(&mut out, bytes, level).map_err(failed)?;
    Ok(out)
}

/// The reverse of [`pack`].
pub(crate) fn unpack(frame: &[u8], len: usize) -> Result<Vec<u8>, &'static str> {
    inflate(&[], frame.to_vec(), true, len)
}

/// Compresses `new` so that what it shares with `old`, however far away, costs next to nothing.
pub(crate) fn patch(old: &[u8], new: &[u8], level: i32) -> Result<Vec<u8>> {
    let mut context = CCtx::try_create().ok_or_else(|| failed(0))?;
    let needed = (old.len() + new.len()).max(1).ilog2() + 1;
    for parameter in [
        CParameter::CompressionLevel(level),
        CParameter::WindowLog(needed.clamp(10, PATCH_WINDOW)),
        CParameter::EnableLongDistanceMatching(true),
        CParameter::ContentSizeFlag(false),
    ] {
        context.set_parameter(parameter).map_err(failed)?;
    }
    context.ref_prefix(old).map_err(failed)?;
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(new.len()));
    context.compress2(&mut out, new).map_err(failed)?;
    Ok(out)
}

/// The reverse of [`patch`].
pub(crate) fn unpatch(old: &[u8], frame: &[u8], len: u64) -> Result<Vec<u8>> {
    let damaged = |what| Error::damaged("patch", 0, what);
    if len / MAX_RATIO > frame.len() as u64 {
        return Err(damaged("a length is larger than the data can hold"));
    }
    let mut context = DCtx::try_create().ok_or_else(|| failed(0))?;
    context
        .set_parameter(DParameter::WindowLogMax(PATCH_WINDOW))
        .map_err(failed)?;
    context.ref_prefix(old).map_err(failed)?;
    let mut out = Vec::with_capacity(len as usize);
    context
        .decompress(&mut out, frame)
        .map_err(|code| damaged(zstd_safe::get_error_name(code)))?;
    if out.len() as u64 != len {
        return Err(damaged("a patch has another length than recorded"));
    }
    Ok(out)
}

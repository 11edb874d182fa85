//! Whole states, compressed each for itself or against the one before.

use std::io::{Cursor, Read, Write};

use anyhow::{Result, anyhow};
use zstd_safe::{CCtx, CParameter, DCtx, DParameter};

use super::States;
use crate::{Bench, check};

/// States between two that are stored whole.
pub(super) const KEYFRAME: usize = 64;

/// One way to keep every state of a session.
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    /// Above this much full JSON it is left out.
    pub(super) limit: u64,
    /// Stores every state, checks that each comes back, and says how many bytes were stored.
    pub(super) keep: fn(&Bench, &States<'_>) -> Result<u64>,
}

/// Above this much full JSON those are left out who write all of it.
const FULL_LIMIT: u64 = 2 << 30;
/// The same for those who sort every suffix of every state.
const SORTED_LIMIT: u64 = 128 << 20;

/// What everybody does who has zstd at hand.
pub(super) const ZSTD_EACH: &str = "zstd-3 of each full JSON";

/// Those that are given whole states.
pub(super) const PEERS: &[Peer] = &[
    Peer {
        name: "gzip-6 of each full JSON",
        version: "flate2 1",
        limit: FULL_LIMIT,
        keep: gzip,
    },
    Peer {
        name: ZSTD_EACH,
        version: "zstd 0.13",
        limit: FULL_LIMIT,
        keep: zstd_each,
    },
    Peer {
        name: "zstd-3 patch-from with LDM, keyframe 64",
        version: "zstd-safe 7",
        limit: FULL_LIMIT,
        keep: patch_from,
    },
    Peer {
        name: "bsdiff, keyframe 64",
        version: "qbsdiff 1.4",
        limit: SORTED_LIMIT,
        keep: bsdiff,
    },
    Peer {
        name: "FastCDC 4 KiB + zstd-3",
        version: "fastcdc 5",
        limit: FULL_LIMIT,
        keep: super::chunks::keep,
    },
    Peer {
        name: "RFC 6902 + zstd-3, keyframe 64",
        version: "json-patch 5",
        limit: FULL_LIMIT,
        keep: super::patches::keep,
    },
];

fn gzip(bench: &Bench, states: &States<'_>) -> Result<u64> {
    let mut bytes = 0;
    for step in 0..states.count() {
        let state = states.at(step);
        let level = flate2::Compression::new(6);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
        encoder.write_all(&state)?;
        let stored = encoder.finish()?;
        let mut restored = Vec::with_capacity(state.len());
        flate2::read::GzDecoder::new(&*stored).read_to_end(&mut restored)?;
        check(
            bench.answer(restored) == state,
            "gzip restored another state",
        )?;
        bytes += stored.len() as u64;
    }
    Ok(bytes)
}

fn zstd_each(bench: &Bench, states: &States<'_>) -> Result<u64> {
    let mut bytes = 0;
    for step in 0..states.count() {
        let state = states.at(step);
        let stored = zstd::bulk::compress(&state, 3)?;
        let restored = zstd::bulk::decompress(&stored, state.len())?;
        check(
            bench.answer(restored) == state,
            "zstd restored another state",
        )?;
        bytes += stored.len() as u64;
    }
    Ok(bytes)
}

fn patch_from(bench: &Bench, states: &States<'_>) -> Result<u64> {
    let chain = Chain::of(states)?;
    let mut before = Vec::new();
    for (step, (size, patch)) in chain.0.iter().enumerate() {
        if step % KEYFRAME == 0 {
            before.clear();
        }
        before = bench.answer(patched(&before, patch, *size)?);
        check(
            before == states.at(step),
            "patch-from restored another state",
        )?;
    }
    Ok(chain.0.iter().map(|(_, patch)| patch.len() as u64).sum())
}

/// Each state as a bsdiff patch of the one before, every 64th compressed as a whole.
fn bsdiff(bench: &Bench, states: &States<'_>) -> Result<u64> {
    let (mut bytes, mut before) = (0, Vec::new());
    for step in 0..states.count() {
        let state = states.at(step);
        let (stored, restored) = if step % KEYFRAME == 0 {
            let stored = zstd::bulk::compress(&state, 3)?;
            let restored = zstd::bulk::decompress(&stored, state.len())?;
            (stored, restored)
        } else {
            let (mut stored, mut restored) = (Vec::new(), Vec::new());
            qbsdiff::Bsdiff::new(&before, &state).compare(Cursor::new(&mut stored))?;
            qbsdiff::Bspatch::new(&stored)?.apply(&before, Cursor::new(&mut restored))?;
            (stored, restored)
        };
        before = bench.answer(restored);
        check(before == state, "bsdiff restored another state")?;
        bytes += stored.len() as u64;
    }
    Ok(bytes)
}

/// Each state as a patch of the one before, every 64th whole; with the length of the state.
pub(super) struct Chain(Vec<(usize, Vec<u8>)>);

impl Chain {
    pub(super) fn of(states: &States<'_>) -> Result<Self> {
        let mut patches = Vec::with_capacity(states.count());
        let mut before = Vec::new();
        for step in 0..states.count() {
            let state = states.at(step);
            let base: &[u8] = if step % KEYFRAME == 0 { &[] } else { &before };
            patches.push((state.len(), patch(base, &state)?));
            before = state;
        }
        Ok(Self(patches))
    }

    pub(super) fn restore(&self, step: usize) -> Result<Vec<u8>> {
        let mut state = Vec::new();
        for (size, patch) in &self.0[step - step % KEYFRAME..=step] {
            state = patched(&state, patch, *size)?;
        }
        Ok(state)
    }
}

/// What `zstd --patch-from` does: the old state as a prefix, long-distance matching, a window that
/// holds both.
pub(super) fn patch(base: &[u8], state: &[u8]) -> Result<Vec<u8>> {
    let mut context = CCtx::create();
    let window = usize::BITS - (base.len() + state.len()).max(1 << 16).leading_zeros();
    let parameters = [
        CParameter::CompressionLevel(3),
        CParameter::WindowLog(window.min(27)),
        CParameter::EnableLongDistanceMatching(true),
    ];
    for parameter in parameters {
        context.set_parameter(parameter).map_err(named)?;
    }
    if !base.is_empty() {
        context.ref_prefix(base).map_err(named)?;
    }
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(state.len()));
    context.compress2(&mut out, state).map_err(named)?;
    Ok(out)
}

pub(super) fn patched(base: &[u8], patch: &[u8], size: usize) -> Result<Vec<u8>> {
    let mut context = DCtx::create();
    context
        .set_parameter(DParameter::WindowLogMax(27))
        .map_err(named)?;
    if !base.is_empty() {
        context.ref_prefix(base).map_err(named)?;
    }
    let mut out = Vec::with_capacity(size);
    context.decompress(&mut out, patch).map_err(named)?;
    Ok(out)
}

fn named(code: usize) -> anyhow::Error {
    anyhow!("zstd: {}", zstd_safe::get_error_name(code))
}

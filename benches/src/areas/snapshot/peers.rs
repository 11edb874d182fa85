//! Whole states, compressed each for itself or against the one before.

use std::io::{Read, Write};

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
    /// Stores every state, checks that some come back, and says how many bytes were stored.
    pub(super) keep: fn(&Bench, &States<'_>) -> Result<u64>,
}

/// What everybody does who has zstd at hand.
pub(super) const ZSTD_EACH: &str = "zstd-3 of each full JSON";

/// Those that store a whole state each time.
pub(super) const PEERS: &[Peer] = &[
    Peer {
        name: "gzip-6 of each full JSON",
        version: "flate2 1",
        keep: gzip,
    },
    Peer {
        name: ZSTD_EACH,
        version: "zstd 0.13",
        keep: zstd_each,
    },
    Peer {
        name: "zstd-3 patch-from with LDM, keyframe 64",
        version: "zstd-safe 7",
        keep: patch_from,
    },
    Peer {
        name: "RFC 6902 + zstd-3, keyframe 64",
        version: "json-patch 5",
        keep: super::patches::keep,
    },
];

fn gzip(bench: &Bench, states: &States<'_>) -> Result<u64> {
    let (mut bytes, mut last) = (0, Vec::new());
    for step in 0..states.count() {
        let level = flate2::Compression::new(6);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
        encoder.write_all(&states.at(step))?;
        last = encoder.finish()?;
        bytes += last.len() as u64;
    }
    let mut restored = Vec::new();
    flate2::read::GzDecoder::new(&*last).read_to_end(&mut restored)?;
    check(
        bench.answer(restored) == states.last(),
        "gzip restored another state",
    )?;
    Ok(bytes)
}

fn zstd_each(bench: &Bench, states: &States<'_>) -> Result<u64> {
    let (mut bytes, mut last) = (0, Vec::new());
    for step in 0..states.count() {
        last = zstd::bulk::compress(&states.at(step), 3)?;
        bytes += last.len() as u64;
    }
    let wanted = states.last();
    let restored = zstd::bulk::decompress(&last, wanted.len())?;
    check(
        bench.answer(restored) == wanted,
        "zstd restored another state",
    )?;
    Ok(bytes)
}

fn patch_from(bench: &Bench, states: &States<'_>) -> Result<u64> {
    let chain = Chain::of(states)?;
    let last = states.count() - 1;
    let restored = bench.answer(chain.restore(last)?);
    check(
        restored == states.last(),
        "patch-from restored another state",
    )?;
    Ok(chain.0.iter().map(|(_, patch)| patch.len() as u64).sum())
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

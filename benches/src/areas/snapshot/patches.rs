//! RFC 6902 patches: what a person does who holds the state as a JSON tree.

use anyhow::Result;
use serde_json::Value;

use super::{States, peers::KEYFRAME};
use crate::{Bench, check};

pub(super) fn keep(bench: &Bench, states: &States<'_>) -> Result<u64> {
    let mut stored: Vec<Vec<u8>> = Vec::with_capacity(states.count());
    let mut before = serde_json::from_slice(&states.at(0))?;
    for step in 0..states.count() {
        let state = next(&before, step, &states.0[step])?;
        let plain = if step % KEYFRAME == 0 {
            serde_json::to_vec(&state)?
        } else {
            serde_json::to_vec(&json_patch::diff(&before, &state))?
        };
        stored.push(zstd::bulk::compress(&plain, 3)?);
        before = state;
    }
    let restored = bench.answer(restore(&stored)?.to_string());
    let wanted: Value = serde_json::from_slice(&states.last())?;
    check(
        *restored == *wanted.to_string(),
        "the patches restored another state",
    )?;
    Ok(stored.iter().map(|patch| patch.len() as u64).sum())
}

/// The tree one message later; at step 0 the tree that holds the first.
fn next(before: &Value, step: usize, message: &[u8]) -> Result<Value> {
    let mut state = before.clone();
    if step == 0 {
        return Ok(state);
    }
    state["header"] = step.into();
    if let Some(messages) = state["messages"].as_array_mut() {
        messages.push(serde_json::from_slice(message)?);
    }
    Ok(state)
}

fn restore(stored: &[Vec<u8>]) -> Result<Value> {
    let last = stored.len() - 1;
    let keyframe = last - last % KEYFRAME;
    let mut state: Value = serde_json::from_slice(&zstd::decode_all(&*stored[keyframe])?)?;
    for patch in &stored[keyframe + 1..] {
        apply(&mut state, patch)?;
    }
    Ok(state)
}

/// One commit of a whole state: parsed, compared with the tree before, the patch compressed.
pub(super) fn commit(before: &Value, state: &[u8]) -> Result<(Value, Vec<u8>)> {
    let state: Value = serde_json::from_slice(state)?;
    let patch = serde_json::to_vec(&json_patch::diff(before, &state))?;
    Ok((state, zstd::bulk::compress(&patch, 3)?))
}

/// The tree that a stored commit makes of the one before.
pub(super) fn applied(before: &Value, stored: &[u8]) -> Result<Value> {
    let mut state = before.clone();
    apply(&mut state, stored)?;
    Ok(state)
}

fn apply(state: &mut Value, stored: &[u8]) -> Result<()> {
    let patch: json_patch::Patch = serde_json::from_slice(&zstd::decode_all(stored)?)?;
    Ok(json_patch::patch(state, &patch)?)
}

//! RFC 6902 patches: what a person does who holds the state as a JSON tree.

use anyhow::Result;
use serde_json::Value;

use super::{States, peers::KEYFRAME};
use crate::{Bench, check};

pub(super) fn keep(bench: &Bench, states: &States<'_>) -> Result<u64> {
    let mut bytes = 0;
    let mut before: Value = serde_json::from_slice(&states.at(0))?;
    let mut restored = Value::Null;
    for step in 0..states.count() {
        let state = next(&before, step, &states.0[step])?;
        let plain = if step % KEYFRAME == 0 {
            serde_json::to_vec(&state)?
        } else {
            serde_json::to_vec(&json_patch::diff(&before, &state))?
        };
        let stored = zstd::bulk::compress(&plain, 3)?;
        if step % KEYFRAME == 0 {
            restored = serde_json::from_slice(&zstd::decode_all(&*stored)?)?;
        } else {
            apply(&mut restored, &stored)?;
        }
        let wanted: Value = serde_json::from_slice(&states.at(step))?;
        let given = bench.answer(restored.to_string());
        check(
            *given == *wanted.to_string(),
            "the patches restored another state",
        )?;
        bytes += stored.len() as u64;
        before = state;
    }
    Ok(bytes)
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

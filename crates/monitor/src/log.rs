//! What is found, as events of the `tracing` crate; nothing at all without the feature.

use crate::alert::Alert;
use crate::leak::Leak;
use crate::pressure::Relief;

#[cfg(feature = "tracing")]
const TARGET: &str = "mainspring_monitor";

#[cfg(feature = "tracing")]
pub(crate) fn alert(alert: &Alert) {
    let (name, value, limit) = (alert.name.as_str(), alert.value, alert.limit);
    match alert.state {
        crate::alert::AlertState::Firing => {
            tracing::warn!(target: TARGET, name, value, limit, "alert firing");
        }
        crate::alert::AlertState::Resolved => {
            tracing::info!(target: TARGET, name, value, limit, "alert resolved");
        }
    }
}

#[cfg(feature = "tracing")]
pub(crate) fn leak(leak: &Leak) {
    let (owner, rule) = (leak.owner.as_str(), leak.rule);
    let (growth_bytes, current_bytes) = (leak.growth_bytes, leak.current_bytes);
    tracing::warn!(target: TARGET, owner, ?rule, growth_bytes, current_bytes, "leak suspected");
}

#[cfg(feature = "tracing")]
pub(crate) fn relief(relief: &Relief) {
    let (stage, freed_bytes) = (relief.stage.as_str(), relief.freed_bytes);
    let (before_bytes, after_bytes) = (relief.before_bytes, relief.after_bytes);
    tracing::info!(target: TARGET, stage, freed_bytes, before_bytes, after_bytes, "memory pressure relieved");
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn alert(_: &Alert) {}

#[cfg(not(feature = "tracing"))]
pub(crate) fn leak(_: &Leak) {}

#[cfg(not(feature = "tracing"))]
pub(crate) fn relief(_: &Relief) {}

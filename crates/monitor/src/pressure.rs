//! What to give up when memory gets short.

use std::fmt;
use std::time::Duration;

use crate::counter::Counter;
use crate::registry::Registry;

type Action = Box<dyn FnMut() -> u64 + Send>;

/// What one action did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Relief {
    /// The stage whose action ran.
    pub stage: String,
    /// Memory in use before, bytes.
    pub before_bytes: u64,
    /// Memory in use after, bytes. An allocator may keep what was freed, so this can be the same.
    pub after_bytes: u64,
    /// What the action says it freed, bytes.
    pub freed_bytes: u64,
}

/// Stages of memory pressure, each with an action that frees something.
///
/// A stage starts when memory in use passes its threshold and ends below 0.9 of it, so that memory
/// which moves around the threshold does not run the action again and again. While the stage lasts
/// and memory stays above the threshold, the action runs again after the cooldown (30 s); it never
/// runs twice within it. Stages run from the lowest threshold up, and memory is read again after
/// each, so that a later one runs only if the earlier ones did not help enough.
///
/// The laptop profile trims above [`Pressure::TRIM_BYTES`] and clears non-essential caches above
/// [`Pressure::CLEAR_BYTES`].
pub struct Pressure {
    stages: Vec<Stage>,
    cooldown: Duration,
    release: f64,
    registry: Registry,
}

struct Stage {
    name: String,
    above: u64,
    action: Action,
    active: bool,
    last: Option<Duration>,
    actions: Counter,
    freed: Counter,
}

impl Pressure {
    /// Where the laptop profile trims: 100 MiB.
    pub const TRIM_BYTES: u64 = 100 << 20;
    /// Where the laptop profile clears non-essential caches and cuts pools: 200 MiB.
    pub const CLEAR_BYTES: u64 = 200 << 20;

    /// No stages yet. Exports `memory_pressure_actions_total{stage}` and
    /// `memory_pressure_freed_bytes_total{stage}`.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self {
            stages: Vec::new(),
            cooldown: Duration::from_secs(30),
            release: 0.9,
            registry: registry.clone(),
        }
    }

    /// Adds a stage. `action` returns the bytes that it freed.
    #[must_use]
    pub fn stage(
        mut self,
        name: &str,
        above_bytes: u64,
        action: impl FnMut() -> u64 + Send + 'static,
    ) -> Self {
        let labels = [("stage", name)];
        self.stages.push(Stage {
            name: name.to_owned(),
            above: above_bytes,
            action: Box::new(action),
            active: false,
            last: None,
            actions: self.registry.counter("memory_pressure_actions", &labels),
            freed: self
                .registry
                .counter("memory_pressure_freed_bytes", &labels),
        });
        self.stages.sort_by_key(|stage| stage.above);
        self
    }

    /// The least time between two runs of one action. Default 30 s.
    #[must_use]
    pub fn cooldown(mut self, cooldown: Duration) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// The share of its threshold below which a stage ends, cut to 0..=1. Default 0.9.
    #[must_use]
    pub fn release(mut self, share: f64) -> Self {
        self.release = share.clamp(0.0, 1.0);
        self
    }

    /// Reads memory in use and runs the actions that are due; says what they did.
    pub fn check(&mut self, now: Duration, mut in_use: impl FnMut() -> u64) -> Vec<Relief> {
        let mut reliefs = Vec::new();
        let mut bytes = in_use();
        for stage in &mut self.stages {
            stage.update(bytes, self.release);
            if stage.is_due(bytes, now, self.cooldown) {
                let freed_bytes = stage.run(now);
                let before_bytes = bytes;
                bytes = in_use();
                let stage = stage.name.clone();
                reliefs.push(Relief {
                    stage,
                    before_bytes,
                    after_bytes: bytes,
                    freed_bytes,
                });
            }
        }
        reliefs
    }

    /// The names of the stages that last, lowest first.
    pub fn active(&self) -> impl Iterator<Item = &str> {
        self.stages
            .iter()
            .filter(|stage| stage.active)
            .map(|stage| stage.name.as_str())
    }
}

impl fmt::Debug for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages: Vec<_> = self
            .stages
            .iter()
            .map(|stage| (&stage.name, stage.above))
            .collect();
        f.debug_struct("Pressure")
            .field("stages", &stages)
            .finish_non_exhaustive()
    }
}

impl Stage {
    fn update(&mut self, bytes: u64, release: f64) {
        if bytes > self.above {
            self.active = true;
        } else if (bytes as f64) < self.above as f64 * release {
            self.active = false;
        }
    }

    fn is_due(&self, bytes: u64, now: Duration, cooldown: Duration) -> bool {
        let cooled = self
            .last
            .is_none_or(|last| now.saturating_sub(last) >= cooldown);
        self.active && bytes > self.above && cooled
    }

    fn run(&mut self, now: Duration) -> u64 {
        self.last = Some(now);
        self.actions.increment();
        let freed = (self.action)();
        self.freed.add(freed);
        freed
    }
}

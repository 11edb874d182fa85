//! The phases of a start-up, with the time and the outcome of each.

use std::time::Duration;

use crate::registry::Registry;

const PHASES_KEPT: usize = 256;

/// One phase that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub duration: Duration,
    /// Whether it succeeded.
    pub succeeded: bool,
}

/// Times the steps of a start-up, one after the other, and exports
/// `startup_phase_seconds{phase}` and `startup_seconds`.
///
/// ```
/// use mainspring_monitor::{Phases, Registry};
///
/// let mut phases = Phases::new(&Registry::new());
/// let store = phases.step("open store", || Ok::<_, std::io::Error>(42))?;
/// assert_eq!((store, phases.all()[0].name.as_str()), (42, "open store"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Phases {
    registry: Registry,
    start: Duration,
    phases: Vec<Phase>,
}

impl Phases {
    /// Begins a start-up now, by the registry's clock.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self {
            start: registry.clock().now(),
            registry: registry.clone(),
            phases: Vec::new(),
        }
    }

    /// Runs one phase. Up to 256 are kept; later ones run but are not listed.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn step<R, E>(&mut self, name: &str, work: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        let start = self.registry.clock().now();
        let result = work();
        let now = self.registry.clock().now();
        let duration = now.saturating_sub(start);
        if self.phases.len() < PHASES_KEPT {
            self.registry
                .gauge("startup_phase_seconds", &[("phase", name)])
                .set(duration.as_secs_f64());
            self.phases.push(Phase {
                name: name.to_owned(),
                duration,
                succeeded: result.is_ok(),
            });
        }
        let total = now.saturating_sub(self.start);
        self.registry
            .gauge("startup_seconds", &[])
            .set(total.as_secs_f64());
        result
    }

    /// The phases so far, in order.
    #[must_use]
    pub fn all(&self) -> &[Phase] {
        &self.phases
    }

    /// The first phase that failed.
    #[must_use]
    pub fn failed(&self) -> Option<&Phase> {
        self.phases.iter().find(|phase| !phase.succeeded)
    }
}

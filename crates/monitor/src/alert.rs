//! Alerts: a figure above a limit, or worse than it used to be.

use std::collections::VecDeque;
use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use crate::log;

pub(crate) const BASELINE_SAMPLES: usize = 20;
const CHANNEL: usize = 64;

/// What an alert says.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Alert {
    /// The rule's name.
    pub name: String,
    /// Whether it begins or ends.
    pub state: AlertState,
    /// The value that decided it.
    pub value: f64,
    /// What the value was compared with.
    pub limit: f64,
    /// When.
    pub at: Duration,
}

/// Whether an alert begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlertState {
    /// It begins.
    Firing,
    /// It ends.
    Resolved,
}

/// When to alert.
///
/// A rule fires after `hold` values in a row above its limit (default 3) and resolves after as many
/// below 0.9 of it, so that a value around the limit does not make it flap.
#[derive(Debug, Clone)]
#[must_use]
pub struct AlertRule {
    pub(crate) name: String,
    pub(crate) limit: Limit,
    hold: usize,
    streak: usize,
    firing: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Limit {
    Fixed(f64),
    /// `factor` times the median of the last values from when all was well.
    Rolling {
        factor: f64,
        recent: VecDeque<f64>,
    },
}

/// The share of the limit below which an alert resolves.
const RELEASE: f64 = 0.9;

impl AlertRule {
    /// Alerts above a fixed limit.
    pub fn above(name: &str, limit: f64) -> Self {
        Self::new(name, Limit::Fixed(limit))
    }

    /// Alerts above `factor` times a baseline saved earlier.
    pub fn degraded_from(name: &str, baseline: f64, factor: f64) -> Self {
        Self::new(name, Limit::Fixed(baseline * factor))
    }

    /// Alerts above `factor` times the median of the last 20 values; needs five to begin with.
    /// While it fires the baseline stands still, so that a slow system does not become the norm.
    pub fn degraded(name: &str, factor: f64) -> Self {
        let recent = VecDeque::with_capacity(BASELINE_SAMPLES);
        Self::new(name, Limit::Rolling { factor, recent })
    }

    /// Shipped: `slow_load`, loading above 5 s.
    pub fn slow_load() -> Self {
        Self::above("slow_load", 5.0)
    }

    /// Shipped: `high_memory`, anonymous memory above 500 MiB.
    pub fn high_memory() -> Self {
        Self::above("high_memory", (500u64 << 20) as f64)
    }

    /// Shipped: `slow_api`, a provider's answer above 10 s.
    pub fn slow_api() -> Self {
        Self::above("slow_api", 10.0)
    }

    /// Values in a row that it takes to fire and to resolve, at least one. Default 3.
    pub fn hold(mut self, values: usize) -> Self {
        self.hold = values.max(1);
        self
    }

    fn new(name: &str, limit: Limit) -> Self {
        Self {
            name: name.to_owned(),
            limit,
            hold: 3,
            streak: 0,
            firing: false,
        }
    }

    fn observe(&mut self, value: f64, at: Duration) -> Option<Alert> {
        if value.is_nan() {
            return None;
        }
        let limit = self.limit.now();
        let turning = match (limit, self.firing) {
            (Some(limit), false) => value > limit,
            (Some(limit), true) => value < limit * RELEASE,
            (None, _) => false,
        };
        if !turning && !self.firing && value.is_finite() {
            self.limit.learn(value);
        }
        self.streak = if turning { self.streak + 1 } else { 0 };
        if self.streak < self.hold {
            return None;
        }
        (self.streak, self.firing) = (0, !self.firing);
        let state = if self.firing {
            AlertState::Firing
        } else {
            AlertState::Resolved
        };
        Some(Alert {
            name: self.name.clone(),
            state,
            value,
            limit: limit?,
            at,
        })
    }
}

impl Limit {
    fn now(&self) -> Option<f64> {
        match self {
            Self::Fixed(limit) => Some(*limit),
            Self::Rolling { recent, .. } if recent.len() < 5 => None,
            Self::Rolling { factor, recent } => {
                let mut sorted: Vec<f64> = recent.iter().copied().collect();
                sorted.sort_unstable_by(f64::total_cmp);
                Some(sorted[sorted.len() / 2] * factor)
            }
        }
    }

    fn learn(&mut self, value: f64) {
        if let Self::Rolling { recent, .. } = self {
            if recent.len() == BASELINE_SAMPLES {
                recent.pop_front();
            }
            recent.push_back(value);
        }
    }
}

type Callback = Box<dyn FnMut(&Alert) + Send>;

/// Rules, and who is told: callbacks, channels and, with the feature `tracing`, the log.
///
/// ```
/// use mainspring_monitor::{AlertRule, AlertState, Alerts};
/// use std::time::Duration;
///
/// let mut alerts = Alerts::new().rule(AlertRule::slow_api().hold(2));
/// let inbox = alerts.channel();
/// for (second, latency) in [1.0, 12.0, 13.0].into_iter().enumerate() {
///     alerts.observe("slow_api", latency, Duration::from_secs(second as u64));
/// }
/// assert_eq!(inbox.try_recv().unwrap().state, AlertState::Firing);
/// ```
#[derive(Default)]
pub struct Alerts {
    pub(crate) rules: Vec<AlertRule>,
    callbacks: Vec<Callback>,
    channels: Vec<SyncSender<Alert>>,
    dropped: u64,
}

impl Alerts {
    /// No rules.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule.
    #[must_use]
    pub fn rule(mut self, rule: AlertRule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Calls `callback` with each alert, on the thread that observed the value.
    #[must_use]
    pub fn on_alert(mut self, callback: impl FnMut(&Alert) + Send + 'static) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// A channel with each alert from now on. It holds 64; when nobody reads, later ones are
    /// dropped and counted by [`Alerts::dropped`].
    pub fn channel(&mut self) -> Receiver<Alert> {
        let (sender, receiver) = sync_channel(CHANNEL);
        self.channels.push(sender);
        receiver
    }

    /// Gives a value to the rules of this name, delivers what they say, and returns it.
    pub fn observe(&mut self, name: &str, value: f64, at: Duration) -> Vec<Alert> {
        let ours = self.rules.iter_mut().filter(|rule| rule.name == name);
        let alerts: Vec<Alert> = ours.filter_map(|rule| rule.observe(value, at)).collect();
        alerts.iter().for_each(|alert| self.deliver(alert));
        alerts
    }

    /// Alerts that no room was left for in a channel.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn deliver(&mut self, alert: &Alert) {
        log::alert(alert);
        self.callbacks
            .iter_mut()
            .for_each(|callback| callback(alert));
        let dropped = &mut self.dropped;
        self.channels
            .retain(|channel| match channel.try_send(alert.clone()) {
                Ok(()) => true,
                Err(std::sync::mpsc::TrySendError::Full(_)) => {
                    *dropped += 1;
                    true
                }
                Err(std::sync::mpsc::TrySendError::Disconnected(_)) => false,
            });
    }
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerts")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

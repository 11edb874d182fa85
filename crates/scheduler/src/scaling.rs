//! How many tasks at once are good for whoever does the work: a limit that follows the measured load.

use crate::Verdict;
use crate::slot::seconds;

/// Below this stretch the work may grow, above the other it shrinks; between them it stays.
const CALM: f64 = 1.5;
const CROWDED: f64 = 2.0;
/// Smallest part of the limit that one step leaves, and what remains when runs time out.
const HARDEST: f64 = 0.5;
const BACK_OFF: f64 = 0.9;
/// Share of a window's runs that time out before it counts as overload.
const TIMED_OUT: f64 = 0.1;
/// Windows from one probe to the next.
const PROBE_EVERY: u32 = 32;
/// Windows without growth after the limit shrank, and after it shrank because runs timed out.
const PAUSE: u32 = 4;
const LONG_PAUSE: u32 = 16;
/// Runs measured in a window, at least, and of one kind before its average counts.
const MEASURED: u32 = 64;
const OF_A_KIND: u32 = 8;
/// How far a better average moves what counts as the best: one lucky window is not believed.
const BELIEVED: f64 = 0.25;
/// Runs shorter than this, in seconds, say nothing about load.
const FLOOR: f64 = 1e-3;

/// Lets a scheduler find its limit on running tasks between two bounds, by what it measures.
///
/// Once in a window of two limits' worth of runs (at least 64 and one limit's worth) it compares how long they took with
/// how long runs of their kinds take when there is room:
///
/// - up to 1.5 times as long, with every slot used and tasks waiting: the limit grows by its square root;
/// - more than twice as long: it shrinks by as much (at most to one half, and half of the way at a time);
/// - a tenth of the runs timed out: it shrinks by a tenth, and grows again after 16 windows at the earliest;
/// - less than half of the slots were ever used: it shrinks by a tenth towards twice what was used, so that a burst after
///   a pause does not meet a limit that nobody has tested for long;
/// - anything in between changes nothing, so that it does not flap.
///
/// What "room" means is measured again in every 32nd window, under half the limit, and forgotten after two such
/// measurements: a provider that became slower for good is not taken for a crowded one.
///
/// Sources: the gradient of latencies and its allowance of a square root from Netflix's concurrency-limits
/// (`Gradient2Limit`), multiplicative decrease from Chiu and Jain 1989, the decay of an unused limit from RFC 2861, the
/// probe from BBR (Cardwell et al. 2016). Cost: a few operations for each run that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Scaling {
    pub(crate) min: usize,
    pub(crate) max: usize,
}

impl Scaling {
    /// Between these two, each at least 1; the wrong way round they change places.
    pub fn between(one: usize, other: usize) -> Self {
        let (min, max) = (one.min(other).max(1), one.max(other).max(1));
        Self { min, max }
    }
}

/// How long runs of one kind take, in seconds.
#[derive(Debug, Default, Clone, Copy)]
struct Pace {
    /// Of runs that no window has judged yet.
    sum: f64,
    runs: u32,
    /// The best average since the last probe, and from the probe before to that; 0 while unknown.
    best: [f64; 2],
}

impl Pace {
    /// Adds how much longer these runs took than with room, and how many they are.
    fn judge(&mut self, stretch: &mut f64, runs: &mut u32) {
        if self.runs < OF_A_KIND {
            return;
        }
        let mean = self.sum / f64::from(self.runs);
        let [now, before] = &mut self.best;
        if *now == 0.0 {
            *now = mean;
        } else if mean < *now {
            *now += BELIEVED * (mean - *now);
        }
        let best = match *before == 0.0 {
            true => *now,
            false => now.min(*before),
        };
        *stretch += self.sum / best;
        *runs += self.runs;
        (self.sum, self.runs) = (0.0, 0);
    }

    fn forget_older(&mut self) {
        self.best = [0.0, self.best[0]];
    }
}

/// What was seen since the last step.
#[derive(Debug, Default)]
struct Window {
    ended: u32,
    timeouts: u32,
    most: usize,
    waited: bool,
}

#[derive(Debug)]
pub(crate) struct Scaler {
    bounds: Scaling,
    limit: f64,
    paces: Vec<Pace>,
    window: Window,
    /// Since the last probe.
    windows: u32,
    /// Windows until it may grow again.
    pause: u32,
    probing: bool,
}

impl Scaler {
    pub(crate) fn new(bounds: Scaling, limit: usize) -> Self {
        let mut scaler = Self {
            bounds,
            limit: 0.0,
            paces: Vec::new(),
            window: Window::default(),
            windows: 0,
            pause: 0,
            probing: false,
        };
        scaler.set(limit);
        scaler
    }

    pub(crate) fn most(&self) -> usize {
        self.bounds.max
    }

    pub(crate) fn limit(&self) -> usize {
        let part = if self.probing { 0.5 } else { 1.0 };
        ((self.limit * part) as usize).clamp(self.bounds.min, self.bounds.max)
    }

    /// Goes on from another limit.
    pub(crate) fn set(&mut self, limit: usize) {
        self.change(limit as f64);
        self.probing = false;
        self.window = Window::default();
    }

    fn change(&mut self, limit: f64) {
        self.limit = limit.clamp(self.bounds.min as f64, self.bounds.max as f64);
    }

    pub(crate) fn timed_out(&mut self) {
        self.window.timeouts += 1;
    }

    /// A run ended, beside which `running - 1` others ran.
    pub(crate) fn ended(
        &mut self,
        kind: u32,
        run: u64,
        verdict: Verdict,
        running: usize,
        waiting: bool,
    ) {
        // The first ones still ran beside as many as the limit was before: for a probe, twice as many.
        let settled = u32::try_from(self.limit()).unwrap_or(u32::MAX / 8);
        let settled = settled.saturating_mul(if self.probing { 3 } else { 1 });
        let window = &mut self.window;
        window.ended += 1;
        window.most = window.most.max(running);
        window.waited |= waiting;
        if verdict == Verdict::Success && window.ended > settled {
            let kind = kind as usize;
            if kind >= self.paces.len() {
                self.paces.resize_with(kind + 1, Pace::default);
            }
            let pace = &mut self.paces[kind];
            pace.sum += seconds(run).max(FLOOR);
            pace.runs += 1;
        }
        if window.ended >= settled.saturating_add(settled.max(MEASURED)) {
            let window = std::mem::take(window);
            self.step(&window);
        }
    }

    fn step(&mut self, window: &Window) {
        let (mut stretch, mut runs) = (0.0, 0);
        for pace in &mut self.paces {
            pace.judge(&mut stretch, &mut runs);
        }
        if std::mem::take(&mut self.probing) {
            // It only measured.
            return;
        }
        let full = window.waited && window.most >= self.limit();
        self.pause = self.pause.saturating_sub(1);
        let stretch = (runs > 0).then(|| stretch / f64::from(runs));
        self.decide(window, stretch, full);
        self.windows += 1;
        if full && self.windows >= PROBE_EVERY {
            self.windows = 0;
            self.probing = true;
            self.paces.iter_mut().for_each(Pace::forget_older);
        }
    }

    fn decide(&mut self, window: &Window, stretch: Option<f64>, full: bool) {
        let limit = self.limit;
        let timed_out = f64::from(window.timeouts) >= TIMED_OUT * f64::from(window.ended);
        match stretch {
            _ if timed_out => {
                self.change(limit * BACK_OFF);
                self.pause = LONG_PAUSE;
            }
            Some(stretch) if stretch > CROWDED => {
                let target = limit * (CALM / stretch).max(HARDEST) + limit.sqrt();
                self.change(limit.min((limit + target) / 2.0));
                self.pause = self.pause.max(PAUSE);
            }
            Some(stretch) if full && self.pause == 0 && stretch < CALM => {
                self.change(limit + limit.sqrt());
            }
            _ if window.most < self.limit() / 2 => {
                self.change((limit * BACK_OFF).max(2.0 * window.most as f64));
            }
            _ => {}
        }
    }
}

//! Baselines that outlive a process: what the rolling rules have learnt, as text.

use std::fmt::Write as _;

use crate::alert::{Alerts, BASELINE_SAMPLES, Limit};
use crate::error::Error;

const HEAD: &str = "mainspring-monitor baselines 1";
/// More than any set of rules comes to.
const LINES: usize = 10_000;

impl Alerts {
    /// What the rolling rules have learnt, as text to keep for the next start: a line for each rule,
    /// its name, a tab, and its last values from when all was well.
    #[must_use]
    pub fn baselines(&self) -> String {
        let mut text = format!("{HEAD}\n");
        for rule in &self.rules {
            let Limit::Rolling { recent, .. } = &rule.limit else {
                continue;
            };
            text.push_str(&on_one_line(&rule.name));
            for (at, value) in recent.iter().enumerate() {
                let between = if at == 0 { '\t' } else { ' ' };
                let _infallible = write!(text, "{between}{value:?}");
            }
            text.push('\n');
        }
        text
    }

    /// Goes on from what [`Alerts::baselines`] saved: the rolling rules of the names in it begin with
    /// the values saved, and can fire from the first value on. Names without a rule are ignored.
    ///
    /// # Errors
    /// When `saved` is not such a text; then nothing of it is used.
    ///
    /// ```
    /// use mainspring_monitor::{AlertRule, Alerts};
    /// use std::time::Duration;
    ///
    /// let rules = || Alerts::new().rule(AlertRule::degraded("api", 2.0).hold(1));
    /// let mut before = rules();
    /// (0..20).for_each(|second| drop(before.observe("api", 1.0, Duration::from_secs(second))));
    /// let mut after = rules().with_baselines(&before.baselines())?;
    /// assert_eq!(after.observe("api", 3.0, Duration::ZERO)[0].limit, 2.0);
    /// # Ok::<(), mainspring_monitor::Error>(())
    /// ```
    pub fn with_baselines(mut self, saved: &str) -> Result<Self, Error> {
        let bad = |line, what| Err(Error::Baselines { line, what });
        let mut lines = saved.lines();
        if lines.next() != Some(HEAD) {
            return bad(1, "no baselines of this version");
        }
        let mut learnt = Vec::new();
        for (at, line) in lines.enumerate() {
            if at == LINES {
                return bad(at + 2, "too many lines");
            }
            let (name, values) = line.split_once('\t').unwrap_or((line, ""));
            let values = values.split_ascii_whitespace().take(BASELINE_SAMPLES + 1);
            let number = |text: &str| text.parse().ok().filter(|value: &f64| value.is_finite());
            match values.map(number).collect::<Option<Vec<_>>>() {
                Some(values) if values.len() <= BASELINE_SAMPLES => learnt.push((name, values)),
                _ => {
                    return bad(
                        at + 2,
                        "at most 20 finite numbers are wanted after the name",
                    );
                }
            }
        }
        for rule in &mut self.rules {
            let Limit::Rolling { recent, .. } = &mut rule.limit else {
                continue;
            };
            let saved = learnt
                .iter()
                .find(|(name, _)| *name == on_one_line(&rule.name));
            if let Some((_, values)) = saved {
                *recent = values.iter().copied().collect();
            }
        }
        Ok(self)
    }
}

fn on_one_line(name: &str) -> String {
    name.replace(char::is_control, " ")
}

//! What the application's events invalidate.

use crate::label::Effects;
use crate::sync::{Arc, RwLock};
use hashbrown::HashMap;
use std::fmt;

type Rule = Arc<dyn Fn(&str) -> Effects + Send + Sync>;

/// Rules by event name.
#[derive(Default)]
pub(crate) struct Events(RwLock<HashMap<String, Vec<Rule>, foldhash::fast::RandomState>>);

impl Events {
    pub(crate) fn add(&self, event: &str, rule: impl Fn(&str) -> Effects + Send + Sync + 'static) {
        self.0
            .write()
            .entry(event.to_owned())
            .or_default()
            .push(Arc::new(rule));
    }

    /// What the event about that subject invalidates; `None` when there is no rule for it.
    pub(crate) fn effects(&self, event: &str, subject: &str) -> Option<Vec<Effects>> {
        let rules = self.0.read().get(event)?.clone();
        Some(rules.iter().map(|rule| rule(subject)).collect())
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Events").field(&self.0.read().len()).finish()
    }
}

//! Durations and errors of `tracing` spans, so that `#[instrument]` is all that code needs.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::{PoisonError, RwLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Stamp;
use crate::counter::Counter;
use crate::label::{self, VALUE_BYTES};
use crate::registry::Registry;
use crate::timer::Timer;

/// Operations kept so that the end of a span is one look-up.
const KEPT: usize = 4_096;

/// A layer that records each span when it closes: its duration in `{span}_duration_seconds`, and in
/// `{span}_errors_total` whether an event of level `ERROR` happened in it (which is what
/// `#[instrument(err)]` says when a function fails).
///
/// The duration is from the span's creation to its end, waiting included. Fields become labels only
/// when they are named by [`SpanMetrics::label`]: a field may have as many values as it likes, a
/// label may not.
///
/// ```
/// use mainspring_monitor::{Registry, SpanMetrics, Value};
/// use tracing_subscriber::layer::SubscriberExt;
///
/// let registry = Registry::new();
/// let subscriber = tracing_subscriber::registry().with(SpanMetrics::new(&registry).label("tool"));
/// tracing::subscriber::with_default(subscriber, || {
///     let _call = tracing::info_span!("tool_call", tool = "grep").entered();
///     tracing::error!("no such file");
/// });
/// let errors = registry.snapshot();
/// assert_eq!(errors.get("tool_call_errors", &[("tool", "grep")]), Some(&Value::Count(1)));
/// ```
#[must_use]
pub struct SpanMetrics {
    registry: Registry,
    labels: Vec<&'static str>,
    #[cfg(feature = "tokio")]
    task_labels: bool,
    kept: RwLock<Kept>,
}

/// Bound handles, forgotten when the registry removed a series.
#[derive(Default)]
struct Kept {
    by_key: HashMap<Key, (Timer, Counter)>,
    removals: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    name: &'static str,
    labels: Vec<(String, String)>,
}

/// What a span carries while it lives.
struct Open {
    start: Stamp,
    labels: Vec<(String, String)>,
    failed: bool,
}

impl SpanMetrics {
    /// A layer that records into `registry`.
    pub fn new(registry: &Registry) -> Self {
        Self {
            registry: registry.clone(),
            labels: Vec::new(),
            #[cfg(feature = "tokio")]
            task_labels: false,
            kept: RwLock::default(),
        }
    }

    /// Makes the field of this name a label wherever a span has it.
    pub fn label(mut self, field: &'static str) -> Self {
        self.labels.push(field);
        self
    }

    /// Adds the labels of the task in which a span begins; see [`TaskLabels`](crate::TaskLabels).
    #[cfg(feature = "tokio")]
    pub fn task_labels(mut self) -> Self {
        self.task_labels = true;
        self
    }

    #[cfg(feature = "tokio")]
    fn labels_of_task(&self, labels: &mut Vec<(String, String)>) {
        if self.task_labels {
            crate::task::TaskLabels::with(&[], |task| {
                labels.extend(task.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
            });
        }
    }

    #[cfg(not(feature = "tokio"))]
    fn labels_of_task(&self, _: &mut Vec<(String, String)>) {}

    fn record(&self, name: &'static str, open: Open) {
        let nanos = self.registry.clock().nanos_since(open.start);
        let key = Key {
            name,
            labels: open.labels,
        };
        let removals = self.registry.removals();
        let known = {
            let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
            let current = (kept.removals == removals).then_some(&kept.by_key);
            current.and_then(|kept| kept.get(&key).cloned())
        };
        let (timer, errors) = known.unwrap_or_else(|| self.bind(key, removals));
        timer.histogram().record(nanos);
        errors.add(open.failed.into());
    }

    fn bind(&self, key: Key, removals: u64) -> (Timer, Counter) {
        let labels = key.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let labels: Vec<_> = labels.collect();
        let timer = format!("{}_duration_seconds", key.name);
        let bound = (
            self.registry.timer(&timer, &labels),
            self.registry
                .counter(&format!("{}_errors", key.name), &labels),
        );
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.removals != removals {
            kept.by_key.clear();
            kept.removals = removals;
        }
        if kept.by_key.len() < KEPT {
            kept.by_key.insert(key, bound.clone());
        }
        bound
    }
}

impl<S> Layer<S> for SpanMetrics
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut labels = Vec::new();
        attributes.record(&mut Fields(self, &mut labels));
        // What the span says itself comes first, and the first of two alike is taken.
        self.labels_of_task(&mut labels);
        let open = Open {
            start: self.registry.clock().stamp(),
            labels,
            failed: false,
        };
        span.extensions_mut().insert(open);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        // Before the span is locked: a value's `Debug` may log, which asks for the same span.
        let mut new = Vec::new();
        values.record(&mut Fields(self, &mut new));
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            for (name, value) in new {
                keep(&mut open.labels, name, value);
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if *event.metadata().level() != Level::ERROR {
            return;
        }
        if let Some(span) = context.event_span(event)
            && let Some(open) = span.extensions_mut().get_mut::<Open>()
        {
            open.failed = true;
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        let open = span.extensions_mut().remove::<Open>();
        if let Some(mut open) = open {
            open.labels.sort_by(|a, b| a.0.cmp(&b.0));
            open.labels.dedup_by(|later, first| later.0 == first.0);
            self.record(span.name(), open);
        }
    }
}

/// Collects the fields that are labels, values cut as the registry cuts them.
struct Fields<'a>(&'a SpanMetrics, &'a mut Vec<(String, String)>);

impl Fields<'_> {
    fn keep(&mut self, field: &Field, value: impl FnOnce() -> String) {
        let name = field.name();
        if self.0.labels.contains(&name) {
            keep(self.1, name.to_owned(), value());
        }
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, || label::cut(value, VALUE_BYTES).to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, || {
            let mut start = Start(String::new());
            // It fails where the start is complete, and keeps what came before.
            let _complete = write!(start, "{value:?}");
            start.0
        });
    }
}

/// A value recorded later takes the place of an earlier one.
fn keep(labels: &mut Vec<(String, String)>, name: String, value: String) {
    match labels.iter_mut().find(|(known, _)| *known == name) {
        Some((_, known)) => *known = value,
        None => labels.push((name, value)),
    }
}

/// The start of a text, as long as a label's value may be.
struct Start(String);

impl fmt::Write for Start {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = VALUE_BYTES - self.0.len();
        self.0.push_str(label::cut(text, room));
        if text.len() > room {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

impl fmt::Debug for SpanMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanMetrics")
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

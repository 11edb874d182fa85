//! Metrics of model calls under the names of OpenTelemetry's semantic conventions for generative AI,
//! version 1.37.0, spelled as Prometheus spells them.

use std::fmt;
use std::time::Duration;

use crate::histogram::Histogram;
use crate::registry::Registry;
use crate::timer::Timer;

const TOKENS: &str = "gen_ai_client_token_usage";
const DURATION: &str = "gen_ai_client_operation_duration_seconds";

/// The calls of one operation to one model of one provider. Bind once, record often.
///
/// Exports the histograms `gen_ai_client_token_usage` (by `gen_ai_token_type`) and
/// `gen_ai_client_operation_duration_seconds` (failures by `error_type`), with the convention's
/// bucket bounds moved to our nearest ones.
///
/// ```
/// use mainspring_monitor::{GenAiCalls, Registry};
/// use std::time::Duration;
///
/// let registry = Registry::new();
/// let chat = GenAiCalls::new(&registry, "chat", "anthropic", "some-model");
/// chat.succeeded(Duration::from_millis(900), 1_200, 80);
/// chat.failed(Duration::from_secs(10), "timeout");
/// ```
#[derive(Clone)]
pub struct GenAiCalls {
    registry: Registry,
    labels: [(&'static str, String); 3],
    input: Histogram,
    output: Histogram,
    duration: Timer,
}

impl GenAiCalls {
    /// Binds the series of `operation` (`chat`, `embeddings`, …) on a provider's model.
    #[must_use]
    pub fn new(registry: &Registry, operation: &str, provider: &str, model: &str) -> Self {
        registry.describe(TOKENS, "Tokens used by a model call.");
        registry.bounds(
            TOKENS,
            &(0..14).map(|power| 4f64.powi(power)).collect::<Vec<_>>(),
        );
        registry.describe(DURATION, "Duration of a model call.");
        registry.bounds(
            DURATION,
            &(0..14)
                .map(|power| 0.01 * 2f64.powi(power))
                .collect::<Vec<_>>(),
        );
        let labels = [
            ("gen_ai_operation_name", operation.to_owned()),
            ("gen_ai_provider_name", provider.to_owned()),
            ("gen_ai_request_model", model.to_owned()),
        ];
        let tokens = |kind| registry.histogram(TOKENS, &with(&labels, "gen_ai_token_type", kind));
        Self {
            input: tokens("input"),
            output: tokens("output"),
            duration: registry.timer(DURATION, &with(&labels, "", "")),
            labels,
            registry: registry.clone(),
        }
    }

    /// Records a call that succeeded and the tokens that the provider counted.
    pub fn succeeded(&self, duration: Duration, input_tokens: u64, output_tokens: u64) {
        self.duration.record(duration);
        self.input.record(input_tokens);
        self.output.record(output_tokens);
    }

    /// Records a call that failed; `error_type` is one of few (`timeout`, `429`), never a message.
    pub fn failed(&self, duration: Duration, error_type: &str) {
        let labels = with(&self.labels, "error_type", error_type);
        self.registry.timer(DURATION, &labels).record(duration);
    }
}

/// The labels and one more; an empty one does not count.
fn with<'a>(
    labels: &'a [(&'static str, String); 3],
    name: &'a str,
    value: &'a str,
) -> Vec<(&'a str, &'a str)> {
    let common = labels.iter().map(|(name, value)| (*name, value.as_str()));
    common.chain([(name, value)]).collect()
}

impl fmt::Debug for GenAiCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GenAiCalls")
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

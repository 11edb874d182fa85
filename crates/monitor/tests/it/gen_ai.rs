//! Model calls under the conventions' names.

use std::time::Duration;

use mainspring_monitor::{Format, GenAiCalls, Registry, Value, validate_openmetrics};

#[test]
fn model_calls_are_counted_by_token_type_and_failures_by_their_type() {
    let registry = Registry::new();
    let chat = GenAiCalls::new(&registry, "chat", "p", "m");
    chat.succeeded(Duration::from_millis(500), 1_000, 20);
    chat.succeeded(Duration::from_millis(700), 3_000, 40);
    chat.failed(Duration::from_secs(10), "timeout");
    let base = [
        ("gen_ai_operation_name", "chat"),
        ("gen_ai_provider_name", "p"),
        ("gen_ai_request_model", "m"),
    ];
    let with = |name, value| [&base[..], &[(name, value)]].concat();
    let snapshot = registry.snapshot();
    let of = |name: &str, labels: &[(&str, &str)]| match snapshot.get(name, labels) {
        Some(Value::Distribution(values)) => (values.count(), values.sum()),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(
        of(
            "gen_ai_client_token_usage",
            &with("gen_ai_token_type", "input")
        ),
        (2, 4_000.0)
    );
    assert_eq!(
        of(
            "gen_ai_client_token_usage",
            &with("gen_ai_token_type", "output")
        ),
        (2, 60.0)
    );
    assert_eq!(of("gen_ai_client_operation_duration_seconds", &base).0, 2);
    let failed = of(
        "gen_ai_client_operation_duration_seconds",
        &with("error_type", "timeout"),
    );
    assert_eq!(failed, (1, 10.0));
    let page = registry.render(Format::OpenMetrics);
    validate_openmetrics(page.as_bytes()).expect("valid");
    // The convention's 14 bounds and the open end, for each of four series.
    assert_eq!(page.matches("_bucket{").count(), 4 * 15);
}

//! What we print: it passes the validator, whatever names, labels and texts come in.

use mainspring_monitor::{Format, Registry, validate_openmetrics};
use proptest::prelude::*;

fn check(registry: &Registry) -> String {
    let page = registry.render(Format::OpenMetrics);
    if let Err(error) = validate_openmetrics(page.as_bytes()) {
        panic!("{error}\n{page}");
    }
    page
}

#[test]
fn one_of_each_kind_prints_as_it_should() {
    let registry = Registry::new();
    registry.describe("requests", "Requests served.");
    registry.counter("requests", &[("path", "/a")]).add(3);
    registry.gauge("queue", &[]).set(2.5);
    registry.bounds("size_bytes", &[16.0, 1024.0]);
    registry.histogram("size_bytes", &[]).record(17);
    registry.observed_counter("cpu_seconds_total", &[]).set(1.5);
    let open = "\
# TYPE requests counter\n# HELP requests Requests served.\nrequests_total{path=\"/a\"} 3\n\
# TYPE queue gauge\nqueue 2.5\n\
# TYPE size_bytes histogram\n# UNIT size_bytes bytes\n\
size_bytes_bucket{le=\"15.0\"} 0\nsize_bytes_bucket{le=\"1023.0\"} 1\nsize_bytes_bucket{le=\"+Inf\"} 1\n\
size_bytes_sum 17.0\nsize_bytes_count 1\n\
# TYPE cpu_seconds counter\n# UNIT cpu_seconds seconds\ncpu_seconds_total 1.5\n# EOF\n";
    assert_eq!(check(&registry), open);
    let text = registry.render(Format::Text);
    assert!(
        text.starts_with("# TYPE requests_total counter\n# HELP requests_total Requests served.\n")
    );
    assert!(text.ends_with("cpu_seconds_total 1.5\n"));
}

#[test]
fn client_rust_help_newline_the_whole_page_invalid() {
    let registry = Registry::new();
    registry.describe("a", "first\nsecond \\ \"third\"\n# EOF\n");
    registry.counter("a", &[("l", "x\ny\\\"z")]).increment();
    let page = check(&registry);
    assert!(
        page.contains("# HELP a first\\nsecond \\\\ \\\"third\\\"\\n# EOF\\n\n"),
        "{page}"
    );
    assert!(page.contains(r#"a_total{l="x\ny\\\"z"} 1"#), "{page}");
    assert!(
        registry
            .render(Format::Text)
            .contains("# HELP a_total first\\nsecond \\\\ \"third\"\\n# EOF\\n\n")
    );
}

#[test]
fn names_that_collide_are_refused_and_reported() {
    let registry = Registry::new();
    registry.histogram("a", &[]).record(1);
    let lost = registry.gauge("a_count", &[]);
    lost.set(9.0);
    registry.gauge("b_created", &[]).set(1.0);
    registry.counter("b", &[]).increment();
    registry.gauge("a", &[]).set(1.0);
    check(&registry);
    assert_eq!(
        (
            lost.value(),
            registry.stats().refused,
            registry.problems().len()
        ),
        (9.0, 3, 3)
    );
    assert!(
        registry.problems()[2]
            .to_string()
            .contains("`a` is a histogram")
    );
}

#[test]
fn exemplars_stand_at_their_bucket_and_keep_their_limit() {
    let registry = Registry::new();
    registry.bounds("size", &[16.0, 256.0]);
    let long = "x".repeat(500);
    registry
        .histogram("size", &[])
        .record_with_exemplar(20, &[("trace", "abc"), ("z", &long)]);
    let page = check(&registry);
    assert!(
        page.contains("size_bucket{le=\"255.0\"} 1 # {trace=\"abc\"} 20.0\n"),
        "{page}"
    );
    assert!(!registry.render(Format::Text).contains("trace"));
}

#[test]
fn accept_headers_choose_the_format() {
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;\
                      version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    assert_eq!(Format::negotiate(prometheus), Format::OpenMetrics);
    for accept in [
        "",
        "*/*",
        "text/plain",
        "application/openmetrics-text;q=0",
        "text/plain,application/openmetrics-text;q=0.5",
    ] {
        assert_eq!(Format::negotiate(accept), Format::Text, "{accept}");
    }
}

/// Names as an attacker or a careless caller would write them, which often collide.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab](_total|_count|_sum|_bucket|_created|_info|_seconds|_bytes){0,2}",
        "[a-z0-9_:{}\"\\\\\n =#\u{e9}]{0,12}",
        any::<String>(),
    ]
}

fn label() -> impl Strategy<Value = (String, String)> {
    let known = prop_oneof![
        Just("le".to_owned()),
        Just("quantile".to_owned()),
        Just("__name__".to_owned())
    ];
    (
        prop_oneof![known, name()],
        prop_oneof!["[\"\\\\\n,}=# a]{0,6}", any::<String>()],
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn hostile_names_labels_and_texts_print_a_valid_page(
        metrics in prop::collection::vec((0..5u8, name(), prop::collection::vec(label(), 0..4), any::<String>(), any::<f64>()), 0..24),
    ) {
        let registry = Registry::builder().series_cap(4).build();
        for (kind, name, labels, help, value) in &metrics {
            let labels: Vec<_> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            registry.describe(name, help);
            match kind {
                0 => registry.counter(name, &labels).add(value.to_bits() >> 20),
                1 => registry.gauge(name, &labels).set(*value),
                2 => registry.histogram(name, &labels).record_with_exemplar(value.to_bits(), &labels),
                3 => registry.timer(name, &labels).histogram().record_f64(*value),
                _ => registry.observed_counter(name, &labels).set(*value),
            }
        }
        check(&registry);
        let json: serde_json::Value = serde_json::from_str(&registry.snapshot().to_json()).expect("valid JSON");
        prop_assert!(json["families"].is_array());
    }

    #[test]
    fn the_validator_survives_any_bytes(page in prop::collection::vec(any::<u8>(), 0..200)) {
        let _either = validate_openmetrics(&page);
    }

    #[test]
    fn the_validator_survives_near_misses(lines in prop::collection::vec("(# (TYPE|HELP|UNIT) )?a?(_total|_bucket|_count)?(\\{(le|a)=\"[+I0-9]{0,3}\"?\\}?)? ?[0-9eE.+-]{0,3}( # \\{\\} 1)?", 0..8)) {
        let _either = validate_openmetrics(format!("{}\n# EOF\n", lines.join("\n")).as_bytes());
    }
}

#[test]
fn removed_series_leave_the_lines_of_the_others_whole() {
    let registry = Registry::new();
    let label = |at: u64| ["", "a", "bb", "c\"c", "dd\n", "e"][at as usize].to_owned();
    for at in 0..6 {
        registry.counter("c", &[("l", &label(at))]).add(at);
        registry.gauge("g", &[("l", &label(at))]).set(at as f64);
        registry
            .observed_counter("o", &[("l", &label(at))])
            .set(at as f64);
    }
    for (gone, left) in [
        (3, [0, 1, 2, 4, 5].as_slice()),
        (0, &[1, 2, 4, 5]),
        (5, &[1, 2, 4]),
    ] {
        for name in ["c", "g", "o"] {
            assert!(registry.remove(name, &[("l", &label(gone))]));
        }
        let page = registry.render(Format::OpenMetrics);
        let lines: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        let wanted = ["c_total", "g", "o_total"].iter().flat_map(|name| {
            left.iter().map(move |at| {
                let value = if *name == "c_total" {
                    at.to_string()
                } else {
                    format!("{at}.0")
                };
                match label(*at)
                    .replace('"', "\\\"")
                    .replace('\n', "\\n")
                    .as_str()
                {
                    "" => format!("{name} {value}"),
                    label => format!("{name}{{l=\"{label}\"}} {value}"),
                }
            })
        });
        assert_eq!(lines, wanted.collect::<Vec<_>>());
    }
}

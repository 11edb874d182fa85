//! Baselines that are saved and loaded.

use std::time::Duration;

use mainspring_monitor::{AlertRule, AlertState, Alerts, Error};
use proptest::prelude::*;

fn rules(name: &str) -> Alerts {
    Alerts::new()
        .rule(AlertRule::degraded(name, 2.0).hold(1))
        .rule(AlertRule::above("fixed", 1.0))
}

fn feed(alerts: &mut Alerts, name: &str, values: &[f64]) -> Vec<(AlertState, f64)> {
    let each = values
        .iter()
        .flat_map(|value| alerts.observe(name, *value, Duration::ZERO));
    each.map(|alert| (alert.state, alert.limit)).collect()
}

#[test]
fn a_process_begins_with_what_the_one_before_learnt() {
    let mut first = rules("api latency");
    assert_eq!(feed(&mut first, "api latency", &[0.125; 30]), []);
    let saved = first.baselines();
    assert_eq!(saved.lines().count(), 2);
    let mut second = rules("api latency")
        .with_baselines(&saved)
        .expect("saved by us");
    assert_eq!(second.baselines(), saved);
    assert_eq!(
        feed(&mut second, "api latency", &[0.3]),
        [(AlertState::Firing, 0.25)]
    );
    // Without them it has to learn first.
    assert_eq!(feed(&mut rules("api latency"), "api latency", &[0.3]), []);
}

#[test]
fn names_and_values_of_any_kind_come_back() {
    let name = "a\tb\nc\u{7f}é";
    let mut first = rules(name);
    feed(
        &mut first,
        name,
        &[1e-300, -0.0, 5e300, f64::INFINITY, 3.0, 0.1 + 0.2],
    );
    let saved = first.baselines();
    let second = rules(name).with_baselines(&saved).expect("saved by us");
    assert_eq!(second.baselines(), saved);
}

#[test]
fn what_is_no_baseline_is_refused_with_its_line() {
    let head = "mainspring-monitor baselines 1\n";
    for (text, wanted) in [
        (String::new(), 1),
        ("mainspring-monitor baselines 2\n".to_owned(), 1),
        (format!("{head}api\t1.0\napi\t1.0 two\n"), 3),
        (format!("{head}api\tinf\n"), 2),
        (format!("{head}api\t{}\n", "1 ".repeat(21)), 2),
        (format!("{head}{}", "x\n".repeat(20_000)), 10_002),
    ] {
        match rules("api").with_baselines(&text) {
            Err(Error::Baselines { line, .. }) => assert_eq!(line, wanted, "{text:.60}"),
            other => panic!("{other:?} for {text:.60}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_makes_it_panic(tail in any::<String>()) {
        let _either = rules("api").with_baselines(&tail);
        let _either = rules("api").with_baselines(&format!("mainspring-monitor baselines 1\n{tail}"));
    }
}

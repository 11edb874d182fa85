//! A second reader of our pages: Python's prometheus_client, where it is installed.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use mainspring_monitor::{Format, Operation, Registry};

/// Counts samples; a parser that refuses the page ends with a traceback.
const SCRIPT: &str = "
import sys
if sys.argv[1] == 'open':
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
else:
    from prometheus_client.parser import text_string_to_metric_families as parse
page = sys.stdin.buffer.read().decode('utf-8')
print(sum(len(family.samples) for family in parse(page)))
";

fn python() -> Command {
    Command::new(std::env::var_os("MAINSPRING_PYTHON").unwrap_or_else(|| "python3".into()))
}

fn is_installed() -> bool {
    let quiet = python()
        .args(["-c", "import prometheus_client"])
        .stderr(Stdio::null())
        .status();
    let installed = quiet.is_ok_and(|status| status.success());
    if !installed {
        eprintln!(
            "skipped: no python3 with prometheus_client (MAINSPRING_PYTHON names another one)"
        );
    }
    installed
}

fn samples(page: &str, format: &str) -> usize {
    let mut command = python();
    command
        .args(["-c", SCRIPT, format])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("started");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(page.as_bytes())
        .expect("written");
    let output = child.wait_with_output().expect("ended");
    assert!(
        output.status.success(),
        "refused by the {format} parser:\n{page}"
    );
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .expect("a number")
}

#[test]
fn prometheus_client_reads_both_formats_with_hostile_texts() {
    if !is_installed() {
        return;
    }
    let registry = Registry::builder().series_cap(20).build();
    let hostile = [
        "plain",
        "quote \" back \\ newline \n end",
        "}# {",
        "é\u{1F600}\u{7f}",
        "\\n",
        "a,b=\"c\"",
    ];
    for (at, text) in hostile.iter().enumerate() {
        registry.describe(&format!("family_{at}"), text);
        registry
            .counter(&format!("family_{at}"), &[("text", text)])
            .add(u64::MAX);
        registry
            .gauge(text, &[("le", text), ("__name__", text)])
            .set(f64::NEG_INFINITY);
        let labels = [("trace", *text)];
        registry
            .histogram("sizes_bytes", &labels)
            .record_with_exemplar(1 << (at * 9), &labels);
        let operation = Operation::new(&registry, "op", &labels);
        operation.timer().record(Duration::from_micros(at as u64));
    }
    (0..50).for_each(|user| {
        registry
            .counter("users", &[("u", &user.to_string())])
            .increment()
    });
    let open = registry.render(Format::OpenMetrics);
    let text = registry.render(Format::Text);
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(
        (samples(&open, "open"), samples(&text, "text")),
        (lines, lines)
    );
}

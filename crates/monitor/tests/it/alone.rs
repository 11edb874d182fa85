//! Tests that need a process of their own start themselves again.

use std::process::Command;

const INSIDE: &str = "MAINSPRING_MONITOR_ALONE";

/// True inside the process of its own; outside it runs `test` there and fails when that fails.
pub(crate) fn in_own_process(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut again = Command::new(std::env::current_exe().expect("a path"));
    let status = again
        .args(["--exact", test, "--quiet"])
        .env(INSIDE, "1")
        .status();
    assert!(
        status.expect("started").success(),
        "{test} failed in its own process"
    );
    false
}

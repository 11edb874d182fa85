//! Tools, tasks and agents side by side.

mod agents;
mod calls;
mod faults;
mod graphs;
mod heap;
mod isolation;
mod prompts;
mod routing;
mod tasks;
mod turns;
mod waiting;

use super::Benchmark;

pub(super) const ROWS: &[(&str, Benchmark)] = &[
    ("parallel.speedup", waiting::ten_calls),
    ("parallel.critical_path", waiting::critical_path),
    ("tools.concurrency", calls::at_once),
    ("tools.success", faults::succeeded),
    ("tools.recovery", faults::recovered),
    ("tools.overhead", calls::six_phases),
    ("scheduler.tasks", tasks::against_semaphore),
    ("scheduler.tasks_by_hand", tasks::against_the_best_loop),
    ("scheduler.task_bytes", tasks::bytes),
    ("scheduler.dag", graphs::independent),
    ("scheduler.dag_chain", graphs::chain),
    ("scheduler.dag_fan_out", graphs::fan_out),
    ("subagent.isolation", isolation::unharmed),
    ("subagent.recovery", agents::recovery),
    ("deploy", agents::deploy_fifteen),
    ("deploy.one", agents::deploy_one),
    ("cost.saving", routing::saving),
];

/// A runtime on the calling thread, so that its CPU clock sees everything.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
}

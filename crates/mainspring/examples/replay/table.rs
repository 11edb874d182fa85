//! The figures as a person reads them.

use crate::{
    drive::Driven,
    figures::{Figures, Operation},
    measure::Report,
};

/// Sessions shown one by one; the others are in the sums and in `--json`.
const SHOWN: usize = 24;

/// Prints the sessions, the sums and the times of the operations.
pub(crate) fn print(report: &Report, driven: &[Driven]) {
    sessions(report, driven);
    sums(&report.all);
    operations(&report.all);
}

fn sessions(report: &Report, driven: &[Driven]) {
    println!(
        "{:<44} {:>5} {:>8} {:>8} {:>4} {:>6} {:>9} {:>7} {:>6} {:>6} {:>9}",
        "session",
        "steps",
        "tokens",
        "context",
        "comp",
        "score",
        "stored",
        "smaller",
        "hits",
        "tools",
        "restored"
    );
    for (session, figures) in driven.iter().zip(&report.per_session).take(SHOWN) {
        println!(
            "{:<44} {:>5} {:>8} {:>8} {:>4} {:>6} {:>9} {:>7} {:>6} {:>6} {:>9}",
            shortened(&session.name, 44),
            figures.steps,
            figures.tokens.original,
            figures.tokens.final_context,
            figures.tokens.compactions,
            or_dash(figures.quality.score, |score| format!("{score:.2}")),
            bytes(figures.storage.stored_bytes),
            or_dash(figures.storage.ratio, |ratio| format!("{ratio:.0}×")),
            or_dash(figures.cache.hit_rate, |rate| format!(
                "{:.0} %",
                rate * 100.0
            )),
            or_dash(figures.tools.speedup, |speedup| format!("{speedup:.1}×")),
            if figures.restore.identical {
                "identical"
            } else {
                "DIFFERS"
            },
        );
    }
    if let Some(more) = report.per_session.len().checked_sub(SHOWN + 1) {
        println!("… and {} more (--json has them all)", more + 1);
    }
}

fn sums(all: &Figures) {
    let (tokens, quality, storage) = (&all.tokens, &all.quality, &all.storage);
    println!();
    println!(
        "sessions   {} with {} messages and {} tool calls; {} skipped",
        all.sessions, all.messages, all.tool_calls, all.skipped
    );
    println!(
        "tokens     {} -> {} in the last contexts ({} smaller), at most {} of {} at once, {} compactions",
        tokens.original,
        tokens.final_context,
        percent(tokens.reduction),
        tokens.peak_context,
        tokens.window,
        tokens.compactions
    );
    println!(
        "quality    worst session {}: of people's messages {}, paths {}, commands {}, errors {}, tasks {}; calls and results {}",
        or_dash(quality.score, |score| format!("{score:.2}")),
        percent(quality.user_messages_kept),
        percent(quality.paths_kept),
        percent(quality.commands_kept),
        percent(quality.errors_kept),
        percent(quality.pending_tasks_kept),
        if quality.pairs_intact {
            "together"
        } else {
            "TORN APART"
        }
    );
    println!(
        "storage    {} for checkpoints that are {} as full JSON ({}); zstd-3 of the last states alone {}",
        bytes(storage.stored_bytes),
        bytes(storage.full_json_bytes),
        or_dash(storage.ratio, |ratio| format!("{ratio:.0} times smaller")),
        bytes(storage.floor_bytes)
    );
    println!(
        "restore    {} checkpoints, {}; p50 {}, p99 {}, slowest {}",
        all.restore.versions_checked,
        if all.restore.identical {
            "all identical"
        } else {
            "NOT ALL IDENTICAL"
        },
        micros(all.restore.p50_us),
        micros(all.restore.p99_us),
        micros(all.restore.max_us)
    );
    println!(
        "resume     opened in {}, slowest first context {}, resident memory {}",
        micros(all.resume.open_ms.map(|ms| ms * 1e3)),
        micros(all.resume.to_first_context_ms.map(|ms| ms * 1e3)),
        or_dash(all.resume.rss_bytes, bytes)
    );
    println!(
        "cache      {} hits, {} misses ({})",
        all.cache.hits,
        all.cache.misses,
        percent(all.cache.hit_rate)
    );
    println!(
        "tools      {} calls, {} at once at most; one by one {:.0} ms, bound {:.0} ms, took {:.0} ms ({})",
        all.tools.calls,
        all.tools.max_concurrency,
        all.tools.sequential_ms,
        all.tools.critical_path_ms,
        all.tools.wall_ms,
        or_dash(all.tools.speedup, |speedup| format!(
            "{speedup:.2} times faster"
        ))
    );
    println!(
        "process    {:.1} s, {:.1} s of CPU, peak memory {}",
        all.process.wall_ms / 1e3,
        all.process.cpu_ms.unwrap_or(0.0) / 1e3,
        or_dash(all.process.peak_rss_bytes, bytes)
    );
}

fn operations(all: &Figures) {
    println!(
        "\n{:<14} {:>8} {:>10} {:>10} {:>10}",
        "operation", "count", "p50", "p95", "p99"
    );
    let operations = &all.operations;
    for (name, operation) in [
        ("append", &operations.append),
        ("checkpoint", &operations.checkpoint),
        ("count_tokens", &operations.count_tokens),
        ("compact", &operations.compact),
        ("tool_call", &operations.tool_call),
        ("cache_get", &operations.cache_get),
        ("restore", &operations.restore),
        ("resume", &operations.resume),
    ] {
        let Operation {
            count,
            p50_us,
            p95_us,
            p99_us,
        } = operation;
        println!(
            "{name:<14} {count:>8} {:>10} {:>10} {:>10}",
            micros(*p50_us),
            micros(*p95_us),
            micros(*p99_us)
        );
    }
}

fn or_dash<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

fn percent(share: Option<f64>) -> String {
    or_dash(share, |share| format!("{:.0} %", share * 100.0))
}

fn micros(value: Option<f64>) -> String {
    or_dash(value, |us| match us {
        us if us >= 1e6 => format!("{:.1} s", us / 1e6),
        us if us >= 1e3 => format!("{:.1} ms", us / 1e3),
        us => format!("{us:.1} µs"),
    })
}

fn bytes(value: u64) -> String {
    match value as f64 {
        value if value >= 1e9 => format!("{:.1} GB", value / 1e9),
        value if value >= 1e6 => format!("{:.1} MB", value / 1e6),
        value if value >= 1e3 => format!("{:.1} kB", value / 1e3),
        value => format!("{value} B"),
    }
}

fn shortened(name: &str, width: usize) -> String {
    let over = name.chars().count().saturating_sub(width);
    if over == 0 {
        name.to_owned()
    } else {
        format!("…{}", name.chars().skip(over + 1).collect::<String>())
    }
}

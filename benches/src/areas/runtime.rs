//! The whole runtime, through the facade.

mod agents;
mod build;
mod context;
mod definitions;
mod events;
mod memory;
mod provider;
mod release;
mod startup;
mod stored;

use super::Benchmark;

pub(super) const ROWS: &[(&str, Benchmark)] = &[
    ("startup.cold", startup::cold),
    ("startup.warm", startup::warm),
    ("activation", agents::activation),
    ("activation.cached", agents::activation_cached),
    ("discovery.cached", agents::discovery_cached),
    ("discovery.fresh", agents::discovery_fresh),
    ("agents.select", agents::select),
    ("context.load", context::load),
    ("memory.baseline", memory::baseline),
    ("memory.load", memory::load),
    ("api.response", provider::measure),
    ("broadcast", events::broadcast),
    ("release.tuned", release::tuned),
    ("build.full", build::full),
    ("build.binary", build::binary),
];

/// What the asynchronous parts run on.
fn tokio() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_time().build()?)
}

/// Takes the files below a folder out of the page cache, as far as the system lets go of them.
fn forget(folder: &std::path::Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            forget(&path)?;
        } else {
            forget_file(&path)?;
        }
    }
    Ok(())
}

fn forget_file(path: &std::path::Path) -> anyhow::Result<()> {
    let file = std::fs::File::open(path)?;
    // Only clean pages are let go.
    file.sync_all()?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

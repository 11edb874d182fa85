//! The hot paths: what the gate watches.

mod context;
mod memory;
mod sessions;
mod work;

use anyhow::{Result, bail};

/// Does so many operations of a prepared path.
pub type Operations = Box<dyn FnMut(u64)>;

/// One operation that a user's program does all the time.
#[derive(Clone, Copy)]
pub struct HotPath {
    /// Its name, `area.operation`.
    pub name: &'static str,
    /// Operations of the smaller of two counted runs; also of one burst of a paired run, which
    /// then takes about a millisecond.
    pub burst: u64,
    /// Sets the path up, the same way every time.
    pub prepare: fn() -> Result<Operations>,
}

impl std::fmt::Debug for HotPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HotPath")
            .field("name", &self.name)
            .field("burst", &self.burst)
            .finish_non_exhaustive()
    }
}

impl HotPath {
    /// The crate it belongs to, as an area of the scoreboard.
    #[must_use]
    pub fn area(&self) -> &'static str {
        self.name
            .split_once('.')
            .map_or(self.name, |(area, _)| area)
    }
}

/// All of them.
#[must_use]
pub fn hot_paths() -> Vec<HotPath> {
    [memory::PATHS, sessions::PATHS, work::PATHS, context::PATHS].concat()
}

/// Those that `only` names, by area or by name; all of them when it names none.
///
/// # Errors
/// When a name fits none: the names there are.
pub fn choose(only: &[String]) -> Result<Vec<HotPath>> {
    let all = hot_paths();
    let named = |path: &HotPath, name: &String| *name == path.name || *name == path.area();
    for name in only {
        if !all.iter().any(|path| named(path, name)) {
            let names: Vec<_> = all.iter().map(|path| path.name).collect();
            bail!(
                "no hot path or area `{name}`; there are {}",
                names.join(", ")
            );
        }
    }
    let chosen = all.into_iter();
    Ok(chosen
        .filter(|path| only.is_empty() || only.iter().any(|name| named(path, name)))
        .collect())
}

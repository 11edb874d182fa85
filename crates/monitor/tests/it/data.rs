//! The folder of real inputs, when there is one.

use std::path::PathBuf;

/// A file below `MAINSPRING_DATA`; prints that the test is skipped when it is not set.
pub(crate) fn file(path: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("MAINSPRING_DATA") else {
        eprintln!("skipped: MAINSPRING_DATA is not set, {path} was wanted");
        return None;
    };
    Some(PathBuf::from(folder).join(path))
}

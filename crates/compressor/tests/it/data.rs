//! The recorded sessions, when they are there.

use mainspring_compressor::{Import, read_sessions};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn collect(dir: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, out);
        } else {
            out.push(path);
        }
    }
}

#[cfg(feature = "zstd")]
fn decompress(path: &Path) -> Option<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    if path.extension().is_some_and(|e| e == "zst") {
        let codec = mainspring_compressor::Zstd::new();
        return Some(codec.decompress(&bytes, 64 << 20).unwrap().to_vec());
    }
    Some(bytes)
}

#[cfg(not(feature = "zstd"))]
fn decompress(path: &Path) -> Option<Vec<u8>> {
    if path.extension().is_some_and(|e| e == "zst") {
        println!("skipped: {} needs the feature zstd", path.display());
        return None;
    }
    Some(fs::read(path).unwrap())
}

/// Every recorded file under `MAINSPRING_DATA`, read; empty when the variable is not set.
pub(crate) fn recorded() -> Vec<(String, Vec<u8>)> {
    let Some(root) = std::env::var_os("MAINSPRING_DATA") else {
        println!("skipped: MAINSPRING_DATA is not set");
        return Vec::new();
    };
    let mut paths = Vec::new();
    collect(&Path::new(&root).join("sessions"), &mut paths);
    paths.sort();
    let name = |p: &PathBuf| p.file_name().unwrap().to_string_lossy().into_owned();
    paths
        .iter()
        .filter_map(|p| Some((name(p), decompress(p)?)))
        .collect()
}

pub(crate) fn imported() -> Vec<(String, Import)> {
    recorded()
        .into_iter()
        .map(|(name, bytes)| {
            let import = read_sessions(bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
            (name, import)
        })
        .collect()
}

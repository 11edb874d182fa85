//! Traces: reading them from files, and making them.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The files of a folder, or the file itself, sorted.
pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(folder) = fs::read_dir(path) else {
        return vec![path.to_owned()];
    };
    let mut files: Vec<PathBuf> = folder
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    files
}

/// The keys of a trace. Formats by name: `*.u64` (little-endian), `*.lis` (ARC: start and count),
/// `*mooncake*.jsonl` (`hash_ids`), `cache2k*` (big-endian u32), `scarab*` (big-endian i64), `*.trace` (a number
/// a line); each perhaps packed as `.zst`, `.xz` or `.gz`, which the programs of those names unpack.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u64>> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let bytes = unpacked(path)?;
    let text = || String::from_utf8_lossy(&bytes).into_owned();
    if name.contains(".u64") {
        Ok(bytes
            .chunks_exact(8)
            .map(|c| c.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
            .collect())
    } else if name.starts_with("cache2k") {
        Ok(bytes.chunks_exact(4).map(big_endian).collect())
    } else if name.starts_with("scarab") {
        Ok(bytes.chunks_exact(8).map(big_endian).collect())
    } else if name.contains(".lis") {
        Ok(text().lines().flat_map(block_range).collect())
    } else if name.contains("mooncake") {
        Ok(text().lines().flat_map(hash_ids).collect())
    } else if name.contains(".trace") {
        Ok(text()
            .lines()
            .filter_map(|line| line.trim().parse().ok())
            .collect())
    } else {
        Err(io::Error::other(
            "a format this program does not know by that name",
        ))
    }
}

fn unpacked(path: &Path) -> io::Result<Vec<u8>> {
    let program = match path.extension().and_then(|extension| extension.to_str()) {
        Some("zst") => "zstd",
        Some("xz") => "xz",
        Some("gz") => "gzip",
        _ => return fs::read(path),
    };
    let mut child = Command::new(program)
        .arg("-dc")
        .arg(path)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut bytes = Vec::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_end(&mut bytes)?;
    }
    if child.wait()?.success() {
        Ok(bytes)
    } else {
        Err(io::Error::other(format!("{program} failed")))
    }
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn block_range(line: &str) -> std::ops::Range<u64> {
    let mut numbers = line
        .split_whitespace()
        .map_while(|number| number.parse::<u64>().ok());
    let (start, count) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    start..start + count
}

fn hash_ids(line: &str) -> Vec<u64> {
    let list = line
        .split_once("\"hash_ids\"")
        .and_then(|(_, rest)| rest.split_once('[')?.1.split_once(']'));
    list.map_or_else(Vec::new, |(list, _)| {
        list.split(',')
            .filter_map(|id| id.trim().parse().ok())
            .collect()
    })
}

/// Beginnings of all traces one after the other, twice, with keys of their own.
pub(crate) fn phases(traces: &[(String, Vec<u64>)]) -> Vec<u64> {
    let once = traces.iter().enumerate().flat_map(|(which, (_, keys))| {
        keys.iter()
            .take(100_000)
            .map(move |key| key.wrapping_mul(31) ^ (which as u64) << 56)
    });
    let once: Vec<u64> = once.collect();
    [once.as_slice(), once.as_slice()].concat()
}

/// A skewed working set that drifts, with scans between.
pub(crate) fn generated(seed: u64, length: usize) -> Vec<u64> {
    let mut state = seed;
    let mut random = move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 33
    };
    let mut keys = Vec::with_capacity(length);
    while keys.len() < length {
        let base = (keys.len() as u64 / 50_000) * 500;
        if random() % 2_000 == 0 {
            let start = 1_000_000 + random() % 100_000;
            keys.extend(start..start + 3_000);
        } else {
            let skewed = random() % (1 + random() % 20_000);
            keys.push(base + skewed);
        }
    }
    keys
}

/// The keys as small numbers, and how many different ones there are.
pub(crate) fn dense(keys: &[u64]) -> (Vec<u32>, usize) {
    let mut numbers = HashMap::new();
    let dense = keys.iter().map(|key| {
        let next = numbers.len() as u32;
        *numbers.entry(*key).or_insert(next)
    });
    let dense = dense.collect();
    (dense, numbers.len())
}

//! Changing bytes of a store that nobody has open.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use fastrand::Rng;
use mainspring_soak_checker::Line;

/// Bytes of a segment before its first record.
const HEADER: u64 = 64;

/// Flips bits of one byte in a segment of each store, and says which.
pub(crate) fn flip(runtime: &Path, rng: &mut Rng) -> io::Result<Vec<Line>> {
    let mut flips = Vec::new();
    for store in ["sessions", "snapshots"] {
        let Some((path, len)) = segment(&runtime.join(store), rng)? else {
            continue;
        };
        let offset = rng.u64(HEADER..len);
        let file = File::options().read(true).write(true).open(&path)?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset)?;
        byte[0] ^= rng.u8(1..);
        file.write_all_at(&byte, offset)?;
        file.sync_all()?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        flips.push(Line::Flip {
            file: format!("{store}/{name}"),
            offset,
        });
    }
    Ok(flips)
}

/// One of the segments that hold records, and its length.
fn segment(store: &Path, rng: &mut Rng) -> io::Result<Option<(PathBuf, u64)>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(store)? {
        let (path, len) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?.len())))?;
        if path.extension().is_some_and(|extension| extension == "seg") && len > HEADER {
            segments.push((path, len));
        }
    }
    segments.sort();
    Ok(rng.choice(segments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_changes_in_each_store_and_where_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let before: Vec<u8> = (0..200).collect();
        for store in ["sessions", "snapshots"] {
            let store = folder.path().join(store);
            std::fs::create_dir(&store).unwrap();
            std::fs::write(store.join("00000001.seg"), &before).unwrap();
            std::fs::write(store.join("MANIFEST"), &before).unwrap();
        }
        let flips = flip(folder.path(), &mut Rng::with_seed(3)).unwrap();
        assert_eq!(flips.len(), 2);
        for line in flips {
            let Line::Flip { file, offset } = line else {
                panic!("{line:?}");
            };
            let after = std::fs::read(folder.path().join(file)).unwrap();
            let changed = |at: &usize| after[*at] != before[*at];
            let changed: Vec<usize> = (0..before.len()).filter(changed).collect();
            assert_eq!(changed, [offset as usize]);
            assert!(offset >= HEADER);
        }
    }
}

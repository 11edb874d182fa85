//! Files and folders of sessions, plain or compressed.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// The most that one file may be after decompression.
const LIMIT: u64 = 4 << 30;

/// All files under the given paths, sorted within each folder, and the paths that cannot be read.
pub(crate) fn files(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<(PathBuf, String)>) {
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for path in paths {
        collect(path, true, &mut found, &mut refused);
    }
    (found, refused)
}

fn collect(
    path: &Path,
    named: bool,
    found: &mut Vec<PathBuf>,
    refused: &mut Vec<(PathBuf, String)>,
) {
    let about = if named {
        path.metadata()
    } else {
        path.symlink_metadata()
    };
    match about {
        Err(error) => refused.push((path.to_owned(), error.to_string())),
        Ok(about) if about.is_dir() => match std::fs::read_dir(path) {
            Err(error) => refused.push((path.to_owned(), error.to_string())),
            Ok(entries) => {
                let mut entries: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
                entries.sort();
                for entry in entries {
                    collect(&entry, false, found, refused);
                }
            }
        },
        Ok(about) if about.is_file() => found.push(path.to_owned()),
        Ok(_) if path.is_file() => found.push(path.to_owned()),
        Ok(_) => refused.push((path.to_owned(), "neither a file nor a folder".to_owned())),
    }
}

/// The bytes of a file, decompressed when they begin like gzip or zstd.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let mut magic = [0; 4];
    let begun = read_start(&mut file, &mut magic).map_err(|error| error.to_string())?;
    let whole = magic[..begun].chain(file);
    match magic {
        [0x1f, 0x8b, ..] => bounded(flate2::read::MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd] => {
            let decoder = zstd::Decoder::new(whole).map_err(|error| error.to_string())?;
            bounded(decoder)
        }
        _ => bounded(whole),
    }
}

fn read_start(file: &mut File, magic: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < magic.len() {
        match file.read(&mut magic[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

fn bounded(source: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = source.take(LIMIT + 1).read_to_end(&mut bytes);
    let read = read.map_err(|error| format!("damaged at byte {}: {error}", bytes.len()))?;
    if read as u64 > LIMIT {
        return Err(format!(
            "larger than {} GiB after decompression",
            LIMIT >> 30
        ));
    }
    Ok(bytes)
}

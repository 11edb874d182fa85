//! Finding and reading definition files, within bounds.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{
    error::Error,
    options::CatalogOptions,
    signature::{Known, Signature, content_hash, nanos_of},
};

/// A Markdown file that may be a definition.
pub(crate) struct Candidate {
    pub(crate) path: PathBuf,
    pub(crate) signature: Signature,
}

/// A file's text and what is known of it from now on.
pub(crate) struct Content {
    pub(crate) text: String,
    pub(crate) known: Known,
}

/// The Markdown files below the roots in a fixed order: root by root, names sorted.
///
/// Names that begin with a dot are passed over, links to directories are not followed.
pub(crate) fn find(
    options: &CatalogOptions,
    problems: &mut Vec<Error>,
) -> Result<Vec<Candidate>, Error> {
    let mut walk = Walk {
        options,
        found: Vec::new(),
        looked_at: 0,
        problems,
    };
    for root in &options.roots {
        match fs::read_dir(root) {
            Ok(_) => walk.directory(root, 0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(root, error)),
        }
    }
    Ok(walk.found)
}

struct Walk<'a> {
    options: &'a CatalogOptions,
    found: Vec<Candidate>,
    /// Directory entries of any kind.
    looked_at: usize,
    problems: &'a mut Vec<Error>,
}

/// Directory entries looked at for each definition that is allowed.
const ENTRIES_PER_FILE: usize = 16;

impl Walk<'_> {
    fn directory(&mut self, path: &Path, depth: usize) {
        let entries = match sorted_entries(path, self.options.max_files) {
            Ok(entries) => entries,
            Err(error) => return self.problems.push(Error::io(path, error)),
        };
        for entry in entries {
            self.looked_at += 1;
            let full = self.found.len() >= self.options.max_files
                || self.looked_at > self.options.max_files.saturating_mul(ENTRIES_PER_FILE);
            if full {
                return self.complain_once("the number of files", self.options.max_files as u64);
            }
            let path = path.join(entry.name);
            if let Some(signature) = entry.signature {
                self.found.push(Candidate { path, signature });
            } else if !entry.is_directory {
                self.file(path);
            } else if depth >= self.options.max_depth {
                self.complain_once("the depth of directories", self.options.max_depth as u64);
            } else {
                self.directory(&path, depth + 1);
            }
        }
    }

    fn file(&mut self, path: PathBuf) {
        if !is_markdown(&path) {
            return;
        }
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => {
                self.found.push(Candidate {
                    signature: Signature::of(&metadata),
                    path,
                });
            }
            Ok(_) => {}
            Err(error) => self.problems.push(Error::io(path, error)),
        }
    }

    fn complain_once(&mut self, what: &'static str, limit: u64) {
        let known = |problem: &Error| matches!(problem, Error::LimitExceeded { what: known, .. } if *known == what);
        if !self.problems.iter().any(known) {
            self.problems.push(Error::LimitExceeded { what, limit });
        }
    }
}

/// What a directory says of one of its entries.
struct Listed {
    name: std::ffi::OsString,
    is_directory: bool,
    /// Of a definition that is a file of its own; a link is followed when it is looked at.
    signature: Option<Signature>,
}

/// The entries by name. Files are asked through the open directory, which spares the system the walk
/// along their paths; at most `most` of them, those beyond are not wanted anyway.
fn sorted_entries(path: &Path, most: usize) -> io::Result<Vec<Listed>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type()?;
        let asked = kind.is_file() && entries.len() < most && is_markdown(Path::new(&name));
        // One that went away meanwhile is asked again, and reported, by its path.
        let metadata = if asked { entry.metadata().ok() } else { None };
        entries.push(Listed {
            name,
            is_directory: kind.is_dir(),
            signature: metadata
                .filter(fs::Metadata::is_file)
                .as_ref()
                .map(Signature::of),
        });
    }
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

pub(crate) fn is_markdown(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("md"))
}

/// Reads a file whole, if it is text and not larger than allowed.
pub(crate) fn read(path: &Path, options: &CatalogOptions) -> Result<Content, Error> {
    let fail = |error| Error::io(path, error);
    let observed = now(options);
    let file = File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    let mut bytes = Vec::with_capacity(metadata.len().min(options.max_file_bytes) as usize);
    file.take(options.max_file_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if bytes.len() as u64 > options.max_file_bytes {
        let what = format!(
            "the file is larger than {} bytes; raise `max_file_bytes`",
            options.max_file_bytes
        );
        return Err(Error::Definition {
            path: path.to_owned(),
            line: 1,
            what,
        });
    }
    let known = Known {
        signature: Signature::of(&metadata),
        content: content_hash(&bytes),
        observed,
    };
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        Error::Definition {
            path: path.to_owned(),
            line,
            what: "the file is not UTF-8".to_owned(),
        }
    })?;
    Ok(Content { text, known })
}

fn now(options: &CatalogOptions) -> i64 {
    (options.clock)()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, nanos_of)
}

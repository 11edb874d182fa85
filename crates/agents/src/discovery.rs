//! Finding and reading definition files, within bounds.

use std::{
    collections::HashSet,
    ffi::OsString,
    io::{self, Read},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use crate::{
    error::Error,
    options::CatalogOptions,
    signature::{Known, Signature, content_hash, nanos_of},
    stat::{self, Directory, Kind},
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
        match walk.entries(root) {
            Ok(entries) => walk.all(entries, 0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(root, error)),
        }
    }
    let mut found = walk.found;
    if overlap(&options.roots) {
        let mut seen = HashSet::new();
        found.retain(|candidate| seen.insert(candidate.path.as_os_str().to_owned()));
    }
    Ok(found)
}

/// Whether files may be found twice: a root lies inside another one.
fn overlap(roots: &[PathBuf]) -> bool {
    let inside = |(at, root): (usize, &PathBuf)| {
        let mut others = roots.iter().enumerate().filter(|&(other, _)| other != at);
        others.any(|(_, other)| root.starts_with(other))
    };
    roots.iter().enumerate().any(inside)
}

struct Walk<'a> {
    options: &'a CatalogOptions,
    found: Vec<Candidate>,
    /// Directory entries of any kind.
    looked_at: usize,
    problems: &'a mut Vec<Error>,
}

/// A name in a directory that may lead to definitions.
struct Listed {
    path: PathBuf,
    kind: Kind,
    /// Of a regular file that has been asked already.
    signature: Option<Signature>,
}

/// Directory entries looked at for each definition that is allowed.
const ENTRIES_PER_FILE: usize = 16;

impl Walk<'_> {
    fn directory(&mut self, path: &Path, depth: usize) {
        match self.entries(path) {
            Ok(entries) => self.all(entries, depth),
            Err(error) => self.problems.push(Error::io(path, error)),
        }
    }

    fn all(&mut self, entries: Vec<Listed>, depth: usize) {
        for entry in entries {
            let path = entry.path;
            if self.found.len() >= self.options.max_files {
                return self.too_many();
            } else if let Some(signature) = entry.signature {
                self.found.push(Candidate { path, signature });
            } else if entry.kind != Kind::Directory {
                self.file(path);
            } else if depth >= self.options.max_depth {
                self.complain_once("the depth of directories", self.options.max_depth as u64);
            } else {
                self.directory(&path, depth + 1);
            }
        }
    }

    /// The directories and Markdown files in a directory, by name. Files are asked while it is open, as
    /// many as may still be wanted.
    fn entries(&mut self, path: &Path) -> io::Result<Vec<Listed>> {
        let directory = Directory::open(path)?;
        let inside = path.join("").into_os_string();
        let mut entries = Vec::new();
        let most = self.options.max_files.saturating_mul(ENTRIES_PER_FILE);
        directory.each(|name, kind| {
            if name.as_encoded_bytes().starts_with(b".") {
                return ControlFlow::Continue(());
            }
            if self.looked_at >= most {
                self.too_many();
                return ControlFlow::Break(());
            }
            self.looked_at += 1;
            let wanted = match kind {
                Kind::Directory => true,
                Kind::File | Kind::Link => is_markdown(Path::new(name)),
                Kind::Other => false,
            };
            if wanted {
                let mut path = OsString::with_capacity(inside.len() + name.len());
                path.push(&inside);
                path.push(name);
                entries.push(Listed {
                    path: path.into(),
                    kind,
                    signature: None,
                });
            }
            ControlFlow::Continue(())
        })?;
        entries.sort_unstable_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
        let files = entries.iter_mut().filter(|entry| entry.kind == Kind::File);
        for entry in files.take(self.options.max_files - self.found.len()) {
            // One that went away or became a link meanwhile is asked again by its path.
            let name = entry.path.file_name().unwrap_or_default();
            let stat = directory.stat(name).ok().filter(|stat| stat.is_file);
            entry.signature = stat.map(|stat| stat.signature);
        }
        Ok(entries)
    }

    fn file(&mut self, path: PathBuf) {
        match stat::of_path(&path) {
            Ok(stat) if stat.is_file => {
                self.found.push(Candidate {
                    signature: stat.signature,
                    path,
                });
            }
            Ok(_) => {}
            Err(error) => self.problems.push(Error::io(path, error)),
        }
    }

    fn too_many(&mut self) {
        self.complain_once("the number of files", self.options.max_files as u64);
    }

    fn complain_once(&mut self, what: &'static str, limit: u64) {
        let known = |problem: &Error| matches!(problem, Error::LimitExceeded { what: known, .. } if *known == what);
        if !self.problems.iter().any(known) {
            self.problems.push(Error::LimitExceeded { what, limit });
        }
    }
}

pub(crate) fn is_markdown(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("md"))
}

/// Reads a file whole, if it is text and not larger than allowed.
pub(crate) fn read(path: &Path, options: &CatalogOptions) -> Result<Content, Error> {
    let fail = |error| Error::io(path, error);
    let observed = now(options);
    let (file, stat) = stat::open(path).map_err(fail)?;
    if !stat.is_file {
        let gone = io::Error::new(io::ErrorKind::NotFound, "no regular file");
        return Err(fail(gone));
    }
    let size = stat.signature.size.min(options.max_file_bytes);
    let mut bytes = Vec::with_capacity(size as usize);
    file.take(options.max_file_bytes.saturating_add(1))
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
        signature: stat.signature,
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

//! What the system says of files and directories, asked with as few and as small calls as it offers.

#[cfg(target_os = "linux")]
mod direct;
#[cfg(any(not(target_os = "linux"), test))]
mod portable;

#[cfg(target_os = "linux")]
pub(crate) use direct::{Directory, of_path, open};
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::{Directory, of_path, open};

use crate::signature::Signature;

/// The answer to one `stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStat {
    /// Whether it is a regular file.
    pub(crate) is_file: bool,
    pub(crate) signature: Signature,
}

/// What kind of thing a name in a directory is; links are not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Directory,
    File,
    Link,
    Other,
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{ffi::OsString, fs, io::Read, ops::ControlFlow, path::Path};

    use super::*;

    /// Definitions are only taken from regular files, whichever way the system is asked.
    #[test]
    fn both_ways_of_asking_say_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file.md"), "text").unwrap();
        fs::create_dir(path("folder")).unwrap();
        std::os::unix::fs::symlink(path("file.md"), path("link.md")).unwrap();
        std::os::unix::fs::symlink(path("folder"), path("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket.md")).unwrap();

        for name in ["file.md", "folder", "link.md", "link", "socket.md", "none"] {
            let ours = of_path(&path(name)).map_err(|error| error.kind());
            let theirs = portable::of_path(&path(name)).map_err(|error| error.kind());
            assert_eq!(ours, theirs, "{name}");
        }
        let listed = |path: &Path| {
            let mut names: Vec<(OsString, Kind)> = Vec::new();
            let directory = Directory::open(path).unwrap();
            let each = |name: &std::ffi::OsStr, kind| {
                names.push((name.to_owned(), kind));
                ControlFlow::Continue(())
            };
            directory.each(each).unwrap();
            names.retain(|(name, _)| !name.as_encoded_bytes().starts_with(b"."));
            names.sort_unstable();
            let stats = names.iter().map(|(name, _)| directory.stat(name).unwrap());
            (stats.collect::<Vec<_>>(), names)
        };
        let also_listed = |path: &Path| {
            let mut names: Vec<(OsString, Kind)> = Vec::new();
            let directory = portable::Directory::open(path).unwrap();
            let each = |name: &std::ffi::OsStr, kind| {
                names.push((name.to_owned(), kind));
                ControlFlow::Continue(())
            };
            directory.each(each).unwrap();
            names.sort_unstable();
            let stats = names.iter().map(|(name, _)| directory.stat(name).unwrap());
            (stats.collect::<Vec<_>>(), names)
        };
        assert_eq!(listed(folder.path()), also_listed(folder.path()));
        assert_eq!(listed(folder.path()).0.len(), 5);

        for open in [open, portable::open] {
            let (mut file, stat) = open(&path("link.md")).unwrap();
            assert_eq!(stat, of_path(&path("file.md")).unwrap());
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "text");
            assert!(open(&path("none")).is_err());
        }
    }
}

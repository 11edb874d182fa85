//! The files that a generated agent reads and edits.

use crate::{Random, text};

/// A small tree of source files that edits really change.
#[derive(Debug)]
pub(crate) struct Workspace {
    files: Vec<File>,
}

#[derive(Debug)]
struct File {
    path: String,
    lines: Vec<String>,
}

/// One replacement that an agent asks for and the workspace carries out.
#[derive(Debug)]
pub(crate) struct Edit {
    pub(crate) path: String,
    pub(crate) old: String,
    pub(crate) new: String,
}

impl Workspace {
    pub(crate) fn new(random: &mut Random, files: usize) -> Self {
        let files = (0..files)
            .map(|_| {
                let lines = random.length(90, 0.7, 500);
                File {
                    path: text::path(random),
                    lines: text::source(random, lines),
                }
            })
            .collect();
        Self { files }
    }

    /// A file: often one of the well-known, as often any.
    pub(crate) fn any(&self, random: &mut Random) -> usize {
        if random.chance(0.5) {
            random.zipf(self.files.len())
        } else {
            random.below(self.files.len())
        }
    }

    pub(crate) fn path(&self, file: usize) -> &str {
        &self.files[file].path
    }

    /// The numbered lines of a window into the file, and the window's first line and length.
    pub(crate) fn read(&self, random: &mut Random, file: usize) -> (usize, usize, String) {
        let lines = &self.files[file].lines;
        let (start, count) = if lines.len() <= 40 || random.chance(0.15) {
            (0, lines.len())
        } else {
            let count = random.length(30, 0.7, lines.len());
            (random.below(lines.len() - count + 1), count)
        };
        let mut out = String::new();
        for (i, line) in lines.iter().enumerate().skip(start).take(count) {
            out.push_str(&format!("{:5}\t{line}\n", i + 1));
        }
        (start + 1, count, out)
    }

    /// Changes two or three lines of the file.
    pub(crate) fn edit(&mut self, random: &mut Random, file: usize) -> Edit {
        let File { path, lines } = &mut self.files[file];
        let at = random.below(lines.len().saturating_sub(3).max(1));
        let count = random.between(1, 3).min(lines.len() - at);
        let old = lines[at..at + count].join("\n");
        let mut fresh = text::source(random, 8).split_off(5);
        fresh.truncate(random.between(1, 5));
        let new = fresh.join("\n");
        lines.splice(at..at + count, fresh);
        Edit {
            path: path.clone(),
            old,
            new,
        }
    }

    /// The first `limit` lines with a word in them.
    pub(crate) fn search(&self, needle: &str, limit: usize) -> String {
        let mut out = String::new();
        let hits = self.files.iter().flat_map(|file| {
            let hit = move |(i, line): (usize, &String)| {
                line.contains(needle)
                    .then(|| format!("{}:{}:{line}\n", file.path, i + 1))
            };
            file.lines.iter().enumerate().filter_map(hit)
        });
        hits.take(limit).for_each(|hit| out.push_str(&hit));
        if out.is_empty() {
            out.push_str("No matches found.\n");
        }
        out
    }

    /// The listing of the whole tree.
    pub(crate) fn list(&self) -> String {
        let mut paths: Vec<&str> = self.files.iter().map(|file| file.path.as_str()).collect();
        paths.sort_unstable();
        paths.join("\n")
    }
}

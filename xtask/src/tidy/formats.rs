//! Format pages are chained to the modules that implement them.
//!
//! A page names its modules in a comment, `<!-- implements: PATH DIGEST -->`, one a line. When a
//! module changes and the page was not looked at again, the digest no longer fits.

use std::path::Path;

use anyhow::Result;
use xxhash_rust::xxh3::xxh3_64;

use super::Findings;
use crate::workspace::root;

const MARK: &str = "<!-- implements: ";

pub(super) fn check(write: bool, findings: &mut Findings) -> Result<()> {
    let folder = root().join("docs/formats");
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            check_page(&path, write, findings)?;
        }
    }
    Ok(())
}

fn check_page(path: &Path, write: bool, findings: &mut Findings) -> Result<()> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let text = std::fs::read_to_string(path)?;
    let mut chained = 0;
    let mut fresh = String::with_capacity(text.len());
    for line in text.lines() {
        let named = line
            .strip_prefix(MARK)
            .and_then(|rest| rest.strip_suffix(" -->"));
        if let Some(module) = named.and_then(|rest| rest.split_whitespace().next()) {
            chained += 1;
            match digest(module) {
                Ok(digest) => fresh.push_str(&format!("{MARK}{module} {digest} -->")),
                Err(_) => {
                    findings.push(format!(
                        "docs/formats/{name} names {module}, which does not exist"
                    ));
                    fresh.push_str(line);
                }
            }
        } else {
            fresh.push_str(line);
        }
        fresh.push('\n');
    }
    if chained == 0 {
        findings.push(format!(
            "docs/formats/{name} names no module: add a line `{MARK}PATH -->`"
        ));
    }
    if fresh != text && write {
        std::fs::write(path, fresh)?;
    } else if fresh != text {
        findings.push(format!(
            "docs/formats/{name}: a module it describes changed; read the page again, then `cargo xtask tidy --write`"
        ));
    }
    Ok(())
}

fn digest(module: &str) -> Result<String> {
    let text = std::fs::read_to_string(root().join(module))?;
    Ok(format!("{:016x}", xxh3_64(text.as_bytes())))
}

//! Every test that `docs/PAINS.md` names exists.

use anyhow::Result;
use cargo_metadata::Package;

use super::{Findings, unsafety::sources};
use crate::workspace::root;

pub(super) fn check(packages: &[Package], findings: &mut Findings) -> Result<()> {
    let page = std::fs::read_to_string(root().join("docs/PAINS.md"))?;
    for command in page
        .split('`')
        .filter(|text| text.contains("cargo test -p "))
    {
        let mut words = command.split_whitespace();
        let package = words.by_ref().skip_while(|word| *word != "-p").nth(1);
        let test = command.split_whitespace().next_back();
        let (Some(package), Some(test)) = (package, test) else {
            continue;
        };
        if !exists(packages, package, test)? {
            findings.push(format!("docs/PAINS.md: {package} has no test `{test}`"));
        }
    }
    Ok(())
}

/// Whether a package's integration tests have a function or a module of that name.
fn exists(packages: &[Package], package: &str, test: &str) -> Result<bool> {
    let Some(package) = packages.iter().find(|known| known.name.as_str() == package) else {
        return Ok(false);
    };
    let folder = package
        .manifest_path
        .parent()
        .expect("a manifest lies in a folder");
    let (function, module) = (format!("fn {test}("), format!("mod {test};"));
    for file in sources(folder.join("tests").as_std_path())? {
        let text = std::fs::read_to_string(&file)?;
        if text.contains(&function) || text.contains(&module) {
            return Ok(true);
        }
    }
    Ok(false)
}

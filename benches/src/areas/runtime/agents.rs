//! Finding, reading and choosing agent definitions.

use std::{hint::black_box, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use mainspring::agents::AgentDefinition;

use super::{
    definitions::{self, Definitions},
    forget_file,
};
use crate::{Bench, Clock, Contest, Measured, check};

/// One definition: its folder listed, the file read and parsed, nothing of it in the page cache.
pub(super) fn activation(bench: &Bench) -> Result<Measured> {
    let dir = tempfile::tempdir()?;
    let definitions = Definitions::of(bench)?;
    let file = dir.path().join("agent.md");
    std::fs::copy(definitions.path(3), &file)?;
    let activate = || {
        let catalog = definitions::open(dir.path(), None);
        catalog
            .get(&definitions::id(3))
            .expect("the agent is there")
    };
    let prompt = bench.answer(activate().prompt.clone());
    let wanted = AgentDefinition::parse(&std::fs::read_to_string(&file)?)?;
    check(prompt == wanted.prompt, "the agent has another prompt")?;
    let cold = |work: &dyn Fn(), clock: Clock| {
        forget_file(&file).expect("the page cache can be dropped");
        clock.time(work)
    };
    let standing = Contest::new(bench, 1)
        .clock(Clock::Wall)
        .side_timed("mainspring-agents", "", |clock| {
            cold(&|| drop(black_box(activate())), clock)
        })
        .side_timed("read and split by hand", "fs::read_to_string", |clock| {
            cold(&|| drop(black_box(split(&file))), clock)
        })
        .run();
    let note = "page cache of the file dropped with posix_fadvise(DONTNEED) before each";
    Ok(standing.time(1e6).noting(note))
}

/// The definition again, as its file is now: one `stat`, no read.
pub(super) fn activation_cached(bench: &Bench) -> Result<Measured> {
    let definitions = Definitions::of(bench)?;
    let catalog = definitions.catalog(None);
    let ids: Vec<String> = (0..definitions.count).map(definitions::id).collect();
    let paths: Vec<_> = (0..ids.len()).map(|n| definitions.path(n)).collect();
    let before = catalog.stats();
    for id in &ids {
        let found = bench.answer(catalog.get(id)?.id.clone());
        check(found == *id, "another agent was given")?;
    }
    let after = catalog.stats();
    let read = bench.answer(after.files_read - before.files_read);
    check(read == 0, "a file that had not changed was read")?;
    let asked = bench.answer(after.files_checked - before.files_checked);
    check(asked == ids.len() as u64, "not one stat an activation")?;
    let standing = Contest::new(bench, ids.len() as u64)
        .side("mainspring-agents", "", || {
            ids.iter().for_each(|id| drop(black_box(catalog.get(id))));
        })
        .side("one stat alone", "fs::metadata", || {
            let stat = |path| drop(black_box(std::fs::metadata(path)));
            paths.iter().for_each(stat);
        })
        .side(
            "read and parsed each time",
            "AgentDefinition::parse",
            || {
                for path in &paths {
                    let text = std::fs::read_to_string(path);
                    drop(black_box(text.map(|text| AgentDefinition::parse(&text))));
                }
            },
        )
        .run();
    Ok(standing.time(1e3))
}

pub(super) fn discovery_cached(bench: &Bench) -> Result<Measured> {
    discovery(bench, true)
}

pub(super) fn discovery_fresh(bench: &Bench) -> Result<Measured> {
    let note = "no cache file; the definitions are in the page cache";
    Ok(discovery(bench, false)?.noting(note))
}

fn discovery(bench: &Bench, cached: bool) -> Result<Measured> {
    let definitions = Definitions::of(bench)?;
    let file = definitions.cache_file();
    let cache = cached.then_some(&*file);
    drop(definitions.catalog(cache));
    let catalog = definitions.catalog(cache);
    let found = bench.answer(catalog.ids().len());
    check(found == definitions.count, "definitions are missing")?;
    let read = bench.answer(catalog.stats().files_read as usize);
    let wanted = if cached { 0 } else { definitions.count };
    check(read == wanted, "the cache file did not do its work")?;
    let scanned = bench.answer(scan(&definitions.root())?.len());
    check(scanned == definitions.count, "definitions are missing")?;
    let standing = Contest::new(bench, 1)
        .side("mainspring-agents", "", || {
            drop(black_box(definitions.catalog(cache)));
        })
        .side("every file read and split by hand", "fs::read_dir", || {
            drop(black_box(scan(&definitions.root())));
        })
        .run();
    Ok(standing.time(1e6))
}

/// What a first version does: walks the folders, reads every file, splits the front matter by hand.
fn scan(folder: &Path) -> Result<Vec<(String, String, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(scan(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(split(&path)?);
        }
    }
    Ok(found)
}

/// Name, description and prompt.
fn split(path: &Path) -> Result<(String, String, String)> {
    let text = std::fs::read_to_string(path)?;
    let mut parts = text.splitn(3, "---\n").skip(1);
    let (front, prompt) = (
        parts.next().context("no front matter")?,
        parts.next().context("no prompt")?,
    );
    let field = |name: &str| {
        let lines = front.lines().filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(key, _)| *key == name);
        values.next().map(|(_, value)| value.to_owned())
    };
    Ok((
        field("name").context("no name")?,
        field("description").context("no description")?,
        prompt.to_owned(),
    ))
}

/// The agents for a task, against comparing the task with every description.
pub(super) fn select(bench: &Bench) -> Result<Measured> {
    let definitions = Definitions::of(bench)?;
    let catalog = definitions.catalog(None);
    let agents: Vec<Arc<AgentDefinition>> = (0..definitions.count)
        .map(|number| catalog.get(&definitions::id(number)))
        .collect::<Result<_, _>>()?;
    let apart = definitions.count / 16;
    let numbers: Vec<usize> = (0..16).map(|at| at * apart + 1).collect();
    let tasks: Vec<String> = numbers.iter().map(|n| definitions::task(*n)).collect();
    for (number, task) in numbers.iter().zip(&tasks) {
        let wanted = definitions::id(*number);
        let ours = catalog.select(task, 5);
        let ours = bench.answer(ours.first().map(|best| best.definition.id.clone()));
        check(ours.as_ref() == Some(&wanted), "another agent was chosen")?;
        let theirs = compared(&agents, task, 5);
        let theirs = bench.answer(theirs.first().map(|best| best.id.clone()));
        check(
            theirs.as_ref() == Some(&wanted),
            "the scan chose another agent",
        )?;
    }
    let standing = Contest::new(bench, tasks.len() as u64)
        .side("mainspring-agents", "", || {
            let select = |task: &String| drop(black_box(catalog.select(task, 5)));
            tasks.iter().for_each(select);
        })
        .side("linear scan of the descriptions", "", || {
            let select = |task: &String| drop(black_box(compared(&agents, task, 5)));
            tasks.iter().for_each(select);
        })
        .run();
    let note = format!("{} agents", definitions.count);
    Ok(standing
        .faster("linear scan of the descriptions")
        .noting(note))
}

/// The descriptions that hold most words of the task, rare ones or not, the longest words first.
fn compared(
    agents: &[Arc<AgentDefinition>],
    task: &str,
    limit: usize,
) -> Vec<Arc<AgentDefinition>> {
    let task = task.to_lowercase();
    let words: Vec<&str> = task
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.len() > 3)
        .collect();
    let mut scored: Vec<(usize, &Arc<AgentDefinition>)> = agents
        .iter()
        .map(|agent| {
            let description = agent.description.to_lowercase();
            let held = words.iter().filter(|word| description.contains(**word));
            (held.map(|word| word.len()).sum(), agent)
        })
        .collect();
    scored.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    scored
        .into_iter()
        .take(limit)
        .map(|(_, agent)| Arc::clone(agent))
        .collect()
}

//! Prompts of agents that are read when they are first needed.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use mainspring::agents::{AgentDefinition, LazyRegistry};

fn write(dir: &Path, agent: &str) {
    let text = format!("---\ndescription: Some agent\n---\nYou are the {agent}.\n");
    std::fs::write(dir.join(agent).with_extension("md"), text).unwrap();
}

/// The prompts of three agents, the first of which is wanted in any case, and the reads so far.
fn prompts(dir: &Path) -> (LazyRegistry<String>, Arc<AtomicU32>) {
    let reads = Arc::new(AtomicU32::new(0));
    let mut registry = LazyRegistry::builder();
    for agent in ["lead", "reviewer", "tester"] {
        let (path, reads) = (dir.join(agent).with_extension("md"), Arc::clone(&reads));
        let load = move || {
            let (path, reads) = (path.clone(), Arc::clone(&reads));
            async move {
                // Others may ask meanwhile.
                tokio::task::yield_now().await;
                reads.fetch_add(1, Ordering::Relaxed);
                let text = std::fs::read_to_string(&path)?;
                Ok(AgentDefinition::parse_file(&path, &text)?.prompt)
            }
        };
        registry = match agent {
            "lead" => registry.critical(agent, load),
            _ => registry.component(agent, load),
        };
    }
    (registry.build(), reads)
}

#[tokio::test]
async fn a_prompt_is_read_when_it_is_first_needed_and_once() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "reviewer");
    let (prompts, reads) = prompts(dir.path());
    let prompts = Arc::new(prompts);
    assert_eq!(reads.load(Ordering::Relaxed), 0);
    let ask = || {
        let prompts = Arc::clone(&prompts);
        tokio::spawn(async move { prompts.get("reviewer").await.unwrap() })
    };
    let asked: Vec<_> = (0..10).map(|_| ask()).collect();
    for prompt in asked {
        assert_eq!(*prompt.await.unwrap(), "You are the reviewer.\n");
    }
    assert_eq!(reads.load(Ordering::Relaxed), 1);
    assert!(prompts.peek("tester").is_none(), "nobody asked for it");
}

#[tokio::test]
async fn a_prompt_that_is_missing_fails_neither_the_start_nor_the_next_use() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "tester");
    let (prompts, reads) = prompts(dir.path());
    let report = prompts.preload().await;
    assert_eq!((report.len(), reads.load(Ordering::Relaxed)), (1, 1));
    assert!(report[0].error.is_some());
    assert_eq!(
        *prompts.get("tester").await.unwrap(),
        "You are the tester.\n"
    );
    write(dir.path(), "lead");
    assert_eq!(*prompts.get("lead").await.unwrap(), "You are the lead.\n");
    // An edit is read after `unload`.
    std::fs::write(
        dir.path().join("lead.md"),
        "---\ndescription: Another\n---\nNew.\n",
    )
    .unwrap();
    assert_eq!(*prompts.get("lead").await.unwrap(), "You are the lead.\n");
    assert!(prompts.unload("lead"));
    assert_eq!(*prompts.get("lead").await.unwrap(), "New.\n");
}

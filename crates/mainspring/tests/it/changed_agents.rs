//! What was cached for an agent is gone once its definition on disk is another one.

use std::{fs, path::Path, sync::Arc, sync::mpsc::channel, time::Duration};

use mainspring::{
    Event, Profile, Runtime,
    adapters::forget_changed_agents,
    agents::{AgentCatalog, CatalogOptions},
    cache_tier::{EntryOptions, Key},
};

const SETTLE: Duration = Duration::from_millis(5);

/// In one step, so that it changes once.
fn define(root: &Path, id: &str, description: &str) {
    let text = format!("---\ndescription: {description}\n---\nYou work.\n");
    let beside = root.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, root.join(format!("{id}.md"))).unwrap();
}

fn catalog(root: &Path) -> Arc<AgentCatalog> {
    Arc::new(AgentCatalog::open(CatalogOptions::new([root])).unwrap())
}

fn answers(id: &str) -> Key {
    Key::new(format!("agent:{id}"), "answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_that_changes_on_disk_invalidates_what_its_agent_cached() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("agents");
    fs::create_dir(&root).unwrap();
    define(&root, "tester", "tests");
    define(&root, "writer", "writes");
    let data = folder.path().join("data");
    let runtime = Runtime::open(&data, Profile::Laptop).await.unwrap();
    let cache = runtime.cache();
    let known = catalog(&root);
    let tokio = tokio::runtime::Handle::current();
    let watching = forget_changed_agents(&runtime, &known, SETTLE, &tokio).unwrap();
    let mut events = runtime.events().subscribe();
    for (round, change) in ["another", "a third"].into_iter().enumerate() {
        for id in ["tester", "writer"] {
            let value = bytes::Bytes::from_static(b"42");
            let options = EntryOptions::new();
            cache.insert(&answers(id), value, &options).await.unwrap();
            assert!(cache.get(&answers(id)).await.is_some());
        }
        match round {
            0 => define(&root, "tester", change),
            _ => fs::remove_file(root.join("tester.md")).unwrap(),
        }
        let told = tokio::time::timeout(Duration::from_secs(30), events.recv());
        let told = told.await.expect("a change is told").unwrap().unwrap();
        assert_eq!(
            told,
            Event::AgentUpdated {
                id: "tester".into()
            }
        );
        assert!(cache.get(&answers("tester")).await.is_none());
        assert!(cache.get(&answers("writer")).await.is_some());
    }

    // It ends with the handle.
    drop(watching);
    let (sender, heard) = channel();
    let other = catalog(&root);
    let others = other.watch(SETTLE, move |_| {
        let _heard = sender.send(());
    });
    let others = others.unwrap();
    define(&root, "writer", "writes no more");
    heard.recv_timeout(Duration::from_secs(30)).unwrap();
    drop(others);
    assert_eq!(events.try_recv(), None);
    assert!(cache.get(&answers("writer")).await.is_some());
    runtime.close().await.unwrap();
}

//! Changes heard as they happen.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use mainspring_agents::{AgentCatalog, CatalogOptions, Changes, Watching};

const SETTLE: Duration = Duration::from_millis(5);
/// Longer than any machine needs: what is waited for comes, or the test fails.
const LONG: Duration = Duration::from_secs(30);

fn write(root: &Path, id: &str, description: &str) {
    let text = format!("---\ndescription: {description}\n---\nYou are {id}.\n");
    // As editors do it: nobody sees half of it.
    let half = root.join(".half");
    fs::write(&half, text).unwrap();
    fs::rename(&half, root.join(format!("{id}.md"))).unwrap();
}

fn watched(root: &Path) -> (Arc<AgentCatalog>, Watching, Receiver<Changes>) {
    let options = CatalogOptions::new([root]).cache_file(root.join("cache.bin"));
    let catalog = Arc::new(AgentCatalog::open(options).unwrap());
    let (sender, heard) = channel();
    let watching = catalog.watch(SETTLE, move |changes| {
        // Nobody listens any more where a test has failed.
        let _heard = sender.send(changes.clone());
    });
    (catalog, watching.unwrap(), heard)
}

/// Waits until the changes heard add up to what is wanted, whatever steps they came in.
fn hear(heard: &Receiver<Changes>, mut wanted: Vec<&str>) {
    while !wanted.is_empty() {
        let changes = heard.recv_timeout(LONG).expect("a change is told");
        let marks = [
            ("+", &changes.added),
            ("~", &changes.changed),
            ("-", &changes.removed),
        ];
        for (mark, ids) in marks {
            for id in ids {
                let told = format!("{mark}{id}");
                wanted.retain(|wanted| *wanted != told);
            }
        }
    }
}

#[test]
fn what_is_written_edited_and_removed_is_told_and_at_hand() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "old", "was here");
    let (catalog, _watching, heard) = watched(folder.path());
    write(folder.path(), "new", "comes later");
    hear(&heard, vec!["+new"]);
    assert_eq!(catalog.ids(), ["new", "old"]);
    assert_eq!(catalog.select("comes later", 1)[0].definition.id, "new");

    write(folder.path(), "old", "was changed");
    hear(&heard, vec!["~old"]);
    assert_eq!(catalog.get("old").unwrap().description, "was changed");
    fs::create_dir(folder.path().join("deep")).unwrap();
    write(&folder.path().join("deep"), "third", "lies deeper");
    fs::remove_file(folder.path().join("old.md")).unwrap();
    hear(&heard, vec!["+third", "-old"]);
    fs::remove_dir_all(folder.path().join("deep")).unwrap();
    hear(&heard, vec!["-third"]);
    assert_eq!(catalog.ids(), ["new"]);
}

#[test]
fn a_change_that_a_look_up_noticed_first_is_told_nevertheless() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a", "first");
    let (catalog, _watching, heard) = watched(folder.path());
    write(folder.path(), "a", "second");
    assert_eq!(catalog.get("a").unwrap().description, "second");
    hear(&heard, vec!["~a"]);
}

#[test]
fn a_directory_that_comes_later_or_comes_back_is_watched() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("not/yet/agents");
    let (_catalog, _watching, heard) = {
        let options = CatalogOptions::new([&root]);
        let catalog = Arc::new(AgentCatalog::open(options).unwrap());
        let (sender, heard) = channel();
        let watching = catalog.watch(SETTLE, move |changes| {
            let _heard = sender.send(changes.clone());
        });
        (catalog, watching.unwrap(), heard)
    };
    fs::create_dir_all(&root).unwrap();
    write(&root, "a", "there");
    hear(&heard, vec!["+a"]);
    for round in 0..3 {
        fs::remove_dir_all(folder.path().join("not")).unwrap();
        if round > 0 {
            hear(&heard, vec!["-a"]);
        }
        fs::create_dir_all(&root).unwrap();
        write(&root, "a", &format!("there again, {round}"));
        let told = heard.recv_timeout(LONG).expect("told");
        assert!(told.ids().eq(["a"]), "{told:?}");
        if told.added.is_empty() && told.changed.is_empty() {
            hear(&heard, vec!["+a"]);
        }
    }
}

#[test]
fn a_callback_may_panic_and_may_drop_its_own_handle() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Arc::new(AgentCatalog::open(CatalogOptions::new([folder.path()])).unwrap());
    let (sender, heard) = channel();
    let slot = Arc::new(std::sync::Mutex::new(None::<Watching>));
    let own = Arc::clone(&slot);
    let mut calls = 0;
    let watching = catalog.watch(SETTLE, move |_| {
        calls += 1;
        let _heard = sender.send(calls);
        assert!(calls != 1, "the first call fails");
        drop(own.lock().unwrap().take());
    });
    *slot.lock().unwrap() = Some(watching.unwrap());
    write(folder.path(), "a", "one");
    assert_eq!(heard.recv_timeout(LONG), Ok(1));
    write(folder.path(), "b", "two");
    assert_eq!(heard.recv_timeout(LONG), Ok(2));
    // The thread has ended, and its sender with it.
    assert!(heard.recv_timeout(LONG).is_err());
    assert!(slot.lock().unwrap().is_none());
}

#[test]
fn it_ends_with_the_handle_and_with_the_catalog() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, watching, heard) = watched(folder.path());
    drop(watching);
    write(folder.path(), "a", "unheard");
    assert!(heard.recv().is_err(), "the callback is gone");
    assert_eq!(Arc::strong_count(&catalog), 1);

    let (catalog, _watching, heard) = watched(folder.path());
    drop(catalog);
    write(folder.path(), "b", "heard by a last look or by none");
    let heard: Vec<Changes> = heard.iter().collect();
    assert!(heard.len() <= 1, "{heard:?}");
}

/// Whether a watch of this process is on the directory.
#[cfg(target_os = "linux")]
fn is_watched(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let mark = format!(" ino:{:x} ", fs::metadata(path).unwrap().ino());
    let descriptors = fs::read_dir("/proc/self/fdinfo").unwrap();
    descriptors
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
        .any(|text| {
            let mut lines = text.lines();
            lines.any(|line| line.starts_with("inotify ") && line.contains(&mark))
        })
}

#[test]
#[cfg(target_os = "linux")]
fn a_link_leads_to_a_root_and_to_nothing_below_it() {
    let folder = tempfile::tempdir().unwrap();
    let [real, root, elsewhere] =
        ["real", "root", "elsewhere"].map(|name| folder.path().join(name));
    for path in [&real, &real.join("deep"), &elsewhere] {
        fs::create_dir(path).unwrap();
    }
    std::os::unix::fs::symlink(&real, &root).unwrap();
    std::os::unix::fs::symlink(&elsewhere, real.join("link")).unwrap();
    let (catalog, _watching, heard) = watched(&root);
    write(&root, "a", "first");
    hear(&heard, vec!["+a"]);
    fs::create_dir(root.join("later")).unwrap();
    write(&root.join("later"), "b", "second");
    hear(&heard, vec!["+b"]);
    write(&root.join("deep"), "c", "third");
    hear(&heard, vec!["+c"]);
    assert_eq!(catalog.ids(), ["a", "b", "c"]);

    if is_watched(&real) {
        assert!(is_watched(&real.join("deep")));
        assert!(
            !is_watched(&elsewhere),
            "a whole disk may lie behind a link"
        );
    } else {
        println!("skipped: this system does not show its watches");
    }
}

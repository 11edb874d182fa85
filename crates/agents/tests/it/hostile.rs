//! Directories that hold what no editor leaves there.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt, net::UnixListener},
    path::Path,
    sync::{Arc, mpsc::channel},
    thread,
    time::{Duration, SystemTime},
};

use mainspring_agents::{AgentCatalog, CatalogOptions, Error};
use rustix::fs::{CWD, Mode};

fn definition(description: &str) -> String {
    format!("---\ndescription: {description}\n---\nYou are {description}.\n")
}

/// Files count as files at rest.
fn options(root: &Path) -> CatalogOptions {
    let clock = || SystemTime::now() + Duration::from_secs(3_600);
    CatalogOptions::new([root]).clock(Arc::new(clock))
}

fn fifo(path: &Path) {
    rustix::fs::mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}

/// Fails where the work would wait for ever.
fn ends<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, done) = channel();
    thread::spawn(move || sender.send(work()));
    let done = done.recv_timeout(Duration::from_secs(30));
    done.expect("it ends without waiting for another process")
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_waited_for_by_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (root, cache) = (folder.path().join("agents"), folder.path().join("cache"));
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.md"), definition("first")).unwrap();
    fifo(&root.join("pipe.md"));
    fifo(&cache);
    let options = options(&root).cache_file(&cache);
    let open = {
        let options = options.clone();
        move || Arc::new(AgentCatalog::open(options).unwrap())
    };
    let catalog = ends(open);
    assert_eq!(catalog.ids(), ["a"]);
    assert!(
        matches!(&catalog.problems()[..], [Error::Io { path, .. }] if *path == cache),
        "{:?}",
        catalog.problems()
    );
    let warm = AgentCatalog::open(options).unwrap();
    assert_eq!((warm.problems().len(), warm.stats().files_read), (0, 0));

    fs::remove_file(root.join("a.md")).unwrap();
    fifo(&root.join("a.md"));
    let found = ends(move || catalog.get("a"));
    assert!(matches!(found, Err(Error::NotFound { .. })), "{found:?}");
}

#[test]
fn a_socket_in_the_place_of_a_file_takes_its_agent_along() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.md");
    fs::write(&path, definition("first")).unwrap();
    let catalog = AgentCatalog::open(options(folder.path())).unwrap();
    fs::remove_file(&path).unwrap();
    let _socket = UnixListener::bind(&path).unwrap();
    let found = catalog.get("a");
    assert!(matches!(found, Err(Error::NotFound { .. })), "{found:?}");
    assert!(catalog.ids().is_empty());
}

#[test]
fn the_largest_bounds_are_bounds_like_others() {
    let folder = tempfile::tempdir().unwrap();
    let (root, cache) = (folder.path().join("agents"), folder.path().join("cache"));
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.md"), definition("first")).unwrap();
    for reads in [1, 0] {
        let options = options(&root).cache_file(&cache);
        let options = options
            .max_depth(usize::MAX)
            .max_files(usize::MAX)
            .max_file_bytes(u64::MAX)
            .max_total_bytes(usize::MAX);
        let catalog = AgentCatalog::open(options).unwrap();
        assert!(catalog.problems().is_empty(), "{:?}", catalog.problems());
        assert_eq!(catalog.ids(), ["a"]);
        assert_eq!(catalog.stats().files_read, reads);
    }
}

#[test]
fn what_lay_in_a_directory_that_is_a_file_now_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("deep");
    fs::create_dir(&deep).unwrap();
    fs::write(deep.join("a.md"), definition("first")).unwrap();
    let catalog = AgentCatalog::open(options(folder.path())).unwrap();
    fs::remove_dir_all(&deep).unwrap();
    fs::write(&deep, "a file").unwrap();
    assert!(matches!(catalog.get("a"), Err(Error::NotFound { .. })));
    assert!(catalog.ids().is_empty());
}

#[test]
fn a_name_that_is_no_text_hides_no_definition() {
    let folder = tempfile::tempdir().unwrap();
    let named = "---\nname: z\ndescription: named\n---\n";
    let names = [&b"\xff.md"[..], b"\xfe.md"];
    for (name, text) in names.into_iter().zip([named, &definition("unnamed")]) {
        fs::write(folder.path().join(OsStr::from_bytes(name)), text).unwrap();
    }
    let cache = folder.path().join("cache");
    for _ in 0..2 {
        let catalog = AgentCatalog::open(options(folder.path()).cache_file(&cache)).unwrap();
        assert_eq!(catalog.ids(), ["z"]);
        assert_eq!(catalog.get("z").unwrap().description, "named");
        let problems = catalog.problems();
        assert!(
            matches!(&problems[..], [Error::Definition { line: 1, what, .. }] if what.contains("`name`")),
            "{problems:?}"
        );
    }
}

#[test]
fn what_the_front_matter_holds_counts_as_memory() {
    let folder = tempfile::tempdir().unwrap();
    let items = vec!["a"; 2_000].join(",");
    for name in ["1", "2", "3"] {
        let text = format!("---\ndescription: d\nown: [{items}]\n---\n");
        fs::write(folder.path().join(name).with_extension("md"), text).unwrap();
    }
    let options = options(folder.path()).max_total_bytes(150_000);
    let catalog = AgentCatalog::open(options).unwrap();
    assert_eq!(catalog.ids(), ["1"]);
    let memory = |problem: &Error| matches!(problem, Error::LimitExceeded { limit: 150_000, .. });
    assert!(catalog.problems().iter().all(memory));
    assert_eq!(catalog.problems().len(), 2);
}

#[test]
fn a_root_inside_another_one_shows_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("a.md"), definition("first")).unwrap();
    let clock = || SystemTime::now() + Duration::from_secs(3_600);
    let options = CatalogOptions::new([folder.path(), &inner]).clock(Arc::new(clock));
    let catalog = AgentCatalog::open(options).unwrap();
    assert_eq!(catalog.ids(), ["a"]);
    assert!(catalog.problems().is_empty(), "{:?}", catalog.problems());
    assert_eq!(catalog.refresh().unwrap().files_read, 1);
}

#[test]
fn a_file_that_is_overruled_is_remembered_until_its_turn_comes() {
    let folder = tempfile::tempdir().unwrap();
    let (mine, shared, cache) = (
        folder.path().join("mine"),
        folder.path().join("shared"),
        folder.path().join("cache"),
    );
    for (root, text) in [(&mine, "mine"), (&shared, "shared")] {
        fs::create_dir(root).unwrap();
        fs::write(root.join("a.md"), definition(text)).unwrap();
    }
    let open = || {
        let clock = || SystemTime::now() + Duration::from_secs(3_600);
        let options = CatalogOptions::new([&mine, &shared]).cache_file(&cache);
        AgentCatalog::open(options.clock(Arc::new(clock))).unwrap()
    };
    assert_eq!(open().stats().files_read, 2);
    let written = fs::metadata(&cache).unwrap().ino();
    let catalog = open();
    assert_eq!(catalog.refresh().unwrap().files_read, 0);
    assert_eq!(fs::metadata(&cache).unwrap().ino(), written, "not anew");
    assert_eq!(catalog.get("a").unwrap().description, "mine");

    fs::remove_file(mine.join("a.md")).unwrap();
    assert_eq!(catalog.refresh().unwrap().files_read, 0);
    assert_eq!(catalog.get("a").unwrap().description, "shared");
    assert_ne!(fs::metadata(&cache).unwrap().ino(), written, "one is gone");
}

#[test]
fn a_broken_file_does_not_have_the_cache_file_written_at_every_look() {
    let folder = tempfile::tempdir().unwrap();
    let (root, cache) = (folder.path().join("agents"), folder.path().join("cache"));
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.md"), definition("first")).unwrap();
    fs::write(root.join("b.md"), "---\nname: b\n---\n").unwrap();
    let catalog = AgentCatalog::open(options(&root).cache_file(&cache)).unwrap();
    let written = || fs::metadata(&cache).unwrap().ino();
    let first = written();
    catalog.refresh().unwrap();
    assert_eq!(written(), first);
    fs::write(root.join("a.md"), "---\nname: a\n---\n").unwrap();
    catalog.refresh().unwrap();
    assert_ne!(written(), first, "one is no definition any more");
}

#[test]
fn many_names_that_define_nothing_are_passed_over_within_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..40 {
        fs::write(folder.path().join(format!("{i}.txt")), "text").unwrap();
    }
    fs::write(folder.path().join("a.md"), definition("first")).unwrap();
    let told = |files| {
        let options = options(folder.path()).max_files(files);
        AgentCatalog::open(options).unwrap().problems().len()
    };
    assert_eq!((told(2), told(3)), (1, 0), "16 names for each file allowed");
}

#[test]
fn catalogs_that_write_one_cache_file_at_once_leave_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let (root, cache) = (folder.path().join("agents"), folder.path().join("cache"));
    fs::create_dir(&root).unwrap();
    for i in 0..8 {
        fs::write(root.join(format!("a{i}.md")), definition("something")).unwrap();
    }
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let catalog = AgentCatalog::open(options(&root).cache_file(&cache)).unwrap();
                (0..20).for_each(|_| catalog.save().unwrap());
                assert!(catalog.problems().is_empty(), "{:?}", catalog.problems());
            });
        }
    });
    let warm = AgentCatalog::open(options(&root).cache_file(&cache)).unwrap();
    assert_eq!((warm.problems().len(), warm.stats().files_read), (0, 0));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

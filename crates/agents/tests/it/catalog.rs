//! Discovery, the cache, and what is noticed of changes.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use mainspring_agents::{AgentCatalog, CatalogOptions, Error};
use tempfile::TempDir;

struct Folder {
    directory: TempDir,
    /// What the clock is ahead of the system's: files that are written now are at rest for so long.
    ahead: Arc<Mutex<Duration>>,
}

impl Folder {
    fn new() -> Self {
        let ahead = Arc::new(Mutex::new(Duration::from_secs(3_600)));
        Self {
            directory: tempfile::tempdir().unwrap(),
            ahead,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("agents").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn agent(&self, name: &str, description: &str) {
        self.write(&format!("{name}.md"), &definition(description));
    }

    fn options(&self) -> CatalogOptions {
        let ahead = Arc::clone(&self.ahead);
        let clock = Arc::new(move || SystemTime::now() + *ahead.lock().unwrap());
        CatalogOptions::new([self.path("")])
            .cache_file(self.directory.path().join("cache/agents.bin"))
            .clock(clock)
    }

    fn open(&self) -> AgentCatalog {
        AgentCatalog::open(self.options()).unwrap()
    }

    fn cache_file(&self) -> PathBuf {
        self.directory.path().join("cache/agents.bin")
    }
}

fn definition(description: &str) -> String {
    format!("---\ndescription: {description}\n---\nYou are {description}.\n")
}

fn description(catalog: &AgentCatalog, id: &str) -> String {
    catalog.get(id).unwrap().description.clone()
}

#[test]
fn definitions_are_found_below_the_root_and_only_those() {
    let folder = Folder::new();
    folder.agent("a", "first");
    folder.agent("deep/er/b", "second");
    folder.agent(".git/c", "hidden");
    folder.write("README.md", "# Not a definition\n");
    folder.write("notes.txt", &definition("not markdown"));
    let catalog = folder.open();
    assert_eq!(catalog.ids(), ["a", "b"]);
    assert!(catalog.problems().is_empty(), "{:?}", catalog.problems());
    assert_eq!(catalog.get("b").unwrap().prompt, "You are second.\n");
    assert!(matches!(catalog.get("c"), Err(Error::NotFound { .. })));
}

#[test]
fn a_warm_look_up_is_one_stat_and_no_read() {
    let folder = Folder::new();
    folder.agent("a", "first");
    let catalog = folder.open();
    let before = catalog.stats();
    for _ in 0..10 {
        catalog.get("a").unwrap();
    }
    let after = catalog.stats();
    assert_eq!(after.files_checked - before.files_checked, 10);
    assert_eq!(
        (after.files_read, after.files_parsed),
        (before.files_read, before.files_parsed)
    );
}

#[test]
fn a_warm_start_reads_and_parses_no_definition() {
    let folder = Folder::new();
    for i in 0..20 {
        folder.agent(&format!("agent-{i}"), "something");
    }
    folder.write("README.md", "# Not a definition\n");
    assert_eq!(folder.open().stats().files_parsed, 20);
    let warm = folder.open();
    let stats = warm.stats();
    assert_eq!((stats.definitions, stats.files_checked), (20, 21));
    assert_eq!((stats.files_read, stats.files_parsed), (0, 0));
    assert_eq!(warm.get("agent-7").unwrap().prompt, "You are something.\n");
    assert_eq!(warm.stats().files_read, 0);
}

#[test]
fn an_edit_is_noticed_by_the_next_look_up_and_by_the_next_start() {
    let folder = Folder::new();
    folder.agent("a", "first version");
    let catalog = folder.open();
    assert_eq!(
        catalog.select("version", 1)[0].definition.description,
        "first version"
    );
    folder.agent("a", "second, longer version");
    assert_eq!(description(&catalog, "a"), "second, longer version");
    assert_eq!(catalog.select("longer", 1).len(), 1, "the index follows");
    assert_eq!(description(&folder.open(), "a"), "second, longer version");
}

/// deer-flow#4124: an edit that keeps size and modification time is an edit all the same.
#[test]
fn deer_flow_4124_the_content_decides_not_the_modification_time() {
    let folder = Folder::new();
    folder.agent("a", "version 1");
    // The file is not at rest: its stat proves nothing.
    *folder.ahead.lock().unwrap() = Duration::ZERO;
    let catalog = folder.open();
    let path = folder.path("a.md");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    for version in 2..6 {
        let mut same_file = definition("version 1").into_bytes();
        let at = same_file.len();
        same_file.clear();
        same_file.extend_from_slice(definition(&format!("version {version}")).as_bytes());
        assert_eq!(same_file.len(), at);
        fs::write(&path, same_file).unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(modified)
            .unwrap();
        assert_eq!(description(&catalog, "a"), format!("version {version}"));
        assert_eq!(
            description(&folder.open(), "a"),
            format!("version {version}")
        );
    }
}

#[cfg(unix)]
#[test]
fn an_edit_of_a_resting_file_that_restores_its_modification_time_is_noticed() {
    use std::os::unix::fs::MetadataExt;

    let folder = Folder::new();
    folder.agent("a", "version 1");
    let catalog = folder.open();
    let path = folder.path("a.md");
    let before = fs::metadata(&path).unwrap();
    let changed = |metadata: &fs::Metadata| (metadata.ctime(), metadata.ctime_nsec());
    // The clock claims that the file rests, so the edit must not fall into the tick of its creation.
    while changed(&fs::metadata(&path).unwrap()) == changed(&before) {
        fs::write(&path, definition("version 2")).unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(before.modified().unwrap())
            .unwrap();
    }
    let after = fs::metadata(&path).unwrap();
    assert_eq!(
        (after.len(), after.modified().unwrap()),
        (before.len(), before.modified().unwrap())
    );
    assert_eq!(description(&catalog, "a"), "version 2");
    assert_eq!(description(&folder.open(), "a"), "version 2");
}

#[test]
fn a_young_file_is_read_until_it_rests_and_parsed_once() {
    let folder = Folder::new();
    folder.agent("a", "young");
    *folder.ahead.lock().unwrap() = Duration::ZERO;
    let catalog = folder.open();
    for _ in 0..3 {
        catalog.get("a").unwrap();
    }
    assert_eq!(
        (catalog.stats().files_read, catalog.stats().files_parsed),
        (4, 1)
    );
    *folder.ahead.lock().unwrap() = Duration::from_secs(10);
    for _ in 0..3 {
        catalog.get("a").unwrap();
    }
    assert_eq!(
        (catalog.stats().files_read, catalog.stats().files_parsed),
        (5, 1)
    );
}

#[test]
fn a_touched_file_is_read_but_not_parsed_again() {
    let folder = Folder::new();
    folder.agent("a", "first");
    let catalog = folder.open();
    let held = catalog.get("a").unwrap();
    File::options()
        .write(true)
        .open(folder.path("a.md"))
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH)
        .unwrap();
    assert!(Arc::ptr_eq(&held, &catalog.get("a").unwrap()));
    assert_eq!(
        (catalog.stats().files_read, catalog.stats().files_parsed),
        (2, 1)
    );
}

#[test]
fn new_and_removed_files() {
    let folder = Folder::new();
    folder.agent("a", "first");
    folder.agent("b", "second");
    let catalog = folder.open();
    fs::remove_file(folder.path("a.md")).unwrap();
    folder.agent("c", "third");
    assert!(matches!(catalog.get("a"), Err(Error::NotFound { .. })));
    assert!(catalog.select("first", 5).is_empty());
    assert!(
        catalog.get("c").is_err(),
        "new files are found by a refresh"
    );
    assert_eq!(catalog.refresh().unwrap().definitions, 2);
    assert_eq!(catalog.ids(), ["b", "c"]);
    assert_eq!(
        catalog.stats().files_parsed,
        3,
        "what is known is not parsed again"
    );
    assert_eq!(folder.open().ids(), ["b", "c"]);
}

#[test]
fn a_definition_that_turns_bad_is_an_error_until_it_is_mended() {
    let folder = Folder::new();
    folder.agent("a", "good");
    let catalog = folder.open();
    folder.write("a.md", "---\ndescription: [open\n---\n");
    let error = catalog.get("a").unwrap_err();
    assert!(
        matches!(error, Error::Definition { line: 2, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("a.md:2:"), "{error}");
    folder.agent("a", "mended at last");
    assert_eq!(description(&catalog, "a"), "mended at last");
}

#[test]
fn a_file_that_takes_another_name_is_another_agent() {
    let folder = Folder::new();
    folder.agent("a", "first");
    let catalog = folder.open();
    folder.write("a.md", "---\nname: z\ndescription: renamed\n---\n");
    assert!(matches!(catalog.get("a"), Err(Error::NotFound { .. })));
    catalog.refresh().unwrap();
    assert_eq!(catalog.ids(), ["z"]);
}

#[test]
fn a_bad_definition_stops_no_other() {
    let folder = Folder::new();
    folder.agent("good", "fine");
    folder.write("bad.md", "---\ndescription: 'open\n---\n");
    folder.write("binary.md", "");
    fs::write(folder.path("binary.md"), b"---\n\xff\n---\n").unwrap();
    let catalog = folder.open();
    assert_eq!(catalog.ids(), ["good"]);
    let problems: Vec<String> = catalog.problems().iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[0].contains("bad.md:2:") && problems[1].contains("binary.md:2:"),
        "{problems:?}"
    );
}

#[test]
fn the_first_root_wins_and_a_double_in_one_root_is_a_problem() {
    let folder = Folder::new();
    folder.agent("project/a", "of the project");
    folder.agent("user/a", "of the user");
    folder.write("user/other.md", "---\nname: twice\ndescription: one\n---\n");
    folder.write(
        "user/second.md",
        "---\nname: twice\ndescription: two\n---\n",
    );
    let roots = [
        folder.path("project"),
        folder.path("missing"),
        folder.path("user"),
    ];
    let catalog = AgentCatalog::open(CatalogOptions::new(roots)).unwrap();
    assert_eq!(description(&catalog, "a"), "of the project");
    assert_eq!(description(&catalog, "twice"), "one");
    assert_eq!(catalog.problems().len(), 1);
    assert!(
        catalog.problems()[0]
            .to_string()
            .contains("already defined")
    );
}

#[test]
fn bounds_are_kept_and_told() {
    let folder = Folder::new();
    for i in 0..10 {
        folder.agent(&format!("a{i}"), "something");
    }
    folder.agent("1/2/3/deep", "too deep");
    folder.write("huge.md", &definition(&"x".repeat(5_000)));
    let told = |options: CatalogOptions, what: &str| {
        let catalog = AgentCatalog::open(options).unwrap();
        let problems: Vec<String> = catalog.problems().iter().map(ToString::to_string).collect();
        assert!(
            problems.iter().any(|problem| problem.contains(what)),
            "{problems:?}"
        );
        catalog.ids().len()
    };
    let options = || CatalogOptions::new([folder.path("")]);
    assert_eq!(told(options().max_files(4), "number of files"), 4);
    assert_eq!(told(options().max_depth(2), "depth of directories"), 11);
    assert_eq!(
        told(options().max_file_bytes(1_000), "larger than 1000 bytes"),
        11
    );
    assert!(told(options().max_total_bytes(3_000), "memory of all") < 8);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_directory_is_no_way_into_a_loop() {
    let folder = Folder::new();
    folder.agent("real/a", "first");
    std::os::unix::fs::symlink(folder.path(""), folder.path("real/loop")).unwrap();
    std::os::unix::fs::symlink(folder.path("real/a.md"), folder.path("alias.md")).unwrap();
    std::os::unix::fs::symlink("/nonexistent", folder.path("dangling.md")).unwrap();
    let catalog = folder.open();
    assert_eq!(catalog.ids(), ["a", "alias"]);
    assert_eq!(catalog.problems().len(), 1);
}

#[test]
fn a_damaged_cache_file_is_told_and_written_anew() {
    let folder = Folder::new();
    folder.agent("a", "first");
    drop(folder.open());
    for bytes in [b"garbage".to_vec(), {
        let mut bytes = fs::read(folder.cache_file()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    }] {
        fs::write(folder.cache_file(), bytes).unwrap();
        let catalog = folder.open();
        assert!(
            matches!(catalog.problems()[..], [Error::Damaged { .. }]),
            "{:?}",
            catalog.problems()
        );
        assert_eq!(description(&catalog, "a"), "first");
        assert!(folder.open().problems().is_empty());
        assert_eq!(folder.open().stats().files_read, 0);
    }
}

#[test]
fn a_cache_file_that_cannot_be_written_is_told() {
    let folder = Folder::new();
    folder.agent("a", "first");
    let inside_a_file = folder.path("a.md").join("cache");
    let catalog = AgentCatalog::open(folder.options().cache_file(inside_a_file)).unwrap();
    assert_eq!(catalog.ids(), ["a"]);
    assert!(!catalog.problems().is_empty());
    assert!(
        catalog
            .problems()
            .iter()
            .all(|problem| matches!(problem, Error::Io { .. }))
    );
}

#[test]
fn uses_are_counted_and_survive() {
    let folder = Folder::new();
    for name in ["a", "b", "c", "d"] {
        folder.agent(name, "something");
    }
    let catalog = folder.open();
    for (name, uses) in [("b", 3), ("c", 5), ("a", 3)] {
        (0..uses).for_each(|_| drop(catalog.get(name)));
    }
    assert_eq!(catalog.most_used(10), ["c", "a", "b"]);
    catalog.save().unwrap();

    let later = folder.open();
    assert_eq!(later.most_used(2), ["c", "a"]);
    let preloaded = later.preload(&["d", "missing", "c"], 2);
    let names: Vec<(&str, bool)> = preloaded
        .iter()
        .map(|(id, found)| (id.as_str(), found.is_ok()))
        .collect();
    assert_eq!(
        names,
        [("d", true), ("missing", false), ("c", true), ("a", true)]
    );
    assert_eq!(later.most_used(10), ["c", "a", "b"], "preloading is no use");
}

#[test]
fn look_ups_scans_and_edits_from_many_threads() {
    let folder = Folder::new();
    for i in 0..8 {
        folder.agent(&format!("a{i}"), "start");
    }
    let catalog = folder.open();
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let catalog = &catalog;
            scope.spawn(move || {
                (0..200).for_each(|i| drop(catalog.get(&format!("a{}", (i + worker) % 8)).unwrap()))
            });
        }
        scope.spawn(|| (0..20).for_each(|_| assert_eq!(catalog.refresh().unwrap().problems, 0)));
        scope.spawn(|| {
            (0..50).for_each(|i| replace(&folder.path("a3.md"), &definition(&format!("edit {i}"))))
        });
    });
    assert_eq!(description(&catalog, "a3"), "edit 49");
    assert_eq!(catalog.ids().len(), 8);
}

/// As an editor saves: a new file in the old one's place.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("tmp");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

//! Reports written, read back, judged again, and quoted by documents.

use std::collections::BTreeMap;

use mainspring_benches::{
    Comparison, Measured, Report, Row, Scale, Target, Verdict, write_documents,
};

fn target(id: &str, bar: f64) -> Target {
    Target {
        id: id.to_owned(),
        area: "store".to_owned(),
        title: "a | title".to_owned(),
        unit: "ratio".to_owned(),
        comparison: Comparison::AtMost,
        documented: String::new(),
        bar,
        full_input: String::new(),
    }
}

fn report() -> Report {
    let met = Row::measured(&target("store.a", 1.0), Scale::Full, Measured::counted(0.5));
    let lost = Row::measured(&target("store.b", 1.0), Scale::Full, Measured::counted(2.0));
    let mut report = Report::new(true, vec![met, lost]);
    report.commit = "0123456789ab".to_owned();
    report
}

#[test]
fn a_report_reads_back_and_its_verdicts_follow_from_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/report.json");
    report().write(&path).unwrap();
    let read = Report::read(&path).unwrap();
    assert_eq!(read.rows[0].verdict, Verdict::Met);
    assert_eq!(read.rows[1].verdict, Verdict::Missed);
    assert!(read.rows.iter().all(Row::is_consistent));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"missed\"", "\"met\"")).unwrap();
    assert!(!Report::read(&path).unwrap().rows[1].is_consistent());
}

#[test]
fn documents_take_whole_areas_and_keep_lost_rows() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::create_dir_all(root.join("docs")).unwrap();
    std::fs::create_dir_all(root.join("crates/mmap-store")).unwrap();
    let marked = "before\n<!-- bench:store -->\n<!-- /bench:store -->\nafter\n";
    let readme = root.join("crates/mmap-store/README.md");
    std::fs::write(&readme, marked).unwrap();
    // One test of this binary alone reads the variable.
    let written = temporarily(|| {
        let partly: BTreeMap<_, _> = [("store".to_owned(), 3)].into();
        let refused = write_documents(root, &report(), &partly).unwrap_err();
        assert!(refused.to_string().contains("part"), "{refused}");
        let whole: BTreeMap<_, _> = [("store".to_owned(), 2)].into();
        let mut changed = report();
        changed.commit.push_str("-dirty");
        let refused = write_documents(root, &changed, &whole).unwrap_err();
        assert!(refused.to_string().contains("commit"), "{refused}");
        write_documents(root, &report(), &whole)
    });
    let Some(written) = written else {
        return;
    };
    written.unwrap();
    let text = std::fs::read_to_string(&readme).unwrap();
    assert!(
        text.starts_with("before\n") && text.ends_with("\nafter\n"),
        "{text}"
    );
    assert!(
        text.contains("**missed**") && text.contains("a \\| title"),
        "{text}"
    );
    assert!(text.contains("code=77 table="), "{text}");
    assert!(root.join("docs/benchmarks.json").is_file());
}

/// Runs `work` when the digests that `cargo xtask` passes on stand in the environment, which a test
/// cannot set for itself safely; otherwise this test is started again with them.
fn temporarily<T>(work: impl FnOnce() -> T) -> Option<T> {
    if std::env::var(mainspring_benches::CODE).as_deref() == Ok("store=77") {
        return Some(work());
    }
    let program = std::env::current_exe().unwrap();
    let status = std::process::Command::new(program)
        .args([
            "--exact",
            "documents::documents_take_whole_areas_and_keep_lost_rows",
        ])
        .env(mainspring_benches::CODE, "store=77")
        .status()
        .unwrap();
    assert!(status.success());
    None
}

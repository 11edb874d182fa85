//! Commits, goes back, branches, forks: twenty lines.

use mainspring_delta_snapshot::{CommitOptions, DirBacking, Error, Options, Snapshots};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).map_or_else(
        || std::env::temp_dir().join("mainspring-time-travel"),
        Into::into,
    );
    let snapshots = Snapshots::open(DirBacking::open(&folder)?, Options::new())?;
    let thread = snapshots.thread("demo")?;
    if thread.head().is_none() {
        thread.set("", r#"{"messages":[]}"#)?;
    }
    let parent = thread.head();
    thread.append("/messages", &[r#"{"role":"user","content":"a visit"}"#])?;
    let head = thread.commit(CommitOptions::new().expect_parent(parent).label("visit"))?;
    for version in thread.versions()? {
        println!(
            "{} {:>6} bytes {:?}",
            version.id, version.size, version.kind
        );
    }
    match snapshots.fork(head, "what-if") {
        Ok(fork) => println!("fork at {:?}", fork.commit(CommitOptions::new())?),
        Err(Error::InUse { what }) => println!("{what} is there already"),
        Err(other) => return Err(other.into()),
    }
    snapshots.sync()?;
    println!("{:?}", snapshots.stats()?);
    Ok(())
}

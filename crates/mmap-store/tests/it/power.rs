//! A power cut on a real file system: ext4 on a loop device, shut down by its own ioctl while a
//! process writes, so that what only the page cache held is gone. Needs root and loop devices; says
//! so and does nothing where they are missing.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mainspring_mmap_store::{Batch, Durability, Options};

use crate::processes::{DIR, child};

/// `EXT4_IOC_SHUTDOWN`, and its flag that the journal is not flushed either.
const SHUTDOWN: libc::c_ulong = 0x8004_587d;
const NO_LOG_FLUSH: u32 = 2;

struct Disk {
    image: PathBuf,
    mount: PathBuf,
    _dir: tempfile::TempDir,
}

fn run(command: &str, arguments: &[&std::ffi::OsStr]) -> Result<(), String> {
    let mut process = Command::new(command);
    let status = process
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command}: {status}")),
        Err(e) => Err(format!("{command}: {e}")),
    }
}

impl Disk {
    fn new() -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let disk = Self {
            image: dir.path().join("image"),
            mount: dir.path().join("mount"),
            _dir: dir,
        };
        std::fs::create_dir(&disk.mount).map_err(|e| e.to_string())?;
        let image = File::create(&disk.image).map_err(|e| e.to_string())?;
        image.set_len(64 << 20).map_err(|e| e.to_string())?;
        run(
            "mkfs.ext4",
            &["-q".as_ref(), "-F".as_ref(), disk.image.as_ref()],
        )?;
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), String> {
        let loops = ["-o", "loop"].map(std::ffi::OsStr::new);
        run(
            "mount",
            &[loops[0], loops[1], self.image.as_ref(), self.mount.as_ref()],
        )
    }

    fn unmount(&self) -> Result<(), String> {
        run("umount", &[self.mount.as_ref()])
    }

    /// From here on nothing reaches the device, and what has not yet is lost.
    #[allow(
        unsafe_code,
        reason = "the file system's own ioctl has no safe wrapper"
    )]
    fn cut_power(&self) -> Result<(), String> {
        let root = File::open(&self.mount).map_err(|e| e.to_string())?;
        // SAFETY: the descriptor is open, and the request reads one u32 from the pointer.
        let done = unsafe {
            libc::ioctl(
                root.as_raw_fd(),
                SHUTDOWN,
                std::ptr::from_ref(&NO_LOG_FLUSH),
            )
        };
        match done {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error().to_string()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.unmount();
    }
}

fn options(durability: Durability) -> Options {
    let options = Options::new().create(true).segment_size(64 << 10);
    options
        .preallocate(16 << 10)
        .checkpoint_every(16 << 10)
        .durability(durability)
}

fn value(number: u64) -> Vec<u8> {
    let len = 100 + number as usize * 37 % 900;
    number.to_le_bytes().into_iter().cycle().take(len).collect()
}

/// Child: durable batches until the disk fails, each said once it is acknowledged.
#[test]
fn child_durable_writer() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let store = options(Durability::Always)
        .open(Path::new(&dir).join("store"))
        .unwrap();
    let last = store.get(b"last").unwrap();
    let first = last.map_or(0, |v| u64::from_le_bytes(v[..].try_into().unwrap()) + 1);
    let mut out = std::io::stdout().lock();
    for number in first.. {
        let mut batch = Batch::new();
        batch.put(format!("at/{}", number % 40).as_bytes(), &value(number));
        batch.put(b"last", &number.to_le_bytes());
        if store.write(batch).is_err() || number % 50 == 49 && store.compact().is_err() {
            break;
        }
        if writeln!(out, "done {number}")
            .and_then(|()| out.flush())
            .is_err()
        {
            break;
        }
    }
    // The store is dropped on a dead disk; that must not hang or panic.
}

/// What a writer was told when the power was cut, and in the end.
struct Told {
    before: u64,
    last: u64,
}

fn cut_while_writing(disk: &Disk, wanted: usize) -> Result<Told, String> {
    let mut writer = child("power::child_durable_writer", &disk.mount);
    let told = writer
        .stdout
        .take()
        .map(|lines| follow(disk, lines, wanted));
    if !matches!(told, Some(Ok(_))) {
        let _ = writer.kill();
    }
    writer.wait().map_err(|e| e.to_string())?;
    told.unwrap_or(Err("no output".into()))
}

fn follow(disk: &Disk, lines: impl std::io::Read, wanted: usize) -> Result<Told, String> {
    let (mut told, mut before, mut seen) = (0, 0, 0);
    for line in BufReader::new(lines).lines().map_while(Result::ok) {
        if let Some(at) = line.find("done ") {
            told = line[at + 5..].trim().parse().map_err(|_| "no number")?;
            seen += 1;
            if seen == wanted {
                before = told;
                disk.cut_power()?;
            }
        }
    }
    Ok(Told { before, last: told })
}

#[test]
fn a_power_cut_on_ext4_takes_nothing_that_was_acknowledged() {
    let disk = match Disk::new() {
        Ok(disk) => disk,
        Err(e) => return println!("skipped: no loop-mounted ext4 here ({e})"),
    };
    for round in 0..6_usize {
        let told = match cut_while_writing(&disk, 5 + round * 37) {
            Ok(told) => told,
            Err(e) => return println!("skipped: the file system cannot be shut down ({e})"),
        };
        disk.unmount().unwrap();
        disk.mount().unwrap();
        let store = options(Durability::Always)
            .open(disk.mount.join("store"))
            .unwrap();
        assert!(
            store.damage().is_empty(),
            "round {round}: {:?}",
            store.damage()
        );
        let last = store.get(b"last").unwrap().unwrap();
        let last = u64::from_le_bytes(last[..].try_into().unwrap());
        // A machine without power acknowledges nothing. The ioctl lets a sync that it overtakes report
        // success although the journal's transaction with the file's new size was given up, so the one
        // batch that was under way may be told and gone.
        assert!(
            told.before <= last && (told.last.saturating_sub(1)..=told.last + 1).contains(&last),
            "round {round}: {last} after {} and {}",
            told.before,
            told.last
        );
        for number in last.saturating_sub(39)..=last {
            let found = store.get(format!("at/{}", number % 40).as_bytes()).unwrap();
            assert_eq!(found.unwrap(), value(number), "round {round}: {number}");
        }
        assert!(store.verify().unwrap().is_clean(), "round {round}");
        drop(store);
    }
}

/// The rig itself: what was never synced is gone after the cut, or it would prove nothing.
#[test]
fn the_cut_takes_what_was_not_synced() {
    let disk = match Disk::new() {
        Ok(disk) => disk,
        Err(e) => return println!("skipped: no loop-mounted ext4 here ({e})"),
    };
    let store = options(Durability::Os)
        .open(disk.mount.join("store"))
        .unwrap();
    store.put(b"kept", b"1").unwrap();
    store.flush(Durability::Always).unwrap();
    store.put(b"lost", b"2").unwrap();
    if let Err(e) = disk.cut_power() {
        return println!("skipped: the file system cannot be shut down ({e})");
    }
    drop(store);
    disk.unmount().unwrap();
    disk.mount().unwrap();
    let store = options(Durability::Os)
        .open(disk.mount.join("store"))
        .unwrap();
    assert_eq!(store.get(b"kept").unwrap().unwrap(), "1");
    assert!(store.get(b"lost").unwrap().is_none());
    assert!(store.damage().is_empty());
    drop(store);
}

//! What a restore holds at most, counted by the allocator: with glibc that is zstd's memory, too.

use std::sync::Arc;

use mainspring_delta_snapshot::{CommitOptions, MemoryBacking, Snapshots};

use crate::basics::options;
use crate::counting::peak_of;
use crate::recorded::session_message;

#[test]
fn a_restore_takes_at_most_twice_the_state() {
    // Bytes of the header, which each step overwrites: little, a third of all that was ever written, and half of it.
    for (messages, header, most) in [(1_000, 40, 1.8), (1_000, 850, 2.0), (2_000, 1_700, 2.0)] {
        let len = 1_700;
        let backing = Arc::new(MemoryBacking::new());
        // Sealed quickly: the window, and so what a restore holds, is the same.
        let options = options().seal_level(1);
        let snapshots = Snapshots::open(backing, options).expect("open");
        let thread = snapshots.thread("t").expect("thread");
        thread
            .set("", r#"{"header":"","messages":[]}"#)
            .expect("set");
        let mut random = fastrand::Rng::with_seed(5);
        for step in 0..messages {
            let header = session_message(&mut random, step, header);
            thread.set("/header", header).expect("set");
            let message = session_message(&mut random, step, len);
            thread.append("/messages", &[message]).expect("append");
            if step % 4 == 3 {
                thread.commit(CommitOptions::new()).expect("commit");
            }
        }
        let head = thread.head().expect("head");
        let size = snapshots.restore(head).expect("restore").len();
        let times = |peak: usize| {
            let times = peak as f64 / size as f64;
            println!("state {size}, header {header}, peak {peak}, {times:.2}");
            times
        };
        let (peak, restored) = peak_of(|| snapshots.restore(head).expect("restore"));
        assert_eq!(restored.len(), size);
        assert!(times(peak) <= most, "state {size}, peak {peak}");
        let (peak, _) = peak_of(|| snapshots.restore_to(head, std::io::sink()).expect("to"));
        assert!(times(peak) <= most, "streamed: state {size}, peak {peak}");
        let before = peak_of(|| snapshots.restore(head).expect("restore")).0;
        let after = peak_of(|| snapshots.restore(head).expect("restore")).0;
        let kept = before.abs_diff(after);
        assert!(kept < 64 << 10, "{kept} bytes less for the second");
        thread.seal().expect("seal");
        let (peak, _) = peak_of(|| snapshots.restore(head).expect("restore"));
        // Its window is larger.
        let more = if header < 100 { 0.0 } else { 2.0 };
        assert!(
            times(peak) <= most + more,
            "sealed: state {size}, peak {peak}"
        );
    }
}

/// A state of blocks goes through memory piece by piece, in and out.
#[test]
fn a_large_state_of_bytes_is_streamed() {
    let folder = tempfile::tempdir().expect("tempdir");
    let backing = mainspring_delta_snapshot::DirBacking::open(folder.path()).expect("dir");
    let snapshots = Snapshots::open(backing, options()).expect("open");
    let thread = snapshots.thread("t").expect("thread");
    const LEN: u64 = 48 << 20;
    let source = || std::io::Read::take(Numbers(0), LEN);
    let (peak, id) = peak_of(|| {
        thread
            .commit_reader(source(), CommitOptions::new())
            .expect("commit")
    });
    assert!(peak < 6 << 20, "commit: {peak}");
    let (peak, written) = peak_of(|| snapshots.restore_to(id, std::io::sink()).expect("restore"));
    assert_eq!(written, LEN);
    // Some blocks are kept at hand, because states often repeat them.
    assert!(peak < 20 << 20, "restore: {peak}");
}

/// Bytes that do not repeat.
struct Numbers(u64);

impl std::io::Read for Numbers {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        for chunk in buffer.chunks_mut(8) {
            self.0 += 1;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
        Ok(buffer.len())
    }
}

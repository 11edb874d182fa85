//! What hurts people who run agents, each as the scenario that must pass.

use mainspring_mmap_store::{Durability, Options, Store};

use crate::crash::contents;
use crate::sim::SimDisk;

fn options() -> Options {
    Options::new()
        .create(true)
        .segment_size(64 << 10)
        .preallocate(4096)
}

fn message(i: u32) -> Vec<u8> {
    let text = format!(
        "{{\"role\":\"user\",\"number\":{i},\"content\":\"{}\"}}",
        "words ".repeat(i as usize % 40)
    );
    text.into_bytes()
}

fn shows_all(store: &Store, messages: u32) {
    let shown: Vec<_> = store
        .scan_prefix(b"session/")
        .unwrap()
        .map(|pair| pair.unwrap().1.to_vec())
        .collect();
    assert!(
        shown.len() >= messages as usize,
        "{} of {messages}",
        shown.len()
    );
    let wanted = (0..messages).map(message);
    assert!(shown.into_iter().zip(wanted).all(|(a, b)| a == b));
}

/// A power loss blanks a session whose messages are on disk: with any torn tail, everything that
/// was acknowledged is shown.
#[test]
fn claude_code_53821_power_loss_blanks_a_session() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    for i in 0..60_u32 {
        store
            .put(format!("session/{i:06}").as_bytes(), &message(i))
            .unwrap();
    }
    let acknowledged = disk.contents();
    store.put(b"session/000060", &message(60)).unwrap();
    let files = disk.contents();
    let name = "00000001.seg";
    let (before, after) = (&acknowledged[name], &files[name]);
    let start = before.iter().zip(after).position(|(a, b)| a != b).unwrap();
    let end = after.iter().rposition(|b| *b != 0).unwrap() + 1;
    for cut in start..=end {
        // Torn at every byte: the rest is what was there before, garbage, or nothing at all.
        for filler in [None, Some(0xa5_u8)] {
            let mut torn = files.clone();
            let bytes = torn.get_mut(name).unwrap();
            match filler {
                None => bytes.truncate(cut),
                Some(byte) => bytes[cut..end].fill(byte),
            }
            let disk = SimDisk::from_contents(&torn);
            let store = options().open_in(disk.storage()).unwrap();
            assert!(store.damage().is_empty(), "a torn tail is no damage");
            shows_all(&store, 60);
            store.put(b"session/000060", &message(60)).unwrap();
            shows_all(&store, 61);
        }
    }
}

/// A full disk corrupts: here it refuses writes, keeps everything readable, and works again.
#[test]
fn opencode_7598_a_full_disk_corrupts() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    let mut written = 0;
    for room in 0..40_u64 {
        // A little more room each time, so that it runs out at every stage of a write.
        disk.limit(Some(disk.used() + room * 23));
        for _ in 0..3 {
            match store.put(
                format!("session/{written:06}").as_bytes(),
                &message(written),
            ) {
                Ok(()) => written += 1,
                Err(e) => assert!(e.is_full(), "{e}"),
            }
        }
        shows_all(&store, written);
        let died = options().open_in(disk.abandoned().storage()).unwrap();
        shows_all(&died, written);
        assert!(died.verify().unwrap().is_clean());
    }
    disk.limit(None);
    store.put(b"later", b"there is room again").unwrap();
    store.close().unwrap();
    let store = options().open_in(disk.storage()).unwrap();
    shows_all(&store, written);
    assert!(written > 0 && store.contains(b"later").unwrap());
}

/// 137 GB written by a sorter: a long session writes little more than what it says.
#[test]
fn goose_8711_write_amplification() {
    let disk = SimDisk::new();
    let every = std::time::Duration::from_secs(3600);
    let options = options()
        .segment_size(256 << 10)
        .durability(Durability::Interval(every));
    let store = options.clone().open_in(disk.storage()).unwrap();
    for i in 0..10_000_u32 {
        let text = message(i).repeat(3);
        store
            .put(format!("session/{i:06}").as_bytes(), &text)
            .unwrap();
        if i % 10 == 0 {
            store.put(b"head", &i.to_le_bytes()).unwrap();
        }
    }
    let user = store.stats().user_bytes;
    let live = contents(&store);
    store.close().unwrap();
    let written: u64 = disk.written();
    assert!(user > 3_000_000, "{user}");
    assert!(
        written * 2 <= user * 3,
        "{written} bytes written for {user}"
    );
    assert_eq!(contents(&options.open_in(disk.storage()).unwrap()), live);
}

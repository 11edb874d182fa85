//! A writer process killed with signal 9, again and again.

use std::io::{BufRead, BufReader, Write};

use mainspring_mmap_store::{Batch, Durability, Options};

use crate::processes::{DIR, child};

fn options() -> Options {
    Options::new()
        .create(true)
        .segment_size(32 << 10)
        .preallocate(8192)
}

fn value(number: u64) -> Vec<u8> {
    let len = 100 + number as usize * 37 % 900;
    number.to_le_bytes().into_iter().cycle().take(len).collect()
}

/// Child: writes numbered batches for ever and says each number once it is acknowledged.
#[test]
fn child_writer() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    // Signal 9 spares the page cache, so that even this mode loses nothing.
    let store = options().durability(Durability::Os).open(dir).unwrap();
    let last = store.get(b"last").unwrap();
    let first = last.map_or(0, |v| u64::from_le_bytes(v[..].try_into().unwrap()) + 1);
    let mut out = std::io::stdout().lock();
    for number in first.. {
        let mut batch = Batch::new();
        batch.put(format!("left/{}", number % 50).as_bytes(), &value(number));
        batch.put(format!("right/{}", number % 50).as_bytes(), &value(number));
        batch.put(b"last", &number.to_le_bytes());
        store.write(batch).unwrap();
        if number % 64 == 63 {
            store.compact().unwrap();
        }
        writeln!(out, "done {number}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn a_killed_writer_loses_nothing_and_never_blocks_the_next() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..12_u32 {
        let mut writer = child("kill::child_writer", dir.path());
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let mut told = 0;
        let mut seen = 0;
        // The moment differs from round to round without a clock.
        while seen < 5 + round * 11 {
            let line = lines.next().unwrap().unwrap();
            if let Some(at) = line.find("done ") {
                told = line[at + 5..].parse().unwrap();
                seen += 1;
            }
        }
        writer.kill().unwrap();
        for line in lines.map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("done ").and_then(|n| n.parse().ok()) {
                told = number;
            }
        }
        writer.wait().unwrap();
        let store = options().open(dir.path()).unwrap();
        let last = store.get(b"last").unwrap().unwrap();
        let last = u64::from_le_bytes(last[..].try_into().unwrap());
        assert!(
            last == told || last == told + 1,
            "round {round}: {last} after {told}"
        );
        for number in last.saturating_sub(49)..=last {
            for side in ["left", "right"] {
                let key = format!("{side}/{}", number % 50);
                assert_eq!(
                    store.get(key.as_bytes()).unwrap().unwrap(),
                    value(number),
                    "{key}"
                );
            }
        }
        assert!(store.damage().is_empty() && store.verify().unwrap().is_clean());
        // Half of the rounds go on from a store that was not closed.
        if round % 2 == 0 {
            store.close().unwrap();
        }
    }
}

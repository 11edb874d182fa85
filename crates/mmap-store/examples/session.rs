//! A session log: messages appended with their head, read back newest first.

use mainspring_mmap_store::{Batch, Durability, Options};

fn main() -> mainspring_mmap_store::Result<()> {
    let dir = std::env::temp_dir().join(format!("mmap-store-session-{}", std::process::id()));
    let store = Options::new()
        .create(true)
        .durability(Durability::Always)
        .open(&dir)?;
    for number in 1..=5 {
        let mut batch = Batch::new();
        let message = format!("{{\"role\":\"user\",\"content\":\"message {number}\"}}");
        batch.put(
            format!("session/7/message/{number:08}").as_bytes(),
            message.as_bytes(),
        );
        batch.put(b"session/7/head", format!("{number:08}").as_bytes());
        store.write(batch)?;
    }
    for pair in store.scan_prefix(b"session/7/message/")?.rev().take(3) {
        let (key, value) = pair?;
        println!(
            "{} = {}",
            key.escape_ascii(),
            String::from_utf8_lossy(&value)
        );
    }
    println!("{:#?}", store.stats());
    store.close()?;
    let _ = std::fs::remove_dir_all(dir);
    Ok(())
}

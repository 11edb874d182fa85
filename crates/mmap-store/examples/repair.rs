//! A byte changes on disk: what is said about it, and how it is set aside.

use mainspring_mmap_store::{Options, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("mmap-store-repair-{}", std::process::id()));
    let store = Options::new().create(true).open(&dir)?;
    for i in 0..10_u8 {
        store.put(&[b'k', i], &[i; 100])?;
    }
    store.close()?;

    let segment = dir.join("00000001.seg");
    let mut bytes = std::fs::read(&segment)?;
    bytes[700] ^= 1;
    std::fs::write(&segment, bytes)?;

    let store = Options::new().open(&dir)?;
    for damage in store.verify()?.damage {
        println!("found: {damage}");
    }
    for i in 0..10_u8 {
        match store.get(&[b'k', i]) {
            Ok(value) => println!("key {i}: {} bytes", value.map_or(0, |v| v.len())),
            Err(e) => println!("key {i}: {e}"),
        }
    }
    drop(store);
    println!("{:#?}", Store::repair(&dir)?);
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

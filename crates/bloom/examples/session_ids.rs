//! "Is this session known?" answered in memory, before anybody asks a disk or a server.
//!
//! `cargo run -p mainspring-bloom --example session_ids`

use std::collections::HashSet;

use mainspring_bloom::ScalableBloomFilter;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // What is slow and exact: a table somewhere else.
    let table: HashSet<String> = (0..50_000).map(|i| format!("session-{i:08x}")).collect();

    // What is fast and nearly exact: it grows with the table, at a tenth of a percent.
    let mut known = ScalableBloomFilter::with_capacity_and_fpr(10_000, 0.001)?;
    known.insert_many(&table)?;

    let mut asked_the_table = 0;
    let strangers = 100_000;
    for i in 0..strangers {
        let id = format!("stranger-{i:08x}");
        if known.contains(&id) {
            asked_the_table += 1;
            assert!(!table.contains(&id));
        }
    }
    assert!(
        table.iter().all(|id| known.contains(id)),
        "a known session is never denied"
    );

    let stats = known.stats();
    println!(
        "{} sessions in {} KiB and {} layers",
        table.len(),
        stats.bytes / 1024,
        stats.layers
    );
    println!("{asked_the_table} of {strangers} strangers reached the table");
    Ok(())
}

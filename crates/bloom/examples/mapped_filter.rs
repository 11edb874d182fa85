//! A filter inside a file of something else, asked without reading the file.
//!
//! `cargo run -p mainspring-bloom --example mapped_filter`
#![allow(unsafe_code)]

use std::{fs::File, io::Write};

use mainspring_bloom::{BloomBuilder, BloomView};

/// What a file keeps in front of its filter here; any offset will do.
const PREAMBLE: &[u8] = b"a header of the file's own\n";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("segment.bin");

    let mut filter = BloomBuilder::new(200_000).fpr(0.001).build()?;
    filter.insert_many((0..200_000_u64).map(|id| id * 3));
    let mut file = File::create(&path)?;
    file.write_all(PREAMBLE)?;
    filter.write_to(&mut file)?;
    file.sync_all()?;

    let file = File::open(&path)?;
    // SAFETY: nobody else knows this file, so nobody shortens or changes it while it is mapped.
    let mapped = unsafe { memmap2::Mmap::map(&file)? };
    let view = BloomView::new(&mapped[PREAMBLE.len()..])?;
    view.verify()?;

    assert!((0..200_000_u64).all(|id| view.contains(&(id * 3))));
    let wrong = (0..200_000_u64)
        .filter(|id| view.contains(&(id * 3 + 1)))
        .count();
    println!("{:?}", view.stats());
    println!("{wrong} of 200,000 absent ids reported present");
    Ok(())
}

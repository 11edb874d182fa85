//! A long session in a small window: every compaction, and what is left at the end.
//!
//! `cargo run --example fit_window`

use mainspring_compressor::{Budget, Compactor, Context, Estimate, Format, Quality, Transcript};
use mainspring_inputs::{SessionSpec, generate};
use std::{error::Error, sync::Arc};

fn main() -> Result<(), Box<dyn Error>> {
    let compactor = Compactor::default();
    let budget = Budget::new(16_000).with_max_output(2_000);
    let mut context = Context::new(Format::OpenAiChat, budget, Arc::new(Estimate::new()));
    let mut original = Transcript::new(Format::OpenAiChat);
    for message in generate(&SessionSpec::coding(1, 300)) {
        original.push(message.clone())?;
        let done = compactor.append(&mut context, message)?;
        if let Some(compaction) = done.compaction {
            println!(
                "{:>6} -> {:>5} tokens, {} blobs of {} bytes moved out",
                compaction.before,
                compaction.after,
                compaction.blobs.len(),
                compaction.blob_bytes()
            );
        }
    }
    let items: Vec<_> = context.items().cloned().collect();
    println!("{:?}", context.stats());
    println!("{}", Quality::measure(&original, &items)?);
    Ok(())
}

//! A context that survives its process and sends the same bytes afterwards.
//!
//! `cargo run --example resume_context`

use mainspring_compressor::{Budget, Compactor, Context, Error, Estimate, Format};
use mainspring_inputs::{SessionSpec, generate};
use std::sync::Arc;

fn main() -> Result<(), Error> {
    let compactor = Compactor::default();
    let mut context = Context::new(
        Format::OpenAiChat,
        Budget::new(10_000),
        Arc::new(Estimate::new()),
    );
    for message in generate(&SessionSpec::coding(2, 80)) {
        compactor.append(&mut context, message)?;
    }
    context.mark_sent();
    let saved = context.save();
    println!(
        "saved {} items in {} bytes",
        context.stats().items,
        saved.len()
    );

    let resumed = Context::resume(saved, Arc::new(Estimate::new()))?;
    let report = resumed.cache_report();
    println!(
        "resumed: {} tokens are known to the provider, {} are new",
        report.reused_tokens, report.new_tokens
    );
    assert!(resumed.items().eq(context.items()));
    Ok(())
}

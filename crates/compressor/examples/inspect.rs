//! What a recorded session holds: formats, turns, tool exchanges, and what does not pair up.
//!
//! `cargo run --example inspect -- FILE`

use mainspring_compressor::{ExchangeState, read_sessions};
use std::{env, error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let Some(path) = env::args().nth(1) else {
        println!("usage: inspect FILE");
        return Ok(());
    };
    let import = read_sessions(fs::read(path)?)?;
    for session in import.sessions() {
        let transcript = &session.transcript;
        let complete =
            |e: &&_| ExchangeState::Complete == mainspring_compressor::ToolExchange::state(e);
        println!(
            "{} ({}): {} items, {} turns, {} complete exchanges",
            session.name,
            session.format(),
            transcript.len(),
            transcript.turns().len(),
            transcript.exchanges().iter().filter(complete).count()
        );
        for finding in transcript.findings() {
            println!("  {finding}");
        }
    }
    for line in import.quarantined() {
        println!("line {} was put aside: {}", line.line, line.what);
    }
    Ok(())
}

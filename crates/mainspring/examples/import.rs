//! A recorded session taken in and given back byte for byte.
//!
//! `cargo run -p mainspring --features full --example import -- SESSION.jsonl`

use mainspring::{Profile, Runtime, compressor::read_sessions};
use mainspring_inputs::{SessionSpec, generate};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let recorded = match std::env::args().nth(1) {
        Some(path) => std::fs::read(path)?,
        None => generate(&SessionSpec::coding(1, 400))
            .join("\n")
            .into_bytes(),
    };
    let import = read_sessions(recorded.clone())?;
    assert_eq!(import.export(), recorded, "every byte is kept");
    for line in import.quarantined() {
        eprintln!("line {} was put aside: {}", line.line, line.what);
    }

    let dir = tempfile::tempdir()?;
    let runtime = Runtime::open(dir.path(), Profile::Laptop).await?;
    for recorded in import.sessions() {
        let mut session = runtime.session(&recorded.name, recorded.format())?;
        for item in recorded.transcript.items() {
            session.append(item.raw().clone())?;
        }
        session.checkpoint("null")?;
        let (messages, tokens) = (session.messages(), session.context().tokens());
        println!(
            "{}: {messages} messages, {tokens} tokens in the context",
            session.name()
        );
    }
    println!("{} bytes read", recorded.len());
    runtime.close().await?;
    Ok(())
}

//! A session, a message, a checkpoint: `cargo run -p mainspring --features full --example first`.

use mainspring::{Profile, Runtime, compressor::Format};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let runtime = Runtime::open(dir.path(), Profile::Workstation).await?;
    let mut session = runtime.session("bug-1867", Format::OpenAiChat)?;
    session.append(r#"{"role":"user","content":"Why does TimeDelta round down?"}"#)?;
    for message in session.context().items() {
        println!("{}", String::from_utf8_lossy(message)); // what the model gets, within its window
    }
    let version = session.checkpoint(r#"{"step":1}"#)?;
    println!("{} bytes back", session.restore(version)?.len());
    drop(session);
    runtime.close().await?;
    Ok(())
}

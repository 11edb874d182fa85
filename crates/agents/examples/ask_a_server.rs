//! Asks a server that speaks OpenAI's chat completions and prints the answer as it arrives.
//!
//! `cargo run -p mainspring-agents --features openai --example ask_a_server -- ADDRESS MODEL QUESTION`,
//! for instance with the address `http://localhost:8080/v1`; the key, if the server wants one, is read
//! from `OPENAI_API_KEY`.

use std::{future::poll_fn, io::Write};

use mainspring_agents::{Chunk, Error, OpenAiProvider, Provider, Request};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, model, question] = &arguments[..] else {
        println!("usage: ask_a_server ADDRESS MODEL QUESTION");
        return Ok(());
    };
    let mut builder = OpenAiProvider::builder(address);
    if let Ok(key) = std::env::var("OPENAI_API_KEY") {
        builder = builder.api_key(key);
    }
    let provider = builder.build()?;
    let messages = serde_json::json!([{ "role": "user", "content": question }]).to_string();
    let mut answer = match provider.stream(Request::new(model, messages)).await {
        Err(Error::RateLimited { retry_after }) => {
            println!("the server is busy; come back after {retry_after:?}");
            return Ok(());
        }
        begun => begun?,
    };
    while let Some(chunk) = poll_fn(|context| answer.as_mut().poll_next(context)).await {
        match chunk? {
            Chunk::Text(text) => print!("{text}"),
            Chunk::Finished(why) => println!("\n({why})"),
            other => println!("\n{other:?}"),
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}

//! Definitions in a directory, the right one for a task, and an answer from a recorded provider.
//!
//! `cargo run -p mainspring-agents --example pick_an_agent`

use mainspring_agents::{
    AgentCatalog, Answer, CatalogOptions, Chunk, Provider, RecordedProvider, Request,
};

const AGENTS: [(&str, &str, &str); 3] = [
    (
        "reviewer",
        "Reviews changes: correctness first, style last.",
        "quality",
    ),
    (
        "tester",
        "Writes unit tests and property tests, and runs them.",
        "balanced",
    ),
    (
        "librarian",
        "Finds files, symbols and documentation.",
        "fast",
    ),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let root = directory.path().join("agents");
    std::fs::create_dir(&root)?;
    for (name, description, tier) in AGENTS {
        let text =
            format!("---\ndescription: {description}\ntier: {tier}\n---\nYou are the {name}.\n");
        std::fs::write(root.join(name).with_extension("md"), text)?;
    }

    let catalog = AgentCatalog::open(
        CatalogOptions::new([&root]).cache_file(directory.path().join("agents.bin")),
    )?;
    println!("{:?}", catalog.stats());

    let task = "The parser has no property test yet.";
    for ranked in catalog.select(task, 3) {
        println!("{:.2} {}", ranked.score, ranked.definition.id);
    }
    let best = &catalog.select(task, 1)[0].definition.id;
    let agent = catalog.get(best)?;
    println!(
        "`{best}` on tier {:?} says {:?} to itself",
        agent.tier, agent.prompt
    );

    // Whoever serves the tier would answer here; this one has the answer on record.
    let provider: Box<dyn Provider> = Box::new(RecordedProvider::new([vec![
        Chunk::Text("I will begin ".into()),
        Chunk::Text("with round trips.".into()),
        Chunk::Finished("stop".into()),
    ]]));
    let messages = format!(r#"[{{"role":"user","content":"{task}"}}]"#);
    let answer = Answer::collect(
        provider.stream(Request::new("recorded", messages)).await?,
        1 << 20,
    )
    .await?;
    println!("{}: {}", provider.name(), answer.text);
    Ok(())
}

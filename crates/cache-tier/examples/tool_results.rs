//! Results of an agent's read-only tools, cached until another tool writes what they read.
//! `cargo run -p mainspring-cache-tier --example tool_results`

use mainspring_cache_tier::{BytesCodec, Effects, EntryOptions, Error, Key, Source, TieredCache};
use std::fs;
use std::path::Path;

type Tools = TieredCache<String>;

async fn read_file(tools: &Tools, path: &Path) -> Result<(String, Source), Error> {
    let name = path.to_string_lossy();
    let key = Key::new("session:1:tools", format!("read_file {name}"));
    let options = EntryOptions::new().reads(&name);
    let read = || async { fs::read_to_string(path) };
    let fetched = tools.get_or_try_load(&key, &options, read).await?;
    Ok((fetched.value, fetched.source))
}

async fn list_files(tools: &Tools, folder: &Path) -> Result<(String, Source), Error> {
    let name = folder.to_string_lossy();
    let key = Key::new("session:1:tools", format!("list_files {name}"));
    let list = || async {
        let names: Result<Vec<_>, _> = fs::read_dir(folder)?
            .map(|file| file.map(|file| file.file_name()))
            .collect();
        names.map(|names| format!("{names:?}"))
    };
    let options = EntryOptions::new().reads(&name);
    let fetched = tools.get_or_try_load(&key, &options, list).await?;
    Ok((fetched.value, fetched.source))
}

async fn write_file(tools: &Tools, path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::load)?;
    tools
        .invalidate_writes(&Effects::new().write(path.to_string_lossy()))
        .await;
    Ok(())
}

async fn session(folder: &Path) -> Result<(), Error> {
    let tools = TieredCache::<String>::builder(BytesCodec).open().await?;
    let file = folder.join("notes.md");
    write_file(&tools, &file, "first").await?;
    println!("read: {:?}", read_file(&tools, &file).await?);
    println!("read: {:?}", read_file(&tools, &file).await?);
    println!("list: {:?}", list_files(&tools, folder).await?);
    write_file(&tools, &folder.join("more.md"), "more").await?;
    println!("list: {:?}", list_files(&tools, folder).await?);
    println!("read: {:?}", read_file(&tools, &file).await?);
    write_file(&tools, &file, "second").await?;
    println!("read: {:?}", read_file(&tools, &file).await?);
    println!("hit rate: {:.2}", tools.stats().hit_rate());
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    // Any runtime will do. This future waits for nothing but files, so it needs none.
    futures_util::FutureExt::now_or_never(session(folder.path())).unwrap_or(Ok(()))?;
    Ok(())
}

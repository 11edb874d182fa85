//! Recorded sessions taken in, and given back byte for byte: Claude Code, Codex, SWE-agent,
//! tau-bench, OpenHands, and messages of the OpenAI, Anthropic and Gemini APIs.
//!
//! `cargo xtask import PATH... [--keep DIR] [--json]`
//!
//! A folder stands for the files in and below it. Nothing is kept unless a folder to keep it in is named; a
//! file that is no session is named and passed over, and the exit code says so.

use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use mainspring::{Imported, Profile, Runtime};

type Failure = Box<dyn std::error::Error>;

/// Takes in recorded sessions, exports them again, compares, and says what is saved.
#[derive(Parser)]
#[command(name = "cargo xtask import", bin_name = "cargo xtask import")]
struct Arguments {
    /// Files, or folders of files.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Keeps the imported sessions in this runtime folder.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// One JSON object a file instead of a table.
    #[arg(long)]
    json: bool,
}

/// Compares what is written to it with a file.
struct Same<R> {
    with: R,
    differs: bool,
}

impl<R: Read> Write for Same<R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wanted = vec![0; bytes.len()];
        self.differs |= self.with.read_exact(&mut wanted).is_err() || wanted != bytes;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let arguments = Arguments::parse();
    let mut files = Vec::new();
    for path in &arguments.paths {
        collect(path, &mut files)?;
    }
    if files.is_empty() {
        return Err(
            "there is no file in those folders: name recorded sessions, or folders of them".into(),
        );
    }
    let passing = tempfile::tempdir()?;
    let folder = arguments.keep.as_deref().unwrap_or(passing.path());
    let runtime = Runtime::open(folder, Profile::Workstation).await?;
    let bar = progress(&files)?;
    let mut failed = 0;
    if !arguments.json {
        println!(
            "{:>12} {:>12} {:>7} {:>9} {:>9}  format, file",
            "bytes", "stored", "saved", "messages", "tokens"
        );
    }
    for path in &files {
        match import(&runtime, path, &bar) {
            Ok(imported) => bar.suspend(|| show(path, &imported, arguments.json)),
            Err(error) => {
                failed += 1;
                bar.suspend(|| eprintln!("{}: {error}", path.display()));
            }
        }
    }
    bar.finish_and_clear();
    runtime.close().await?;
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries: Vec<_> = std::fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    entries.sort();
    // A link to a folder may lead back to where we are.
    entries.retain(|path| !(path.is_symlink() && path.is_dir()));
    entries.iter().try_for_each(|entry| collect(entry, files))
}

/// Drawn on a terminal only: elsewhere it draws nothing.
fn progress(files: &[PathBuf]) -> Result<ProgressBar, Failure> {
    let total = files.iter().filter_map(|path| path.metadata().ok());
    let bar = ProgressBar::new(total.map(|metadata| metadata.len()).sum());
    bar.set_style(ProgressStyle::with_template(
        "{bar:40} {bytes}/{total_bytes} {wide_msg}",
    )?);
    Ok(bar)
}

fn import(runtime: &Runtime, path: &Path, bar: &ProgressBar) -> Result<Imported, Failure> {
    bar.set_message(path.display().to_string());
    let name = path.display().to_string();
    let imported = runtime.import(&name, bar.wrap_read(File::open(path)?))?;
    let mut same = Same {
        with: BufReader::new(File::open(path)?),
        differs: false,
    };
    let written = runtime.export(&imported.sessions[0], &mut same)?;
    if same.differs || written != path.metadata()?.len() {
        return Err("other bytes came back; please report this".into());
    }
    Ok(imported)
}

fn show(path: &Path, imported: &Imported, json: bool) {
    for aside in &imported.quarantined {
        eprintln!(
            "{}:{}: put aside: {}",
            path.display(),
            aside.line,
            aside.what
        );
    }
    if json {
        println!(
            "{}",
            serde_json::json!({
                "file": path.display().to_string(),
                "format": imported.format,
                "sessions": imported.sessions,
                "messages": imported.messages,
                "tokens": imported.tokens,
                "bytes": imported.bytes,
                "stored_bytes": imported.stored_bytes,
                "repeated_bytes": imported.repeated_bytes,
                "outside_bytes": imported.outside_bytes,
                "quarantined": imported.quarantined.len(),
            })
        );
        return;
    }
    let saved = 100.0 - 100.0 * imported.stored_bytes as f64 / imported.bytes.max(1) as f64;
    println!(
        "{:>12} {:>12} {saved:>6.1}% {:>9} {:>9}  {}, {}",
        imported.bytes,
        imported.stored_bytes,
        imported.messages,
        imported.tokens,
        imported.format,
        path.display()
    );
}

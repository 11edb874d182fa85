//! The main job: recorded agent sessions, driven through all of mainspring and verified.
//!
//! Run it with `cargo xtask replay`; `--help` says what it takes.

#![forbid(unsafe_code)]

mod arguments;
mod drive;
mod figures;
mod inputs;
mod measure;
mod recorded;
mod table;
mod verify;

use std::{path::Path, process::ExitCode, sync::Arc, time::Instant};

use arguments::Arguments;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use mainspring::{
    Config, Profile, Runtime,
    compressor::{OpenAi, Tokenizer, Transcript, read_sessions},
};
use mainspring_inputs::{SessionSpec, generate};
use measure::{Mark, Total};

type Failure = Box<dyn std::error::Error>;

/// A session to drive.
struct Recording {
    name: String,
    transcript: Transcript,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new();
    let outcome = runtime
        .map_err(Failure::from)
        .and_then(|tokio| tokio.block_on(replay(&arguments)));
    match outcome {
        Ok(problems) => {
            for problem in &problems {
                eprintln!("replay: {problem}");
            }
            ExitCode::from(u8::from(!problems.is_empty()))
        }
        Err(error) => {
            eprintln!("replay: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Everything; gives back what did not go as it should have.
async fn replay(arguments: &Arguments) -> Result<Vec<String>, Failure> {
    let temporary;
    let dir = match &arguments.keep {
        Some(dir) => dir.as_path(),
        None => {
            temporary = tempfile::tempdir()?;
            temporary.path()
        }
    };
    let started = Mark::now();
    let tokenizer: Arc<dyn Tokenizer> = Arc::new(OpenAi::o200k());
    tokenizer.count("warm");
    let mut config = Profile::Workstation.config();
    config.window = usize::try_from(arguments.window)?;
    config.max_output = config.window / 4;

    if dir.join("sessions").exists() {
        let damage = kept(dir, &config, &tokenizer).await?;
        if !damage.is_empty() {
            return Ok(damage);
        }
    }
    let (recordings, mut problems) = recordings(arguments)?;
    let mut total = Total::new(recordings.len(), problems.len(), arguments.window);
    let progress = progress(&recordings);

    let runtime = Runtime::open_with(dir, config.clone(), Arc::clone(&tokenizer)).await?;
    let mut driven = Vec::with_capacity(recordings.len());
    for recording in recordings {
        let name = free_name(&runtime, recording.name)?;
        progress.set_message(name.clone());
        let mark = Mark::of(&runtime);
        let (tokens, step) = (&*tokenizer, || progress.inc(1));
        let session = drive::drive(
            &runtime,
            &name,
            recording.transcript,
            tokens,
            arguments.seed,
            step,
        )
        .await;
        total.driven(&session, &mark, &runtime);
        driven.push(session);
    }
    runtime.close().await?;
    progress.set_message("reopening");

    let opening = Instant::now();
    let runtime = Runtime::open_with(dir, config, tokenizer).await?;
    let open_ms = opening.elapsed().as_secs_f64() * 1e3;
    for (at, session) in driven.iter().enumerate() {
        progress.set_message(format!("verifying {}", session.name));
        let mark = Mark::of(&runtime);
        let verified = verify::verify(&runtime, session, open_ms);
        let found = session.problems.iter().chain(&verified.problems);
        problems.extend(found.map(|problem| format!("{}: {problem}", session.name)));
        total.verified(at, verified, &mark, &runtime);
    }
    problems.extend(verify::stores(&runtime, dir));
    runtime.close().await?;
    progress.finish_and_clear();

    let figures = total.finish(&started, folder_bytes(&dir.join("snapshots"))?);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        table::print(&figures, &driven);
    }
    Ok(problems)
}

/// Verifies what an earlier run kept.
async fn kept(
    dir: &Path,
    config: &Config,
    tokenizer: &Arc<dyn Tokenizer>,
) -> Result<Vec<String>, Failure> {
    let place = dir.display();
    let opened = Runtime::open_with(dir, config.clone(), Arc::clone(tokenizer)).await;
    let runtime = match opened {
        Ok(runtime) => runtime,
        Err(error) => {
            return Ok(vec![format!(
                "what {place} keeps cannot be opened: {error}"
            )]);
        }
    };
    let mut damage = verify::stores(&runtime, dir);
    match runtime.sessions() {
        Ok(names) => damage.extend(names.iter().filter_map(|name| {
            let error = runtime.resume(name).err()?;
            Some(format!("{name}: {error}"))
        })),
        Err(error) => damage.push(format!("{place}: {error}")),
    }
    if damage.is_empty() {
        runtime.close().await?;
    } else {
        damage.push(format!(
            "nothing was replayed: choose another folder than {place}, or remove it"
        ));
    }
    Ok(damage)
}

/// The sessions of all inputs, and what of them cannot be read.
fn recordings(arguments: &Arguments) -> Result<(Vec<Recording>, Vec<String>), Failure> {
    if arguments.paths.is_empty() {
        let spec = SessionSpec::coding(arguments.seed, arguments.steps);
        let array = format!("[{}]", generate(&spec).join(","));
        let mut sessions = read_sessions(array)?.into_sessions();
        let transcript = sessions.remove(0).transcript;
        let name = format!("generated-{}-{}", arguments.steps, arguments.seed);
        return Ok((vec![Recording { name, transcript }], Vec::new()));
    }
    let (files, refused) = inputs::files(&arguments.paths);
    let mut skipped: Vec<String> = refused
        .iter()
        .map(|(path, why)| format!("skipped {}: {why}", path.display()))
        .collect();
    let mut recordings = Vec::new();
    for path in files {
        let read = inputs::read(&path)
            .and_then(|bytes| read_sessions(bytes).map_err(|error| error.to_string()));
        let import = match read {
            Ok(import) => import,
            Err(why) => {
                skipped.push(format!("skipped {}: {why}", path.display()));
                continue;
            }
        };
        for line in import.quarantined() {
            let (place, number) = (path.display(), line.line);
            skipped.push(format!(
                "{place}: line {number} was put aside: {}",
                line.what
            ));
        }
        let stem = stem(&path);
        let sessions = import.into_sessions();
        let alone = sessions.len() == 1;
        recordings.extend(sessions.into_iter().map(|session| Recording {
            name: if alone {
                stem.clone()
            } else {
                format!("{stem}/{}", session.name)
            },
            transcript: session.transcript,
        }));
    }
    Ok((recordings, skipped))
}

/// The file's name without what says how it is packed.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.trim_end_matches(".zst").trim_end_matches(".gz");
    let endings = [".jsonl", ".json", ".traj"];
    let plain = endings
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(name);
    plain.to_owned()
}

/// The name, or the first of `name~2`, `name~3`, … that no session has.
fn free_name(runtime: &Runtime, name: String) -> Result<String, Failure> {
    let taken = runtime.sessions()?;
    let mut candidates = std::iter::once(name.clone()).chain((2..).map(|n| format!("{name}~{n}")));
    candidates
        .find(|candidate| !taken.contains(candidate))
        .ok_or_else(|| "no name is free".into())
}

fn progress(recordings: &[Recording]) -> ProgressBar {
    let steps: usize = recordings
        .iter()
        .map(|recording| recording.transcript.len())
        .sum();
    let style =
        ProgressStyle::with_template("{bar:30} {pos}/{len} messages  {elapsed}  {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps as u64).with_style(style)
}

/// Bytes of all files in a folder.
fn folder_bytes(dir: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

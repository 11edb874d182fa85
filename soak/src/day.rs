//! The course of a day: quiet, faults, quiet, and what is left of it.

use std::{
    fs::File,
    io::{BufReader, IsTerminal as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use mainspring_soak_checker::{Line, Report, check};

use crate::{
    backend, disk::Disk, fault::Fault, journal::Journal, provider::Provider, redis::Redis,
    supervisor::Supervisor,
};

/// How long another process may serve what was invalidated.
const BOUND_US: u64 = 1_600_000;
const MIB: u64 = 1 << 20;

/// How long, and with which seed.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long it lasts.
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// What is drawn: sessions, calls, faults and their order. Default: by the clock.
    #[arg(long)]
    seed: Option<u64>,
    /// Sessions at once.
    #[arg(long, default_value_t = 50)]
    sessions: u32,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Work in this folder, which must be new or empty, and leave everything there.
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// Runs the day; the exit code is 0 when no promise was broken, and 1 when one was.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    if !(0.5..=24.0 * 60.0).contains(&arguments.minutes) || !(1..=99).contains(&arguments.sessions)
    {
        bail!("a day lasts from half a minute to 24 hours, with 1 to 99 sessions");
    }
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let folder = folder(arguments.keep.as_deref())?;
    let threads = tokio::runtime::Runtime::new()?;
    let report = threads.block_on(async {
        tokio::select! {
            report = day(arguments, seed, &folder) => report,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    });
    let leave = arguments.keep.is_some() || report.as_ref().is_ok_and(|report| !report.is_clean());
    if leave {
        eprintln!("the log and what it names are left in {}", folder.display());
    } else {
        std::fs::remove_dir_all(&folder).context("cleaning up")?;
    }
    let report = report?;
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => println!("{report}"),
    }
    if !report.is_clean() {
        eprintln!(
            "again: cargo xtask soak --minutes {} --seed {seed} --sessions {}",
            arguments.minutes, arguments.sessions
        );
    }
    Ok(ExitCode::from(u8::from(!report.is_clean())))
}

fn folder(keep: Option<&Path>) -> Result<PathBuf> {
    let folder = keep.map_or_else(
        || std::env::temp_dir().join(format!("mainspring-soak-{}", std::process::id())),
        Path::to_owned,
    );
    std::fs::create_dir_all(&folder)?;
    if std::fs::read_dir(&folder)?.next().is_some() {
        bail!("{} is not empty", folder.display());
    }
    Ok(folder.canonicalize()?)
}

async fn day(arguments: &Arguments, seed: u64, folder: &Path) -> Result<Report> {
    let log = folder.join("acknowledgements.jsonl");
    let journal = Arc::new(Journal::create(&log)?);
    journal.line(Line::Run {
        seed,
        sessions: arguments.sessions,
        bound_us: BOUND_US,
    });
    let mut supervisor = prepare(arguments, seed, folder, &journal).await?;
    let progress = Progress::new(arguments, seed);
    let course = course(&mut supervisor, &progress, arguments.minutes * 60.0).await;
    let given_up = supervisor.given_up;
    drop(supervisor);
    // A server that does not start is a finding of the checker's.
    if !given_up {
        course?;
    }
    progress.say("checking");
    let report = check(BufReader::new(File::open(&log)?), folder)?;
    progress.bar.finish_and_clear();
    Ok(report)
}

async fn prepare(
    arguments: &Arguments,
    seed: u64,
    folder: &Path,
    journal: &Arc<Journal>,
) -> Result<Supervisor> {
    let minutes = arguments.minutes.ceil() as u64;
    let disk = Disk::mount(folder, Ord::min(256 + 24 * minutes, 1_200) * MIB)?;
    let redis = Redis::start(&folder.join("redis")).await?;
    let provider = Provider::serve(journal).await?;
    let place = (folder.to_owned(), seed, arguments.sessions);
    let supervisor = Supervisor::new(place, Arc::clone(journal), (disk, redis, provider));
    backend::serve(&supervisor.socket(), journal)?;
    Ok(supervisor)
}

async fn course(supervisor: &mut Supervisor, progress: &Progress, seconds: f64) -> Result<()> {
    let begun = Instant::now();
    let at = |share: f64| begun + Duration::from_secs_f64(seconds * share);
    supervisor.start().await?;
    supervisor.start_peer()?;
    progress.say("quiet");
    quiet(supervisor, progress, at(0.12)).await?;
    supervisor.look("baseline").await?;
    // The last round takes about half a minute; it is longer than a short day has room for.
    let (faults_end, last_round) = (at(0.86), at(0.86).checked_sub(Duration::from_secs(55)));
    let mut last = false;
    while !last {
        last = last_round.is_none_or(|at| Instant::now() >= at);
        for fault in Fault::round(&mut supervisor.rng, last) {
            let late = Instant::now() >= if last { at(1.0) } else { faults_end };
            if late && fault != Fault::Damage {
                continue;
            }
            progress.say(fault.name());
            supervisor.harm(fault).await?;
            let calm = Duration::from_millis(supervisor.rng.u64(300..1_500));
            supervisor.pass(calm).await?;
            progress.update(supervisor);
        }
    }
    supervisor.journal.fault("all", "over", "");
    progress.say("quiet");
    let after = Duration::from_secs_f64((seconds * 0.1).clamp(5.0, 60.0));
    quiet(supervisor, progress, at(1.0).max(Instant::now() + after)).await?;
    supervisor.look("after").await?;
    supervisor.stop_peer().await?;
    supervisor.stop().await?;
    progress.say("last look");
    supervisor.last_look().await
}

async fn quiet(supervisor: &mut Supervisor, progress: &Progress, until: Instant) -> Result<()> {
    while Instant::now() < until {
        supervisor.pass(Duration::from_millis(500)).await?;
        progress.update(supervisor);
    }
    Ok(())
}

/// A bar for a person, nothing in a pipe.
struct Progress {
    bar: ProgressBar,
    begun: Instant,
}

impl Progress {
    fn new(arguments: &Arguments, seed: u64) -> Self {
        let bar = match std::io::stderr().is_terminal() {
            true => ProgressBar::new((arguments.minutes * 60.0) as u64),
            false => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} s  {msg}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_prefix(format!("seed {seed}"));
        Self {
            bar,
            begun: Instant::now(),
        }
    }

    fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    fn update(&self, supervisor: &Supervisor) {
        self.bar.set_position(self.begun.elapsed().as_secs());
        let lines = supervisor.journal.lines();
        self.bar.set_message(format!("{lines} lines"));
    }
}

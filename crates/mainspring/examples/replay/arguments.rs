//! What the command takes.

use std::path::PathBuf;

use clap::Parser;

/// Drives recorded agent sessions through the whole system the way a live agent runtime would,
/// then closes everything, opens it again and compares every checkpoint byte by byte.
///
/// Reads OpenAI and Anthropic message arrays, SWE-agent and OpenHands trajectories, tau-bench runs,
/// Codex and Claude Code logs, multi-agent `history` files and role lines, told apart by content;
/// also folders, and .gz and .zst of all of them. Without a path a session is generated.
///
/// Exit code 0: everything ran and verified. 1: an input was skipped, or something did not verify;
/// the reason is on standard error.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask replay",
    bin_name = "cargo xtask replay",
    verbatim_doc_comment
)]
pub(crate) struct Arguments {
    /// Files and folders of recorded sessions; folders are read recursively.
    pub paths: Vec<PathBuf>,
    /// The context window in tokens. A quarter is kept free for the model's answer; compaction begins
    /// at 0.92 of the rest.
    #[arg(long, default_value_t = 16_000)]
    pub window: u64,
    /// Keep what is stored in this folder. A folder kept by an earlier run is verified first.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Seed of the generated session and of the latencies of replayed tools.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Messages of the generated session; 1,000 make the long one.
    #[arg(long, default_value_t = 200)]
    pub steps: usize,
    /// Print the figures as one JSON object instead of tables.
    #[arg(long)]
    pub json: bool,
}

//! How the commands of the scoreboard start and end.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// What a command ends with when it could not do its work: its arguments were wrong, or it failed.
const FAILED: u8 = 3;

/// Parses the arguments and runs the command: it ends with the code that `run` returns, with 3 after
/// an error or unknown arguments, and with 0 after `--help`.
pub fn command<A: Parser>(run: impl FnOnce(A) -> Result<u8>) -> ExitCode {
    let arguments = match A::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { FAILED } else { 0 });
        }
    };
    let code = run(arguments).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        FAILED
    });
    ExitCode::from(code)
}

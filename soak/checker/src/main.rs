//! `mainspring-soak-checker LOG`: checks the acknowledgement log of a soak; the files that it names lie beside it.

use std::{fs::File, io::BufReader, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let Some(log) = std::env::args_os().nth(1) else {
        eprintln!("usage: mainspring-soak-checker LOG");
        return ExitCode::from(3);
    };
    let log = Path::new(&log);
    let folder = log.parent().unwrap_or(Path::new("."));
    let checked = File::open(log)
        .and_then(|file| mainspring_soak_checker::check(BufReader::new(file), folder));
    match checked {
        Ok(report) => {
            println!("{report}");
            ExitCode::from(u8::from(!report.is_clean()))
        }
        Err(error) => {
            eprintln!("{}: {error}", log.display());
            ExitCode::from(3)
        }
    }
}

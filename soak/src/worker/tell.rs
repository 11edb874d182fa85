//! What the server tells the supervisor: lines on its standard output.

use std::{
    io::{Stdout, Write as _},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use mainspring_soak_checker::{Entry, Line};

use crate::clock::monotonic_us;

/// Writes lines, each at once and whole: what was written survives the process.
#[derive(Debug)]
pub(crate) struct Tell {
    out: Mutex<Stdout>,
    w: u32,
}

impl Tell {
    pub(crate) fn new(w: u32) -> Self {
        Self {
            out: Mutex::new(std::io::stdout()),
            w,
        }
    }

    pub(crate) fn line(&self, line: Line) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let (t, w) = (monotonic_us(), self.w);
        let Ok(mut text) = serde_json::to_vec(&Entry { t, w, line }) else {
            return;
        };
        text.push(b'\n');
        // Without a supervisor there is nobody to serve.
        if out.write_all(&text).and_then(|()| out.flush()).is_err() {
            std::process::exit(0);
        }
    }

    pub(crate) fn server(&self, event: impl Into<String>) {
        let event = event.into();
        self.line(Line::Server { event });
    }

    pub(crate) fn refused(&self, op: &str, session: &str, error: &dyn std::error::Error) {
        self.line(Line::Refused {
            op: op.to_owned(),
            s: session.to_owned(),
            error: chain(error),
        });
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

pub(crate) fn took(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

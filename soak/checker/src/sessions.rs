//! Nothing acknowledged is lost, and no byte is wrong.

use std::{collections::HashMap, path::Path};

use crate::{Report, damage::Damages, digest};

/// One session: the digests of its messages.
#[derive(Debug, Default)]
struct Known {
    messages: Vec<String>,
    /// Of the message that was being appended.
    pending: Option<String>,
    /// What could not be read at the end, and was excused: a number, or everything.
    unreadable: Vec<u64>,
    gone: bool,
    exported: bool,
}

/// One checkpoint.
#[derive(Debug)]
struct Checkpoint {
    session: String,
    header: String,
    messages: u64,
    /// What restores gave, and whether one did at the end.
    observed: Option<String>,
    restored_last: bool,
    excused: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Sessions {
    known: HashMap<String, Known>,
    forks: HashMap<String, (String, u64)>,
    checkpoints: HashMap<String, Checkpoint>,
    /// The run is over; what comes now is the last look.
    last_look: bool,
}

impl Sessions {
    pub(crate) fn last_look(&mut self) {
        self.last_look = true;
    }

    pub(crate) fn fork(&mut self, session: &str, from: &str, messages: u64) {
        let forked = (from.to_owned(), messages);
        self.forks.insert(session.to_owned(), forked);
    }

    pub(crate) fn opened(&mut self, at: u64, session: &str, messages: u64, report: &mut Report) {
        report.count("sessions opened");
        if !self.known.contains_key(session) {
            let begins = self.begins(session);
            self.known.insert(session.to_owned(), begins);
        }
        let Some(known) = self.known.get_mut(session) else {
            return;
        };
        let pending = known.pending.take();
        let acknowledged = known.messages.len() as u64;
        if messages == acknowledged + 1 && pending.is_some() {
            report.count("messages that were there although not acknowledged");
            known.messages.extend(pending);
        } else if messages < acknowledged {
            let what =
                format!("{session} has {messages} messages; {acknowledged} were acknowledged");
            report.violation(at, "lost", what);
        } else if messages > acknowledged {
            let what = format!("{session} has {messages} messages; {acknowledged} were appended");
            report.violation(at, "bytes", what);
        }
    }

    fn begins(&self, session: &str) -> Known {
        let forked = self.forks.get(session);
        let shared = forked.and_then(|(from, messages)| {
            let from = self.known.get(from)?;
            from.messages.get(..*messages as usize)
        });
        Known {
            messages: shared.unwrap_or_default().to_vec(),
            ..Known::default()
        }
    }

    pub(crate) fn try_append(
        &mut self,
        at: u64,
        (session, number): (&str, u64),
        digest: String,
        report: &mut Report,
    ) {
        let known = self.known.entry(session.to_owned()).or_default();
        if number != known.messages.len() as u64 {
            let what = format!(
                "{session} is about to append message {number} after {}",
                known.messages.len()
            );
            report.violation(at, "lost", what);
        }
        known.pending = Some(digest);
    }

    pub(crate) fn appended(&mut self, at: u64, session: &str, number: u64, report: &mut Report) {
        report.count("messages acknowledged");
        let known = self.known.entry(session.to_owned()).or_default();
        match known.pending.take() {
            Some(digest) if number == known.messages.len() as u64 => known.messages.push(digest),
            _ => {
                let what = format!("{session}: message {number} was acknowledged out of order");
                report.violation(at, "log", what);
            }
        }
    }

    pub(crate) fn read(
        &mut self,
        at: u64,
        (session, number): (&str, u64),
        digest: &str,
        report: &mut Report,
    ) {
        report.count("messages read");
        let known = self.known.get(session);
        let expected = known.and_then(|known| known.messages.get(number as usize));
        if expected.is_none_or(|expected| expected != digest) {
            let what = format!("message {number} of {session} is not what was appended");
            report.violation(at, "bytes", what);
        }
    }

    pub(crate) fn checkpoint(
        &mut self,
        at: u64,
        version: String,
        (session, header, messages): (String, String, u64),
        report: &mut Report,
    ) {
        report.count("checkpoints acknowledged");
        let fresh = Checkpoint {
            session,
            header,
            messages,
            observed: None,
            restored_last: false,
            excused: false,
        };
        if self.checkpoints.insert(version.clone(), fresh).is_some() {
            report.violation(at, "bytes", format!("version {version} was made twice"));
        }
    }

    pub(crate) fn restored(&mut self, at: u64, version: &str, digest: String, report: &mut Report) {
        report.count("checkpoints restored");
        // One that was made and never acknowledged is nobody's promise.
        let Some(known) = self.checkpoints.get_mut(version) else {
            return;
        };
        known.restored_last |= self.last_look;
        match &known.observed {
            Some(before) if *before != digest => {
                let what = format!("version {version} came back in two different forms");
                report.violation(at, "bytes", what);
            }
            _ => known.observed = Some(digest),
        }
    }

    pub(crate) fn unreadable(
        &mut self,
        at: u64,
        (session, what, error): (&str, &str, &str),
        damages: &Damages,
        report: &mut Report,
    ) {
        if !damages.excuses(error) {
            let what = format!("{what} of {session} cannot be read: {error}");
            return report.violation(at, "lost", what);
        }
        report.count("records that are unreadable because their bytes were changed");
        if let Some(version) = what.strip_prefix("version ") {
            if let Some(known) = self.checkpoints.get_mut(version) {
                known.excused = true;
            }
            return;
        }
        let Some(known) = self.known.get_mut(session) else {
            return;
        };
        match what.strip_prefix("message ").map(str::parse) {
            Some(Ok(number)) => known.unreadable.push(number),
            _ => known.gone |= what == "session",
        }
    }

    /// Compares an export with what was acknowledged, and every checkpoint of it with what follows
    /// from the messages.
    pub(crate) fn exported(&mut self, at: u64, session: &str, file: &Path, report: &mut Report) {
        let bytes = match std::fs::read(file) {
            Ok(bytes) => bytes,
            Err(error) => {
                return report.violation(at, "log", format!("{}: {error}", file.display()));
            }
        };
        let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        lines.pop_if(|last| last.is_empty());
        let Some(known) = self.known.get_mut(session) else {
            return report.violation(at, "bytes", format!("{session} was never begun"));
        };
        known.exported = true;
        if lines.len() != known.messages.len() {
            let what = format!(
                "{session} was exported with {} messages; {} were acknowledged",
                lines.len(),
                known.messages.len()
            );
            report.violation(at, "lost", what);
        }
        for (number, (line, expected)) in lines.iter().zip(&known.messages).enumerate() {
            report.count("messages compared with their export");
            let excused = line.is_empty() && known.unreadable.contains(&(number as u64));
            if !excused && digest(line) != *expected {
                let what = format!("message {number} of {session} is not what was acknowledged");
                report.violation(at, "bytes", what);
            }
        }
        self.derive(at, session, &lines, report);
    }

    fn derive(&self, at: u64, session: &str, lines: &[&[u8]], report: &mut Report) {
        let own = |known: &(&String, &Checkpoint)| known.1.session == session;
        for (version, known) in self.checkpoints.iter().filter(own) {
            let messages = lines.get(..known.messages as usize);
            let whole = messages.filter(|messages| messages.iter().all(|line| !line.is_empty()));
            let (Some(messages), Some(observed)) = (whole, &known.observed) else {
                continue;
            };
            let header = known.header.as_bytes();
            let beginning: [&[u8]; 3] = [b"{\"header\":", header, b",\"messages\":["];
            let mut expected = beginning.concat();
            expected.extend_from_slice(&messages.join(&b','));
            expected.extend_from_slice(b"]}");
            report.count("checkpoints compared with what they must hold");
            if digest(&expected) != *observed {
                let what = format!("version {version} of {session} is not what was checkpointed");
                report.violation(at, "bytes", what);
            }
        }
    }

    pub(crate) fn finish(&self, report: &mut Report) {
        for (session, known) in &self.known {
            if !known.exported && !known.gone {
                let what = format!("{session} is not there at the end");
                report.violation(0, "lost", what);
            }
        }
        for (version, known) in &self.checkpoints {
            if !known.restored_last && !known.excused {
                let what = format!(
                    "version {version} of {} is not there at the end",
                    known.session
                );
                report.violation(0, "lost", what);
            }
        }
    }
}

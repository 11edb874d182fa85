//! Bytes that the run itself changed: what the runtime may not have, when it says so.

use crate::Report;

/// A damaged place that the runtime reported.
#[derive(Debug)]
struct Place {
    file: String,
    offset: u64,
    len: u64,
}

/// What was flipped, and what was reported of it.
#[derive(Debug, Default)]
pub(crate) struct Damages {
    flips: Vec<(String, u64)>,
    reported: Vec<Place>,
}

impl Damages {
    pub(crate) fn flip(&mut self, file: &str, offset: u64) {
        self.flips.push((file.to_owned(), offset));
    }

    pub(crate) fn reported(
        &mut self,
        at: u64,
        (file, offset, len): (&str, u64, u64),
        report: &mut Report,
    ) {
        let place = Place {
            file: file.to_owned(),
            offset,
            len: len.max(1),
        };
        if !self.flips.iter().any(|flip| place.holds(flip)) {
            let what = format!("{file} is damaged at byte {offset}, where nobody changed it");
            report.violation(at, "damage", what);
        }
        self.reported.push(place);
    }

    /// Whether an error names a damaged place that was reported and that the run itself made.
    pub(crate) fn excuses(&self, error: &str) -> bool {
        self.reported.iter().any(|place| {
            self.flips.iter().any(|flip| place.holds(flip)) && place.is_named_by(error)
        })
    }

    /// Every changed byte must have been reported.
    pub(crate) fn finish(&self, report: &mut Report) {
        report.add("bytes changed on disk", self.flips.len() as u64);
        for flip in &self.flips {
            if !self.reported.iter().any(|place| place.holds(flip)) {
                let what = format!("byte {} of {} was changed and not reported", flip.1, flip.0);
                report.violation(0, "damage", what);
            }
        }
    }
}

impl Place {
    fn holds(&self, (file, offset): &(String, u64)) -> bool {
        self.file == *file && (self.offset..self.offset + self.len).contains(offset)
    }

    fn is_named_by(&self, error: &str) -> bool {
        let name = self.file.rsplit('/').next().unwrap_or(&self.file);
        let named = error.match_indices(name).map(|(at, _)| &error[at..]);
        named.into_iter().any(|rest| {
            rest.split(|c: char| !c.is_ascii_digit())
                .skip(1)
                .filter_map(|number| number.parse::<u64>().ok())
                .any(|number| (self.offset..self.offset + self.len).contains(&number))
        })
    }
}

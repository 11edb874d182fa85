//! What earlier runs found.

use crate::Report;

/// Saved reports, oldest first, by name.
#[derive(Debug, Default)]
pub struct History {
    reports: Vec<(String, Report)>,
}

/// One earlier value of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The baseline it was saved as.
    pub name: String,
    /// The median.
    pub value: f64,
    /// The interval around it.
    pub interval: [f64; 2],
}

impl History {
    /// These reports, put in the order in which they were measured.
    #[must_use]
    pub fn new(mut reports: Vec<(String, Report)>) -> Self {
        reports.sort_by(|(a, x), (b, y)| x.measured_at.cmp(&y.measured_at).then_with(|| a.cmp(b)));
        Self { reports }
    }

    /// Every saved baseline that can be read.
    #[must_use]
    pub fn saved() -> Self {
        let saved = mainspring_gate::baselines().into_iter();
        Self::new(
            saved
                .filter_map(|known| {
                    Some((known.name().to_owned(), Report::read(&known.report()).ok()?))
                })
                .collect(),
        )
    }

    /// The earlier values of a row, oldest first.
    #[must_use]
    pub fn of(&self, id: &str) -> Vec<Point> {
        let rows = self.reports.iter().flat_map(|(name, report)| {
            let rows = report.rows.iter().filter(|row| row.id == id);
            rows.map(move |row| (name, row))
        });
        rows.filter_map(|(name, row)| {
            Some(Point {
                name: name.clone(),
                value: row.measured?,
                interval: row.interval?,
            })
        })
        .collect()
    }
}

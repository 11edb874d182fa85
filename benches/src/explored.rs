//! What criterion found on the hot paths.

use std::path::Path;

use serde::Deserialize;

/// One benchmark of criterion's.
#[derive(Debug, Clone)]
pub struct Explored {
    /// Group and name, `area.operation`.
    pub name: String,
    /// Nanoseconds of one operation.
    pub median: f64,
    /// Criterion's interval around it.
    pub interval: [f64; 2],
    /// Nanoseconds of one operation, sample by sample.
    pub samples: Vec<f64>,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Confidence,
}

#[derive(Deserialize)]
struct Confidence {
    lower_bound: f64,
    upper_bound: f64,
}

#[derive(Deserialize)]
struct Sample {
    iters: Vec<f64>,
    times: Vec<f64>,
}

/// Reads the newest results below criterion's folder; what is missing or unreadable is left out.
#[must_use]
pub fn explored(criterion: &Path) -> Vec<Explored> {
    let mut found = Vec::new();
    for group in folders(criterion) {
        for bench in folders(&group) {
            found.extend(read(&bench.join("new"), &group, &bench));
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn folders(path: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

fn read(newest: &Path, group: &Path, bench: &Path) -> Option<Explored> {
    let text = |name: &str| std::fs::read(newest.join(name)).ok();
    let estimates: Estimates = serde_json::from_slice(&text("estimates.json")?).ok()?;
    let sample: Sample = serde_json::from_slice(&text("sample.json")?).ok()?;
    let pairs = sample.times.iter().zip(&sample.iters);
    Some(Explored {
        name: format!(
            "{}.{}",
            group.file_name()?.to_str()?,
            bench.file_name()?.to_str()?
        ),
        median: estimates.median.point_estimate,
        interval: [
            estimates.median.confidence_interval.lower_bound,
            estimates.median.confidence_interval.upper_bound,
        ],
        samples: pairs
            .map(|(time, iterations)| time / iterations.max(1.0))
            .collect(),
    })
}

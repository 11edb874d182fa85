//! The regression gate beside the scoreboard: baselines saved and compared with.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use mainspring_benches::{Report, Target, number};
use mainspring_gate::{
    Baseline, Compared, Effort, HotPath, TOLERANCE, Verdict, build_probe, compare, count,
    count_within, hot_paths, overall, probe_paths, valgrind,
};

use crate::Arguments;

/// What a run saves and what it is compared with.
pub(crate) struct Gate {
    save: Option<Baseline>,
    against: Option<(Baseline, PathBuf)>,
    paths: Vec<HotPath>,
}

impl Gate {
    /// Refuses a baseline that was never saved before anything is measured.
    pub(crate) fn open(arguments: &Arguments, chosen: &[&Target]) -> Result<Self> {
        let named = |name: &Option<String>| name.as_deref().map(Baseline::named).transpose();
        let save = named(&arguments.save_baseline)?;
        let against = match named(&arguments.baseline)? {
            Some(baseline) => {
                let probe = baseline.probe()?;
                Report::read(&baseline.report())?;
                Some((baseline, probe))
            }
            None => None,
        };
        let areas: Vec<&str> = chosen.iter().map(|target| target.area.as_str()).collect();
        let mut paths = hot_paths();
        paths.retain(|path| areas.contains(&path.area()));
        if let Some((baseline, probe)) = &against {
            let known = probe_paths(probe)?;
            paths.retain(|path| {
                let there = known.iter().any(|name| name == path.name);
                if !there {
                    println!(
                        "{} is new since `{}`: not compared",
                        path.name,
                        baseline.name()
                    );
                }
                there
            });
        }
        Ok(Self {
            save,
            against,
            paths,
        })
    }

    /// Compares with the baseline, then saves what is to be saved.
    pub(crate) fn decide(self, report: &Report, quick: bool) -> Result<Verdict> {
        let mut verdict = Verdict::Met;
        if let Some((baseline, probe)) = &self.against {
            let earlier = Report::read(&baseline.report())?;
            rows(&earlier, report);
            verdict = self.compare(baseline, probe, quick)?;
        }
        if let Some(baseline) = &self.save {
            let probe = build_probe().context("the hot paths of the baseline")?;
            baseline.save_probe(&probe)?;
            report.write(&baseline.report())?;
            println!("\nsaved as baseline `{}`", baseline.name());
        }
        Ok(verdict)
    }

    fn compare(
        &self,
        baseline: &Baseline,
        probe: &std::path::Path,
        quick: bool,
    ) -> Result<Verdict> {
        let head = build_probe()?;
        let effort = if quick {
            Effort {
                pairs: 5,
                rounds: 30,
            }
        } else {
            Effort::default()
        };
        let counting = valgrind().is_some();
        println!("\nhot paths, head over baseline `{}`:", baseline.name());
        let mut verdicts = Vec::new();
        for path in &self.paths {
            let compared = compare(probe, &head, path, 0.0, effort)?;
            let counted = if counting {
                let before = count(probe, path, 0.0)?.instructions;
                let limit = before * (1.0 + TOLERANCE);
                let after = count_within(&head, path, 0.0, limit)?.instructions;
                // A baseline counted unluckily low gets the same second chance.
                let before = if after > limit {
                    before.max(count(probe, path, 0.0)?.instructions)
                } else {
                    before
                };
                Some(after / before)
            } else {
                None
            };
            let verdict = overall([compared.verdict, by_count(counted)]);
            println!("{}", line(&compared, counted, verdict));
            verdicts.push(verdict);
        }
        if self.paths.is_empty() {
            println!("these areas have no hot paths: nothing was compared");
            return Ok(Verdict::Inconclusive);
        }
        if !counting {
            println!("skipped: valgrind is not installed, so instructions were not counted");
        }
        Ok(overall(verdicts))
    }
}

fn by_count(ratio: Option<f64>) -> Verdict {
    match ratio {
        Some(ratio) if ratio > 1.0 + TOLERANCE => Verdict::Regressed,
        _ => Verdict::Met,
    }
}

fn line(compared: &Compared, counted: Option<f64>, verdict: Verdict) -> String {
    let counted = counted.map_or(String::new(), |ratio| {
        format!(", instructions {:+.2} %", (ratio - 1.0) * 100.0)
    });
    format!(
        "{:<22} {:.4} ({:.4} .. {:.4}), canary {:.4}{counted}: {}",
        compared.name,
        compared.ratio,
        compared.interval[0],
        compared.interval[1],
        compared.canary,
        match verdict {
            Verdict::Met => "met",
            Verdict::Regressed => "REGRESSED",
            Verdict::Inconclusive => "inconclusive",
        }
    )
}

/// The rows of both runs, side by side: for looking, since they were not measured together.
fn rows(earlier: &Report, now: &Report) {
    println!(
        "\nrows, then ({}) and now ({}):",
        earlier.commit, now.commit
    );
    for row in &now.rows {
        let before = earlier.rows.iter().find(|known| known.id == row.id);
        let before = before.and_then(|known| known.measured);
        if let (Some(before), Some(after)) = (before, row.measured) {
            println!(
                "{:<26} {:>10} {:>10} {}",
                row.id,
                number(before),
                number(after),
                row.unit
            );
        }
    }
}

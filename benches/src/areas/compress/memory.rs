//! An agent's memory file with much said more than once.
//!
//! The documented case is a file of 156,800 bytes of which 52,300 are left. The file here has that
//! size; its facts, each said once, take 31 % of it. The rest says the same facts again, three
//! fifths word for word (under a heading of the same name elsewhere in the file), a fifth with other
//! case and punctuation, a tenth with an opening before it, and a tenth as a paraphrase that leaves
//! out a word that carries nothing. All of these share more than 0.85 of their shingles of four words.
//! One fact in ten differs from its neighbour in a name and a number alone, and must stay.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use mainspring_compressor::MemoryFile;
use mainspring_inputs::Random;

use crate::{Bench, Measured, Peer, PerInput, check};

/// Bytes of the documented file.
const SIZE: usize = 156_800;
/// The share of it that its facts take.
const UNIQUE: f64 = 0.31;

pub(super) fn measure(bench: &Bench) -> Result<Measured> {
    let files = bench.scale().pick(1, 3, 10);
    let size = bench.scale().pick(SIZE / 8, SIZE, SIZE);
    let mut per_input = Vec::new();
    let (mut before, mut after, mut by_lines) = (0, 0, 0);
    for seed in 0..files {
        let memory = Memory::new(seed, size);
        let text = memory.text(size);
        let (left, _) = optimized(&text);
        memory.check_facts(bench, &left)?;
        let plain = memory.text(0);
        let (same, removed) = optimized(&plain);
        memory.check_facts(bench, &same)?;
        let removed = bench.answer(removed);
        check(removed == 0, "a fact that was said once was removed")?;
        before += text.len();
        after += left.len();
        by_lines += once(&text).len();
        per_input.push(PerInput::new(
            format!("seed {seed}"),
            [
                ("facts", memory.facts.len() as f64),
                ("facts' bytes", plain.len() as f64),
                ("bytes before", text.len() as f64),
                ("bytes after", left.len() as f64),
                ("ratio", left.len() as f64 / text.len() as f64),
            ],
        ));
    }
    let share = after as f64 / before as f64;
    let lines = by_lines as f64 / before as f64;
    let peer = Peer::counted("equal lines once", "HashSet", lines, share);
    Ok(Measured::counted(share)
        .beside("fraction", share, vec![peer])
        .on_inputs(per_input)
        .noting("every labelled fact kept; nothing removed from the files without repeats"))
}

/// The file after optimising, and how many entries went.
fn optimized(text: &str) -> (String, usize) {
    let mut memory = MemoryFile::parse(text);
    let report = memory.optimize();
    (memory.to_string(), report.entries_removed)
}

/// What the simplest tool does: lines that are equal stay once.
fn once(text: &str) -> String {
    let mut seen = HashSet::new();
    let lines = text.lines().filter(|line| seen.insert(*line));
    lines.flat_map(|line| [line, "\n"]).collect()
}

const HEADINGS: [&str; 6] = [
    "# Build",
    "# Services",
    "# Data",
    "# Conventions",
    "# People",
    "# Incidents",
];

const REASONS: [&str; 8] = [
    "the deployment of last spring failed when two workers shared one lock and nobody noticed it for an hour",
    "auditors asked for a written trail of every change to customer records and we promised to deliver it monthly",
    "older clients still send requests without a version header and expect the previous answer format in return",
    "the nightly import holds a long transaction that blocks every writer until the last table has been copied",
    "support engineers look there first whenever a customer reports that an order vanished after payment",
    "benchmarks on the smaller machines showed twice the latency as soon as compression was switched off",
    "a renamed column broke three dashboards at once and the people who owned them were all on holiday",
    "the vendor charges by connection and a forgotten pool once tripled the invoice within one weekend",
];

const RULES: [&str; 6] = [
    "so run the complete checks twice before any change there and tell the platform team in advance",
    "so never restart it during office hours unless the primary on call has agreed in the channel",
    "so keep its settings in the shared repository and review each edit with a second pair of eyes",
    "so measure before and after every upgrade and write both figures into the release notes",
    "so add a test that fails without the fix whenever something around it had to be repaired",
    "so ask for a fresh copy of the data instead of patching rows by hand in the running system",
];

const LAST: &str =
    "this was agreed in the weekly review and written down in the handbook of operations";

/// One thing that the agent knows.
struct Fact {
    heading: usize,
    /// What must be found again, whatever else is said with it.
    core: String,
    reason: &'static str,
    rule: &'static str,
}

impl Fact {
    fn text(&self) -> String {
        format!(
            "{} because {}, {}; {LAST}.",
            self.core, self.reason, self.rule
        )
    }

    /// The same said again.
    fn again(&self, random: &mut Random) -> String {
        let text = self.text();
        match random.below(10) {
            0..6 => text,
            6..8 => text
                .replace(" because ", " - because ")
                .replace(", so ", "; So ")
                .replace('.', "!"),
            8 => format!("Note: {text}"),
            _ => text.replacen(" and ", " ", 1),
        }
    }
}

struct Memory {
    facts: Vec<Fact>,
    seed: u64,
}

impl Memory {
    /// Facts that take [`UNIQUE`] of `size`.
    fn new(seed: u64, size: usize) -> Self {
        let mut random = Random::new(seed ^ 0x6d65_6d6f);
        let mut facts: Vec<Fact> = Vec::new();
        let mut bytes = 0;
        while (bytes as f64) < size as f64 * UNIQUE {
            let number = facts.len();
            let like = facts.last().filter(|_| number % 10 == 9);
            let (heading, reason, rule) = match like {
                Some(fact) => (fact.heading, fact.reason, fact.rule),
                None => (
                    random.below(HEADINGS.len()),
                    random.pick(&REASONS),
                    random.pick(&RULES),
                ),
            };
            let core = format!(
                "Component unit_{number:03}_{:04x} answers on port {}",
                random.below(1 << 16),
                2_000 + number * 7
            );
            let fact = Fact {
                heading,
                core,
                reason,
                rule,
            };
            bytes += fact.text().len() + 3;
            facts.push(fact);
        }
        Self { facts, seed }
    }

    /// The file: every fact once, then facts again until it has `size` bytes.
    fn text(&self, size: usize) -> String {
        let mut random = Random::new(self.seed ^ 0x7465_7874);
        let mut text = String::new();
        for (number, heading) in HEADINGS.iter().enumerate() {
            text.push_str(&format!("{heading}\n"));
            for fact in self.facts.iter().filter(|fact| fact.heading == number) {
                text.push_str(&format!("- {}\n", fact.text()));
            }
        }
        while text.len() < size {
            let heading = random.below(HEADINGS.len());
            let under: Vec<&Fact> = self
                .facts
                .iter()
                .filter(|fact| fact.heading == heading)
                .collect();
            if under.is_empty() {
                continue;
            }
            text.push_str(&format!("{}\n", HEADINGS[heading]));
            for _ in 0..random.between(4, 12) {
                let fact = under[random.below(under.len())];
                text.push_str(&format!("- {}\n", fact.again(&mut random)));
            }
        }
        text
    }

    /// Every fact stands under its heading.
    fn check_facts(&self, bench: &Bench, text: &str) -> Result<()> {
        let mut under: HashMap<&str, String> = HashMap::new();
        let mut heading = "";
        for line in text.lines() {
            if line.starts_with('#') {
                heading = line;
            } else {
                under.entry(heading).or_default().push_str(line);
            }
        }
        let kept = self.facts.iter().filter(|fact| {
            let entries = under.get(HEADINGS[fact.heading]);
            entries.is_some_and(|entries| entries.contains(&fact.core))
        });
        let kept = bench.answer(kept.count());
        check(kept == self.facts.len(), "a labelled fact was lost")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shingles(text: &str) -> HashSet<String> {
        let text = text.to_lowercase();
        let words: Vec<&str> = text
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty())
            .collect();
        words.windows(4).map(|four| four.join(" ")).collect()
    }

    #[test]
    fn what_is_said_again_is_similar_and_holds_the_fact() {
        let mut random = Random::new(1);
        for fact in Memory::new(1, SIZE).facts {
            let first = shingles(&fact.text());
            for _ in 0..20 {
                let text = fact.again(&mut random);
                assert!(text.contains(&fact.core), "{text}");
                let again = shingles(&text);
                let shared = first.intersection(&again).count() as f64;
                let similarity = shared / first.union(&again).count() as f64;
                assert!(similarity > 0.85, "{similarity}: {text}");
            }
        }
    }

    #[test]
    fn the_file_has_the_documented_size_and_share_of_facts() {
        let memory = Memory::new(2, SIZE);
        let (all, facts) = (memory.text(SIZE).len() as f64, memory.text(0).len() as f64);
        assert!((all / SIZE as f64 - 1.0).abs() < 0.03, "{all}");
        assert!((facts / all - UNIQUE).abs() < 0.01, "{facts}");
    }
}

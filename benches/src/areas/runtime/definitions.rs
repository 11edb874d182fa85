//! A folder of agent definitions, each about a matter of its own.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, SystemTime},
};

use anyhow::Result;
use mainspring::agents::{AgentCatalog, CatalogOptions};
use mainspring_inputs::Random;

use crate::Bench;

const SYLLABLES: [&str; 16] = [
    "bar", "den", "fol", "gim", "hus", "jat", "kel", "lor", "mip", "nag", "pud", "quo", "riv",
    "sel", "tun", "vox",
];
const VERBS: [&str; 6] = [
    "reviews",
    "writes",
    "migrates",
    "measures",
    "repairs",
    "documents",
];
const THINGS: [&str; 6] = [
    "queries",
    "tests",
    "schemas",
    "pipelines",
    "forms",
    "reports",
];

pub(super) struct Definitions {
    dir: tempfile::TempDir,
    pub(super) count: usize,
}

impl Definitions {
    pub(super) fn of(bench: &Bench) -> Result<Rc<Self>> {
        bench.fixture(|| Self::new(bench.scale().pick(40, 1_000, 1_000)))
    }

    fn new(count: usize) -> Result<Self> {
        let definitions = Self {
            dir: tempfile::tempdir()?,
            count,
        };
        let mut random = Random::new(11);
        for number in 0..count {
            let path = definitions.path(number);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(path, text(number, &mut random))?;
        }
        Ok(definitions)
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("agents")
    }

    /// A file of a definition; twenty in a folder.
    pub(super) fn path(&self, number: usize) -> PathBuf {
        let folder = self.root().join(format!("team-{:02}", number / 20));
        folder.join(format!("{}.md", id(number)))
    }

    /// A place for a cache file.
    pub(super) fn cache_file(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// A catalog of all; a cache file is kept when one is named.
    pub(super) fn catalog(&self, cache: Option<&Path>) -> AgentCatalog {
        open(&self.root(), cache)
    }
}

/// A catalog whose clock is a minute ahead, so that fresh files count as files at rest.
pub(super) fn open(root: &Path, cache: Option<&Path>) -> AgentCatalog {
    let clock = || SystemTime::now() + Duration::from_secs(60);
    let mut options = CatalogOptions::new([root]).clock(std::sync::Arc::new(clock));
    if let Some(cache) = cache {
        options = options.cache_file(cache);
    }
    AgentCatalog::open(options).expect("a catalog opens")
}

pub(super) fn id(number: usize) -> String {
    format!("agent-{number:04}")
}

/// The word that only this definition has.
pub(super) fn matter(number: usize) -> String {
    let syllable = |shift: usize| SYLLABLES[(number >> shift) % SYLLABLES.len()];
    format!("{}{}{}ware", syllable(8), syllable(4), syllable(0))
}

/// A task for this agent.
pub(super) fn task(number: usize) -> String {
    format!(
        "The customer reports that {} shows wrong totals since the last release; find out why, and \
         check the {} around it before you change anything.",
        matter(number),
        THINGS[number % THINGS.len()]
    )
}

fn text(number: usize, random: &mut Random) -> String {
    let (verb, thing) = (VERBS[number % VERBS.len()], THINGS[number % THINGS.len()]);
    let mut prompt = String::new();
    while prompt.len() < 1_500 {
        prompt.push_str(&format!(
            "Before you touch {thing}, read {}.rs and say what you expect.\n",
            random.pick(&SYLLABLES)
        ));
    }
    format!(
        "---\nname: {}\ndescription: Agent that {verb} {thing} of the {} module and answers questions \
         about its design; use after every change there.\ntools: [Read, Grep, Bash]\ntags: [{thing}, \
         team-{:02}]\ntier: balanced\n---\n{prompt}",
        id(number),
        matter(number),
        number / 20
    )
}

//! The Markdown memory of an agent, kept small without losing a fact.

use crate::{
    Error,
    similar::{self, Signature, words},
};
use std::{
    collections::{HashMap, HashSet},
    fmt,
};

const LIMIT: usize = 100 << 10;
const OPTIMIZE_AT: f64 = 0.8;
const SIMILARITY: f64 = 0.85;

/// One entry: a list item with what is indented below it, or a paragraph.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    text: String,
    priority: u8,
}

/// A heading with its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Topic {
    heading: String,
    entries: Vec<Entry>,
}

/// What an optimisation did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MemoryReport {
    /// Bytes before.
    pub original_size: usize,
    /// Bytes after.
    pub optimized_size: usize,
    /// Entries that said what another one says.
    pub entries_removed: usize,
    /// Headings that were joined with an equal one.
    pub topics_joined: usize,
}

impl MemoryReport {
    /// Bytes after, as a share of those before.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        if self.original_size == 0 {
            return 1.0;
        }
        self.optimized_size as f64 / self.original_size as f64
    }
}

/// The Markdown memory file of an agent: headings, and facts as list items or paragraphs.
///
/// An entry is removed only when another one under the same heading, similar above 0.85, has every
/// word and number of it, so that no fact is lost. Headings are the same when those above them are,
/// too. Entries that shout (`IMPORTANT`, `MUST`, `[high]`, `!!`) come first
/// within their heading, those marked `[low]` last. The limit is 100 KiB; optimise at 0.8 of it.
///
/// ```
/// use mainspring_compressor::MemoryFile;
///
/// let mut memory = MemoryFile::parse("# Build\n- use make\n- use make\n# Build\n- IMPORTANT: never push\n");
/// let report = memory.optimize();
/// assert_eq!(memory.to_string(), "# Build\n- IMPORTANT: never push\n- use make\n");
/// assert_eq!((report.entries_removed, report.topics_joined), (1, 1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryFile {
    topics: Vec<Topic>,
    limit: usize,
}

impl MemoryFile {
    /// Reads a file. Any text is a memory file.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut topics = vec![Topic {
            heading: String::new(),
            entries: Vec::new(),
        }];
        let mut open = false;
        let mut code = false;
        for line in text.lines() {
            let fence = line.trim_start().starts_with("```");
            if line.starts_with('#') && !code {
                topics.push(Topic {
                    heading: line.trim_end().to_owned(),
                    entries: Vec::new(),
                });
                open = false;
            } else if let Some(topic) = topics.last_mut() {
                open = topic.line(line, open, code || fence);
            }
            code ^= fence;
        }
        topics.retain(|topic| !topic.heading.is_empty() || !topic.entries.is_empty());
        for topic in &mut topics {
            for entry in &mut topic.entries {
                entry.priority = priority(&entry.text);
            }
        }
        Self {
            topics,
            limit: LIMIT,
        }
    }

    /// Another limit, in bytes; default 100 KiB.
    #[must_use]
    pub fn with_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Bytes of the file as it would be written.
    #[must_use]
    pub fn size(&self) -> usize {
        let bytes = |topic: &Topic| {
            let heading = topic.heading.len() + usize::from(!topic.heading.is_empty());
            heading
                + topic
                    .entries
                    .iter()
                    .map(|e| e.text.len() + 1)
                    .sum::<usize>()
        };
        self.topics.iter().map(bytes).sum()
    }

    /// Number of entries.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.topics.iter().map(|topic| topic.entries.len()).sum()
    }

    /// Whether it has reached 0.8 of its limit.
    #[must_use]
    pub fn wants_optimizing(&self) -> bool {
        self.size() as f64 >= OPTIMIZE_AT * self.limit as f64
    }

    /// Adds a fact under a heading, as a list item; optimises when that is due.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] when the file would be above its limit although nothing in it is said
    /// twice. Nothing is added then.
    pub fn add(&mut self, heading: &str, fact: &str) -> Result<(), Error> {
        let mut next = self.clone();
        next.put(heading, fact);
        if next.wants_optimizing() {
            next.optimize();
        }
        if next.size() > self.limit {
            return Err(Error::Limit {
                what: "the size of the memory file in bytes",
                limit: self.limit,
                found: next.size(),
            });
        }
        *self = next;
        Ok(())
    }

    fn put(&mut self, heading: &str, fact: &str) {
        let heading = if heading.is_empty() || heading.starts_with('#') {
            heading.to_owned()
        } else {
            format!("# {heading}")
        };
        let entry = Entry {
            text: format!("- {}", fact.trim().replace('\n', "\n  ")),
            priority: priority(fact),
        };
        match self
            .topics
            .iter_mut()
            .find(|topic| topic.heading == heading)
        {
            Some(topic) => topic.entries.push(entry),
            None => self.topics.push(Topic {
                heading,
                entries: vec![entry],
            }),
        }
    }

    /// Joins equal headings, removes what is said twice, orders by priority.
    ///
    /// About linear in the file: candidates are found by MinHash bands.
    pub fn optimize(&mut self) -> MemoryReport {
        let original_size = self.size();
        let topics_joined = self.join_topics();
        let entries_removed = self.remove_repeats();
        for topic in &mut self.topics {
            topic.entries.sort_by_key(|entry| entry.priority);
        }
        MemoryReport {
            original_size,
            optimized_size: self.size(),
            entries_removed,
            topics_joined,
        }
    }

    fn join_topics(&mut self) -> usize {
        let before = self.topics.len();
        let paths = self.paths();
        let levels: Vec<usize> = self.topics.iter().map(Topic::level).collect();
        let mut first: HashMap<&str, usize> = HashMap::new();
        let mut joined: Vec<Topic> = Vec::new();
        for (at, topic) in self.topics.drain(..).enumerate() {
            // One that has headings below it stays above them.
            let alone = levels.get(at + 1).is_none_or(|next| *next <= levels[at]);
            match first.get(&*paths[at]) {
                Some(to) if alone => joined[*to].entries.extend(topic.entries),
                _ => {
                    first.entry(&*paths[at]).or_insert(joined.len());
                    joined.push(topic);
                }
            }
        }
        self.topics = joined;
        before - self.topics.len()
    }

    /// The heading of each topic with those above it.
    fn paths(&self) -> Vec<String> {
        let mut above: Vec<(usize, &str)> = Vec::new();
        let paths = self.topics.iter().map(|topic| {
            let level = topic.level();
            above.retain(|(other, _)| *other < level);
            above.push((level, &topic.heading));
            let headings: Vec<&str> = above.iter().map(|(_, heading)| *heading).collect();
            headings.join("\n")
        });
        paths.collect()
    }

    fn remove_repeats(&mut self) -> usize {
        let paths = self.paths();
        let topics = self.topics.iter().zip(&paths);
        let facts: Vec<Fact<'_>> = topics
            .flat_map(|(topic, path)| Fact::of_topic(topic, path))
            .collect();
        let redundant = redundant(&facts);
        let mut number = 0;
        for topic in &mut self.topics {
            topic.entries.retain(|_| {
                number += 1;
                !redundant.contains(&(number - 1))
            });
        }
        redundant.len()
    }
}

impl Topic {
    /// Number of `#`, at most 7; Markdown knows 6.
    fn level(&self) -> usize {
        self.heading
            .bytes()
            .take(7)
            .take_while(|b| *b == b'#')
            .count()
    }

    /// Takes a line; returns whether the next one may continue the same entry.
    fn line(&mut self, line: &str, open: bool, code: bool) -> bool {
        let blank = line.trim().is_empty() && !code;
        let item = ["- ", "* ", "+ "].iter().any(|mark| line.starts_with(mark));
        if blank {
            return false;
        }
        match self.entries.last_mut() {
            Some(entry) if open && (code || !item) => {
                entry.text.push('\n');
                entry.text.push_str(line);
            }
            _ => self.entries.push(Entry {
                text: line.to_owned(),
                priority: 1,
            }),
        }
        true
    }
}

fn priority(text: &str) -> u8 {
    let loud = ["IMPORTANT", "MUST", "NEVER", "ALWAYS", "[high]", "!!"];
    if loud.iter().any(|word| text.contains(word)) {
        0
    } else if text.contains("[low]") {
        2
    } else {
        1
    }
}

/// An entry as its words, under its heading.
struct Fact<'a> {
    path: &'a str,
    signature: Signature,
    words: HashSet<String>,
    text: String,
    length: usize,
}

impl<'a> Fact<'a> {
    fn of_topic(topic: &Topic, path: &'a str) -> impl Iterator<Item = Self> {
        topic.entries.iter().map(move |entry| Self {
            path,
            signature: Signature::of(&entry.text.to_lowercase()),
            words: words(&entry.text).map(str::to_lowercase).collect(),
            text: words(&entry.text)
                .map(str::to_lowercase)
                .collect::<Vec<_>>()
                .join(" "),
            length: entry.text.len(),
        })
    }

    /// Whether it says all that the other says.
    fn covers(&self, other: &Self) -> bool {
        self.path == other.path
            && (self.text == other.text
                || (other.words.is_subset(&self.words)
                    && self.signature.may_exceed(&other.signature, SIMILARITY)
                    && similar::similarity(&self.text, &other.text) > SIMILARITY))
    }
}

/// Numbers of the entries that another entry covers, longest first so that the fullest stays.
fn redundant(facts: &[Fact<'_>]) -> HashSet<usize> {
    let mut order: Vec<usize> = (0..facts.len()).collect();
    order.sort_by_key(|at| (std::cmp::Reverse(facts[*at].length), *at));
    let mut buckets: HashMap<(usize, u64), Vec<usize>> = HashMap::new();
    let mut redundant = HashSet::new();
    for at in order {
        let fact = &facts[at];
        let covered = fact.signature.bands().any(|band| {
            let list = buckets.get(&band).into_iter().flatten().take(64);
            list.copied().any(|kept| facts[kept].covers(fact))
        });
        if covered {
            redundant.insert(at);
            continue;
        }
        for band in fact.signature.bands() {
            buckets.entry(band).or_default().push(at);
        }
    }
    redundant
}

impl fmt::Display for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for topic in &self.topics {
            if !topic.heading.is_empty() {
                writeln!(f, "{}", topic.heading)?;
            }
            for entry in &topic.entries {
                writeln!(f, "{}", entry.text)?;
            }
        }
        Ok(())
    }
}

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use crate::{definition::AgentDefinition, words};

/// BM25's saturation of repeated words and its correction for length, at their usual values.
const K1: f32 = 1.2;
const B: f32 = 0.75;

/// How much a word counts by where it stands.
const NAME_WEIGHT: f32 = 3.0;
const TAG_WEIGHT: f32 = 2.0;
const DESCRIPTION_WEIGHT: f32 = 1.0;

/// Most words of a task that are looked up.
const MAX_TASK_WORDS: usize = 512;

/// One agent's place in a ranking.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Ranked {
    /// The agent.
    pub definition: Arc<AgentDefinition>,
    /// Its score, above 0; comparable within one ranking only.
    pub score: f32,
}

/// An inverted index over what agents say they are for.
///
/// Words of the name count three times, of the tags twice, of the description once; the score is Okapi
/// BM25 (Robertson, Zaragoza, "The Probabilistic Relevance Framework", 2009) with k1 = 1.2 and b =
/// 0.75. Each word's contribution to each agent is computed when the index is built, so ranking adds
/// up the postings of the task's words and nothing else. The same definitions and task give the same
/// ranking, always; equal scores are ordered by id.
///
/// ```
/// use std::sync::Arc;
/// use mainspring_agents::{AgentDefinition, AgentIndex};
///
/// let agent = |name: &str, what: &str| {
///     AgentDefinition::parse(&format!("---\nname: {name}\ndescription: {what}\n---\n")).map(Arc::new)
/// };
/// let index = AgentIndex::new([
///     agent("reviewer", "Reviews changes for correctness")?,
///     agent("tester", "Writes tests and runs them")?,
/// ]);
/// let best = index.rank("please test the parser", 1);
/// assert_eq!(best[0].definition.id, "tester");
/// # Ok::<(), mainspring_agents::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct AgentIndex {
    /// Sorted by id, so that a smaller number wins a tie.
    agents: Vec<Arc<AgentDefinition>>,
    postings: HashMap<Box<str>, Vec<Posting>>,
}

#[derive(Debug, Clone, Copy)]
struct Posting {
    agent: u32,
    score: f32,
}

impl AgentIndex {
    /// An index over these definitions. Linear in their names, tags and descriptions.
    #[must_use]
    pub fn new(definitions: impl IntoIterator<Item = Arc<AgentDefinition>>) -> Self {
        let mut agents: Vec<_> = definitions.into_iter().collect();
        agents.sort_by(|a, b| a.id.cmp(&b.id));
        let words: Vec<_> = agents.iter().map(|agent| weighted_words(agent)).collect();
        let total: f32 = words.iter().flat_map(HashMap::values).sum();
        let mean = (total / agents.len().max(1) as f32).max(1.0);

        let mut postings: HashMap<Box<str>, Vec<Posting>> = HashMap::new();
        for (number, words) in words.into_iter().enumerate() {
            let length: f32 = words.values().sum();
            for (word, weight) in words {
                let saturated = weight * (K1 + 1.0) / (weight + K1 * (1.0 - B + B * length / mean));
                postings.entry(word).or_default().push(Posting {
                    agent: number as u32,
                    score: saturated,
                });
            }
        }
        for list in postings.values_mut() {
            let rarity = rarity(agents.len(), list.len());
            list.iter_mut().for_each(|posting| posting.score *= rarity);
        }
        Self { agents, postings }
    }

    /// The agents that share words with the task, best first, at most `limit`.
    ///
    /// Costs the words of the task (the first 512 distinct ones count) and their postings.
    #[must_use]
    pub fn rank(&self, task: &str, limit: usize) -> Vec<Ranked> {
        let mut scores = vec![0.0_f32; self.agents.len()];
        let mut matched = Vec::new();
        for word in distinct_words(task) {
            for posting in self.postings.get(word.as_str()).into_iter().flatten() {
                let score = &mut scores[posting.agent as usize];
                if *score == 0.0 {
                    matched.push(posting.agent);
                }
                *score += posting.score;
            }
        }
        let order = |a: &u32, b: &u32| -> Ordering {
            scores[*b as usize]
                .total_cmp(&scores[*a as usize])
                .then(a.cmp(b))
        };
        if limit < matched.len() {
            matched.select_nth_unstable_by(limit, order);
            matched.truncate(limit);
        }
        matched.sort_unstable_by(order);
        let ranked = |&agent: &u32| Ranked {
            definition: Arc::clone(&self.agents[agent as usize]),
            score: scores[agent as usize],
        };
        matched.iter().map(ranked).collect()
    }

    /// Number of agents.
    #[must_use]
    pub fn len(&self) -> usize {
        self.agents.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }
}

/// How telling a word is that `holders` of `all` agents have; never negative.
fn rarity(all: usize, holders: usize) -> f32 {
    let (all, holders) = (all as f32, holders as f32);
    (1.0 + (all - holders + 0.5) / (holders + 0.5)).ln()
}

fn weighted_words(agent: &AgentDefinition) -> HashMap<Box<str>, f32> {
    let mut weights: HashMap<Box<str>, f32> = HashMap::new();
    let mut add = |text: &str, weight: f32| {
        words::each(text, |word| match weights.get_mut(word) {
            Some(sum) => *sum += weight,
            None => drop(weights.insert(word.into(), weight)),
        });
    };
    add(&agent.id, NAME_WEIGHT);
    agent.tags.iter().for_each(|tag| add(tag, TAG_WEIGHT));
    add(&agent.description, DESCRIPTION_WEIGHT);
    weights
}

/// In the order of the text, so that sums of scores round alike every time.
fn distinct_words(task: &str) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let mut distinct = Vec::new();
    words::each(task, |word| {
        if distinct.len() < MAX_TASK_WORDS && seen.insert(word.to_owned()) {
            distinct.push(word.to_owned());
        }
    });
    distinct
}

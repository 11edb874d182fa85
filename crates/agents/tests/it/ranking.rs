//! Rankings against a plain scan of all descriptions.

use std::{collections::HashSet, sync::Arc};

use mainspring_agents::{AgentDefinition, AgentIndex};
use proptest::prelude::*;

fn agent(id: &str, description: &str, tags: &str) -> Arc<AgentDefinition> {
    let text = format!("---\nname: {id}\ndescription: \"{description}\"\ntags: [{tags}]\n---\n");
    Arc::new(AgentDefinition::parse(&text).unwrap())
}

fn best(index: &AgentIndex, task: &str) -> String {
    index
        .rank(task, 1)
        .first()
        .map_or_else(String::new, |ranked| ranked.definition.id.clone())
}

#[test]
fn the_right_agent_comes_first() {
    let index = AgentIndex::new([
        agent(
            "code-reviewer",
            "Reviews code changes for correctness and security",
            "review",
        ),
        agent(
            "test-writer",
            "Writes unit tests and property tests",
            "testing",
        ),
        agent(
            "db-expert",
            "Designs SQL schemas, writes migrations and tunes queries",
            "postgres, sqlite",
        ),
        agent("docs", "Writes documentation and guides for users", ""),
    ]);
    assert_eq!(
        best(&index, "Please review this pull request"),
        "code-reviewer"
    );
    assert_eq!(best(&index, "the parser needs testing"), "test-writer");
    assert_eq!(best(&index, "a slow query in Postgres"), "db-expert");
    assert_eq!(best(&index, "document the API, with a guide"), "docs");
    assert_eq!(best(&index, "fix testWriter"), "test-writer");
    assert!(
        index.rank("zzz the of", 3).is_empty(),
        "no shared word, no agent"
    );
    assert!(index.rank("", 3).is_empty());
    assert!(index.rank("review", 0).is_empty());
    assert_eq!(index.len(), 4);
}

#[test]
fn equal_scores_are_ordered_by_id_whatever_the_order_of_arrival() {
    let agents = |ids: [&str; 3]| AgentIndex::new(ids.map(|id| agent(id, "writes tests", "")));
    let ids = |index: AgentIndex| -> Vec<String> {
        index
            .rank("tests", 9)
            .into_iter()
            .map(|ranked| ranked.definition.id.clone())
            .collect()
    };
    assert_eq!(ids(agents(["x", "y", "z"])), ["x", "y", "z"]);
    assert_eq!(ids(agents(["z", "x", "y"])), ["x", "y", "z"]);
}

#[test]
fn other_scripts_have_words_too() {
    let index = AgentIndex::new([
        agent("fr", "Écrit des requêtes", ""),
        agent("ru", "Пишет тесты", ""),
    ]);
    assert_eq!(best(&index, "une REQUÊTES"), "fr");
    assert_eq!(best(&index, "ТЕСТЫ"), "ru");
}

/// Words that the index takes as they are.
const WORDS: [&str; 10] = [
    "alfa", "bravo", "delta", "echo", "golf", "hotel", "india", "kilo", "lima", "tango",
];

fn sentence() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(&WORDS[..]), 1..12)
        .prop_map(|words| words.join(" "))
}

/// BM25 by scanning every description, with the weights that the index documents.
fn scan(agents: &[Arc<AgentDefinition>], task: &str) -> Vec<(String, f64)> {
    let weight = |agent: &AgentDefinition, word: &str| -> f64 {
        let count = |text: &str| text.split([' ', '-']).filter(|&own| own == word).count() as f64;
        3.0 * count(&agent.id)
            + 2.0 * agent.tags.iter().map(|tag| count(tag)).sum::<f64>()
            + count(&agent.description)
    };
    let ids = |agent: &AgentDefinition| agent.id.split('-').count() as f64 * 3.0;
    let length = |agent: &AgentDefinition| {
        ids(agent) + 2.0 * agent.tags.len() as f64 + agent.description.split(' ').count() as f64
    };
    let mean = agents.iter().map(|agent| length(agent)).sum::<f64>() / agents.len() as f64;
    let words: HashSet<&str> = task.split(' ').collect();
    let score = |agent: &AgentDefinition| -> f64 {
        words
            .iter()
            .map(|word| {
                let holders = agents
                    .iter()
                    .filter(|agent| weight(agent, word) > 0.0)
                    .count() as f64;
                let all = agents.len() as f64;
                let rarity = (1.0 + (all - holders + 0.5) / (holders + 0.5)).ln();
                let tf = weight(agent, word);
                rarity * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length(agent) / mean))
            })
            .sum()
    };
    let mut scores: Vec<_> = agents
        .iter()
        .map(|agent| (agent.id.clone(), score(agent)))
        .collect();
    scores.retain(|(_, score)| *score > 0.0);
    scores
}

proptest! {
    #[test]
    fn the_index_agrees_with_a_scan(descriptions in proptest::collection::vec((sentence(), sentence()), 1..30), task in sentence(), limit in 1_usize..40) {
        let agents: Vec<_> = descriptions.iter().enumerate()
            .map(|(i, (text, tags))| agent(&format!("n{i:02}-{}", tags.split(' ').next().unwrap()), text, &tags.replace(' ', ", ")))
            .collect();
        let index = AgentIndex::new(agents.iter().cloned());
        let ranked = index.rank(&task, limit);
        let expected = scan(&agents, &task);
        prop_assert_eq!(ranked.len(), expected.len().min(limit));
        for found in &ranked {
            let (_, score) = expected.iter().find(|(id, _)| *id == found.definition.id).unwrap();
            prop_assert!((f64::from(found.score) - score).abs() < 1e-3 * score, "{} against {}", found.score, score);
        }
        prop_assert!(ranked.windows(2).all(|pair| pair[0].score >= pair[1].score));
        if let Some(last) = ranked.last() {
            let better = expected.iter().filter(|(_, score)| *score > f64::from(last.score) * 1.001).count();
            prop_assert!(better < ranked.len(), "a better agent was left out");
        }
        prop_assert_eq!(index.rank(&task, limit), ranked);
    }

    #[test]
    fn no_task_brings_it_down(task in "(?s).{0,300}") {
        let index = AgentIndex::new([agent("a", "alfa bravo", "")]);
        let _ = index.rank(&task, 3);
    }
}

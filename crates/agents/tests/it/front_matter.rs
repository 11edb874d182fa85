//! Definitions as people write them, and texts that are none.

use std::path::Path;

use mainspring_agents::{AgentDefinition, Error, ModelTier, Value};
use proptest::prelude::*;

fn with(front: &str) -> Result<AgentDefinition, Error> {
    AgentDefinition::parse(&format!("---\nname: n\ndescription: d\n{front}---\nbody\n"))
}

fn extra(front: &str, key: &str) -> Value {
    with(front).unwrap().extra[key].clone()
}

fn text(front: &str) -> String {
    match extra(front, "key") {
        Value::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

fn list(front: &str) -> Vec<String> {
    match extra(front, "key") {
        Value::List(list) => list,
        other => panic!("{other:?}"),
    }
}

/// The line and the complaint.
fn refusal(front: &str) -> (usize, String) {
    match with(front) {
        Err(Error::Definition { line, what, .. }) => (line, what),
        other => panic!("{other:?}"),
    }
}

#[test]
fn scalars() {
    assert_eq!(
        text("key: plain: with colons, and # no comment? \n"),
        "plain: with colons, and"
    );
    assert_eq!(text("key: a#b\n"), "a#b");
    assert_eq!(text("key: 'it''s # so'\n"), "it's # so");
    assert_eq!(text("key: \"a\\n\\\"b\\\"\" # comment\n"), "a\n\"b\"");
    assert_eq!(text("key:\n"), "");
    assert_eq!(text("key: # only a comment\n"), "");
    assert_eq!(text("\"key\": 3\n"), "3");
    assert_eq!(
        text("key: first\n  second\n  third\n"),
        "first second third"
    );
    assert_eq!(
        text("key: https://example.com/a?b=c\n"),
        "https://example.com/a?b=c"
    );
}

#[test]
fn block_scalars() {
    assert_eq!(
        text("key: |\n  one\n    two\n\n  three\nnext: x\n"),
        "one\n  two\n\nthree\n"
    );
    assert_eq!(text("key: |-\n  one\n  two\n"), "one\ntwo");
    assert_eq!(
        text("key: >\n  one\n  two\n\n  three\n"),
        "one two\nthree\n"
    );
    assert_eq!(
        text("key: >-\n  one\n  # not a comment\n"),
        "one # not a comment"
    );
    assert_eq!(text("key: |\nnext: x\n"), "");
}

#[test]
fn lists() {
    let expected = ["a", "b: c", "d, e"];
    assert_eq!(list("key: [a, 'b: c', \"d, e\"]\n"), expected);
    assert_eq!(
        list("key:\n  - a\n  - b: c\n  # comment\n  - 'd, e'\n"),
        expected
    );
    assert_eq!(list("key:\n- a\n- b: c\n- d, e\nnext: x\n"), expected);
    assert_eq!(list("key: []\n"), Vec::<String>::new());
    assert_eq!(list("key: [a, ]\n"), ["a"]);
}

#[test]
fn mappings() {
    let Value::Map(map) = extra("key:\n  inner:\n    deep: x\n  list:\n    - y\n", "key") else {
        panic!()
    };
    assert!(matches!(&map["inner"], Value::Map(inner) if inner["deep"] == Value::Text("x".into())));
    assert_eq!(map["list"], Value::List(vec!["y".into()]));
}

#[test]
fn known_keys() {
    let agent =
        with("tools: Read, Grep ,Bash\ntags:\n  - rust\nmodel: Balanced\ncolor: blue\n").unwrap();
    assert_eq!(agent.tools.unwrap(), ["Read", "Grep", "Bash"]);
    assert_eq!(agent.tags, ["rust"]);
    assert_eq!(
        (agent.model.as_deref(), agent.tier),
        (Some("Balanced"), Some(ModelTier::Balanced))
    );
    assert_eq!(agent.extra["color"], Value::Text("blue".into()));
    assert_eq!(agent.prompt, "body\n");
    let agent = with("model: some-large-model\ntier: fast\n").unwrap();
    assert_eq!(
        (agent.model.as_deref(), agent.tier),
        (Some("some-large-model"), Some(ModelTier::Fast))
    );
    assert_eq!(
        with("").unwrap().tools,
        None,
        "not to say is not the same as none"
    );
    assert_eq!(with("tools: []\n").unwrap().tools, Some(vec![]));
}

#[test]
fn the_file_gives_the_name_and_windows_lines_are_lines() {
    let agent = AgentDefinition::parse_file(
        Path::new("x/code-helper.md"),
        "\u{feff}---\r\ndescription: d\r\nkey: |\r\n  a\r\n  b\r\n---\r\nbody\r\n",
    )
    .unwrap();
    assert_eq!(
        (agent.id.as_str(), agent.prompt.as_str()),
        ("code-helper", "body\r\n")
    );
    assert_eq!(agent.extra["key"], Value::Text("a\nb\n".into()));
}

#[test]
fn what_is_not_understood_is_refused_with_its_line() {
    for (front, line, part) in [
        ("key: &anchor x\n", 4, "not understood"),
        ("key: *alias\n", 4, "not understood"),
        ("key: !tag x\n", 4, "not understood"),
        ("key: {a: b}\n", 4, "not understood"),
        ("ok: 1\nkey: \"open\n", 5, "closing quote"),
        ("key: 'a' b\n", 4, "behind the closing quote"),
        ("key: \"\\x41\"\n", 4, "escape"),
        ("key: [a, b\n", 4, "ends on its line"),
        ("key: [a] b\n", 4, "closing bracket"),
        ("key: |2\n  a\n", 4, "are understood"),
        ("just words\n", 4, "key: value"),
        ("key: 1\nkey: 2\n", 5, "twice"),
        ("key: 1\n\tother: 2\n", 5, "spaces"),
        ("key:\n  - a\n    - b\n", 6, "lists of lists"),
        ("key:\n  - a: 1\n    b: 2\n", 6, "lists of lists"),
        ("key:\n    a: 1\n  b: 2\n", 6, "indented"),
        ("tier: enormous\n", 4, "none of fast, balanced, quality"),
        ("tools:\n  a: b\n", 4, "must be a list"),
        ("model: [a]\n", 4, "must be text"),
        (": 1\n", 4, "empty"),
    ] {
        let (at, what) = refusal(front);
        assert!(what.contains(part), "{front:?}: {what}");
        assert_eq!(at, line, "{front:?}: {what}");
    }
}

#[test]
fn a_definition_without_fences_name_or_description_is_refused() {
    for text in [
        "",
        "# A title\n",
        "---\nname: a\n",
        "---\nname: a\n---\n",
        "---\ndescription: d\n---\n",
        "---\n---\n",
    ] {
        assert!(
            matches!(
                AgentDefinition::parse(text),
                Err(Error::Definition { line: 1, .. })
            ),
            "{text:?}"
        );
    }
}

#[test]
fn depth_and_number_are_bounded() {
    let deep: String = (0..40)
        .map(|depth| format!("{}k:\n", " ".repeat(depth)))
        .collect();
    assert!(refusal(&deep).1.contains("levels"));
    let many: String = (0..5_000).map(|i| format!("k{i}: x\n")).collect();
    assert!(refusal(&many).1.contains("more than"));
    let many = format!("k: [{}]\n", "x,".repeat(5_000));
    assert!(refusal(&many).1.contains("more than"));
}

proptest! {
    #[test]
    fn no_text_brings_it_down(text in "(?s).{0,200}") {
        let _ = AgentDefinition::parse(&text);
    }

    #[test]
    fn no_front_matter_brings_it_down(front in "([a-c:\\-'\"\\[\\]{}|>#,& \\\\\n\t]|é){0,120}") {
        let _ = with(&(front + "\n"));
    }

    #[test]
    fn quoted_text_survives(value in "[^\\p{C}\u{2028}\u{2029}]{0,60}") {
        let single = format!("key: '{}'\n", value.replace('\'', "''"));
        prop_assert_eq!(text(&single), value.clone());
        let double = format!("key: \"{}\"\n", value.replace('\\', "\\\\").replace('"', "\\\""));
        prop_assert_eq!(text(&double), value);
    }
}

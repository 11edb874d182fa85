//! Facts that must survive a compaction, found in texts by fixed rules.

use crate::{access::looks_like_path, json::Json};

/// Longest line kept of a command or an error, in bytes.
pub(crate) const LINE: usize = 160;

/// The beginning of a text, at most `max` bytes, cut between characters.
pub(crate) fn clip(text: &str, max: usize) -> &str {
    let mut at = text.len().min(max);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    &text[..at]
}

/// The first line of a text that says something, cut to a fixed length.
pub(crate) fn first_line(text: &str) -> &str {
    let line = text.lines().find(|line| !line.trim().is_empty());
    clip(line.unwrap_or("").trim(), LINE)
}

/// Words written like paths.
pub(crate) fn paths(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || "\"'`()<>[]{},;=|".contains(c))
        .map(|word| word.trim_matches([':', '.', '!', '?', '*']))
        .map(|word| match word.split_once(':') {
            Some((path, line)) if line.starts_with(|c: char| c.is_ascii_digit()) => path,
            _ => word,
        })
        .filter(|word| looks_like_path(word))
}

/// The line of an output that says what went wrong, if something did.
///
/// The last line that names an error wins, as tracebacks end with it. `failed` is what the record
/// itself says; then some line is found in any case.
pub(crate) fn error_line(output: &str, failed: bool) -> Option<&str> {
    let mut best = None;
    for line in output.lines() {
        let line = line.trim();
        if names_error(line) {
            best = Some(line);
        }
    }
    let best = match best {
        Some(line) => Some(line),
        None if failed || exit_failed(output) => {
            let mut lines = output.lines().map(str::trim);
            lines.rfind(|line| !line.is_empty() && !is_exit_line(line))
        }
        None => None,
    };
    best.map(|line| clip(line, LINE))
}

fn names_error(line: &str) -> bool {
    let line = line.strip_prefix("E   ").map_or(line, str::trim_start);
    let starts = [
        "error:",
        "error[",
        "Error:",
        "ERROR:",
        "ERROR ",
        "fatal:",
        "FAILED ",
        "FAIL:",
        "panicked at",
        "thread '",
        "Traceback ",
        "Fatal ",
        "bash: ",
        "sh: ",
        "/bin/sh: ",
    ];
    if starts.iter().any(|start| line.starts_with(start)) {
        return !line.starts_with("thread '") || line.contains("panicked at");
    }
    // `SomeError: what`, as Python, Java and JavaScript print it.
    let Some((name, _)) = line.split_once(':') else {
        return line.ends_with("Error") && is_dotted(line);
    };
    (name.ends_with("Error") || name.ends_with("Exception")) && is_dotted(name)
}

fn is_dotted(name: &str) -> bool {
    name.len() < 80
        && !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
}

fn is_exit_line(line: &str) -> bool {
    line.starts_with("[exit code") || line.starts_with("Exit code") || line.starts_with("bash-$")
}

/// Whether an output says that its program failed.
fn exit_failed(output: &str) -> bool {
    exit_code(output).is_some_and(|code| code != 0)
}

/// The exit code that an output tells in its first or one of its last three lines.
pub(crate) fn exit_code(output: &str) -> Option<i32> {
    const WORDS: [&str; 5] = [
        "[exit code ",
        "[exit code: ",
        "Exit code ",
        "Exit code: ",
        "Process exited with code ",
    ];
    let says = |line: &str| {
        let line = line.trim();
        let rest = WORDS.iter().find_map(|words| line.strip_prefix(words))?;
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '-');
        rest[..end.unwrap_or(rest.len())].parse().ok()
    };
    let first = output.lines().next().and_then(says);
    first.or_else(|| output.lines().rev().take(3).find_map(says))
}

/// A task of a list in some text, and whether it is done.
pub(crate) fn tasks(text: &str) -> impl Iterator<Item = (&str, bool)> {
    text.lines().filter_map(|line| {
        let line = line.trim_start();
        let item = line
            .strip_prefix("- ")
            .or_else(|| line.strip_prefix("* "))
            .unwrap_or(line);
        let (task, done) = if let Some(task) = item.strip_prefix("[ ]") {
            (task, false)
        } else if let Some(task) = item
            .strip_prefix("[x]")
            .or_else(|| item.strip_prefix("[X]"))
        {
            (task, true)
        } else {
            (item.strip_prefix("TODO: ")?, false)
        };
        let task = clip(task.trim(), LINE);
        (!task.is_empty()).then_some((task, done))
    })
}

/// The list that a planning tool was given: each task with whether it is done.
pub(crate) fn planned(arguments: &str) -> Option<Vec<(String, bool)>> {
    let arguments = Json::parse(arguments.trim()).ok()?;
    let list = ["todos", "plan", "todo_list", "task_list"]
        .into_iter()
        .find_map(|key| arguments.get(key).filter(|v| v.is_array()))?;
    let tasks = list.elements().filter_map(|task| {
        let text = ["content", "step", "title", "task"]
            .into_iter()
            .find_map(|key| task.get(key)?.string())?;
        let done = matches!(
            task.get("status").and_then(Json::word),
            Some("completed" | "done" | "cancelled")
        );
        Some((first_line(&text).to_owned(), done))
    });
    Some(tasks.filter(|(task, _)| !task.is_empty()).collect())
}

/// Sentences that give a reason or take a choice.
pub(crate) fn decisions(text: &str) -> impl Iterator<Item = &str> {
    const WORDS: [&str; 9] = [
        " because ",
        "decided",
        "instead of",
        "root cause",
        "the fix is",
        "the issue is",
        "should be",
        "the problem is",
        "turns out",
    ];
    text.split(['\n', '.'])
        .map(str::trim)
        .filter(|s| s.len() > 20 && s.len() < 240)
        .filter(|s| WORDS.iter().any(|word| s.contains(word)))
}

/// Short names between backticks.
pub(crate) fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| (2..60).contains(&name.len()) && !name.contains(['\n', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_where_they_end() {
        let traceback =
            "Traceback (most recent call last):\n  File \"a.py\", line 3\nValueError: bad\n";
        assert_eq!(error_line(traceback, false), Some("ValueError: bad"));
        assert_eq!(error_line("all fine\n[exit code 0]", false), None);
        assert_eq!(
            error_line("it broke\n[exit code 2]", false),
            Some("it broke")
        );
        assert_eq!(error_line("    raise ValueError(x)", false), None);
    }

    #[test]
    fn exit_codes_are_read_where_runtimes_put_them() {
        assert_eq!(exit_code("fine\n[exit code 0]"), Some(0));
        assert_eq!(exit_code("Exit code: 127\nsh: no such file"), Some(127));
        assert_eq!(exit_code("Process exited with code -9\nout\nput"), Some(-9));
        assert_eq!(exit_code("Exit code of the last one"), None);
    }

    #[test]
    fn paths_are_told_from_words() {
        let text = "See src/a.rs:12, `b.py` and /etc/hosts; not e.g. and/or 3.5 or a.b.";
        assert_eq!(
            paths(text).collect::<Vec<_>>(),
            ["src/a.rs", "b.py", "/etc/hosts"]
        );
    }

    #[test]
    fn tasks_are_read_with_their_state() {
        let text = "TODO:\n- [x] one\n- [ ] two\n* [ ] three";
        let found: Vec<_> = tasks(text).collect();
        assert_eq!(found, [("one", true), ("two", false), ("three", false)]);
    }
}

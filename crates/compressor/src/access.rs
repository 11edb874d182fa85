//! A guess at what a tool call touches, from its name and arguments alone.

use crate::json::Json;

/// Whether a call only looks, changes something, or may do anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AccessKind {
    /// It only looks.
    Read,
    /// It changes the resource.
    Write,
    /// Nothing is known: treat it as exclusive.
    Unknown,
}

/// What a tool call touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Reading, writing, or unknown.
    pub kind: AccessKind,
    /// The path that the call names, when there is one.
    pub path: Option<String>,
    /// The command line, when the call runs one.
    pub command: Option<String>,
    /// The first and the last line of the file that it asks for, counted from 1, when it names them;
    /// `u32::MAX` stands for the end of the file.
    pub lines: Option<(u32, u32)>,
}

/// Arguments that hold a path, most telling first.
const PATHS: [&str; 13] = [
    "file_path",
    "path",
    "filepath",
    "file",
    "filename",
    "file_name",
    "notebook_path",
    "target_file",
    "relative_workspace_path",
    "absolute_path",
    "dir_path",
    "directory",
    "dir",
];

const COMMANDS: [&str; 5] = ["command", "cmd", "script", "code", "commands"];

const READS: [&str; 24] = [
    "read",
    "view",
    "cat",
    "open",
    "get",
    "list",
    "ls",
    "search",
    "find",
    "grep",
    "glob",
    "lookup",
    "fetch",
    "query",
    "show",
    "head",
    "tail",
    "scroll",
    "goto",
    "describe",
    "check",
    "browse",
    "calculate",
    "think",
];

const WRITES: [&str; 28] = [
    "write", "edit", "create", "update", "delete", "remove", "insert", "replace", "append", "move",
    "rename", "apply", "patch", "set", "add", "book", "cancel", "modify", "send", "commit",
    "install", "submit", "touch", "mkdir", "rm", "mv", "cp", "put",
];

/// Programs that only look, whatever their arguments.
const LOOKING: [&str; 24] = [
    "cat", "ls", "grep", "rg", "head", "tail", "pwd", "wc", "find", "tree", "stat", "file",
    "which", "echo", "diff", "sort", "uniq", "cut", "du", "df", "ps", "env", "date", "whoami",
];

impl Access {
    pub(crate) fn guess(name: &str, arguments: &str) -> Self {
        let arguments = arguments.trim();
        let fields = Json::parse(arguments).ok().filter(|v| v.is_object());
        let find = |keys: &[&str]| {
            keys.iter()
                .find_map(|key| text_or_words(fields?.get(key)?))
                .filter(|text| !text.is_empty())
        };
        let path = find(&PATHS);
        let shell = is_shell(name);
        let command = find(&COMMANDS)
            .filter(|_| shell || path.is_none())
            .or_else(|| (fields.is_none() && !arguments.is_empty()).then(|| arguments.to_owned()));
        let kind = match (&command, shell || fields.is_none()) {
            (Some(command), true) => command_kind(command),
            _ => name_kind(name),
        };
        let path = path.or_else(|| command.as_deref().and_then(path_of_command));
        let lines = fields.and_then(lines_of);
        let lines = lines.or_else(|| command.as_deref().and_then(lines_of_command));
        Self {
            kind,
            path,
            command,
            lines,
        }
    }

    /// Whether it looks at every line that `other` looks at, when both look at one file.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (self.lines, other.lines) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((from, to)), Some((first, last))) => from <= first && last <= to,
        }
    }
}

/// The lines that arguments name: first and last, first and number, or a pair.
fn lines_of(fields: Json<'_>) -> Option<(u32, u32)> {
    let (mut from, mut to, mut count) = (None, None, None);
    for (key, value) in fields.fields() {
        let number = || value.text().trim_matches('"').parse::<u32>().ok();
        match key {
            "view_range" | "lines" => {
                let mut ends = value.elements().map(|end| end.text().parse::<i64>().ok());
                if let (Some(Some(from)), Some(Some(to))) = (ends.next(), ends.next()) {
                    let last = if to < 0 { u32::MAX } else { clamped(to) };
                    return Some((clamped(from), last));
                }
            }
            "offset" | "start_line" | "line_start" | "start" | "from_line" => from = number(),
            "end_line" | "line_end" | "end" | "to_line" => to = number(),
            "limit" | "line_count" | "num_lines" | "count" => count = number(),
            _ => {}
        }
    }
    match (from, to, count) {
        (None, None, None) => None,
        (from, Some(to), _) => Some((from.unwrap_or(1), to)),
        (from, None, Some(count)) => {
            let from = from.unwrap_or(1);
            Some((from, from.saturating_add(count.saturating_sub(1))))
        }
        (Some(from), None, None) => Some((from, u32::MAX)),
    }
}

fn clamped(line: i64) -> u32 {
    u32::try_from(line.max(0)).unwrap_or(u32::MAX)
}

/// `sed -n '10,40p' FILE`, as agents read files through a shell.
fn lines_of_command(command: &str) -> Option<(u32, u32)> {
    let range = command.trim().strip_prefix("sed -n ")?;
    let range = range.trim_start_matches(['\'', '"']);
    let (range, _) = range.split_once('p')?;
    let (from, to) = range.split_once(',').unwrap_or((range, range));
    let to = if to == "$" {
        u32::MAX
    } else {
        to.parse().ok()?
    };
    Some((from.parse().ok()?, to))
}

/// A string, or the words of an array of strings.
fn text_or_words(value: Json<'_>) -> Option<String> {
    if let Some(text) = value.string() {
        return Some(text.into_owned());
    }
    let words: Vec<_> = value.elements().filter_map(Json::string).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn is_shell(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "bash", "shell", "run", "exec", "terminal", "command", "python",
    ]
    .iter()
    .any(|word| name.contains(word))
}

/// The first word of a name like `get_user_details` or `ReadFile` decides.
fn name_kind(name: &str) -> AccessKind {
    let word = first_word(name);
    if READS.contains(&word.as_str()) {
        AccessKind::Read
    } else if WRITES.contains(&word.as_str()) || name.to_ascii_lowercase().contains("write") {
        AccessKind::Write
    } else {
        AccessKind::Unknown
    }
}

fn first_word(name: &str) -> String {
    let name = name.rsplit(['.', ':', '/']).next().unwrap_or(name);
    let name = name.rsplit("__").next().unwrap_or(name);
    let mut word = String::new();
    for c in name.chars() {
        let boundary = !c.is_alphabetic() || (c.is_uppercase() && !word.is_empty());
        if boundary && !word.is_empty() {
            break;
        }
        if c.is_alphabetic() {
            word.extend(c.to_lowercase());
        }
    }
    word
}

fn command_kind(command: &str) -> AccessKind {
    if command.contains(['>', '`']) || command.contains("$(") {
        return AccessKind::Unknown;
    }
    let looks = command
        .split(['|', ';', '&', '\n'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .all(only_looks);
    if looks {
        AccessKind::Read
    } else if WRITES.contains(&command.split_whitespace().next().unwrap_or("")) {
        AccessKind::Write
    } else {
        AccessKind::Unknown
    }
}

fn only_looks(part: &str) -> bool {
    let mut words = part.split_whitespace();
    match words.next().unwrap_or("") {
        "cd" => true,
        "git" => matches!(
            words.next(),
            Some("status" | "log" | "diff" | "show" | "blame" | "grep" | "ls-files")
        ),
        "sed" => words.next() == Some("-n"),
        "find" => !part.contains("-delete") && !part.contains("-exec"),
        // The interface of SWE-agent.
        "open" | "goto" | "scroll_up" | "scroll_down" | "search_dir" | "search_file"
        | "find_file" => true,
        program => LOOKING.contains(&program),
    }
}

/// The first word after the program that looks like a path.
fn path_of_command(command: &str) -> Option<String> {
    command
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .map(|word| word.trim_matches(['"', '\'', ';', ',', '(', ')']))
        .find(|word| looks_like_path(word))
        .map(str::to_owned)
}

/// Whether a word is written like a path: a slash between names, or a short extension.
pub(crate) fn looks_like_path(word: &str) -> bool {
    if word.len() < 3 || word.len() > 260 || word.starts_with('-') || word.contains("://") {
        return false;
    }
    let plain =
        |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '~' | '+' | '@');
    if !word.chars().all(plain) {
        return false;
    }
    let name = word.rsplit('/').next().unwrap_or(word);
    let extension = name.rsplit_once('.').is_some_and(|(stem, ext)| {
        !stem.is_empty()
            && stem.chars().any(char::is_alphabetic)
            && (1..=5).contains(&ext.len())
            && ext.starts_with(|c: char| c.is_ascii_alphabetic())
            && ext.chars().all(|c| c.is_ascii_alphanumeric())
    });
    let rooted = word.starts_with('/') || word.starts_with("./") || word.starts_with("~/");
    let nested = word.matches('/').count() >= 2 && !word.ends_with('/');
    if word.contains('/') {
        rooted || extension || nested
    } else {
        extension && known_extension(name)
    }
}

/// Extensions that make a word without a slash a file name rather than `a.b` of a program.
fn known_extension(name: &str) -> bool {
    const KNOWN: [&str; 40] = [
        "rs", "py", "js", "ts", "tsx", "jsx", "go", "java", "kt", "c", "h", "cc", "cpp", "hpp",
        "rb", "php", "swift", "sh", "toml", "yaml", "yml", "json", "jsonl", "md", "rst", "txt",
        "cfg", "ini", "lock", "html", "css", "scss", "sql", "csv", "xml", "proto", "ipynb", "lua",
        "log", "vue",
    ];
    name.rsplit('.')
        .next()
        .is_some_and(|ext| KNOWN.contains(&ext))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_read_are_found_however_they_are_spelled() {
        for (name, arguments, lines) in [
            ("read_file", r#"{"path":"a.rs"}"#, None),
            (
                "read_file",
                r#"{"path":"a.rs","offset":5,"limit":10}"#,
                Some((5, 14)),
            ),
            (
                "read_file",
                r#"{"path":"a.rs","limit":"10"}"#,
                Some((1, 10)),
            ),
            (
                "view",
                r#"{"path":"a.rs","view_range":[3,-1]}"#,
                Some((3, u32::MAX)),
            ),
            (
                "read",
                r#"{"path":"a.rs","start_line":2,"end_line":9}"#,
                Some((2, 9)),
            ),
            (
                "bash",
                r#"{"command":"sed -n '10,40p' src/a.rs"}"#,
                Some((10, 40)),
            ),
        ] {
            assert_eq!(Access::guess(name, arguments).lines, lines, "{arguments}");
        }
        let of = |arguments: &str| Access::guess("read_file", arguments);
        let (whole, part) = (of(r#"{"path":"a"}"#), of(r#"{"path":"a","offset":5}"#));
        assert!(whole.covers(&part) && !part.covers(&whole) && part.covers(&part));
    }
}

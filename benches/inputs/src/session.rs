//! Whole agent sessions in the OpenAI chat format.

use crate::{Random, text, workspace::Workspace};

/// What a generated session is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// A coding agent: reads, searches, edits, test runs, large outputs, repeats.
    Coding,
    /// A support agent over records: short turns, JSON results, many turns of a person.
    Support,
    /// Coding, with every result base64 noise: nothing compresses.
    Incompressible,
    /// Coding, with results that are hard on parsers, tokenizers and compressors.
    Adversarial,
}

/// Everything a generated session follows from.
#[derive(Debug, Clone)]
pub struct SessionSpec {
    /// The seed of all choices.
    pub seed: u64,
    /// How many messages the session has, exactly.
    pub messages: usize,
    /// What it is made of.
    pub profile: Profile,
}

impl SessionSpec {
    /// A coding session of `messages` messages.
    #[must_use]
    pub fn coding(seed: u64, messages: usize) -> Self {
        Self {
            seed,
            messages,
            profile: Profile::Coding,
        }
    }
}

/// The messages of a session, each as one raw JSON object.
///
/// Every tool call has its result, in call order and before the next assistant message.
#[must_use]
pub fn generate(spec: &SessionSpec) -> Vec<String> {
    let mut random = Random::new(spec.seed ^ (spec.profile as u64) << 56);
    let files = random.between(60, 160);
    let workspace = Workspace::new(&mut random, files);
    let mut session = Session {
        random,
        workspace,
        profile: spec.profile,
        messages: Vec::with_capacity(spec.messages),
        calls: 0,
    };
    session.run(spec.messages);
    session.messages
}

struct Session {
    random: Random,
    workspace: Workspace,
    profile: Profile,
    messages: Vec<String>,
    calls: u64,
}

struct Call {
    name: &'static str,
    arguments: String,
    result: String,
}

impl Session {
    fn run(&mut self, target: usize) {
        if target > 0 {
            self.system();
        }
        while self.messages.len() < target {
            self.person();
            for _ in 0..self.random.length(7, 0.6, 40) {
                let left = target.saturating_sub(self.messages.len());
                if left < 3 {
                    break;
                }
                self.exchange(left);
            }
            if self.messages.len() < target {
                self.closing();
            }
        }
    }

    fn system(&mut self) {
        let rules = text::prose(&mut self.random, 1800);
        self.text("system", &format!(
            "You are a careful engineering agent. Work in /workspace. Never push to main without being asked.\n\n{rules}"
        ));
    }

    fn person(&mut self) {
        let bytes = self.random.length(110, 0.6, 2_000);
        let ask = match self.profile {
            Profile::Support => text::prose(&mut self.random, bytes),
            _ => {
                let file = self.workspace.any(&mut self.random);
                let name = text::identifier(&mut self.random);
                format!(
                    "Please look at {} and make `{name}` handle this: {}",
                    self.workspace.path(file),
                    text::prose(&mut self.random, bytes)
                )
            }
        };
        self.text("user", &ask);
    }

    fn closing(&mut self) {
        let bytes = self.random.length(220, 0.7, 3_000);
        let mut body = text::prose(&mut self.random, bytes);
        if self.random.chance(0.3) {
            body.push_str("\n\nTODO:\n- [x] ");
            body.push_str(&text::prose(&mut self.random, 30));
            body.push_str("\n- [ ] ");
            body.push_str(&text::prose(&mut self.random, 30));
        }
        self.text("assistant", &body);
    }

    /// One assistant message with its calls, then the results; `left` messages at most.
    fn exchange(&mut self, left: usize) {
        let parallel = if self.random.chance(0.35) {
            self.random.between(2, 6)
        } else {
            1
        };
        let calls: Vec<Call> = if parallel > 1 {
            (0..parallel.min(left - 2))
                .map(|_| self.read_only())
                .collect()
        } else {
            vec![self.any_call()]
        };
        let thought = if self.random.chance(0.55) {
            let bytes = self.random.length(160, 0.7, 1_500);
            json(&text::prose(&mut self.random, bytes))
        } else {
            "null".to_owned()
        };
        let first = self.calls;
        let listed: Vec<String> = calls
            .iter()
            .zip(first..)
            .map(|(call, id)| {
                format!(
                    "{{\"id\":\"call_{id:08}\",\"type\":\"function\",\"function\":{{\"name\":\"{}\",\"arguments\":{}}}}}",
                    call.name,
                    json(&call.arguments)
                )
            })
            .collect();
        self.messages.push(format!(
            "{{\"role\":\"assistant\",\"content\":{thought},\"tool_calls\":[{}]}}",
            listed.join(",")
        ));
        for (call, id) in calls.into_iter().zip(first..) {
            self.messages.push(format!(
                "{{\"role\":\"tool\",\"tool_call_id\":\"call_{id:08}\",\"name\":\"{}\",\"content\":{}}}",
                call.name,
                json(&call.result)
            ));
            self.calls += 1;
        }
    }

    fn any_call(&mut self) -> Call {
        if self.profile == Profile::Support {
            return if self.random.chance(0.75) {
                self.lookup()
            } else {
                self.update()
            };
        }
        match self.random.below(10) {
            0..5 => self.read_only(),
            5..8 => self.edit(),
            _ => self.command(),
        }
    }

    fn read_only(&mut self) -> Call {
        if self.profile == Profile::Support {
            return self.lookup();
        }
        match self.random.below(10) {
            0..6 => self.read(),
            6..9 => self.search(),
            _ => {
                let result = self.workspace.list();
                self.call("list_files", "{\"path\": \".\"}".to_owned(), result)
            }
        }
    }

    fn read(&mut self) -> Call {
        let file = self.workspace.any(&mut self.random);
        let (start, count, body) = self.workspace.read(&mut self.random, file);
        let path = self.workspace.path(file).to_owned();
        let arguments = if start == 1 {
            format!("{{\"path\": \"{path}\"}}")
        } else {
            format!("{{\"path\": \"{path}\", \"offset\": {start}, \"limit\": {count}}}")
        };
        self.call("read_file", arguments, body)
    }

    fn search(&mut self) -> Call {
        let name = text::identifier(&mut self.random);
        let needle = name.split('_').next().unwrap_or("load").to_owned();
        let limit = self.random.length(6, 0.8, 60);
        let result = self.workspace.search(&needle, limit);
        let arguments = format!("{{\"pattern\": \"{needle}\", \"limit\": {limit}}}");
        self.call("search", arguments, result)
    }

    fn edit(&mut self) -> Call {
        let file = self.workspace.any(&mut self.random);
        let edit = self.workspace.edit(&mut self.random, file);
        let arguments = format!(
            "{{\"path\": \"{}\", \"old\": {}, \"new\": {}}}",
            edit.path,
            json(&edit.old),
            json(&edit.new)
        );
        let result = format!("The file {} has been updated.", edit.path);
        self.call("edit_file", arguments, result)
    }

    fn command(&mut self) -> Call {
        let file = self.workspace.any(&mut self.random);
        let target = self.workspace.path(file).to_owned();
        let fails = self.random.chance(0.4);
        let mut result = text::test_output(&mut self.random, &target, fails);
        if self.random.chance(0.15) {
            let bytes = self.random.length(6_000, 0.6, 20_000);
            result.push_str(&text::records(&mut self.random, bytes));
        }
        result.push_str(&format!("\n[exit code {}]", u8::from(fails)));
        self.call(
            "run_command",
            format!("{{\"command\": \"pytest -q {target}\"}}"),
            result,
        )
    }

    fn lookup(&mut self) -> Call {
        let bytes = self.random.length(600, 0.7, 7_000);
        let result = text::records(&mut self.random, bytes);
        let id = self.random.zipf(200);
        self.call("get_details", format!("{{\"id\": \"user_{id}\"}}"), result)
    }

    fn update(&mut self) -> Call {
        let id = self.random.zipf(200);
        let note = text::prose(&mut self.random, 40);
        self.call(
            "update_record",
            format!("{{\"id\": \"user_{id}\", \"note\": {}}}", json(&note)),
            format!("{{\"id\": \"user_{id}\", \"status\": \"updated\"}}"),
        )
    }

    /// A call whose result is of the profile's kind.
    fn call(&mut self, name: &'static str, arguments: String, result: String) -> Call {
        let result = match self.profile {
            Profile::Incompressible => text::base64(&mut self.random, result.len()),
            Profile::Adversarial if self.random.chance(0.5) => {
                text::adversarial(&mut self.random, result.len())
            }
            _ => result,
        };
        Call {
            name,
            arguments,
            result,
        }
    }

    fn text(&mut self, role: &str, content: &str) {
        self.messages.push(format!(
            "{{\"role\":\"{role}\",\"content\":{}}}",
            json(content)
        ));
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

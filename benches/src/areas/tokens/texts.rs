//! Texts to count, by kind of content, from the sessions of the run.

use std::rc::Rc;

use anyhow::Result;
use mainspring_compressor::{ContentClass, Item, Profile};
use mainspring_inputs::Random;

use crate::{Bench, Session, Sessions, areas::Unavailable};

/// Bytes of a message where a row counts messages.
const MESSAGE: usize = 2_048;

/// The texts of the sessions: each whole, in its class.
pub(super) struct Texts {
    code: Vec<String>,
    prose: Vec<String>,
    json: Vec<String>,
    limit: usize,
    recorded: bool,
}

impl Texts {
    pub(super) fn of(bench: &Bench) -> Result<Rc<Self>> {
        bench.fixture(|| {
            let mut texts = Self {
                code: Vec::new(),
                prose: Vec::new(),
                json: Vec::new(),
                limit: bench.scale().pick(4_000, 400_000, 1_000_000),
                recorded: bench.options().sessions.is_some(),
            };
            if texts.recorded {
                let sessions = Sessions::of(bench)?;
                sessions.all.iter().for_each(|session| texts.take(session));
            } else {
                texts.generate(bench)?;
            }
            Ok(texts)
        })
    }

    /// Sessions of the generator until every class has enough.
    fn generate(&mut self, bench: &Bench) -> Result<()> {
        use mainspring_inputs::Profile::{Coding, Support};
        let messages = bench.scale().pick(60, 2_500, 6_000);
        for profile in [Coding, Support] {
            self.take(&Session::generated(profile, messages)?);
        }
        Ok(())
    }

    fn take(&mut self, session: &Session) {
        for item in session.transcript.items() {
            for text in texts(item) {
                match class(&text) {
                    ContentClass::Code => self.code.push(text),
                    ContentClass::Prose => self.prose.push(text),
                    ContentClass::Json => self.json.push(text),
                    _ => {}
                }
            }
        }
    }

    pub(super) fn code(&self) -> Result<String> {
        self.joined(&self.code, "code")
    }

    pub(super) fn prose(&self) -> Result<String> {
        self.joined(&self.prose, "prose")
    }

    pub(super) fn json(&self) -> Result<String> {
        self.joined(&self.json, "JSON")
    }

    /// All classes by turns, in messages of 2 KiB.
    pub(super) fn messages(&self) -> Result<Vec<String>> {
        let classes = [self.code()?, self.prose()?, self.json()?];
        let mut messages = Vec::new();
        let shortest = classes.iter().map(String::len).min().unwrap_or(0);
        for at in (0..shortest.min(self.limit / 2)).step_by(MESSAGE) {
            for text in &classes {
                let (start, end) = (
                    text.floor_char_boundary(at),
                    text.floor_char_boundary(at + MESSAGE),
                );
                messages.push(text[start..end].to_owned());
            }
        }
        Ok(messages)
    }

    /// What kind of texts these are.
    pub(super) fn note(&self) -> &'static str {
        if self.recorded {
            "texts of recorded sessions"
        } else {
            "texts of generated sessions"
        }
    }

    fn joined(&self, texts: &[String], class: &str) -> Result<String> {
        let mut joined = String::new();
        for text in texts {
            if joined.len() >= self.limit {
                break;
            }
            joined.push_str(text);
            joined.push('\n');
        }
        if joined.len() < 4_000 {
            let missing = format!("the sessions hold only {} bytes of {class}", joined.len());
            return Err(Unavailable(missing).into());
        }
        joined.truncate(joined.floor_char_boundary(self.limit));
        Ok(joined)
    }
}

/// What a model reads of an item, piece by piece.
fn texts(item: &Item) -> Vec<String> {
    let results = item.results().map(|result| result.text.into_owned());
    let calls = item.calls().map(|call| call.arguments.into_owned());
    let mut texts: Vec<String> = results.chain(calls).collect();
    texts.push(item.text().into_owned());
    texts.retain(|text| !text.is_empty());
    texts
}

/// The class of most of its bytes.
fn class(text: &str) -> ContentClass {
    use ContentClass::{Code, Json, Noise, NonLatin, Prose};
    let profile = Profile::of(text);
    let bytes = |class: &ContentClass| profile.bytes(*class);
    [Code, Prose, Json, Noise, NonLatin]
        .into_iter()
        .max_by(|a, b| bytes(a).total_cmp(&bytes(b)))
        .unwrap_or(Prose)
}

/// Texts that are hard on tokenizers.
pub(super) fn adversarial(bytes: usize) -> Vec<(&'static str, String)> {
    let mut random = Random::new(7);
    let mut drawn = |alphabet: &[u8]| -> String {
        let letter = |_| char::from(alphabet[random.below(alphabet.len())]);
        (0..bytes).map(letter).collect()
    };
    vec![
        ("one letter", "a".repeat(bytes)),
        ("random letters", drawn(b"abcdefghijklmnopqrstuvwxyz")),
        ("random digits", drawn(b"0123456789")),
        (
            "base64",
            drawn(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"),
        ),
        ("spaces", " ".repeat(bytes)),
        ("two letters by turns", "ab".repeat(bytes / 2)),
        ("emoji", "\u{1f468}\u{200d}\u{1f469}".repeat(bytes / 11)),
    ]
}

/// A session's messages as text of one request each, for what learns from requests.
pub(super) fn requests(text: &str, bytes: usize) -> Vec<&str> {
    let mut requests = Vec::new();
    let mut at = 0;
    while at + bytes <= text.len() {
        let end = text.floor_char_boundary(at + bytes);
        requests.push(&text[at..end]);
        at = end;
    }
    requests
}

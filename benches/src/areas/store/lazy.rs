//! Starting on a session of 50 fields that needs two of them.

use std::{collections::HashMap, hint::black_box};

use anyhow::{Context as _, Result};
use mainspring_inputs::{SessionSpec, generate};
use mainspring_mmap_store::{Durability, Error, LazyRecord, LazyRecordBuilder, Options, Store};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::peers::Handle;
use crate::{Bench, Contest, Measured, check};

const FIELDS: usize = 50;
const WANTED: [usize; 2] = [7, 31];
const LAZY: &[u8] = b"lazy";
const WHOLE: &[u8] = b"whole";

/// A message of a session in the OpenAI chat format.
#[derive(Deserialize)]
#[expect(
    dead_code,
    reason = "decoded as a program would, which reads all of it"
)]
struct Message {
    role: String,
    content: Option<String>,
    #[serde(default)]
    tool_calls: Vec<Call>,
    tool_call_id: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
#[expect(
    dead_code,
    reason = "decoded as a program would, which reads all of it"
)]
struct Call {
    id: String,
    function: Function,
}

#[derive(Deserialize)]
#[expect(
    dead_code,
    reason = "decoded as a program would, which reads all of it"
)]
struct Function {
    name: String,
    arguments: String,
}

pub(super) fn startup_small(bench: &Bench) -> Result<Measured> {
    startup(bench, 64 << 10)
}

pub(super) fn startup_large(bench: &Bench) -> Result<Measured> {
    startup(bench, bench.scale().pick(256 << 10, 16 << 20, 16 << 20))
}

/// A session kept as a lazy record and as one JSON object, of about `bytes`.
struct Session {
    store: Store,
    mapped: Handle,
    file: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Session {
    fn new(bytes: usize) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let options = Options::new().create(true).durability(Durability::Os);
        // Each value ends a segment of its own: what is sealed can be mapped.
        let store = options
            .segment_size(1 << 16)
            .open(dir.path().join("store"))?;
        let bodies = bodies(bytes);
        let mut lazy = LazyRecordBuilder::new();
        let mut fields = Vec::with_capacity(FIELDS);
        for (at, body) in bodies.iter().enumerate() {
            lazy = lazy.field(&name(at), body.clone().into_bytes())?;
            fields.push(format!("\"{}\":{body}", name(at)));
        }
        let whole = format!("{{{}}}", fields.join(","));
        store.put(LAZY, &lazy.finish())?;
        store.put(WHOLE, whole.as_bytes())?;
        store.put(b"end", b"")?;
        let mapped = Handle::mapped_reader(&dir.path().join("store"))?;
        let file = dir.path().join("session.json");
        std::fs::write(&file, whole)?;
        Ok(Self {
            store,
            mapped,
            file,
            _dir: dir,
        })
    }

    fn value(&self, key: &[u8]) -> Result<bytes::Bytes> {
        self.store.get(key)?.context("the session is there")
    }

    /// Reads the directory and two fields, and decodes these.
    fn lazily(&self) -> Result<u64> {
        two_lazily(&self.store.get_lazy(LAZY)?.context("the session is there")?)
    }

    /// Reads all of it, and decodes two fields.
    fn lazily_read_whole(&self) -> Result<u64> {
        two_lazily(&LazyRecord::parse(self.value(LAZY)?)?)
    }

    fn lazily_mapped(&self) -> Result<u64> {
        let record = self.mapped.0.get_lazy(LAZY)?;
        two_lazily(&record.context("the session is there")?)
    }

    /// Decodes all fields, then reads two.
    fn whole(&self) -> Result<u64> {
        two_of(&serde_json::from_slice(&self.value(WHOLE)?)?)
    }

    fn whole_from_file(&self) -> Result<u64> {
        two_of(&serde_json::from_slice(&std::fs::read(&self.file)?)?)
    }

    fn whole_untyped(&self) -> Result<u64> {
        let session: serde_json::Value = serde_json::from_slice(&self.value(WHOLE)?)?;
        let messages = |at| session[name(at)].as_array().into_iter().flatten();
        let content = |m: &serde_json::Value| m["content"].as_str().map_or(0, str::len) as u64;
        Ok(WANTED.into_iter().flat_map(messages).map(content).sum())
    }

    /// Walks over all fields, decodes two.
    fn raw_values(&self) -> Result<u64> {
        let bytes = self.value(WHOLE)?;
        let session: HashMap<&str, &RawValue> = serde_json::from_slice(&bytes)?;
        let mut sum = 0;
        for at in WANTED {
            let raw = session.get(name(at).as_str()).context("no such field")?;
            sum += text_bytes(&serde_json::from_str::<Vec<Message>>(raw.get())?);
        }
        Ok(sum)
    }
}

fn two_lazily(record: &LazyRecord) -> Result<u64> {
    let mut sum = 0;
    for at in WANTED {
        let decode = |bytes: &[u8]| Ok::<_, Error>(serde_json::from_slice::<Vec<Message>>(bytes));
        let field = record.decode(&name(at), decode)?.context("no such field")?;
        let messages = (*field).as_ref().map_err(|e| anyhow::anyhow!("{e}"))?;
        sum += text_bytes(messages);
    }
    Ok(sum)
}

fn two_of(session: &HashMap<String, Vec<Message>>) -> Result<u64> {
    let field = |at| session.get(&name(at)).context("no such field");
    let [first, second] = WANTED.map(field);
    Ok(text_bytes(first?) + text_bytes(second?))
}

fn text_bytes(messages: &[Message]) -> u64 {
    let lengths = messages
        .iter()
        .map(|m| m.content.as_ref().map_or(0, String::len));
    lengths.sum::<usize>() as u64
}

fn name(at: usize) -> String {
    format!("part_{at:02}")
}

/// The bodies of the fields: lists of messages, all of about the same size.
fn bodies(bytes: usize) -> Vec<String> {
    let mut messages = (0..).flat_map(|seed| generate(&SessionSpec::coding(seed, 200)));
    let share = bytes / FIELDS;
    let body = |_| {
        let mut body = String::from("[");
        while body.len() + 300 < share {
            let message = messages.next().unwrap_or_default();
            // At 64 KiB a single long message would outweigh all others.
            if message.len() < share.max(800) {
                body.push_str(if body.len() > 1 { "," } else { "" });
                body.push_str(&message);
            }
        }
        body + "]"
    };
    (0..FIELDS).map(body).collect()
}

fn startup(bench: &Bench, bytes: usize) -> Result<Measured> {
    type Start = fn(&Session) -> Result<u64>;
    const WAYS: [(&str, &str, Start); 7] = [
        ("mainspring-mmap-store LazyRecord", "", Session::lazily),
        ("serde_json, whole, typed", "1", Session::whole),
        ("LazyRecord, read whole", "", Session::lazily_read_whole),
        ("LazyRecord, mapped", "", Session::lazily_mapped),
        (
            "serde_json, whole, from a file",
            "1",
            Session::whole_from_file,
        ),
        ("serde_json, whole, Value", "1", Session::whole_untyped),
        ("serde_json, RawValue fields", "1", Session::raw_values),
    ];
    let session = Session::new(bytes)?;
    let bodies = bodies(bytes);
    let mut wanted = 0;
    for at in WANTED {
        wanted += text_bytes(&serde_json::from_str::<Vec<Message>>(&bodies[at])?);
    }
    let mut contest = Contest::new(bench, 1);
    for (name, version, start) in WAYS {
        let found = bench.answer(start(&session)?);
        check(found == wanted, &format!("{name} read other fields"))?;
        let session = &session;
        contest = contest.side(name, version, move || {
            black_box(start(session).expect("the session decodes"));
        });
    }
    Ok(contest.run().saved(WAYS[1].0).noting(
        "each from the store's safe read, one mapped, one from a file, to two decoded fields of equal \
         size; ours reads the record's directory and these two, each checked by a check of its own",
    ))
}

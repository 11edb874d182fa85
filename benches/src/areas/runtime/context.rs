//! Going on with a very long session.

use std::{hint::black_box, io::Write};

use anyhow::Result;
use bytes::Bytes;
use mainspring::{
    Runtime,
    compressor::{Format, Item, Role},
};
use mainspring_inputs::Profile;

use super::stored;
use crate::{Bench, Contest, Measured, Session, check};

/// Bytes of each large output.
const OUTPUT: usize = 48 << 10;

/// A session of a hundred megabytes, most of it outputs of tools, in a runtime and as a file.
struct Long {
    dir: tempfile::TempDir,
    runtime: Runtime,
    last: Bytes,
    messages: u64,
    bytes: usize,
    // Dropped last: the runtime's tasks live on it.
    _tokio: tokio::runtime::Runtime,
}

impl Long {
    fn new(bench: &Bench) -> Result<Self> {
        let wanted = bench.scale().pick(150_000, 10_000_000, 100_000_000);
        let tokio = super::tokio()?;
        let dir = tempfile::tempdir()?;
        let runtime = stored::open(&tokio, &dir.path().join("runtime"));
        let mut file = std::io::BufWriter::new(std::fs::File::create(dir.path().join("file"))?);
        let mut session = runtime.session("long", Format::OpenAiChat)?;
        let (mut bytes, mut last) = (0, Bytes::new());
        // Outputs are half of a generated session's messages.
        let short = Session::generated(Profile::Coding, wanted / (OUTPUT / 3))?;
        let text = text(&short);
        for item in short.transcript.items() {
            last = enlarged(item, &text, bytes)?;
            session.append(last.clone())?;
            file.write_all(&last)?;
            file.write_all(b"\n")?;
            bytes += last.len() + 1;
            if bytes >= wanted {
                break;
            }
        }
        file.flush()?;
        let messages = session.messages();
        drop(session);
        Ok(Self {
            dir,
            runtime,
            last,
            messages,
            bytes,
            _tokio: tokio,
        })
    }

    /// Resumes it and makes the first request's messages.
    fn first_context(&self) -> Vec<Bytes> {
        let session = self.runtime.resume("long").expect("the session resumes");
        session.context().items().cloned().collect()
    }

    /// What a runtime does that keeps the session as one file: parses it all, keeps the end.
    fn parsed(&self) -> Result<Vec<serde_json::Value>> {
        let file = std::fs::read_to_string(self.dir.path().join("file"))?;
        let messages = file.lines().map(serde_json::from_str);
        let messages: Vec<serde_json::Value> = messages.collect::<Result<_, _>>()?;
        let kept = messages.len().saturating_sub(100);
        Ok(messages[kept..].to_vec())
    }
}

/// Plain text of the session, to fill outputs with.
fn text(session: &Session) -> String {
    let results = session.transcript.items().iter().flat_map(Item::results);
    let mut text: String = results.map(|result| result.text.into_owned()).collect();
    while text.len() < 2 * OUTPUT {
        text = text.repeat(2) + "\n";
    }
    text
}

/// A result of a tool gets a large output; everything else stays as it is.
fn enlarged(item: &Item, text: &str, at: usize) -> Result<Bytes> {
    if item.role() != Role::ToolResults {
        return Ok(item.raw().clone());
    }
    let mut message: serde_json::Value = serde_json::from_slice(item.raw())?;
    let start = text.floor_char_boundary(at.wrapping_mul(7) % (text.len() - OUTPUT));
    let end = text.floor_char_boundary(start + OUTPUT);
    message["content"] = text[start..end].into();
    Ok(Bytes::from(message.to_string()))
}

pub(super) fn load(bench: &Bench) -> Result<Measured> {
    let long = Long::new(bench)?;
    let session = long.runtime.resume("long")?;
    let messages = bench.answer(session.messages());
    check(messages == long.messages, "messages are missing")?;
    let last = bench.answer(session.message(messages - 1)?);
    check(last == long.last, "the last message is another one")?;
    let usable = session.context().budget().usable();
    let tokens = session.context().tokens();
    check(
        tokens > 0 && tokens <= usable,
        "the context is empty or does not fit",
    )?;
    drop(session);
    let newest = long.first_context().pop();
    let parsed = long.parsed()?.pop().map(|message| message.to_string());
    let parsed = bench.answer(parsed);
    let wanted: serde_json::Value = serde_json::from_slice(&long.last)?;
    check(
        parsed.as_deref() == Some(&*wanted.to_string()) && newest.is_some(),
        "the file has another last message",
    )?;
    let standing = Contest::new(bench, 1)
        .at_most(bench.scale().pick(5, 8, 20))
        .side("mainspring", "", || drop(black_box(long.first_context())))
        .side(
            "one file, all parsed, the last 100 kept",
            "serde_json",
            || {
                drop(black_box(long.parsed()));
            },
        )
        .run();
    let note = format!(
        "{} MB in {} messages, warm; {tokens} tokens of context by the estimate",
        long.bytes / 1_000_000,
        long.messages
    );
    Ok(standing.time(1e6).noting(note))
}

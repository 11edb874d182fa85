//! A model behind HTTP that streams, and sometimes does not.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mainspring_soak_checker::{Line, digest};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::journal::Journal;

const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const LIMITED: &str =
    "HTTP/1.1 429 Too Many Requests\r\nretry-after: 0.2\r\ncontent-length: 0\r\n\r\n";
const FAILED: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\nsigh";
/// Largest request.
const MAX_BODY: usize = 8 << 20;

/// The provider's server.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) url: String,
    troubled: Arc<AtomicBool>,
}

impl Provider {
    pub(crate) async fn serve(journal: &Arc<Journal>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/v1", listener.local_addr()?);
        let troubled = Arc::new(AtomicBool::new(false));
        let (mood, journal) = (Arc::clone(&troubled), Arc::clone(journal));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mood, journal) = (Arc::clone(&mood), Arc::clone(&journal));
                tokio::spawn(async move { drop(connection(stream, &mood, &journal).await) });
            }
        });
        Ok(Self { url, troubled })
    }

    /// In trouble most requests go wrong, otherwise few.
    pub(crate) fn trouble(&self, on: bool) {
        self.troubled.store(on, Ordering::Relaxed);
    }
}

async fn connection(stream: TcpStream, mood: &AtomicBool, journal: &Journal) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(id) = request(&mut stream).await? {
        let trouble = if mood.load(Ordering::Relaxed) { 80 } else { 3 };
        let out = stream.get_mut();
        match fastrand::u8(..100) {
            dice if dice >= trouble => whole(out, &id, journal).await?,
            dice => match dice % 5 {
                0 => out.write_all(LIMITED.as_bytes()).await?,
                1 => out.write_all(FAILED.as_bytes()).await?,
                2 => return hang().await,
                3 => return nonsense(out).await,
                _ => return broken(out).await,
            },
        }
    }
    Ok(())
}

/// Reads a request; its model is its id. `None` at the end of the connection.
async fn request(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; Ord::min(length, MAX_BODY)];
    stream.read_exact(&mut body).await?;
    let body: Value = serde_json::from_slice(&body)?;
    Ok(body["model"].as_str().map(str::to_owned))
}

async fn whole(out: &mut TcpStream, id: &str, journal: &Journal) -> io::Result<()> {
    out.write_all(STREAM.as_bytes()).await?;
    let mut text = String::new();
    for piece in 0..fastrand::usize(1..20) {
        let words = format!("{id} piece {piece} {:x} über 日本; ", fastrand::u64(..));
        event(
            out,
            &json!({"choices": [{"index": 0, "delta": {"content": words}}]}),
        )
        .await?;
        text.push_str(&words);
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..4))).await;
    }
    // Written down before anybody can take the answer for whole.
    journal.line(Line::Served {
        id: id.to_owned(),
        mode: "whole".to_owned(),
        dg: digest(text.as_bytes()),
    });
    let finish = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    event(out, &finish).await?;
    let tokens = fastrand::u64(1..60);
    let usage =
        json!({"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens});
    event(out, &json!({"choices": [], "usage": usage})).await?;
    chunk(out, "data: [DONE]\n\n").await?;
    out.write_all(b"0\r\n\r\n").await
}

async fn event(out: &mut TcpStream, event: &Value) -> io::Result<()> {
    chunk(out, &format!("data: {event}\n\n")).await
}

async fn chunk(out: &mut TcpStream, text: &str) -> io::Result<()> {
    let chunk = format!("{:x}\r\n{text}\r\n", text.len());
    out.write_all(chunk.as_bytes()).await
}

async fn hang() -> io::Result<()> {
    tokio::time::sleep(Duration::from_secs(4)).await;
    Ok(())
}

async fn nonsense(out: &mut TcpStream) -> io::Result<()> {
    out.write_all(STREAM.as_bytes()).await?;
    chunk(
        out,
        "data: {\"choices\": [{\"delta\": {\"content\": \"half of\n\n",
    )
    .await?;
    chunk(out, "\u{0}\u{1}event of nothing\n\ndata: 17\n\n").await?;
    out.write_all(b"0\r\n\r\n").await
}

/// Breaks off in the middle of an answer.
async fn broken(out: &mut TcpStream) -> io::Result<()> {
    out.write_all(STREAM.as_bytes()).await?;
    let piece = json!({"choices": [{"index": 0, "delta": {"content": "and then"}}]});
    event(out, &piece).await
}

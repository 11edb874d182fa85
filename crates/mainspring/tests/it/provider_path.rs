//! A model behind HTTP, under the scheduler: what a server does to its callers, and what leaves for it.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io::{self, Read},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use mainspring::{
    adapters::ModelTool,
    agents::{
        self, BoxFuture, Chunk, ChunkStream, OpenAiProvider, Provider, RecordedProvider, Usage,
    },
    scheduler::{
        BatchSettings, Budget, Error, ModelRouter, Prices, RequestKind, RequestOptimiser, Retry,
        Scheduler, Tier, Tool, ToolCall, ToolOutcome, Toolbox,
    },
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Asks a model for an answer of 500 tokens at most, as the lead, at the price of quality.
async fn ask(provider: Arc<dyn Provider>, messages: &str, budget: &Budget) -> ToolOutcome {
    let tool = ModelTool::new(provider, "large")
        .router(ModelRouter::new().pin("lead", Tier::Quality))
        .watch(budget.clone());
    let name = tool.name().to_owned();
    let mut tools = Toolbox::new();
    tools.add(tool).unwrap();
    let retry = Retry {
        base: Duration::ZERO,
        attempts: 5,
        ..Retry::default()
    };
    let scheduler = Scheduler::builder().retry(retry).toolbox(tools);
    let scheduler = scheduler.build().unwrap();
    let args = json!({"messages": messages, "agent": "lead", "max_output_tokens": 500});
    let call = ToolCall::new("1", name, args).budget(budget.clone());
    scheduler.run(vec![call]).await.remove(0)
}

/// What a server answers before it hangs up, or stalls.
struct Reply(String, bool);

/// Answers one request a connection, in this order; counts them.
async fn scripted(replies: Vec<Reply>) -> (SocketAddr, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut replies = VecDeque::from(replies);
    let serving = tokio::spawn(async move {
        let mut served = 0;
        while let Some(Reply(bytes, stalls)) = replies.pop_front() {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            served += 1;
            stream.write_all(bytes.as_bytes()).await.unwrap();
            if stalls {
                // Until the caller gives up.
                let _ = stream.read(&mut [0]).await;
            }
        }
        served
    });
    (address, serving)
}

fn events(events: &[&str]) -> String {
    let data: String = events
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .collect();
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{data}")
}

fn refusal(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
}

const MESSAGES: &str = r#"[{"role":"user","content":"Rename  this."}]"#;
const PIECE: &str = r#"{"choices":[{"index":0,"delta":{"content":"Done."}}]}"#;
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":3}}"#;

#[tokio::test]
async fn a_server_that_refuses_fails_stalls_and_streams_is_paid_for_what_it_began() {
    let (address, serving) = scripted(vec![
        Reply(refusal("429 Too Many Requests\r\nretry-after: 0"), false),
        Reply(refusal("503 Service Unavailable"), false),
        Reply(String::new(), true),
        Reply(events(&[PIECE]), true),
        Reply(events(&[PIECE, STOP, USAGE, "[DONE]"]), false),
    ])
    .await;
    let short = Duration::from_millis(250);
    let provider = OpenAiProvider::builder(format!("http://{address}/v1"))
        .begin_timeout(short)
        .idle_timeout(short)
        .build()
        .unwrap();
    let budget = Budget::new("run", 10_000_000);
    let outcome = ask(Arc::new(provider), MESSAGES, &budget).await;
    let output = outcome.result.unwrap();
    assert_eq!(outcome.attempts, 5);
    assert_eq!(
        (&output.content["text"], &output.content["finish"]),
        (&json!("Done."), &json!("stop"))
    );
    // The fourth answer had begun; nobody says what it cost.
    let reserved = MESSAGES.len().div_ceil(4) as u64 + 500;
    let prices = Prices::default();
    let paid = prices.cost(Tier::Quality, reserved) + prices.cost(Tier::Quality, 15);
    assert_eq!((budget.spent(), budget.stats().reserved), (paid, 0));
    assert_eq!(serving.await.unwrap(), 5);
}

/// A request as the other side got it: path, encoding, bytes on the way, and the body unpacked.
#[derive(Debug, Clone)]
struct Got {
    path: String,
    encoding: String,
    length: usize,
    body: String,
}

/// Notes what arrives, and answers with how long it was.
async fn noting() -> (SocketAddr, Arc<Mutex<Vec<Got>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let answer = move |request: Request<Incoming>| {
        let noted = Arc::clone(&noted);
        async move {
            let encoding = request.headers().get("content-encoding");
            let encoding = encoding
                .map_or("", |value| value.to_str().unwrap())
                .to_owned();
            let path = request.uri().path().to_owned();
            let raw = request.into_body().collect().await.unwrap().to_bytes();
            let mut body = String::new();
            match &*encoding {
                "gzip" => drop(
                    flate2::read::GzDecoder::new(&raw[..])
                        .read_to_string(&mut body)
                        .unwrap(),
                ),
                _ => body.push_str(std::str::from_utf8(&raw).unwrap()),
            }
            let answer = format!("{} bytes", body.len());
            noted.lock().unwrap().push(Got {
                path,
                encoding,
                length: raw.len(),
                body,
            });
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(answer))))
        }
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer.clone()));
            tokio::spawn(connection);
        }
    });
    (address, seen)
}

/// One request over a connection of its own.
async fn send(server: SocketAddr, request: Request<Bytes>) -> io::Result<String> {
    let stream = TokioIo::new(TcpStream::connect(server).await?);
    let handshake = hyper::client::conn::http1::handshake(stream);
    let (mut sender, connection) = handshake.await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let response = sender.send_request(request.map(Full::new)).await;
    let body = response
        .map_err(io::Error::other)?
        .into_body()
        .collect()
        .await;
    let body = body.map_err(io::Error::other)?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// A provider whose requests pass the optimiser.
struct Optimised {
    requests: Arc<RequestOptimiser<String>>,
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> agents::Error {
    agents::Error::Transport {
        what: "sending the request",
        source: Arc::new(error),
    }
}

impl Provider for Optimised {
    fn name(&self) -> &str {
        "optimised"
    }

    fn stream(
        &self,
        request: agents::Request,
    ) -> BoxFuture<'_, Result<ChunkStream, agents::Error>> {
        Box::pin(async move {
            let body = format!(
                r#"{{"model":"{}","messages":{}}}"#,
                request.model, request.messages
            );
            let http = Request::post("/v1/chat")
                .body(Bytes::from(body))
                .map_err(failed)?;
            let text = self.requests.call("chat", http).await.map_err(failed)?;
            let usage = Chunk::Usage(Usage::new(12, 0, 3));
            let answer = vec![Chunk::Text(text), usage, Chunk::Finished("stop".to_owned())];
            RecordedProvider::new([answer]).stream(request).await
        })
    }
}

#[tokio::test]
async fn requests_of_a_provider_pass_the_optimiser_and_safe_reads_go_together() {
    let (server, seen) = noting().await;
    let mut requests = RequestOptimiser::new();
    requests.register(
        "chat",
        RequestKind::Write,
        BatchSettings::default(),
        move |batch| async move {
            let mut results = Vec::new();
            for request in batch {
                let failed = |error| Error::Failed {
                    message: format!("{error}"),
                };
                results.push(send(server, request).await.map_err(failed));
            }
            results
        },
    );
    // Five texts fill a batch: nobody waits for the clock.
    let five = BatchSettings {
        max_items: 5,
        max_delay: Duration::from_secs(600),
        ..BatchSettings::default()
    };
    requests.register(
        "embeddings",
        RequestKind::SafeRead,
        five,
        move |batch| async move {
            let count = batch.len();
            let texts: Vec<_> = batch
                .iter()
                .map(|request| String::from_utf8_lossy(request.body()).into_owned())
                .collect();
            let body = Bytes::from(json!({"input": texts}).to_string());
            let request = Request::post("/v1/embeddings").body(body).unwrap();
            let answer = send(server, request).await.unwrap();
            (0..count)
                .map(|at| Ok(format!("{at} of {answer}")))
                .collect()
        },
    );
    let requests = Arc::new(requests);

    let long = "a long conversation ".repeat(1_000);
    let messages = json!([{"role": "user", "content": long}]).to_string();
    let budget = Budget::new("run", 100_000_000);
    let provider = Arc::new(Optimised {
        requests: Arc::clone(&requests),
    });
    let outcome = ask(provider, &messages, &budget).await;
    let chat = seen.lock().unwrap().pop().unwrap();
    assert_eq!((&*chat.path, &*chat.encoding), ("/v1/chat", "gzip"));
    assert!(
        chat.length < chat.body.len() / 10 && chat.body.contains(&messages),
        "{}",
        chat.length
    );
    let output = outcome.result.unwrap();
    assert_eq!(output.content["text"], format!("{} bytes", chat.body.len()));
    assert_eq!(budget.spent(), Prices::default().cost(Tier::Quality, 15));

    let embed = |text: &'static str| {
        let requests = Arc::clone(&requests);
        let request = Request::post("/v1/embeddings")
            .body(Bytes::from(text))
            .unwrap();
        tokio::spawn(async move { requests.call("embeddings", request).await.unwrap() })
    };
    for (at, asked) in ["a", "b", "c", "d", "e"].map(embed).into_iter().enumerate() {
        assert!(asked.await.unwrap().starts_with(&format!("{at} of ")));
    }
    let reads = seen.lock().unwrap().clone();
    assert_eq!(reads.len(), 1, "five reads, one request: {reads:?}");
    assert_eq!(reads[0].body, r#"{"input":["a","b","c","d","e"]}"#);
    assert_eq!(
        (requests.stats().compressed, requests.stats().batched),
        (1, 5)
    );
}

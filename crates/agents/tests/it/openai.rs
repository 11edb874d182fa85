//! The HTTP client against a local server that streams, fails, stalls and limits.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use mainspring_agents::{
    Answer, BuildError, Chunk, Connection, Error, OpenAiProvider, Provider, Request, Usage,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// What the server does with a request.
#[derive(Clone)]
enum Reply {
    /// These bytes, then the next request on the same connection.
    Bytes(Vec<u8>),
    /// These bytes, then the connection is closed.
    Close(Vec<u8>),
    /// These bytes, then silence.
    Stall(Vec<u8>),
}

struct Server {
    address: String,
    /// Each request, headers and body.
    requests: mpsc::UnboundedReceiver<String>,
    /// A message for each connection that the client closed.
    closed: mpsc::UnboundedReceiver<()>,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    /// Serves these replies in the order of the requests.
    async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/v1", listener.local_addr().unwrap());
        let replies = Arc::new(Mutex::new(replies.into_iter().collect::<VecDeque<_>>()));
        let (seen, requests) = mpsc::unbounded_channel();
        let (gone, closed) = mpsc::unbounded_channel();
        let connections = Arc::new(Mutex::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *count.lock().unwrap() += 1;
                let (replies, seen, gone) = (Arc::clone(&replies), seen.clone(), gone.clone());
                tokio::spawn(async move {
                    serve(stream, &replies, &seen).await;
                    let _ = gone.send(());
                });
            }
        });
        Self {
            address,
            requests,
            closed,
            connections,
        }
    }

    fn provider(&self) -> OpenAiProvider {
        OpenAiProvider::builder(&self.address)
            .api_key("sk-secret")
            .build()
            .unwrap()
    }

    fn impatient(&self) -> OpenAiProvider {
        let short = Duration::from_millis(60);
        OpenAiProvider::builder(&self.address)
            .begin_timeout(short)
            .idle_timeout(short)
            .build()
            .unwrap()
    }
}

async fn serve(
    mut stream: TcpStream,
    replies: &Mutex<VecDeque<Reply>>,
    seen: &mpsc::UnboundedSender<String>,
) {
    while let Some(request) = read_request(&mut stream).await {
        let _ = seen.send(request);
        let reply = replies
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or(Reply::Close(Vec::new()));
        let (Reply::Bytes(bytes) | Reply::Close(bytes) | Reply::Stall(bytes)) = &reply;
        // Small writes, so that events and characters are cut anywhere.
        for piece in bytes.chunks(7) {
            if stream.write_all(piece).await.is_err() {
                return;
            }
        }
        match reply {
            Reply::Bytes(_) => {}
            Reply::Close(_) => return,
            Reply::Stall(_) => {
                let _ = stream.read(&mut [0; 16]).await;
                return;
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A chunked event stream; `end` writes the chunk that ends it.
fn events(events: &[&str], end: bool) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for event in events {
        let data = format!("data: {event}\n\n");
        bytes.extend_from_slice(format!("{:x}\r\n{data}\r\n", data.len()).as_bytes());
    }
    if end {
        bytes.extend_from_slice(b"0\r\n\r\n");
    }
    bytes
}

const HELLO: &str = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"Grüß "}}]}"#;
const WORLD: &str = r#"{"choices":[{"index":0,"delta":{"content":"Gott"}}]}"#;
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":8}}}"#;

fn whole() -> Reply {
    Reply::Bytes(events(&[HELLO, WORLD, STOP, USAGE, "[DONE]"], true))
}

fn request() -> Request {
    Request::new("m\"1", r#"[ {"role":"user","content":"hi"} ]"#)
}

async fn ask(provider: &OpenAiProvider) -> Result<Answer, Error> {
    Answer::collect(provider.stream(request()).await?, 1 << 20).await
}

#[tokio::test]
async fn an_answer_streams_and_the_request_is_sent_byte_for_byte() {
    let mut server = Server::start([whole()]).await;
    let provider = server.provider();
    let request = request().tools(r#"[{"b":1,"a":2}]"#).max_output_tokens(7);
    let answer = Answer::collect(provider.stream(request).await.unwrap(), 1_000)
        .await
        .unwrap();
    assert_eq!(
        (answer.text.as_str(), answer.finish.as_str()),
        ("Grüß Gott", "stop")
    );
    assert_eq!(answer.usage, Some(Usage::new(12, 8, 3)));

    let sent = server.requests.recv().await.unwrap();
    assert!(
        sent.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"),
        "{sent}"
    );
    assert!(
        sent.contains("authorization: Bearer sk-secret\r\n") && sent.contains("host: 127.0.0.1:"),
        "{sent}"
    );
    let body = sent.split_once("\r\n\r\n").unwrap().1;
    let expected = r#"{"model":"m\"1","messages":[ {"role":"user","content":"hi"} ],"stream":true,"stream_options":{"include_usage":true},"tools":[{"b":1,"a":2}],"max_tokens":7}"#;
    assert_eq!(body, expected);
    assert!(!format!("{provider:?}").contains("secret"));
}

#[tokio::test]
async fn tool_calls_come_in_pieces() {
    let first = r#"{"choices":[{"delta":{"content":null,"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"read","arguments":""}}]}}]}"#;
    let second = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":1}"}}]}}]}"#;
    let end = r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#;
    let server = Server::start([Reply::Bytes(events(&[first, second, end, "[DONE]"], true))]).await;
    let answer = ask(&server.provider()).await.unwrap();
    let call = &answer.tool_calls[0];
    assert_eq!(
        (
            call.id.as_str(),
            call.name.as_str(),
            call.arguments.as_str()
        ),
        ("c1", "read", "{\"a\":1}")
    );
    assert_eq!(answer.finish, "tool_calls");
}

#[tokio::test]
async fn a_connection_serves_again() {
    let server = Server::start((0..5).map(|_| whole())).await;
    let provider = server.provider();
    for _ in 0..5 {
        assert_eq!(ask(&provider).await.unwrap().text, "Grüß Gott");
        // The end of the body comes a moment after the last event.
        while provider.stats().idle_connections == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(*server.connections.lock().unwrap(), 1);
    assert_eq!(provider.stats().requests, 5);
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_is_replaced() {
    let mut server = Server::start([
        Reply::Close(events(&[HELLO, STOP, "[DONE]"], true)),
        whole(),
    ])
    .await;
    let provider = server.provider();
    ask(&provider).await.unwrap();
    server.closed.recv().await.unwrap();
    assert_eq!(ask(&provider).await.unwrap().text, "Grüß Gott");
}

#[tokio::test]
async fn a_429_says_how_long_in_both_forms() {
    let limited =
        |header: &str| Reply::Bytes(response("429 Too Many Requests", header, "slow down"));
    let server = Server::start([
        limited("retry-after: 7\r\n"),
        limited("retry-after: 0.25\r\n"),
        limited("Retry-After: Thu, 01 Jan 1970 00:01:30 GMT\r\n"),
        limited(""),
        limited("retry-after: soon\r\n"),
        limited("retry-after: -3\r\n"),
        limited("retry-after: 1e300\r\n"),
        Reply::Bytes(response(
            "503 Service Unavailable",
            "retry-after: 2\r\n",
            "",
        )),
    ])
    .await;
    let clock = Arc::new(|| SystemTime::UNIX_EPOCH + Duration::from_secs(60));
    let provider = OpenAiProvider::builder(&server.address)
        .clock(clock)
        .build()
        .unwrap();
    let seconds = |seconds| Some(Duration::from_secs_f64(seconds));
    for expected in [
        seconds(7.0),
        seconds(0.25),
        seconds(30.0),
        None,
        None,
        None,
        None,
        seconds(2.0),
    ] {
        match ask(&provider).await {
            Err(Error::RateLimited { retry_after }) => assert_eq!(retry_after, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn refusals_say_what_the_server_said() {
    let server = Server::start([
        Reply::Bytes(response(
            "400 Bad Request",
            "",
            r#"{"error":{"message":"no such model","code":1}}"#,
        )),
        Reply::Bytes(response(
            "500 Internal Server Error",
            "",
            &"x".repeat(100_000),
        )),
        Reply::Bytes(response(
            "200 OK",
            "content-type: application/json\r\n",
            "{}",
        )),
        Reply::Bytes(events(
            &[HELLO, r#"{"error":{"message":"overloaded"}}"#],
            true,
        )),
    ])
    .await;
    let provider = server.provider();
    match ask(&provider).await {
        Err(Error::Refused {
            status: 400,
            message,
        }) => assert_eq!(message, "no such model"),
        other => panic!("{other:?}"),
    }
    match ask(&provider).await {
        Err(Error::Refused {
            status: 500,
            message,
        }) => assert_eq!(message.len(), 500),
        other => panic!("{other:?}"),
    }
    assert!(matches!(ask(&provider).await, Err(Error::Damaged { .. })));
    assert!(
        matches!(ask(&provider).await, Err(Error::Refused { status: 0, message }) if message == "overloaded")
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_is_nonsense_is_an_error_after_what_came() {
    let server = Server::start([
        Reply::Close(events(&[HELLO], false)),
        Reply::Bytes(events(&[HELLO], true)),
        Reply::Bytes(events(&[HELLO, "{nonsense"], true)),
        Reply::Close(b"complete rubbish\r\n\r\n".to_vec()),
        Reply::Close(Vec::new()),
    ])
    .await;
    let provider = server.provider();
    for _ in 0..3 {
        let mut stream = provider.stream(request()).await.unwrap();
        let mut next =
            async || std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await;
        assert_eq!(next().await.unwrap().unwrap(), Chunk::Text("Grüß ".into()));
        assert!(matches!(
            next().await,
            Some(Err(Error::Transport { .. } | Error::Damaged { .. }))
        ));
        assert!(next().await.is_none(), "nothing comes after an error");
    }
    for _ in 0..2 {
        assert!(matches!(ask(&provider).await, Err(Error::Transport { .. })));
    }
}

#[tokio::test]
async fn a_server_that_stalls_is_given_up() {
    let mut server = Server::start([
        Reply::Stall(Vec::new()),
        Reply::Stall(events(&[HELLO], false)),
    ])
    .await;
    let provider = server.impatient();
    assert!(matches!(
        ask(&provider).await,
        Err(Error::Timeout {
            what: "the beginning of the answer",
            ..
        })
    ));
    server.closed.recv().await.unwrap();
    assert!(matches!(
        ask(&provider).await,
        Err(Error::Timeout {
            what: "the next piece of the answer",
            ..
        })
    ));
    server.closed.recv().await.unwrap();
}

#[tokio::test]
async fn a_dropped_stream_closes_its_connection() {
    let mut server = Server::start([Reply::Stall(events(&[HELLO], false)), whole()]).await;
    let provider = server.provider();
    drop(provider.stream(request()).await.unwrap());
    server.closed.recv().await.unwrap();
    assert_eq!(ask(&provider).await.unwrap().finish, "stop");
}

#[tokio::test]
async fn a_dropped_request_closes_its_connection() {
    let mut server = Server::start([Reply::Stall(Vec::new()), whole()]).await;
    let provider = Arc::new(server.provider());
    let asking = tokio::spawn({
        let provider = Arc::clone(&provider);
        async move { ask(&provider).await }
    });
    server.requests.recv().await.unwrap();
    asking.abort();
    server.closed.recv().await.unwrap();
    assert_eq!(ask(&provider).await.unwrap().finish, "stop");
}

#[tokio::test]
async fn an_answer_may_end_without_done_but_not_without_end() {
    let server = Server::start([Reply::Bytes(events(&[HELLO, STOP], true))]).await;
    assert_eq!(ask(&server.provider()).await.unwrap().finish, "stop");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let many = vec![HELLO; 1_000];
    let server = Server::start([Reply::Bytes(events(&many, true))]).await;
    let provider = OpenAiProvider::builder(&server.address)
        .max_answer_bytes(10_000)
        .build()
        .unwrap();
    assert!(matches!(
        ask(&provider).await,
        Err(Error::LimitExceeded { limit: 10_000, .. })
    ));
}

#[tokio::test]
async fn what_is_no_json_array_is_not_sent() {
    let server = Server::start([]).await;
    for messages in ["", "{}", "[", "[] , \"model\": 1", "null"] {
        let refused = server
            .provider()
            .stream(Request::new("m", messages))
            .await
            .err();
        assert!(
            matches!(refused, Some(Error::Refused { status: 0, .. })),
            "{messages}"
        );
    }
    let refused = server.provider().stream(request().tools("{}")).await.err();
    assert!(matches!(refused, Some(Error::Refused { status: 0, .. })));
    assert_eq!(*server.connections.lock().unwrap(), 0);
}

#[tokio::test]
async fn connections_of_ones_own() {
    let server = Server::start([whole()]).await;
    let target = server
        .address
        .strip_prefix("http://")
        .unwrap()
        .strip_suffix("/v1")
        .unwrap()
        .to_owned();
    let dialled = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&dialled);
    let provider = OpenAiProvider::builder("https://models.example/v1")
        .dial(Arc::new(move |uri| {
            log.lock().unwrap().push(uri.to_string());
            let target = target.clone();
            Box::pin(async move {
                Ok(Box::new(TcpStream::connect(target).await?) as Box<dyn Connection>)
            })
        }))
        .build()
        .unwrap();
    assert_eq!(ask(&provider).await.unwrap().text, "Grüß Gott");
    assert_eq!(
        *dialled.lock().unwrap(),
        ["https://models.example/v1/chat/completions"]
    );
}

#[tokio::test]
async fn nobody_at_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = ask(&OpenAiProvider::builder(address).build().unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Transport {
                what: "connecting",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn impossible_settings_are_refused() {
    let build = |address: &str| OpenAiProvider::builder(address).build().err();
    assert_eq!(
        build("https://api.example.com/v1"),
        Some(BuildError::NeedsTls)
    );
    for address in ["", "localhost:80", "ftp://x", "/v1", "http://"] {
        assert!(
            matches!(build(address), Some(BuildError::Address { .. })),
            "{address}"
        );
    }
    let key = OpenAiProvider::builder("http://x")
        .api_key("a\nb")
        .build()
        .err();
    assert_eq!(key, Some(BuildError::Key));
}

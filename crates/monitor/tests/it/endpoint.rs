//! The scrape endpoint over real sockets on the loopback interface.

use std::time::Duration;

use mainspring_monitor::{Endpoint, Registry, validate_openmetrics};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn any_port() -> std::net::SocketAddr {
    std::net::SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn ask(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // A server that closes on what it has not read may reset.
    let _either = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).expect("text")
}

fn get(path: &str, accept: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\nconnection: close\r\n\r\n")
}

#[test]
fn a_scrape_is_negotiated_and_valid() {
    runtime().block_on(async {
        let registry = Registry::new();
        registry.counter("jobs", &[("kind", "</script><b>")]).add(3);
        registry.timer("work", &[]).record(Duration::from_millis(2));
        let serving = Endpoint::new(&registry)
            .serve(any_port())
            .await
            .expect("bound");
        let address = serving.address();
        let open = ask(
            address,
            &get("/metrics", "application/openmetrics-text; version=1.0.0"),
        )
        .await;
        let (head, page) = open.split_once("\r\n\r\n").expect("head and body");
        assert!(
            head.starts_with("HTTP/1.1 200") && head.contains("application/openmetrics-text"),
            "{head}"
        );
        validate_openmetrics(page.as_bytes()).expect("valid");
        assert!(
            ask(address, &get("/metrics", "*/*"))
                .await
                .contains("version=0.0.4")
        );
        let json = ask(address, &get("/metrics.json", "*/*")).await;
        let (_, json) = json.split_once("\r\n\r\n").expect("head and body");
        serde_json::from_str::<serde_json::Value>(json).expect("JSON");
        let html = ask(address, &get("/", "*/*")).await;
        assert!(
            html.contains("content-security-policy: default-src 'none'")
                && !html.contains("</script><b>")
        );
        assert!(
            ask(address, &get("/nothing", "*/*"))
                .await
                .starts_with("HTTP/1.1 404")
        );
        let post =
            "POST /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert!(ask(address, post).await.starts_with("HTTP/1.1 405"));
        let head = ask(
            address,
            "HEAD /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        )
        .await;
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"));
    });
}

#[test]
fn hostile_requests_are_refused_and_the_endpoint_goes_on() {
    runtime().block_on(async {
        let serving = Endpoint::new(&Registry::new())
            .serve(any_port())
            .await
            .expect("bound");
        let address = serving.address();
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1_000));
        for request in [
            "\0\0\0\0\r\n\r\n",
            "GET",
            "GET / HTTP/9.9\r\n\r\n",
            &long,
            &many,
        ] {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            let _may_break = stream.write_all(request.as_bytes()).await;
            stream.shutdown().await.ok();
            let mut answer = Vec::new();
            let _either = stream.read_to_end(&mut answer).await;
            assert!(!answer.starts_with(b"HTTP/1.1 200"), "{request:.40}");
        }
        assert!(
            ask(address, &get("/metrics", ""))
                .await
                .starts_with("HTTP/1.1 200")
        );
    });
}

#[test]
fn silent_clients_lose_their_place_to_those_who_wait() {
    runtime().block_on(async {
        let endpoint = Endpoint::new(&Registry::new())
            .connections(2)
            .timeout(Duration::from_millis(50));
        let serving = endpoint.serve(any_port()).await.expect("bound");
        let address = serving.address();
        let mut silent = Vec::new();
        for _ in 0..4 {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            stream.write_all(b"GET /metr").await.expect("sent");
            silent.push(stream);
        }
        let answer =
            tokio::time::timeout(Duration::from_secs(20), ask(address, &get("/metrics", ""))).await;
        assert!(answer.expect("in time").starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn dropping_the_handle_closes_listener_and_connections() {
    runtime().block_on(async {
        let serving = Endpoint::new(&Registry::new())
            .serve(any_port())
            .await
            .expect("bound");
        let address = serving.address();
        let mut open = TcpStream::connect(address).await.expect("connected");
        open.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .expect("sent");
        let mut first = [0; 12];
        open.read_exact(&mut first).await.expect("an answer");
        drop(serving);
        let mut rest = Vec::new();
        let closed =
            tokio::time::timeout(Duration::from_secs(20), open.read_to_end(&mut rest)).await;
        assert!(closed.is_ok());
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn an_address_in_use_is_a_typed_error() {
    runtime().block_on(async {
        let first = Endpoint::new(&Registry::new())
            .serve(any_port())
            .await
            .expect("bound");
        let second = Endpoint::new(&Registry::new()).serve(first.address()).await;
        let error = second.expect_err("in use").to_string();
        assert!(error.contains(&first.address().to_string()), "{error}");
    });
}

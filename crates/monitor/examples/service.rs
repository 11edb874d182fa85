//! A whole service, scraped: operations, a third party's metrics, the process, the runtime.
//!
//! Runs a little work and scrapes itself. With an address as argument it serves until interrupted:
//! `cargo run --example service --features http,metrics,tokio -- 127.0.0.1:9184`, then open that
//! address in a browser or point Prometheus at it.

use std::net::SocketAddr;
use std::time::Duration;

use mainspring_monitor::{
    AlertRule, Alerts, Endpoint, Operation, Phases, Pressure, Recorder, Registry, RuntimeProbe,
    Watch, validate_openmetrics,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let address = std::env::args()
        .nth(1)
        .map(|address| address.parse())
        .transpose()?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(service(address))
}

async fn service(address: Option<SocketAddr>) -> Result<(), Failure> {
    let registry = Registry::new();
    let mut phases = Phases::new(&registry);
    phases.step("recorder", || Recorder::new(&registry).install())?;

    // Trims at the laptop profile's mark, and says when memory passes the shipped limit.
    let pressure = Pressure::new(&registry).stage("trim", Pressure::TRIM_BYTES, || 0);
    let alerts = Alerts::new()
        .rule(AlertRule::high_memory())
        .on_alert(|alert| eprintln!("{alert:?}"));
    let watch = Watch::new(&registry)?.pressure(pressure).alerts(alerts);
    let _watching = phases.step("watch", || watch.start())?;
    let _heartbeat =
        RuntimeProbe::new(&registry, &Handle::current()).start(Duration::from_millis(100));

    let wanted = address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    let serving = Endpoint::new(&registry).serve(wanted).await?;
    println!("serving http://{}/", serving.address());

    work(&registry).await;
    while address.is_some() {
        work(&registry).await;
    }
    let page = scrape(serving.address()).await?;
    let found = validate_openmetrics(page.as_bytes())?;
    println!(
        "{} families, {} samples, valid OpenMetrics",
        found.families, found.samples
    );
    Ok(())
}

/// Tool calls of which every tenth fails, and a library that counts through the `metrics` facade.
async fn work(registry: &Registry) {
    registry.describe(
        "tool_call_duration_seconds",
        "From the request to the tool's answer.",
    );
    let call = Operation::new(registry, "tool_call", &[("tool", "search")]);
    for turn in 0..50u64 {
        let mut scope = call.enter();
        tokio::time::sleep(Duration::from_micros(200 + turn * 37 % 900)).await;
        if turn % 10 == 9 {
            scope.fail();
        }
        metrics::counter!("library_lookups", "found" => if turn % 3 == 0 { "no" } else { "yes" })
            .increment(1);
        registry
            .histogram("answer_tokens", &[])
            .record(100 + turn * turn);
    }
}

async fn scrape(address: SocketAddr) -> Result<String, Failure> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                   accept: application/openmetrics-text; version=1.0.0\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (_, page) = answer.split_once("\r\n\r\n").ok_or("no body")?;
    Ok(page.to_owned())
}

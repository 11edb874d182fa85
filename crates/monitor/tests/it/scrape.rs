//! A real Prometheus, where it is installed, scrapes the endpoint.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mainspring_monitor::{Endpoint, Operation, Registry};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(30);
const TURN: Duration = Duration::from_millis(100);

/// A server of its own in a folder of its own; both go with it.
struct Prometheus {
    server: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Prometheus {
    /// None, with a word about it, where it is not installed.
    fn start(target: SocketAddr) -> Option<Self> {
        let version = Command::new("prometheus")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !version.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no `prometheus` to scrape us");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("monitor-scrape-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let config = folder.join("prometheus.yml");
        let text = format!(
            "global:\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\nscrape_configs:\n  \
             - job_name: monitor\n    static_configs:\n      - targets: ['{target}']\n"
        );
        std::fs::write(&config, text).expect("written");
        // A port that was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        let server = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Some(Self {
            server: server.expect("started"),
            address,
            folder,
        })
    }

    async fn ask(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(self.address).await.ok()?;
        let request = format!("GET {path} HTTP/1.0\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }

    /// The target once it has been scraped.
    async fn target(&self) -> Value {
        let mut turns = tokio::time::interval(TURN);
        loop {
            turns.tick().await;
            let answer = self.ask("/api/v1/targets").await.unwrap_or_default();
            let target = &answer["data"]["activeTargets"][0];
            if target["health"]
                .as_str()
                .is_some_and(|health| health != "unknown")
            {
                return target.clone();
            }
        }
    }

    /// The value of the first series that a query finds, and how many it finds.
    async fn query(&self, query: &str) -> (Option<String>, usize) {
        let mut turns = tokio::time::interval(TURN);
        // What a scrape brought is there for queries a moment later.
        for _ in 0..50 {
            turns.tick().await;
            let path = format!("/api/v1/query?query={query}");
            let answer = self.ask(&path).await.unwrap_or_default();
            if let Some([first, rest @ ..]) = answer["data"]["result"].as_array().map(Vec::as_slice)
            {
                let value = first["value"][1].as_str().map(str::to_owned);
                return (value, rest.len() + 1);
            }
        }
        (None, 0)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _gone = self.server.kill();
        let _gone = self.server.wait();
        let _gone = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_real_prometheus_scrapes_us_without_an_error() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let registry = Registry::new();
        registry.describe("jobs", "Hostile \\ help\nwith \"quotes\" and \u{1F980}.");
        registry
            .counter("jobs", &[("kind", "a\"b\\c\nd{e}=#")])
            .add(41);
        registry.gauge("depth", &[]).set(f64::NEG_INFINITY);
        registry
            .gauge("no number", &[("__name__", "x"), ("le", "y")])
            .set(f64::NAN);
        let work = Operation::new(&registry, "work", &[("tool", "é")]);
        work.timer().record(Duration::from_millis(20));
        let exemplar = [("trace_id", "4bf92f3577b34da6")];
        work.timer()
            .record_with_exemplar(Duration::from_millis(30), &exemplar);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let serving = Endpoint::new(&registry).serve(any).await.expect("bound");
        let Some(prometheus) = Prometheus::start(serving.address()) else {
            return;
        };
        let target = tokio::time::timeout(PATIENCE, prometheus.target()).await;
        let target = target.expect("scraped in time");
        assert_eq!(
            (&target["health"], &target["lastError"]),
            (&"up".into(), &"".into()),
            "{target}"
        );
        for (query, value, found) in [
            ("jobs_total", "41", 1),
            ("depth", "-Inf", 1),
            ("no_number", "NaN", 1),
            ("work_duration_seconds_count", "2", 1),
            ("work_duration_seconds_sum", "0.05", 1),
            (
                "work_duration_seconds_bucket%7Ble%3D%22%2BInf%22%7D",
                "2",
                1,
            ),
        ] {
            assert_eq!(
                prometheus.query(query).await,
                (Some(value.to_owned()), found),
                "{query}"
            );
        }
    });
}

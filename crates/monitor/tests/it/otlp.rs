//! OTLP, read by OpenTelemetry's own types.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mainspring_monitor::{Error, OtlpExporter, Pushed, Registry, Temporality};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    HistogramDataPoint, Metric, NumberDataPoint, exemplar,
};
use prost::Message as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

/// One request, head and body, answered with `status` and `answer`.
async fn serve_one(listener: &TcpListener, status: &str, answer: &[u8]) -> (String, Vec<u8>) {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let request = read_request(&mut stream).await.expect("a request");
    let length = answer.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(answer).await.expect("sent");
    request
}

/// Pushes to a listener that answers so.
async fn push(
    exporter: &mut OtlpExporter,
    listener: &Arc<TcpListener>,
    status: &'static str,
    answer: &[u8],
) -> (Result<Pushed, Error>, (String, Vec<u8>)) {
    let (listener, answer) = (Arc::clone(listener), answer.to_vec());
    let server = tokio::spawn(async move { serve_one(&listener, status, &answer).await });
    let pushed = exporter.push().await;
    (pushed, server.await.expect("served"))
}

async fn read_request(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        stream.read_buf(&mut bytes).await?;
        let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..at]).to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.expect("a length").parse().expect("a number");
        let mut body = bytes.split_off(at + 4);
        while body.len() < length {
            stream.read_buf(&mut body).await?;
        }
        return Ok((head, body));
    }
}

fn metrics(request: &[u8]) -> Vec<Metric> {
    let request = ExportMetricsServiceRequest::decode(request).expect("OTLP");
    let [resource] = &request.resource_metrics[..] else {
        panic!("one resource")
    };
    let [scope] = &resource.scope_metrics[..] else {
        panic!("one scope")
    };
    scope.metrics.clone()
}

fn metric(request: &[u8], name: &str) -> Metric {
    let all = metrics(request);
    let found = all.into_iter().find(|metric| metric.name == name);
    found.unwrap_or_else(|| panic!("no {name}"))
}

fn numbers(metric: &Metric) -> (&[NumberDataPoint], i32) {
    match metric.data.as_ref().expect("data") {
        Data::Gauge(gauge) => (&gauge.data_points, 0),
        Data::Sum(sum) => {
            assert!(sum.is_monotonic);
            (&sum.data_points, sum.aggregation_temporality)
        }
        other => panic!("{other:?}"),
    }
}

fn histogram(metric: &Metric) -> (&HistogramDataPoint, i32) {
    match metric.data.as_ref().expect("data") {
        Data::Histogram(all) => (&all.data_points[0], all.aggregation_temporality),
        other => panic!("{other:?}"),
    }
}

fn labels(attributes: &[KeyValue]) -> Vec<(&str, &str)> {
    let pair = |pair: &'_ KeyValue| match pair.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(_) => Some(()),
        _ => None,
    };
    attributes
        .iter()
        .filter(|attribute| pair(attribute).is_some())
        .map(|attribute| {
            let value = attribute.value.as_ref().and_then(|v| v.value.as_ref());
            let Some(any_value::Value::StringValue(value)) = value else {
                panic!("text")
            };
            (attribute.key.as_str(), value.as_str())
        })
        .collect()
}

const DELTA: i32 = 1;
const CUMULATIVE: i32 = 2;

#[test]
fn a_collector_receives_every_kind_with_labels_units_bounds_and_exemplars() {
    runtime().block_on(async {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.expect("bound"));
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let registry = Registry::new();
        registry.describe("calls", "Calls\nof \"tools\".");
        registry
            .counter("calls", &[("tool", "a\"\n\u{1F980}")])
            .add(1 << 60);
        registry.gauge("depth_ratio", &[]).set(-0.25);
        registry.observed_counter("cpu_seconds", &[]).set(1.5);
        registry.bounds("wait_seconds", &[0.001, 0.1]);
        let wait = registry.timer("wait", &[]);
        wait.record(Duration::from_micros(10));
        wait.record(Duration::from_millis(20));
        wait.record_with_exemplar(Duration::from_secs(3), &[("trace_id", "abc")]);
        let exporter = OtlpExporter::new(&registry, &address).expect("an address");
        let mut exporter = exporter.resource("service.name", "tests");
        let (pushed, (head, body)) = push(&mut exporter, &listener, "200 OK", b"").await;
        let pushed = pushed.expect("accepted");
        assert_eq!((pushed.points, pushed.rejected), (4, 0));
        assert!(head.starts_with("post /v1/metrics http/1.1"), "{head}");
        assert!(
            head.contains("content-type: application/x-protobuf"),
            "{head}"
        );

        let request = ExportMetricsServiceRequest::decode(&body[..]).expect("OTLP");
        let resource = request.resource_metrics[0].resource.as_ref().expect("one");
        assert_eq!(labels(&resource.attributes), [("service.name", "tests")]);
        let calls = metric(&body, "calls");
        assert_eq!(calls.description, "Calls\nof \"tools\".");
        let (points, temporality) = numbers(&calls);
        assert_eq!(points[0].value, Some(Value::AsInt(1 << 60)));
        assert_eq!(labels(&points[0].attributes), [("tool", "a\"\n\u{1F980}")]);
        assert_eq!(temporality, CUMULATIVE);
        assert!(points[0].start_time_unix_nano > 0);
        assert!(points[0].time_unix_nano >= points[0].start_time_unix_nano);
        let depth = metric(&body, "depth_ratio");
        assert_eq!(numbers(&depth).0[0].value, Some(Value::AsDouble(-0.25)));
        assert_eq!(depth.unit, "1");
        let cpu = metric(&body, "cpu_seconds");
        assert_eq!(numbers(&cpu).0[0].value, Some(Value::AsDouble(1.5)));
        let wait = metric(&body, "wait_seconds");
        let (point, temporality) = histogram(&wait);
        assert_eq!(
            (point.count, temporality, wait.unit.as_str()),
            (3, CUMULATIVE, "s")
        );
        assert_eq!((point.min, point.max), (Some(1e-5), Some(3.0)));
        assert!((point.sum.expect("a sum") - 3.02001).abs() < 1e-9);
        assert_eq!(point.bucket_counts, [1, 1, 1]);
        assert!(
            (point.explicit_bounds[0] / 0.001 - 1.0).abs() < 0.07
                && (point.explicit_bounds[1] / 0.1 - 1.0).abs() < 0.07
        );
        let exemplar = &point.exemplars[0];
        assert_eq!(exemplar.value, Some(exemplar::Value::AsDouble(3.0)));
        assert_eq!(labels(&exemplar.filtered_attributes), [("trace_id", "abc")]);
    });
}

#[test]
fn deltas_tell_each_update_once_whether_pushes_fail_or_not() {
    let registry = Registry::new();
    let (calls, sizes) = (
        registry.counter("calls", &[]),
        registry.histogram("sizes", &[]),
    );
    let begun = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    let exporter = OtlpExporter::new(&registry, "http://127.0.0.1:4318").expect("an address");
    let mut exporter = exporter.temporality(Temporality::Delta).since(begun);
    let mut look = |second: u64, accepted: bool| {
        let (bytes, points) = exporter.batch(begun + Duration::from_secs(second));
        assert_eq!(points, 2);
        if accepted {
            exporter.accepted();
        }
        let (calls, sizes) = (metric(&bytes, "calls"), metric(&bytes, "sizes"));
        let (points, temporality) = numbers(&calls);
        let (sizes, other) = histogram(&sizes);
        assert_eq!((temporality, other), (DELTA, DELTA));
        let Some(Value::AsInt(counted)) = points[0].value else {
            panic!("a whole number")
        };
        let since = points[0].start_time_unix_nano / 1_000_000_000 - 1_000;
        assert_eq!(sizes.bucket_counts.iter().sum::<u64>(), sizes.count);
        (counted, sizes.count, sizes.sum, since)
    };
    calls.add(5);
    sizes.record(7);
    assert_eq!(look(1, true), (5, 1, Some(7.0), 0));
    calls.add(2);
    sizes.record(100);
    // A push that failed tells it again, and what came since.
    assert_eq!(look(2, false), (2, 1, Some(100.0), 1));
    calls.add(1);
    assert_eq!(look(3, true), (3, 1, Some(100.0), 1));
    assert_eq!(look(4, true), (0, 0, Some(0.0), 3));
    // A series that is made anew begins anew.
    assert!(registry.remove("calls", &[]));
    registry.counter("calls", &[]).add(4);
    assert_eq!(look(5, true).0, 4);
}

#[test]
fn collectors_that_refuse_are_heard_and_those_that_hang_are_left() {
    runtime().block_on(async {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.expect("bound"));
        let address = format!("http://{}/other/path", listener.local_addr().expect("one"));
        let registry = Registry::new();
        registry.counter("calls", &[]).increment();
        let mut exporter = OtlpExporter::new(&registry, &address)
            .expect("an address")
            .temporality(Temporality::Delta);
        for (status, wanted) in [
            ("503 Service Unavailable", true),
            ("400 Bad Request", false),
        ] {
            let (pushed, (head, _)) = push(&mut exporter, &listener, status, b"").await;
            assert!(head.starts_with("post /other/path "), "{head}");
            let error = pushed.expect_err("refused");
            let &Error::Export { again, ref what } = &error else {
                panic!("{error}")
            };
            assert!(again == wanted && what.contains(&status[..3]), "{error}");
        }
        let partial = ExportMetricsServiceResponse {
            partial_success: Some(ExportMetricsPartialSuccess {
                rejected_data_points: 1,
                error_message: "too old".to_owned(),
            }),
        };
        let answer = partial.encode_to_vec();
        let (pushed, (_, body)) = push(&mut exporter, &listener, "200 OK", &answer).await;
        let pushed = pushed.expect("accepted");
        assert_eq!((pushed.rejected, pushed.message.as_str()), (1, "too old"));
        // The two that failed told nothing that is missing here.
        assert_eq!(
            numbers(&metric(&body, "calls")).0[0].value,
            Some(Value::AsInt(1))
        );

        // Answers that are no answer, and none at all.
        for hostile in [
            &b"\xff\xff\xff"[..],
            b"\x0a\xff\xff\xff\xff\x0f",
            b"\x0b\x0c",
        ] {
            let (pushed, _) = push(&mut exporter, &listener, "200 OK", hostile).await;
            assert_eq!(pushed.expect("accepted").rejected, 0);
        }
        let mut exporter = exporter.timeout(Duration::from_millis(20));
        let hangs = exporter.push().await.expect_err("nobody answers");
        assert!(matches!(hangs, Error::Io { .. }), "{hangs}");
        drop(listener);
        assert!(matches!(exporter.push().await, Err(Error::Io { .. })));
        for wrong in ["", "127.0.0.1:4318", "https://127.0.0.1", "http://", "\0"] {
            assert!(OtlpExporter::new(&registry, wrong).is_err(), "{wrong}");
        }
    });
}

#[test]
fn a_query_is_kept_and_a_long_answer_is_no_failure() {
    runtime().block_on(async {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.expect("bound"));
        let own = listener.local_addr().expect("an address");
        let registry = Registry::new();
        let long = vec![b' '; (64 << 10) + 1];
        for (given, wanted) in [
            ("/write?tenant=a", "/write?tenant=a"),
            ("/?tenant=a", "/v1/metrics?tenant=a"),
            ("?tenant=a", "/v1/metrics?tenant=a"),
            ("/", "/v1/metrics"),
        ] {
            let address = format!("http://{own}{given}");
            let mut exporter = OtlpExporter::new(&registry, &address).expect("an address");
            let (pushed, (head, _)) = push(&mut exporter, &listener, "200 OK", &long).await;
            assert!(head.starts_with(&format!("post {wanted} ")), "{head}");
            assert_eq!(pushed.expect("accepted").rejected, 0);
        }
    });
}

#[test]
fn a_running_exporter_pushes_counts_failures_and_ends_with_its_handle() {
    runtime().block_on(async {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.expect("bound"));
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let registry = Registry::new();
        let exporter = OtlpExporter::new(&registry, &address).expect("an address");
        let exporting = exporter.start(Duration::from_millis(1));
        serve_one(&listener, "500 No", b"").await;
        let (_, body) = serve_one(&listener, "200 OK", b"").await;
        let failures = metric(&body, "monitor_otlp_failures");
        assert_eq!(numbers(&failures).0[0].value, Some(Value::AsInt(1)));
        drop(exporting);
    });
}

//! HTTP requests: bodies compressed, safe reads together.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request};
use mainspring_scheduler::*;
use proptest::prelude::*;

use crate::support::*;

type Sent = Arc<Mutex<Vec<Vec<Request<Bytes>>>>>;

fn post(body: impl Into<Bytes>) -> Request<Bytes> {
    Request::post("https://api.example/v1/ask")
        .body(body.into())
        .unwrap()
}

fn get(uri: &str) -> Request<Bytes> {
    Request::get(uri).body(Bytes::new()).unwrap()
}

fn unpacked(request: &Request<Bytes>) -> Vec<u8> {
    let mut body = Vec::new();
    flate2::read::GzDecoder::new(&request.body()[..])
        .read_to_end(&mut body)
        .unwrap();
    body
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(5);
    std::iter::repeat_with(|| random.u8(..))
        .take(bytes)
        .collect()
}

#[test]
fn bodies_over_1024_bytes_are_compressed_when_that_makes_them_smaller() {
    let mut small = post(vec![b'a'; 1_024]);
    assert!(!compress_body(&mut small));
    assert_eq!(small.body().len(), 1_024);
    assert!(!small.headers().contains_key("content-encoding"));

    let mut long = post(vec![b'a'; 1_025]);
    long.headers_mut().insert("content-length", 1_025.into());
    assert!(compress_body(&mut long));
    assert_eq!(long.headers()["content-encoding"], "gzip");
    assert_eq!(
        long.headers()["content-length"],
        long.body().len().to_string().as_str()
    );
    assert_eq!(unpacked(&long), vec![b'a'; 1_025]);
    assert!(!compress_body(&mut long), "not twice");

    let mut random = post(noise(4_000));
    assert!(!compress_body(&mut random));
    assert_eq!(random.body(), &noise(4_000));
    assert!(random.headers().is_empty());
}

#[test]
fn bodies_that_a_header_speaks_of_stay_as_they_are() {
    let headers = [
        ("content-encoding", "br"),
        ("content-digest", "sha-256=:abc=:"),
        ("content-md5", "abc"),
        ("digest", "md5=abc"),
        ("content-range", "bytes 0-4999/10000"),
        ("cache-control", "no-store, No-Transform"),
    ];
    for (name, value) in headers {
        let mut request = post(vec![b'a'; 5_000]);
        request.headers_mut().insert(name, value.parse().unwrap());
        assert!(!compress_body(&mut request), "{name}");
        assert_eq!((request.body().len(), request.headers().len()), (5_000, 1));
    }
    let mut free = post(vec![b'a'; 5_000]);
    free.headers_mut()
        .insert("cache-control", "no-store".parse().unwrap());
    assert!(compress_body(&mut free));
}

proptest! {
    #[test]
    fn a_body_is_the_same_after_unpacking_and_never_longer(
        piece in proptest::collection::vec(any::<u8>(), 1..400),
        times in 1usize..40,
    ) {
        let body = piece.repeat(times);
        let mut request = post(body.clone());
        if compress_body(&mut request) {
            prop_assert!(request.body().len() < body.len() && body.len() > 1_024);
            prop_assert_eq!(unpacked(&request), body);
        } else {
            prop_assert_eq!(&request.body()[..], &body[..]);
        }
    }
}

/// An optimiser with the types `read` and `write`, whose requests take 5 ms and answer with their URI.
fn optimiser() -> (Arc<RequestOptimiser<String>>, Sent) {
    let sent = Sent::default();
    let mut optimiser = RequestOptimiser::new();
    for (name, kind) in [
        ("read", RequestKind::SafeRead),
        ("write", RequestKind::Write),
    ] {
        let record = sent.clone();
        optimiser.register(name, kind, BatchSettings::default(), move |requests| {
            record.lock().unwrap().push(requests.clone());
            async move {
                tokio::time::sleep(ms(5)).await;
                requests.iter().map(|r| Ok(r.uri().to_string())).collect()
            }
        });
    }
    (Arc::new(optimiser), sent)
}

fn spawn(
    optimiser: &Arc<RequestOptimiser<String>>,
    kind: &'static str,
    request: Request<Bytes>,
) -> tokio::task::JoinHandle<Result<String, Error>> {
    let optimiser = optimiser.clone();
    tokio::spawn(async move { optimiser.call(kind, request).await })
}

#[tokio::test(start_paused = true)]
async fn only_declared_reads_to_one_endpoint_share_a_batch() {
    let (optimiser, sent) = optimiser();
    let start = tokio::time::Instant::now();
    let mut calls = Vec::new();
    for n in 0..12 {
        for host in ["a.example", "b.example"] {
            let uri = format!("https://{host}/items?n={n}");
            calls.push((uri.clone(), spawn(&optimiser, "read", get(&uri))));
        }
    }
    let other_path = "https://a.example/users?n=1";
    calls.push((
        other_path.to_owned(),
        spawn(&optimiser, "read", get(other_path)),
    ));
    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        let uri = "https://a.example/items?changed";
        let mut request = get(uri);
        *request.method_mut() = method;
        calls.push((uri.to_owned(), spawn(&optimiser, "read", request)));
    }
    for _ in 0..2 {
        let uri = "https://a.example/items?undeclared";
        calls.push((uri.to_owned(), spawn(&optimiser, "write", get(uri))));
    }
    for (uri, call) in calls {
        assert_eq!(call.await.unwrap().unwrap(), uri);
    }
    assert_eq!(start.elapsed(), ms(105));
    let sent = sent.lock().unwrap();
    for batch in &*sent {
        let endpoint =
            |r: &Request<Bytes>| (r.uri().host().map(str::to_owned), r.uri().path().to_owned());
        assert!(
            batch.iter().all(|r| endpoint(r) == endpoint(&batch[0])),
            "{batch:?}"
        );
        let alone = ["changed", "undeclared"].contains(&batch[0].uri().query().unwrap());
        assert!(!alone || batch.len() == 1, "{batch:?}");
    }
    let mut sizes: Vec<usize> = sent.iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 1, 1, 1, 1, 1, 2, 2, 10, 10]);
    let stats = optimiser.stats();
    assert_eq!((stats.requests, stats.batched), (30, 25));
}

#[tokio::test(start_paused = true)]
async fn urgent_requests_pass_the_queue_and_unknown_types_are_refused() {
    let (optimiser, sent) = optimiser();
    let waits = spawn(&optimiser, "read", get("https://a.example/items?n=1"));
    settle().await;
    let start = tokio::time::Instant::now();
    let urgent = optimiser.urgent("read", get("https://a.example/items?n=2"));
    assert_eq!(urgent.await.unwrap(), "https://a.example/items?n=2");
    assert_eq!(start.elapsed(), ms(5));
    assert!(!waits.is_finished());
    waits.await.unwrap().unwrap();
    assert_eq!(sent.lock().unwrap().len(), 2);
    for result in [
        optimiser.call("reed", get("https://a.example/")).await,
        optimiser.urgent("reed", get("https://a.example/")).await,
    ] {
        let name = "reed".to_owned();
        assert_eq!(result, Err(Error::UnknownType { name }));
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_are_sent_compressed_and_counted_long_ones_too() {
    let (optimiser, sent) = optimiser();
    let bodies = [800, 3_000, 400_000];
    for bytes in bodies {
        let request = post(vec![b'a'; bytes]);
        optimiser.call("write", request).await.unwrap();
    }
    let request = post(vec![b'a'; 3_000]);
    optimiser.urgent("read", request).await.unwrap();
    let sent = sent.lock().unwrap();
    let packed = |n: usize| sent[n][0].headers().contains_key("content-encoding");
    assert_eq!([0, 1, 2, 3].map(packed), [false, true, true, true]);
    assert_eq!(unpacked(&sent[2][0]).len(), 400_000);
    let on_the_wire: usize = sent.iter().map(|batch| batch[0].body().len()).sum();
    let stats = optimiser.stats();
    assert_eq!((stats.requests, stats.compressed), (4, 3));
    assert_eq!(stats.bytes_saved as usize, 406_800 - on_the_wire);
}

#[tokio::test(start_paused = true)]
async fn the_queues_of_endpoints_are_bounded_and_reused() {
    let (optimiser, _) = optimiser();
    for round in 0..2 {
        let calls: Vec<_> = (0..1_100)
            .map(|n| {
                spawn(
                    &optimiser,
                    "read",
                    get(&format!("https://{round}-{n}.example/")),
                )
            })
            .collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        // Those beyond the bound went alone; idle queues made room for the next round's.
        assert_eq!(optimiser.stats().batched, 1_024 * (round + 1));
    }
}

/// How many threads 24 callers with long bodies have at once. Their work begins when there are as many as expected.
fn threads(urgent: bool, expected: usize) -> usize {
    let threads = Arc::new(AtomicUsize::new(0));
    let counter = threads.clone();
    let open = Arc::new(AtomicBool::new(false));
    let gate = open.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .on_thread_start(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            while !gate.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
        })
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut optimiser = RequestOptimiser::new();
        let settings = BatchSettings {
            concurrency: 100,
            ..BatchSettings::default()
        };
        optimiser.register("any", RequestKind::Write, settings, |requests| async move {
            requests.iter().map(|_| Ok(())).collect()
        });
        let optimiser = Arc::new(optimiser);
        let calls: Vec<_> = (0..24)
            .map(|_| {
                let optimiser = optimiser.clone();
                tokio::spawn(async move {
                    let request = post(noise(300 << 10));
                    match urgent {
                        true => optimiser.urgent("any", request).await,
                        false => optimiser.call("any", request).await,
                    }
                })
            })
            .collect();
        // Nobody is done before all that may begin have, so that no thread serves two.
        settle().await;
        let until = std::time::Instant::now() + ms(300_000);
        while threads.load(Ordering::SeqCst) < expected && std::time::Instant::now() < until {
            tokio::task::yield_now().await;
        }
        // Places of callers who leave come back.
        calls[0].abort();
        settle().await;
        let begun = threads.load(Ordering::SeqCst);
        open.store(true, Ordering::SeqCst);
        for call in calls.into_iter().skip(1) {
            call.await.unwrap().unwrap();
        }
        begun
    })
}

#[test]
fn long_bodies_share_a_bounded_number_of_threads() {
    let most = std::thread::available_parallelism().unwrap().get().min(24);
    assert_eq!(threads(false, most), most);
    assert_eq!(threads(true, 24), 24);
}

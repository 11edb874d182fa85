//! The asynchronous face.

use bytes::Bytes;
use mainspring_mmap_store::{AsyncStore, Batch, Durability, LazyRecordBuilder, Options};

use crate::sim::SimDisk;

fn open(disk: &SimDisk) -> AsyncStore {
    Options::new()
        .create(true)
        .open_in(disk.storage())
        .unwrap()
        .into()
}

#[tokio::test]
async fn every_call_does_what_the_blocking_one_does() {
    let disk = SimDisk::new();
    let store = open(&disk);
    store.put("a", "1").await.unwrap();
    assert_eq!(store.get("a").await.unwrap().unwrap(), "1");
    assert!(
        store
            .compare_and_set("a", Some("1".into()), Some("2".into()))
            .await
            .unwrap()
    );
    let lazy = LazyRecordBuilder::new().field("title", "x").unwrap();
    store.put("lazy", lazy.finish()).await.unwrap();
    let lazy = store.get_lazy("lazy").await.unwrap().unwrap();
    assert_eq!(lazy.raw("title").unwrap().unwrap(), "x");
    assert!(store.get_lazy("none").await.unwrap().is_none());
    assert!(store.delete("lazy").await.unwrap());
    let mut batch = Batch::new();
    batch.put(b"b", b"3").put(b"c", b"4");
    store.write(batch).await.unwrap();
    assert!(store.delete("b").await.unwrap() && !store.contains("b").await.unwrap());
    let pairs = store.prefix("", 10).await.unwrap();
    assert_eq!(
        pairs,
        [("a", "2"), ("c", "4")].map(|(k, v)| (Bytes::from(k), Bytes::from(v)))
    );
    store.flush(Durability::Always).await.unwrap();
    store.compact().await.unwrap();
    assert!(store.verify().await.unwrap().is_clean());
    store.close().await.unwrap();
    assert_eq!(open(&disk).get("c").await.unwrap().unwrap(), "4");
}

/// What takes long besides: opening, scans piece by piece, a copy, a reader's next state, a repair.
#[tokio::test]
async fn lengthy_work_has_an_asynchronous_call_too() {
    let dir = tempfile::tempdir().unwrap();
    let (home, copy) = (dir.path().join("home"), dir.path().join("copy"));
    let options = Options::new().create(true).durability(Durability::Os);
    let store = AsyncStore::open(options, &home).await.unwrap();
    let reader = Options::new().read_only(true);
    let reader = AsyncStore::open(reader, &home).await.unwrap();
    for i in (0..10_u8).rev() {
        store.put(vec![b'k', i], vec![i]).await.unwrap();
    }
    assert!(reader.refresh().await.unwrap());
    assert_eq!(reader.get(&b"k\x03"[..]).await.unwrap().unwrap(), &[3][..]);
    assert_eq!(reader.stats().await.unwrap().live_keys, 10);
    let mut sorted = store.scan_prefix("k").await.unwrap();
    let mut inserted = store.scan_inserted(0);
    let mut keys = (Vec::new(), Vec::new());
    for len in [4, 4, 2, 0] {
        let items = sorted.next_items(4).await.unwrap();
        assert_eq!(items.len(), len);
        keys.0
            .extend(items.into_iter().map(|item| item.unwrap().0[1]));
        let items = inserted.next_items(4).await.unwrap();
        keys.1
            .extend(items.into_iter().map(|item| item.unwrap().key[1]));
    }
    let up: Vec<u8> = (0..10).collect();
    assert_eq!(keys, (up.clone(), up.into_iter().rev().collect()));
    drop((sorted, inserted));
    store.backup(&copy).await.unwrap();
    store.close().await.unwrap();
    std::fs::remove_file(copy.join("MANIFEST")).unwrap();
    assert_eq!(AsyncStore::repair(&copy).await.unwrap().keys, 10);
}

#[tokio::test]
async fn a_dropped_write_is_whole_or_not_begun() {
    let disk = SimDisk::new();
    let store = open(&disk);
    for i in 0..50_u8 {
        let mut batch = Batch::new();
        batch.put(&[b'l', i], &[i; 100]).put(&[b'r', i], &[i; 100]);
        let mut write = Box::pin(store.write(batch));
        // Polled once, then dropped.
        let once = std::future::poll_fn(|cx| std::task::Poll::Ready(write.as_mut().poll(cx)));
        drop(once.await);
        drop(write);
    }
    // Whatever still runs holds a handle of the store: closing takes its turn behind it.
    store.close().await.unwrap();
    let store = open(&disk);
    for i in 0..50_u8 {
        let (left, right) = (
            store.store().get(&[b'l', i]).unwrap(),
            store.store().get(&[b'r', i]).unwrap(),
        );
        assert_eq!(left, right);
    }
}

/// A step whose call was dropped while it ran is given by the next call; nothing is skipped.
#[tokio::test]
async fn a_dropped_step_of_a_scan_loses_nothing() {
    let disk = SimDisk::new();
    let store = open(&disk);
    for i in 0..9_u8 {
        store.put(vec![i], vec![i]).await.unwrap();
    }
    let mut scan = store.scan_prefix("").await.unwrap();
    let mut seen = Vec::new();
    for round in 0..6 {
        if round % 2 == 0 {
            let mut step = std::pin::pin!(scan.next_items(3));
            // Polled once, so that it has begun, and dropped.
            let polled = polled_once(step.as_mut()).await;
            if let Some(items) = polled {
                seen.extend(items.unwrap());
            }
            continue;
        }
        seen.extend(scan.next_items(3).await.unwrap());
    }
    seen.extend(scan.next_items(9).await.unwrap());
    let keys: Vec<u8> = seen.into_iter().map(|pair| pair.unwrap().0[0]).collect();
    assert_eq!(keys, (0..9).collect::<Vec<u8>>());
}

/// What the first poll gives, if it is ready.
async fn polled_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        let polled = std::pin::Pin::new(&mut future).poll(context);
        std::task::Poll::Ready(match polled {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

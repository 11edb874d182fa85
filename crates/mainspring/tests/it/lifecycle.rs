//! Opening, joining, keeping small and closing.

use std::{
    future::{pending, ready},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use mainspring::{
    Error, Parts, Profile, Runtime,
    compressor::Format,
    mmap_store,
    scheduler::{FnTool, Tool, ToolCall, ToolOutput},
};
use serde_json::json;

const HELLO: &str = r#"{"role":"user","content":"hello"}"#;

#[tokio::test]
async fn a_failing_step_ends_the_start_with_its_name_and_frees_what_was_opened() {
    for (folder, phase) in [
        ("sessions", "sessions"),
        ("snapshots", "snapshots"),
        ("cache", "cache store"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(folder), "a file in the way").unwrap();
        let error = Runtime::open(dir.path(), Profile::Laptop)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::Start { phase: found, path, .. } if *found == phase && path.ends_with(folder)),
            "{error}"
        );
        std::fs::remove_file(dir.path().join(folder)).unwrap();
        let runtime = Runtime::open(dir.path(), Profile::Laptop).await.unwrap();
        let names: Vec<_> = runtime.phases().iter().map(|phase| &*phase.name).collect();
        assert_eq!(
            names,
            ["sessions", "snapshots", "cache store", "cache", "tools"]
        );
    }
}

#[tokio::test]
async fn another_process_is_refused_clearly_or_joins_read_only() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path(), Profile::Laptop).await.unwrap();
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    session.append(HELLO).unwrap();
    let version = session.checkpoint("1").unwrap();

    let refused = Runtime::open(dir.path(), Profile::Laptop)
        .await
        .unwrap_err();
    assert!(refused.is_in_use());
    assert!(refused.to_string().contains("read_only"), "{refused}");

    let mut config = Profile::Laptop.config();
    config.read_only = true;
    let joined = Runtime::open(dir.path(), config.clone()).await.unwrap();
    assert_eq!(joined.sessions().unwrap(), ["s"]);
    let mut theirs = joined.resume("s").unwrap();
    assert_eq!(theirs.message(0).unwrap(), HELLO);
    assert_eq!(
        theirs.restore(version).unwrap(),
        session.restore(version).unwrap()
    );
    let read_only = |error: Error| matches!(error, Error::Store(mmap_store::Error::ReadOnly));
    assert!(read_only(theirs.append(HELLO).unwrap_err()));
    assert!(read_only(theirs.checkpoint("1").unwrap_err()));
    assert!(read_only(theirs.fork("t").unwrap_err()));
    assert!(joined.session("new", Format::OpenAiChat).is_err());
    assert!(joined.upkeep().failures.is_empty());
    theirs.close().unwrap();
    assert!(joined.shutdown(ready(())).await.is_clean());
    // The writer noticed nothing.
    session.append(HELLO).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let missing = Runtime::open(elsewhere.path(), config).await.unwrap_err();
    assert!(matches!(
        missing,
        Error::Start {
            phase: "sessions",
            ..
        }
    ));
}

#[tokio::test]
async fn shutdown_waits_for_calls_and_says_what_it_could_not_finish() {
    for patient in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::open(dir.path(), Profile::Laptop).await.unwrap();
        let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
        let (begun, mut began) = tokio::sync::mpsc::unbounded_channel();
        let finish = Arc::new(tokio::sync::Notify::new());
        let waits = finish.clone();
        let tool = FnTool::new("wait", move |_, _| {
            let (begun, waits) = (begun.clone(), waits.clone());
            async move {
                begun.send(()).unwrap();
                waits.notified().await;
                Ok(ToolOutput::text("done"))
            }
        });
        let tools = runtime.toolbox([Arc::new(tool) as Arc<dyn Tool>]).unwrap();
        session.set_tools(tools);
        let running = tokio::spawn(async move {
            let calls = vec![ToolCall::new("1", "wait", json!({}))];
            session.run_tools(calls).await[0].result.is_ok()
        });
        began.recv().await.unwrap();
        let report = if patient {
            let stopping = tokio::spawn(runtime.shutdown(pending()));
            tokio::task::yield_now().await;
            finish.notify_one();
            stopping.await.unwrap()
        } else {
            runtime.shutdown(ready(())).await
        };
        assert_eq!(report.interrupted_calls, usize::from(!patient));
        assert_eq!(
            report.is_clean(),
            patient && report.open_sessions.is_empty()
        );
        assert!(report.failures.is_empty(), "{report:?}");
        if !patient {
            assert_eq!(report.open_sessions, ["s"]);
        }
        assert_eq!(running.await.unwrap(), patient);
    }
}

#[tokio::test]
async fn upkeep_deletes_old_checkpoints_by_the_injected_clock_and_compacts_what_is_dead() {
    const DAY: u64 = 24 * 60 * 60 * 1_000;
    let dir = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicU64::new(100 * DAY));
    let clock = now.clone();
    let parts = Parts::new().clock(move || clock.load(Ordering::Relaxed));
    let runtime = Runtime::open_parts(dir.path(), Profile::Laptop, parts)
        .await
        .unwrap();
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    session.append(HELLO).unwrap();
    let old = session.checkpoint("1").unwrap();
    session.append(HELLO).unwrap();
    let head = session.checkpoint("2").unwrap();
    assert_eq!(runtime.upkeep().swept.unwrap().removed, 0);
    now.store(131 * DAY, Ordering::Relaxed);
    assert_eq!(runtime.upkeep().swept.unwrap().removed, 1);
    assert!(session.restore(old).is_err());
    assert!(session.restore(head).is_ok());
    now.fetch_add(29 * 60 * 1_000, Ordering::Relaxed);
    assert!(runtime.upkeep().swept.is_none(), "only every half hour");

    let store = runtime.session_store();
    let noise: Vec<u8> = (0..400_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for _ in 0..10 {
        store.put(b"b of nobody", &noise).unwrap();
    }
    let before = store.stats();
    let report = runtime.upkeep();
    assert_eq!(report.compacted.len(), 1, "{report:?}");
    assert_eq!(report.compacted[0].0, "sessions");
    assert!(store.stats().log_bytes < before.log_bytes / 4);
    assert!(runtime.upkeep().compacted.is_empty());
    assert_eq!(session.message(1).unwrap(), HELLO);
}

#[tokio::test]
async fn upkeep_is_done_at_each_tick_of_an_injected_timer() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path(), Profile::Laptop).await.unwrap();
    let (sender, ticks) = tokio::sync::mpsc::unbounded_channel::<()>();
    let ticks = Arc::new(tokio::sync::Mutex::new(ticks));
    let (told, mut reports) = tokio::sync::mpsc::unbounded_channel();
    let kept = runtime.clone();
    let keeping = tokio::spawn(async move {
        let tick = || {
            let ticks = ticks.clone();
            async move {
                ticks.lock().await.recv().await;
            }
        };
        kept.keep_up(tick, |report| told.send(report).unwrap())
            .await;
    });
    for swept in [true, false] {
        sender.send(()).unwrap();
        assert_eq!(reports.recv().await.unwrap().swept.is_some(), swept);
    }
    keeping.abort();
}

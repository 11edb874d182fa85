//! Opening, joining, keeping small and closing.

use std::{
    future::{pending, ready},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use mainspring::{
    Error, Parts, Profile, Runtime,
    compressor::Format,
    mmap_store,
    scheduler::{Access, FnTool, Tool, ToolCall, ToolOutput},
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
    let mut state = 1u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    let noise: Vec<u8> = (0..400_000).map(|_| random()).collect();
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

/// Says when it is being written to, and waits then.
struct Slow(mpsc::Sender<()>, mpsc::Receiver<()>);

impl std::io::Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.0.send(());
        let _ = self.1.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn checkpoints_restores_and_forks_go_on_in_the_middle_of_a_sweep() {
    let dir = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicU64::new(0));
    let clock = now.clone();
    let parts = Parts::new().clock(move || clock.load(Ordering::Relaxed));
    let opened = Runtime::open_parts(dir.path(), Profile::Laptop, parts).await;
    let runtime = opened.unwrap();
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    let mut other = runtime.session("other", Format::OpenAiChat).unwrap();
    session.append(HELLO).unwrap();
    let old = session.checkpoint("1").unwrap();
    now.store(31 * 24 * 60 * 60 * 1_000, Ordering::Relaxed);
    session.append(HELLO).unwrap();
    session.checkpoint("2").unwrap();

    // Who reads the old one keeps the sweep from deleting it, and so in its middle.
    let (reading, begun) = mpsc::channel();
    let (let_go, held) = mpsc::channel::<()>();
    let snapshots = runtime.snapshots().clone();
    let reader = std::thread::spawn(move || snapshots.restore_to(old, Slow(reading, held)));
    begun.recv().unwrap();
    let swept = runtime.clone();
    let sweep = std::thread::spawn(move || swept.upkeep());
    while session.restore(old).is_ok() {
        assert!(!sweep.is_finished(), "it deletes the old one");
        std::thread::yield_now();
    }
    let mut versions = Vec::new();
    for session in [&mut session, &mut other] {
        session.append(HELLO).unwrap();
        versions.push(session.checkpoint("3").unwrap());
    }
    let mut fork = session.fork("fork").unwrap();
    fork.append(HELLO).unwrap();
    versions.push(fork.checkpoint("4").unwrap());
    let states: Vec<_> = versions
        .iter()
        .map(|&version| session.restore(version).unwrap())
        .collect();
    assert!(!sweep.is_finished());
    drop(let_go);
    assert!(reader.join().unwrap().is_ok());
    let report = sweep.join().unwrap();
    assert!(report.failures.is_empty(), "{report:?}");
    let swept = report.swept.unwrap();
    // Had anybody above waited for it, it would have lost its patience with the reader.
    assert_eq!((swept.removed, swept.failed), (1, vec![]));
    for (version, state) in versions.into_iter().zip(states) {
        assert_eq!(session.restore(version).unwrap(), state);
    }
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

#[tokio::test]
async fn shutdown_counts_the_calls_that_had_not_ended() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path(), Profile::Laptop).await.unwrap();
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let tool = FnTool::new("maybe", move |args, _| {
        let (hangs, ended) = (args["hangs"] == true, ended.clone());
        async move {
            if hangs {
                pending::<()>().await;
            }
            ended.send(()).unwrap();
            Ok(ToolOutput::text("done"))
        }
    });
    let tool = tool.access(|_| Access::none());
    let tools = runtime.toolbox([Arc::new(tool) as Arc<dyn Tool>]).unwrap();
    session.set_tools(tools);
    let running = tokio::spawn(async move {
        let call = |n: u32| {
            ToolCall::new(
                n.to_string(),
                "maybe",
                json!({"hangs": n.is_multiple_of(3)}),
            )
        };
        session.run_tools((1..=9).map(call).collect()).await.len()
    });
    for _ in 0..6 {
        ends.recv().await.unwrap();
    }
    // Until the outcomes were taken, too.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let report = runtime.shutdown(ready(())).await;
    assert_eq!(report.interrupted_calls, 3, "{report:?}");
    assert_eq!(running.await.unwrap(), 9);
}

#[tokio::test]
async fn closing_a_session_makes_it_durable_whatever_the_mode() {
    for mode in [
        mmap_store::Durability::Os,
        mmap_store::Durability::Interval(std::time::Duration::from_secs(3_600)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Profile::Laptop.config();
        config.durability = mode;
        let runtime = Runtime::open(dir.path(), config).await.unwrap();
        let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
        session.append(HELLO).unwrap();
        session.checkpoint("1").unwrap();
        let syncs = || {
            [
                runtime.session_store().stats().syncs,
                runtime.snapshot_store().stats().syncs,
            ]
        };
        let before = syncs();
        session.close().unwrap();
        let after = syncs();
        assert!(
            after[0] > before[0] && after[1] > before[1],
            "{before:?} {after:?}"
        );
    }
}

#[tokio::test]
async fn a_panic_makes_what_was_acknowledged_durable_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Profile::Laptop.config();
    config.durability = mmap_store::Durability::Interval(std::time::Duration::from_secs(3_600));
    let runtime = Runtime::open(dir.path(), config).await.unwrap();
    let patience = std::time::Duration::from_secs(30);
    runtime.flush_on_panic(patience);
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    for turn in 0..2 {
        let syncs = || {
            [
                runtime.session_store().stats().syncs,
                runtime.snapshot_store().stats().syncs,
            ]
        };
        // Panics of other tests are the runtime's business too.
        let before = syncs();
        session.append(HELLO).unwrap();
        session.checkpoint("1").unwrap();
        let panicked = std::thread::spawn(|| panic!("as the test wants")).join();
        assert!(panicked.is_err());
        let after = syncs();
        assert!(
            after[0] > before[0] && after[1] > before[1],
            "panic {turn}: {before:?} {after:?}"
        );
    }
    drop(session);
    runtime.flush().unwrap();
    runtime.close().await.unwrap();
    // The hook outlives the runtime, and finds nothing to do.
    assert!(
        std::thread::spawn(|| panic!("as the test wants"))
            .join()
            .is_err()
    );
}

#[tokio::test]
async fn closing_makes_the_checkpoints_of_an_earlier_handle_durable_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Profile::Laptop.config();
    config.durability = mmap_store::Durability::Interval(std::time::Duration::from_secs(3_600));
    let runtime = Runtime::open(dir.path(), config).await.unwrap();
    let before = runtime.snapshot_store().stats().syncs;
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    session.append(HELLO).unwrap();
    session.checkpoint("1").unwrap();
    drop(session);
    runtime.resume("s").unwrap().close().unwrap();
    assert!(runtime.snapshot_store().stats().syncs > before);
}

/// The other process of the test below.
#[tokio::test]
async fn alone_join() {
    let Some(dir) = std::env::var_os("JOIN_DIR") else {
        return;
    };
    let refused = Runtime::open(&dir, Profile::Laptop).await.unwrap_err();
    assert!(refused.is_in_use(), "{refused}");
    let mut config = Profile::Laptop.config();
    config.read_only = true;
    let runtime = Runtime::open(&dir, config).await.unwrap();
    let session = runtime.resume("s").unwrap();
    assert_eq!(session.message(0).unwrap(), HELLO);
    assert_eq!(session.context().items().len(), 2);
    assert_eq!(session.divergence(), None);
    let head = session.checkpoints().unwrap().head().unwrap();
    println!("joined: {head} {}", session.restore(head).unwrap().len());
}

#[tokio::test]
async fn a_second_process_joins_read_only_while_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path(), Profile::Laptop).await.unwrap();
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    session.append(HELLO).unwrap();
    session.append(HELLO).unwrap();
    let version = session.checkpoint("1").unwrap();
    let wanted = session.restore(version).unwrap().len();
    for _ in 0..2 {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lifecycle::alone_join", "--nocapture"])
            .env("JOIN_DIR", dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert!(
            said.contains(&format!("joined: {version} {wanted}")),
            "{said}"
        );
    }
    session.append(HELLO).unwrap();
    session.checkpoint("2").unwrap();
}

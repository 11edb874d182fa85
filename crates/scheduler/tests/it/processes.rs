//! Child processes: their limits hold, their ends are told apart, and nothing of them stays.

use std::future::Future;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mainspring_scheduler::*;
use serde_json::json;

/// Longer than anything here takes, and shorter than what is to be killed would.
const LONG: Duration = Duration::from_secs(300);

fn sh(script: &str) -> Process {
    Process::new("sh").arg("-c").arg(script)
}

/// With a wall time that only a failure reaches, on a busy machine too.
fn limits() -> ProcessLimits {
    ProcessLimits {
        wall: LONG,
        ..ProcessLimits::default()
    }
}

/// Whether a process of this number runs: a zombie does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .trim_start()
        .chars()
        .next();
    !matches!(state, None | Some('Z' | 'X'))
}

/// Waits for something that others bring about.
fn comes_true(mut what: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + LONG;
    while Instant::now() < until {
        if what() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

#[tokio::test]
async fn codes_and_signals_are_told_apart_and_input_is_given() {
    let output = sh("cat; echo oops >&2; exit 3")
        .stdin("hello")
        .run()
        .await
        .unwrap();
    assert_eq!(output.end, ProcessEnd::Exited(3));
    assert_eq!(
        (output.stdout.to_text(), output.stderr.to_text()),
        ("hello".into(), "oops\n".into())
    );
    assert_eq!(
        ToolOutput::from(output).content,
        json!({"exit_code": 3, "stdout": "hello", "stderr": "oops\n"})
    );
    let output = sh("kill -TERM $$").run().await.unwrap();
    assert_eq!(output.end, ProcessEnd::Signalled(15));
    let output = sh("printf %s \"$A$HOME\"; pwd")
        .clear_env()
        .env("A", "1")
        .dir("/")
        .run()
        .await
        .unwrap();
    assert!(output.end.is_success());
    assert_eq!(output.stdout.to_text(), "1/\n");
    let missing = Process::new("/no/such/program").run().await;
    assert!(
        matches!(missing, Err(Error::Failed { message }) if message.contains("/no/such/program"))
    );
}

#[tokio::test]
async fn input_larger_than_a_pipe_does_not_block_the_output() {
    let input = vec![b'x'; 1 << 20];
    let output = Process::new("cat")
        .stdin(input.clone())
        .limits(ProcessLimits {
            output: 4 << 20,
            ..limits()
        })
        .run()
        .await
        .unwrap();
    assert_eq!(output.stdout.to_text().into_bytes(), input);
    // One that reads nothing is no error either.
    let output = sh("exit 0").stdin(input).run().await.unwrap();
    assert!(output.end.is_success());
}

#[tokio::test]
async fn output_keeps_its_start_and_its_end() {
    let script = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done";
    let limits = ProcessLimits {
        output: 101,
        ..limits()
    };
    let output = sh(script).limits(limits).run().await.unwrap();
    let Captured {
        head,
        tail,
        omitted,
        ..
    } = &output.stdout;
    assert_eq!((head.len(), tail.len()), (51, 50));
    assert!(head.starts_with(b"0\n1\n2\n") && tail.ends_with(b"19998\n19999\n"));
    let all: u64 = (0..20_000)
        .map(|n: u64| n.to_string().len() as u64 + 1)
        .sum();
    assert_eq!(omitted + 101, all);
    assert!(
        output
            .stdout
            .to_text()
            .contains(&format!("\n[{omitted} bytes left out]\n"))
    );
    assert_eq!(output.stderr, Captured::default());
    let nothing = ProcessLimits {
        output: 0,
        ..limits
    };
    let output = sh("echo abc").limits(nothing).run().await.unwrap();
    assert_eq!((output.stdout.head.len(), output.stdout.omitted), (0, 4));
}

#[tokio::test]
async fn limits_are_set_before_the_program_starts() {
    let limits = ProcessLimits {
        wall: Duration::from_millis(600_500),
        memory: Some(512 << 20),
        open_files: Some(20),
        ..ProcessLimits::default()
    };
    let script = "ulimit -St; ulimit -Ht; ulimit -v; ulimit -n; ulimit -c";
    let output = sh(script).limits(limits).run().await.unwrap();
    // Processor time follows the wall time, rounded up.
    assert_eq!(output.stdout.to_text(), "601\n602\n524288\n20\n0\n");
    let limits = ProcessLimits {
        memory: None,
        open_files: None,
        ..limits
    };
    let output = sh("ulimit -v").limits(limits).run().await.unwrap();
    let own = Command::new("sh")
        .args(["-c", "ulimit -v"])
        .output()
        .unwrap();
    assert_eq!(output.stdout.to_text().into_bytes(), own.stdout);
}

#[tokio::test]
async fn limits_hold() {
    let little = ProcessLimits {
        cpu: Some(Duration::from_millis(10)),
        ..limits()
    };
    let output = sh("while :; do :; done")
        .limits(little)
        .run()
        .await
        .unwrap();
    assert_eq!(output.end, ProcessEnd::Signalled(24));

    let little = ProcessLimits {
        memory: Some(64 << 20),
        ..limits()
    };
    let script = "s=x; while :; do s=$s$s; done";
    let output = sh(script).limits(little).run().await.unwrap();
    assert!(!output.end.is_success() && output.end != ProcessEnd::OutOfTime);

    let little = ProcessLimits {
        wall: Duration::from_millis(50),
        ..limits()
    };
    let output = sh("echo started; sleep 1000")
        .limits(little)
        .run()
        .await
        .unwrap();
    assert_eq!(output.end, ProcessEnd::OutOfTime);
    assert!(output.took < LONG, "{:?}", output.took);
}

#[tokio::test(start_paused = true)]
#[cfg(target_os = "linux")]
async fn one_that_ended_before_anybody_looked_is_not_late() {
    let (file, go) = (scratch("looked"), scratch("go"));
    let script = format!(
        "echo $$ > {0}; echo end >> {0}; while [ ! -e {1} ]; do :; done; echo done",
        file.display(),
        go.display()
    );
    let mut run = Box::pin(sh(&script).limits(limits()).run());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut polls = 0;
    let mut text = String::new();
    while !text.ends_with("end\n") || polls < 1_000 {
        assert!(run.as_mut().poll(&mut cx).is_pending());
        // The clock stands still meanwhile: somebody has something to do.
        tokio::task::yield_now().await;
        text = std::fs::read_to_string(&file).unwrap_or_default();
        polls += 1;
    }
    let pid = text.lines().next().unwrap().parse().unwrap();
    // Now nobody looks until it is over and its time as well.
    std::fs::write(&go, "").unwrap();
    assert!(comes_true(|| !runs(pid)));
    tokio::time::advance(2 * LONG).await;
    let output = run.await.unwrap();
    assert_eq!(output.end, ProcessEnd::Exited(0));
    assert_eq!(output.stdout.to_text(), "done\n");
    std::fs::remove_file(file).unwrap();
    std::fs::remove_file(go).unwrap();
}

/// Polls `run` until the child has written its numbers to the file.
async fn until_written(
    run: impl Future<Output = Result<ProcessOutput, Error>>,
    file: &Path,
) -> Vec<u32> {
    let mut run = Box::pin(run);
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if text.ends_with("end\n") {
            return text
                .split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect();
        }
        let step = tokio::time::timeout(Duration::from_millis(2), &mut run).await;
        assert!(step.is_err(), "{step:?}");
    }
}

fn scratch(name: &str) -> std::path::PathBuf {
    let file = std::env::temp_dir().join(format!("mainspring-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&file);
    file
}

#[tokio::test]
async fn a_dropped_run_kills_the_child_and_what_it_started() {
    let file = scratch("dropped");
    let script = format!(
        "sleep 1000 & echo $$ $! > {0}; echo end >> {0}; wait",
        file.display()
    );
    let pids = until_written(sh(&script).limits(limits()).run(), &file).await;
    assert_eq!(pids.len(), 2);
    for pid in pids {
        assert!(comes_true(|| !runs(pid)), "{pid} still runs");
    }
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn what_an_ended_child_left_behind_is_killed_and_nobody_waits_for_it() {
    // It keeps the output open: a reader that waits for its end would wait for ever.
    let output = sh("sleep 1000 & echo $!")
        .limits(limits())
        .run()
        .await
        .unwrap();
    assert_eq!(output.end, ProcessEnd::Exited(0));
    let pid: u32 = output.stdout.to_text().trim().parse().unwrap();
    assert!(comes_true(|| !runs(pid)));
    // One that left the group is out of reach; it is not waited for either.
    let left = Command::new("setsid")
        .arg("true")
        .stdin(Stdio::null())
        .status();
    if left.is_ok_and(|status| status.success()) {
        let file = scratch("left");
        let script = format!(
            "setsid sh -c 'echo $$ > {0}; exec sleep 1000' & while [ ! -s {0} ]; do :; done; cat {0}",
            file.display()
        );
        let output = sh(&script).limits(limits()).run().await.unwrap();
        assert_eq!(output.end, ProcessEnd::Exited(0));
        let pid = output.stdout.to_text().trim().to_owned();
        let killed = Command::new("kill").args(["-KILL", &pid]).status();
        assert!(killed.unwrap().success(), "{pid} was to outlive its group");
        std::fs::remove_file(file).unwrap();
    }
}

#[tokio::test]
async fn a_cancelled_call_kills_its_child() {
    let file = scratch("cancelled");
    let script = format!(
        "echo $$ > {0}; echo end >> {0}; sleep 1000; echo never",
        file.display()
    );
    let tool = FnTool::new("run", |args, _| async move {
        let script = args["script"].as_str().unwrap_or("").to_owned();
        Ok(sh(&script).run().await?.into())
    });
    let scheduler = Scheduler::builder()
        .toolbox(Toolbox::new().with(tool).unwrap())
        .build()
        .unwrap();
    let mut run = scheduler.stream(vec![ToolCall::new("0", "run", json!({"script": script}))]);
    let pid: u32 = loop {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if text.ends_with("end\n") {
            break text.lines().next().unwrap().parse().unwrap();
        }
    };
    assert!(runs(pid));
    run.cancel();
    let outcome = run.next().await.unwrap();
    assert!(matches!(
        outcome.result,
        Err(CallError {
            kind: CallErrorKind::Stopped(_),
            ..
        })
    ));
    assert!(comes_true(|| !runs(pid)));
    std::fs::remove_file(file).unwrap();
}

/// Runs one of the tests below in a process of its own.
fn alone(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        &format!("processes::{test}"),
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]);
    command
}

#[test]
#[cfg(target_os = "linux")]
fn neither_zombies_nor_descriptors_are_left() {
    let output = alone("runs_many_children").output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
#[ignore = "counts what its whole process holds: run by another test in one of its own"]
#[cfg(target_os = "linux")]
fn runs_many_children() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let children = || {
        let all = std::fs::read_dir("/proc/self/task").unwrap();
        let of = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children"));
        all.map(|task| of(task.unwrap()).unwrap().split_whitespace().count())
            .sum::<usize>()
    };
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let round = || {
        let runtime = runtime();
        runtime.block_on(async {
            for n in 0..10u64 {
                assert!(
                    sh("echo a; echo b >&2")
                        .stdin("c")
                        .run()
                        .await
                        .unwrap()
                        .end
                        .is_success()
                );
                // Dropped somewhere on its way, perhaps before it is a child.
                let run = sh("sleep 1000").stdin("c").run();
                let _ = tokio::time::timeout(Duration::from_micros(n * 400), run).await;
                let _ = Process::new("/no/such/program").run().await;
            }
        });
        // With children that were just killed, and with one that never was polled again.
        let mut left = Box::pin(sh("sleep 1000").run());
        runtime.block_on(async {
            let _ = tokio::time::timeout(Duration::from_millis(5), &mut left).await;
        });
        drop(runtime);
        drop(left);
    };
    // What a process makes once, it keeps: the thread that forks, the pipe for signals.
    round();
    assert!(comes_true(|| children() == 0));
    let before = descriptors();
    for _ in 0..5 {
        round();
    }
    assert!(
        comes_true(|| children() == 0),
        "{} children left",
        children()
    );
    assert!(
        comes_true(|| descriptors() <= before),
        "{before} descriptors, then {}",
        descriptors()
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_runtime_that_is_killed_leaves_no_child() {
    let file = scratch("orphan");
    let mut parent = alone("runs_for_ever")
        .env("MAINSPRING_PID_FILE", &file)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut child = 0;
    assert!(comes_true(|| {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        child = text
            .strip_suffix('\n')
            .and_then(|pid| pid.parse().ok())
            .unwrap_or(0);
        child > 0
    }));
    assert!(runs(child));
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(comes_true(|| !runs(child)), "{child} outlived its parent");
    std::fs::remove_file(file).unwrap();
}

#[test]
#[ignore = "runs until it is killed, by another test"]
#[cfg(target_os = "linux")]
fn runs_for_ever() {
    let Ok(file) = std::env::var("MAINSPRING_PID_FILE") else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    // Forked from a thread that ends: the child must live on all the same.
    let handle = runtime.handle().clone();
    let script = format!("echo $$ > {file}.new; sleep 0.2; mv {file}.new {file}; exec sleep 1000");
    let run = sh(&script)
        .limits(ProcessLimits {
            wall: 2 * LONG,
            ..limits()
        })
        .run();
    let mut run = Box::pin(run);
    let run = std::thread::spawn(move || {
        handle.block_on(async {
            let _ = tokio::time::timeout(Duration::from_millis(20), &mut run).await;
        });
        run
    });
    let run = run.join().unwrap();
    println!("{:?}", runtime.block_on(run));
}

#[test]
fn without_a_runtime_it_is_an_error() {
    let mut run = Box::pin(sh("true").run());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(matches!(
        run.as_mut().poll(&mut cx),
        std::task::Poll::Ready(Err(Error::NoRuntime))
    ));
}

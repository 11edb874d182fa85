//! The page of figures, seen by a real browser.

use std::path::Path;
use std::process::Command;

use mainspring_monitor::Registry;

const HOSTILE: &str = "</script><b>&quot; onload=x";

fn registry() -> Registry {
    let registry = Registry::new();
    registry.describe("calls", "Calls, </script> and <i>markup</i>.");
    for tool in ["grep", "read", HOSTILE, &"long".repeat(200)] {
        registry.counter("calls", &[("tool", tool)]).add(7);
    }
    registry.gauge("queue", &[]).set(3.0);
    let wait = registry.histogram("wait_bytes", &[]);
    (1..=1_000).for_each(|value| wait.record(value * value));
    registry
}

fn chromium() -> Option<String> {
    let named = std::env::var("MAINSPRING_CHROMIUM").ok();
    let known = ["chromium", "chromium-browser", "google-chrome"].map(str::to_owned);
    let found = named.into_iter().chain(known).find(|program| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|out| out.status.success())
    });
    if found.is_none() {
        println!("skipped: no chromium here to look at the page with");
    }
    found
}

/// The document at `address` after its scripts ran.
fn browse(program: &str, folder: &Path, address: &str) -> String {
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let out = Command::new(program)
        .args(["--headless", "--no-sandbox", "--disable-gpu"])
        .args(["--hide-scrollbars", "--dump-dom", &profile])
        .args(["--virtual-time-budget=9000", address])
        .output()
        .expect("started");
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{errors}");
    String::from_utf8(out.stdout).expect("text")
}

/// Frames as wide as a phone and a desk, and what a script finds in them: the page's width and the
/// window's, families, plots, and elements that only a label could have brought.
fn framed(page: &str) -> String {
    let text = page.replace('&', "&amp;").replace('"', "&quot;");
    let frames = [390, 1280].map(|width| {
        format!(
            "<iframe srcdoc=\"{text}\" style=\"width:{width}px;height:900px;border:0\"></iframe>"
        )
    });
    let script = "addEventListener('load',()=>{const seen=[...document.querySelectorAll('iframe')]\
        .map(f=>{const d=f.contentDocument,n=s=>d.querySelectorAll(s).length;return [d.documentElement.scrollWidth,\
        f.clientWidth,n('section'),n('polyline'),n('i')].join(' ')});\
        document.body.innerHTML='<pre>'+seen.join(';')+'</pre>'})";
    let frames = frames.concat();
    format!("<!doctype html><html><body>{frames}<script>{script}</script></body></html>")
}

#[test]
fn a_browser_draws_every_family_on_a_phone_and_a_desk() {
    let Some(program) = chromium() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("page.html");
    std::fs::write(&file, framed(&registry().snapshot().to_html())).expect("written");
    let dom = browse(
        &program,
        folder.path(),
        &format!("file://{}", file.display()),
    );
    let seen = dom
        .split("<pre>")
        .nth(1)
        .and_then(|rest| rest.split("</pre>").next());
    let frames: Vec<_> = seen.unwrap_or_else(|| panic!("{dom}")).split(';').collect();
    assert_eq!(frames.len(), 2);
    for frame in frames {
        let figures: Vec<u32> = frame
            .split(' ')
            .map(|n| n.parse().expect("a number"))
            .collect();
        let [page, window, families, plots, markup] = figures[..] else {
            panic!("{frame}")
        };
        assert!(page <= window, "{page} wide in a window of {window}");
        // A histogram is drawn from one look; what moves needs two.
        assert!(families >= 3 && plots >= 1 && markup == 0, "{frame}");
    }
}

#[cfg(feature = "http")]
#[test]
fn a_served_page_follows_its_registry() {
    use mainspring_monitor::Endpoint;
    let Some(program) = chromium() else { return };
    let registry = registry();
    let calls = registry.counter("calls", &[("tool", "grep")]);
    // Each look finds more.
    registry.before_scrape(move || calls.add(5));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let endpoint = runtime
        .block_on(Endpoint::new(&registry).serve(([127, 0, 0, 1], 0).into()))
        .expect("bound");
    let folder = tempfile::tempdir().expect("a folder");
    let dom = browse(
        &program,
        folder.path(),
        &format!("http://{}/", endpoint.address()),
    );
    assert!(dom.contains("every two seconds"), "{dom}");
    let plots = dom.matches("<polyline").count();
    assert!(plots >= 6, "{plots} plots after some looks: {dom}");
}

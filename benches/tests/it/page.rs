//! The page, seen by a real browser.

use std::{path::Path, process::Command};

use mainspring_benches::{
    Explored, History, Interval, Measured, Peer, PerInput, Report, Row, Scale, Targets, page,
};

/// A report with every kind of row, and texts that would break a page that does not escape them.
fn report() -> Report {
    let targets = Targets::load().unwrap();
    let samples: Vec<f64> = (0..60).map(|n| 0.5 + f64::from(n % 7) / 50.0).collect();
    let mut measured = Measured::sampled(samples.clone());
    measured.canary = Some(Interval::exactly(1.0));
    let peers = vec![
        Peer {
            samples: samples.clone(),
            ..Peer::counted("<script>alert('peer')</script>", "1 & 2", 1_234.5, 700.0)
        },
        Peer::counted(
            "a peer with a very long name that goes on",
            "0.1",
            70_000.0,
            700.0,
        ),
    ];
    let measured = measured
        .beside("ns", 700.0, peers)
        .noting("a note with <b>markup</b> & \"quotes\"")
        .on_inputs(vec![PerInput::new(
            "input <1>",
            [("first", 1.0), ("second", 2.0)],
        )]);
    let rows = vec![
        Row::measured(&targets.rows[0], Scale::Full, measured),
        Row::measured(&targets.rows[1], Scale::Full, Measured::counted(0.25)),
        Row::skipped(&targets.rows[2], "no such server here"),
        Row::failed(
            &targets.rows[3],
            &anyhow::anyhow!("wrong answer: <img src=x>"),
        ),
    ];
    Report::new(true, rows)
}

fn rendered() -> String {
    let mut earlier = report();
    earlier.measured_at -= 86_400;
    let history = History::new(vec![("yesterday".to_owned(), earlier)]);
    let explored = Explored {
        name: "cache.hit".to_owned(),
        median: 20.0,
        interval: [19.0, 21.0],
        samples: (0..40).map(|n| 19.0 + f64::from(n) / 20.0).collect(),
    };
    page(&report(), &history, &[explored])
}

#[test]
fn texts_are_escaped_and_nothing_is_loaded_from_elsewhere() {
    let page = rendered();
    assert!(!page.contains("<script"), "a script in the page");
    assert!(!page.contains("<b>markup"), "markup from a note");
    assert!(!page.contains("<img"), "markup from an error");
    for outside in ["http://", "https://", "url(", "@import", "src="] {
        assert!(
            !page.replace("&lt;img src=x&gt;", "").contains(outside),
            "{outside}"
        );
    }
}

/// What the script of [`wrapped`] writes down: for a phone and for a desk, whether the page is wider
/// than its window, and its colours.
fn wrapped(page: &str) -> String {
    let text = page.replace('&', "&amp;").replace('"', "&quot;");
    let frame = |width: u32| {
        format!(
            "<iframe srcdoc=\"{text}\" style=\"width:{width}px;height:900px;border:0\"></iframe>"
        )
    };
    format!(
        "<!doctype html><html><head><meta name=\"color-scheme\" content=\"light dark\"></head><body>{}{}<script>addEventListener('load',()=>{{\
         const seen=[...document.querySelectorAll('iframe')].map(f=>{{const d=f.contentDocument;\
         return d.documentElement.scrollWidth+'/'+f.clientWidth+' '+getComputedStyle(d.body).backgroundColor+' '+d.querySelectorAll('article').length}});\
         document.body.innerHTML='<pre>'+seen.join(';')+'</pre>'}})</script></body></html>",
        frame(390),
        frame(1280)
    )
}

fn chromium() -> Option<String> {
    let named = std::env::var("MAINSPRING_CHROMIUM").ok();
    let known = ["chromium", "chromium-browser", "google-chrome"].map(str::to_owned);
    named.into_iter().chain(known).find(|program| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|out| out.status.success())
    })
}

fn browse(program: &str, folder: &Path, arguments: &[&str], page: &Path) -> Vec<u8> {
    let out = Command::new(program)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
        ])
        .arg(format!(
            "--user-data-dir={}",
            folder.join("profile").display()
        ))
        .args(arguments)
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    out.stdout
}

#[test]
fn a_browser_shows_it_on_a_phone_and_a_desk_in_light_and_dark() {
    let Some(program) = chromium() else {
        println!("skipped: no chromium here to look at the page with");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    std::fs::write(&file, wrapped(&rendered())).unwrap();
    let mut backgrounds = Vec::new();
    for scheme in ["1", "0"] {
        let setting = format!("--blink-settings=preferredColorScheme={scheme}");
        let dumped = browse(&program, folder.path(), &["--dump-dom", &setting], &file);
        let dom = String::from_utf8(dumped).unwrap();
        let seen = dom
            .split("<pre>")
            .nth(1)
            .and_then(|rest| rest.split("</pre>").next());
        let seen = seen.unwrap_or_else(|| panic!("the page was not looked at: {dom}"));
        for frame in seen.split(';') {
            let (widths, rest) = frame.split_once(' ').unwrap();
            let (wide, window) = widths.split_once('/').unwrap();
            let (wide, window): (u32, u32) = (wide.parse().unwrap(), window.parse().unwrap());
            assert!(
                wide <= window,
                "the page is {wide} wide in a window of {window}"
            );
            assert!(rest.ends_with(" 5"), "articles are missing: {rest}");
        }
        backgrounds.push(
            seen.split_once("rgb")
                .map(|(_, rest)| rest[..16].to_owned()),
        );
    }
    assert_ne!(
        backgrounds[0], backgrounds[1],
        "light and dark look the same"
    );

    let picture = folder.path().join("page.png");
    let screenshot = format!("--screenshot={}", picture.display());
    let plain = folder.path().join("plain.html");
    std::fs::write(&plain, rendered()).unwrap();
    browse(
        &program,
        folder.path(),
        &[&screenshot, "--window-size=1280,2000"],
        &plain,
    );
    let bytes = std::fs::read(&picture).unwrap();
    assert_eq!(&bytes[1..4], b"PNG");
    assert!(
        bytes.len() > 40_000,
        "a picture of {} bytes shows nothing",
        bytes.len()
    );
}

//! A self-contained page that shows a registry and, served by the endpoint, follows it.

use crate::snapshot::Snapshot;

/// What the page may do: run itself, style itself, ask its own server for figures.
#[cfg(feature = "http")]
pub(crate) const POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'";

const TEMPLATE: &str = include_str!("page.html");

impl Snapshot {
    /// The snapshot as a self-contained HTML page: no other file, nothing loaded from elsewhere.
    #[must_use]
    pub fn to_html(&self) -> String {
        page(self, false)
    }
}

/// The page; `live` makes it ask `metrics.json` for new figures every two seconds.
pub(crate) fn page(snapshot: &Snapshot, live: bool) -> String {
    // The JSON is escaped so that it cannot end the script it stands in.
    let data = snapshot.to_json();
    let (head, rest) = TEMPLATE
        .split_once("/*DATA*/null")
        .unwrap_or((TEMPLATE, ""));
    let (middle, tail) = rest.split_once("/*LIVE*/false").unwrap_or((rest, ""));
    [
        head,
        &data,
        middle,
        if live { "true" } else { "false" },
        tail,
    ]
    .concat()
}

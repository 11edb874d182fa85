//! Where the documents lie: versions in the supervisor, which no fault touches.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mainspring_soak_checker::Line;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
};

use crate::journal::Journal;

type Versions = Arc<Mutex<std::collections::HashMap<u32, u64>>>;

/// Longest request.
const MAX_REQUEST: usize = 1_024;

/// Serves documents on a socket for as long as the supervisor lives.
pub(crate) fn serve(socket: &Path, journal: &Arc<Journal>) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    let (versions, journal) = (Versions::default(), Arc::clone(journal));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (versions, journal) = (Arc::clone(&versions), Arc::clone(&journal));
            tokio::spawn(async move { drop(answer(stream, &versions, &journal).await) });
        }
    });
    Ok(())
}

async fn answer(stream: UnixStream, versions: &Versions, journal: &Journal) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    stream.read_line(&mut request).await?;
    if request.len() > MAX_REQUEST {
        return Ok(());
    }
    let mut words = request.split_whitespace();
    let writes = words.next() == Some("w");
    let documents: Vec<u32> = words.flat_map(str::parse).collect();
    pause(3).await;
    let answer = take(&documents, writes, versions, journal);
    pause(2).await;
    stream.get_mut().write_all(answer.as_bytes()).await
}

fn take(documents: &[u32], writes: bool, versions: &Versions, journal: &Journal) -> String {
    let mut versions = versions.lock().unwrap_or_else(PoisonError::into_inner);
    let mut answer = String::new();
    for document in documents {
        let version = versions.entry(*document).or_default();
        if writes {
            *version += 1;
            journal.line(Line::Wrote {
                d: *document,
                v: *version,
            });
        }
        answer.push_str(&format!("{version} "));
    }
    answer.push('\n');
    answer
}

async fn pause(most_ms: u64) {
    tokio::time::sleep(Duration::from_micros(fastrand::u64(..most_ms * 1_000))).await;
}

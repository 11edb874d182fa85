//! Where the documents lie: a process of its own that outlives this one.

use std::{io, path::Path};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};

/// Versions of documents, as they are there now.
pub(crate) async fn read(socket: &Path, document: u32) -> io::Result<Vec<(u32, u64)>> {
    ask(socket, "r", &[document]).await
}

/// A new version of each; all were committed when this returns.
pub(crate) async fn write(socket: &Path, documents: &[u32]) -> io::Result<Vec<(u32, u64)>> {
    ask(socket, "w", documents).await
}

async fn ask(socket: &Path, verb: &str, documents: &[u32]) -> io::Result<Vec<(u32, u64)>> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut request = verb.to_owned();
    for document in documents {
        request.push_str(&format!(" {document}"));
    }
    request.push('\n');
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await?;
    let versions: Vec<u64> = answer.split_whitespace().flat_map(str::parse).collect();
    if versions.len() != documents.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(documents.iter().copied().zip(versions).collect())
}

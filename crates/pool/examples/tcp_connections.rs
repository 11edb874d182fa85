//! A keyed pool of TCP connections: one set per `host:port`, under a common limit.

use mainspring_pool::{KeyedPool, TcpManager};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let servers = [server("one").await?, server("two").await?];
    let pool = KeyedPool::builder(TcpManager::new())
        .per_key(4)
        .total(6)
        .build()?;
    let calls = (0..100).map(|call| {
        let (pool, address) = (pool.clone(), servers[call % 2].clone());
        tokio::spawn(async move {
            let mut stream = pool.get(&address).await.map_err(std::io::Error::other)?;
            stream.write_all(b"who are you?\n").await?;
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await.map(|_| ())
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await??;
    }
    let stats = pool.stats();
    println!(
        "{} calls over {} connections to {} servers",
        stats.acquisitions,
        stats.created,
        servers.len()
    );
    Ok(())
}

/// A server that answers each line with its name.
async fn server(name: &'static str) -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut lines = BufReader::new(stream).lines();
                while let Ok(Some(_)) = lines.next_line().await {
                    let answer = format!("{name}\n");
                    if lines.get_mut().write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

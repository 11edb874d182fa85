//! Buffers for a network reader: each read fills a pooled buffer, which is then shared as `Bytes`
//! without a copy, and comes home when the last reader of it is done.

use bytes::Bytes;
use mainspring_pool::BufferPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut sender = TcpStream::connect(listener.local_addr()?).await?;
    tokio::spawn(async move { sender.write_all(&[7; 1_000_000]).await });

    let pool = BufferPool::new();
    let (mut stream, _) = listener.accept().await?;
    let (mut total, mut window) = (0, Vec::<Bytes>::new());
    loop {
        let mut buf = pool.get(16 << 10);
        if stream.read_buf(&mut buf).await? == 0 {
            break;
        }
        total += buf.len();
        window.push(buf.freeze());
        if window.len() > 4 {
            window.remove(0); // this buffer goes home
        }
    }
    let class = pool.stats().classes[2];
    println!(
        "{total} bytes read, {} checkouts, {} allocations",
        class.acquired, class.allocated
    );
    Ok(())
}

//! The TCP manager against real sockets.

use std::io;
use std::net::SocketAddr;

use mainspring_pool::{BuildError, Error, KeyedPool, KeyedPooled, ResourcePool, TcpManager};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Echoes a byte at a time; closes the connection on a zero.
async fn echo() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Ok(address)
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    loop {
        match stream.read_u8().await? {
            0 => return Ok(()),
            byte => stream.write_u8(byte).await?,
        }
    }
}

async fn ask(stream: &mut KeyedPooled<SocketAddr, TcpManager>, byte: u8) -> io::Result<u8> {
    stream.write_u8(byte).await?;
    stream.read_u8().await
}

#[tokio::test]
async fn connections_are_reused_per_address() {
    let (one, two) = (echo().await.unwrap(), echo().await.unwrap());
    let pool = KeyedPool::builder(TcpManager::new()).build().unwrap();
    for round in 1..=10 {
        let mut first = pool.get(&one).await.unwrap();
        let mut second = pool.get(&two).await.unwrap();
        assert_eq!(ask(&mut first, round).await.unwrap(), round);
        assert_eq!(ask(&mut second, round).await.unwrap(), round);
        assert!(first.nodelay().unwrap());
    }
    assert_eq!(pool.stats().created, 2);
}

#[tokio::test]
async fn a_connection_that_the_peer_closed_is_not_lent_again() {
    let address = echo().await.unwrap();
    let pool = KeyedPool::builder(TcpManager::new()).build().unwrap();
    let mut stream = pool.get(&address).await.unwrap();
    let port = stream.local_addr().unwrap();
    // The peer closes only after the stream went back.
    stream.write_u8(0).await.unwrap();
    drop(stream);
    tokio::time::timeout(std::time::Duration::from_secs(10), async {
        loop {
            let mut stream = pool.get(&address).await.unwrap();
            if stream.local_addr().unwrap() != port {
                assert_eq!(ask(&mut stream, 5).await.unwrap(), 5);
                return;
            }
            drop(stream);
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn unread_bytes_make_a_connection_unusable() {
    let address = echo().await.unwrap();
    let pool = KeyedPool::builder(TcpManager::new()).build().unwrap();
    let mut stream = pool.get(&address).await.unwrap();
    stream.write_u8(3).await.unwrap();
    stream.readable().await.unwrap();
    drop(stream);
    assert_eq!(pool.stats().total, 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let pool = KeyedPool::builder(TcpManager::new()).build().unwrap();
    let error = pool.get(&address).await.map(drop).unwrap_err();
    assert!(
        matches!(error, Error::Connect { attempts: 4, .. }),
        "{error}"
    );
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn a_pool_needs_a_runtime_and_outlives_it() {
    struct Number;
    impl mainspring_pool::Manager for Number {
        type Resource = u8;
        type Error = io::Error;
        async fn connect(&self) -> io::Result<u8> {
            Ok(1)
        }
    }
    assert_eq!(
        ResourcePool::builder(Number).build().map(drop).unwrap_err(),
        BuildError::NoRuntime
    );
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    let pool = first.block_on(async { ResourcePool::builder(Number).min(0).build().unwrap() });
    first.block_on(async { drop(pool.get().await.unwrap()) });
    drop(first);
    runtime().block_on(async {
        let held = (pool.get().await.unwrap(), pool.get().await.unwrap());
        assert_eq!(*held.0 + *held.1, 2);
    });
}

//! Tools on another machine: a tower service over HTTP, under the scheduler. Requests that write the
//! same file reach the server one after the other; the others go side by side.
//!
//! `cargo run -p mainspring --features full,tower --example remote_tools`

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use mainspring::scheduler::{Access, Scheduler, SchedulerLayer, Submission};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, ServiceExt};

/// An edit of a file, to be made by the server.
struct Edit {
    path: &'static str,
    line: String,
}

/// The other machine: takes a while and says what it did.
async fn execute(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let answer = match request.into_body().collect().await {
        Ok(body) => format!("{path} += {}", String::from_utf8_lossy(&body.to_bytes())),
        Err(error) => format!("the request broke off: {error}"),
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(Response::new(Full::from(answer)))
}

async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service_fn(execute));
        tokio::spawn(connection);
    }
}

/// One request to the other machine.
async fn send(server: SocketAddr, edit: Edit) -> io::Result<String> {
    let stream = TokioIo::new(TcpStream::connect(server).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
        .await
        .map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("/{}", edit.path))
        .header("host", server.to_string())
        .body(Full::<Bytes>::from(edit.line))
        .map_err(io::Error::other)?;
    let response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes();
    connection.abort();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let server = listener.local_addr()?;
    let serving = tokio::spawn(serve(listener));

    let scheduler = Scheduler::builder().limit(10).build()?;
    let layer = SchedulerLayer::new(&scheduler, |edit: &Edit| Submission {
        kind: "edit".to_owned(),
        access: Access::write(edit.path),
        ..Submission::default()
    });
    let tools = layer.layer(tower::service_fn(move |edit| send(server, edit)));

    let started = std::time::Instant::now();
    let edits = (0..8).map(|n| Edit {
        path: if n % 2 == 0 { "a.rs" } else { "b.rs" },
        line: format!("line {n}"),
    });
    let sent: Vec<_> = edits
        .map(|edit| tokio::spawn(tools.clone().oneshot(edit)))
        .collect();
    for answer in sent {
        println!("{}", answer.await??);
    }
    println!(
        "8 edits of 2 files took {} ms",
        started.elapsed().as_millis()
    );
    serving.abort();
    Ok(())
}

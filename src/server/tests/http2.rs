//! HTTP/2 with prior knowledge, with hyper as the client.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};

use super::stage::{TestServer, dialogue, options, take};
use crate::server::DrainOutcome;

/// An executor that runs the client's tasks on the test's thread.
#[derive(Clone)]
struct LocalTasks;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalTasks {
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}

type Http2Client = (SendRequest<Empty<Bytes>>, JoinHandle<hyper::Result<()>>);

async fn connect(stage: &TestServer) -> Http2Client {
    let stream = TcpStream::connect(stage.addr).await.unwrap();
    let (requests, connection) = handshake(LocalTasks, TokioIo::new(stream)).await.unwrap();
    (requests, spawn_local(connection))
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://a{path}")).body(Empty::new()).unwrap()
}

async fn reply(
    requests: &mut SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
) -> (StatusCode, Bytes) {
    let (head, body) = requests.send_request(request).await.unwrap().into_parts();
    (head.status, body.collect().await.unwrap().to_bytes())
}

fn hello() -> (StatusCode, Bytes) {
    (StatusCode::OK, Bytes::from_static(b"hello"))
}

#[test]
fn streams_run_concurrently() {
    dialogue(async {
        let stage = TestServer::start(options());
        let (mut requests, _connection) = connect(&stage).await;
        let mut slow = requests.clone();
        let slow = spawn_local(async move { reply(&mut slow, get("/wait")).await });
        take(&stage.app.arrived).await;
        assert_eq!(reply(&mut requests, get("/")).await, hello());
        stage.app.released.add_permits(1);
        assert_eq!(slow.await.unwrap(), hello());
        assert_eq!(stage.metric("cachewarp_client_connections_total{protocol=\"http2\"}"), 1);
    });
}

#[test]
fn a_panic_resets_only_its_stream() {
    dialogue(async {
        let stage = TestServer::start(options());
        let (mut requests, _connection) = connect(&stage).await;
        assert!(requests.send_request(get("/panic")).await.is_err());
        assert!(requests.send_request(get("/panic-later")).await.is_err());
        assert_eq!(reply(&mut requests, get("/")).await, hello());
        assert_eq!(stage.metric("cachewarp_panics_total"), 2);
    });
}

#[test]
fn a_reset_stream_cancels_its_request() {
    dialogue(async {
        let stage = TestServer::start(options());
        let (mut requests, _connection) = connect(&stage).await;
        let waiting = spawn_local(requests.send_request(get("/wait")));
        take(&stage.app.arrived).await;
        waiting.abort();
        take(&stage.app.dropped).await;
    });
}

#[test]
fn a_drain_finishes_requests_in_flight() {
    dialogue(async {
        let stage = TestServer::start(options());
        let (mut requests, connection) = connect(&stage).await;
        let mut slow = requests.clone();
        let slow = spawn_local(async move { reply(&mut slow, get("/wait")).await });
        take(&stage.app.arrived).await;
        let (mut idle, idle_connection) = connect(&stage).await;
        assert_eq!(reply(&mut idle, get("/")).await, hello());
        stage.shutdown.begin();
        idle_connection.await.unwrap().unwrap();
        stage.app.released.add_permits(1);
        assert_eq!(slow.await.unwrap(), hello());
        connection.await.unwrap().unwrap();
        assert!(requests.send_request(get("/")).await.is_err());
        assert_eq!(stage.ended().await, DrainOutcome { cut: 0 });
    });
}

#[test]
fn an_idle_connection_gets_goaway() {
    dialogue(async {
        let limit = std::time::Duration::from_millis(50);
        let stage = TestServer::start(crate::server::Options { idle_timeout: limit, ..options() });
        let (mut requests, connection) = connect(&stage).await;
        assert_eq!(reply(&mut requests, get("/")).await, hello());
        connection.await.unwrap().unwrap();
    });
}

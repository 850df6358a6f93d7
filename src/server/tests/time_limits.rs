//! Clients that exceed a time limit. The clock is paused and the wire is in memory, so a test of a
//! minute takes no time.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Semaphore;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::Instant;

use super::stage::{BIG, TestHandler, take};
use crate::client_address::AddressLimiter;
use crate::key::Scheme;
use crate::server::activity::ConnectionActivity;
use crate::server::connection::{ConnectedClient, WorkerContext, serve};
use crate::server::metrics::Metrics;
use crate::server::watch::ClientTimeouts;
use crate::server::{ConnectionPeer, Shutdown};
use crate::telemetry::Registry;
use crate::tls::ClientCertificate;

pub(super) const HEAD: u64 = 5;
pub(super) const IDLE: u64 = 60;
pub(super) const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Connects through a wire that holds `wire` bytes.
fn connect(app: &Rc<TestHandler>, wire: usize) -> DuplexStream {
    let (client, server) = duplex(wire);
    let body = Duration::from_secs(100 * IDLE);
    spawn_local(serve_wire(app, server, body, &Registry::new(), Shutdown::new()));
    client
}

/// Serves one connection within the limits of these tests, and this limit of a client that reads
/// nothing.
pub(super) fn serve_wire<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    app: &Rc<TestHandler>,
    server: S,
    body: Duration,
    registry: &Registry,
    shutdown: Shutdown,
) -> impl Future<Output = ()> + use<S> {
    let worker = WorkerContext {
        handler: Rc::clone(app),
        limits: ClientTimeouts { head: Duration::from_secs(HEAD), idle: Duration::from_secs(IDLE), body },
        handshakes: None,
        metrics: Metrics::new(registry),
        recorder: None,
        tracer: None,
        proxied: None,
        request_ids: None,
        shutdown,
    };
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let guard = worker
        .metrics
        .accepted(permit, AddressLimiter::new(None).enter(IpAddr::V4(Ipv4Addr::LOCALHOST).into()));
    let peer = ConnectionPeer {
        addr: (Ipv4Addr::LOCALHOST, 1).into(),
        scheme: Scheme::Http,
        certificate: ClientCertificate::None,
    };
    let activity = Arc::new(ConnectionActivity::new());
    let peer = ConnectedClient { peer, guard, negotiated: None };
    serve(Rc::new(worker), server, peer, activity)
}

/// Reads to the end. Returns the text, and the seconds until the server closed its sending side.
async fn end(client: &mut DuplexStream) -> (String, u64) {
    let began = Instant::now();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    (text, began.elapsed().as_secs())
}

async fn expect(client: &mut DuplexStream, end: &str) {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        read.push(client.read_u8().await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_gets_a_408() {
    LocalSet::new()
        .run_until(async {
            for (beginning, more) in [("GET / HTTP/1.1\r\nHost", ":"), ("G", "E"), ("PRI * HT", "T")] {
                let mut client = connect(&TestHandler::new(), 1024);
                client.write_all(beginning.as_bytes()).await.unwrap();
                tokio::time::sleep(Duration::from_secs(HEAD - 1)).await;
                client.write_all(more.as_bytes()).await.unwrap();
                let (text, seconds) = end(&mut client).await;
                assert!(
                    text.starts_with("HTTP/1.1 408 ") && text.contains("Connection: close\r\n"),
                    "{text}"
                );
                assert_eq!(seconds, 1, "after {beginning:?}");
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_closed_without_a_response() {
    LocalSet::new()
        .run_until(async {
            let mut client = connect(&TestHandler::new(), 1024);
            assert_eq!(end(&mut client).await, (String::new(), HEAD));

            let mut client = connect(&TestHandler::new(), 1024);
            tokio::time::sleep(Duration::from_secs(HEAD - 1)).await;
            client.write_all(GET.as_bytes()).await.unwrap();
            expect(&mut client, "hello").await;
            assert_eq!(end(&mut client).await, (String::new(), IDLE));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_later_head_starts_at_its_first_byte() {
    LocalSet::new()
        .run_until(async {
            let mut client = connect(&TestHandler::new(), 1024);
            client.write_all(GET.as_bytes()).await.unwrap();
            expect(&mut client, "hello").await;
            tokio::time::sleep(Duration::from_secs(IDLE - 1)).await;
            client.write_all(b"GET ").await.unwrap();
            let (text, seconds) = end(&mut client).await;
            assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
            assert_eq!(seconds, HEAD);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn no_limit_runs_while_the_handler_works() {
    LocalSet::new()
        .run_until(async {
            let app = TestHandler::new();
            let mut client = connect(&app, 1024);
            client.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\nGET / HT").await.unwrap();
            take(&app.arrived).await;
            tokio::time::sleep(Duration::from_secs(10 * IDLE)).await;
            app.released.add_permits(1);
            expect(&mut client, "hello").await;
            let (text, seconds) = end(&mut client).await;
            assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
            assert_eq!(seconds, HEAD, "the limit of the pipelined head starts at the end of the response");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn no_head_limit_runs_while_the_client_reads_slowly() {
    LocalSet::new()
        .run_until(async {
            let mut client = connect(&TestHandler::new(), 1024);
            client.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\nGET / HT").await.unwrap();
            tokio::time::sleep(Duration::from_secs(10 * IDLE)).await;
            expect(&mut client, "\r\n\r\n").await;
            client.read_exact(&mut vec![0; BIG]).await.unwrap();
            let (text, seconds) = end(&mut client).await;
            assert!(text.starts_with("HTTP/1.1 408 "), "the 408 follows the response");
            assert_eq!(seconds, HEAD);
        })
        .await;
}

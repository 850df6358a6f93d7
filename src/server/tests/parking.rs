//! Parked connections. The clock is paused and the wire is in memory: a runtime without work moves
//! the clock on, so the tests take no time and depend on none.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::stage::{TestHandler, take};
use super::time_limits::{GET, HEAD, IDLE, serve_wire};
use crate::limits::{CLIENT_PARK_AFTER, DRAIN_GRACE, DRAIN_SPREAD};
use crate::server::Shutdown;
use crate::telemetry::Registry;

/// Longer than a connection with work would be idle before it is parked.
const LONG: Duration = Duration::from_secs(IDLE / 2);
/// The timer of the limits fires four times within this time.
const BODY: Duration = Duration::from_secs(IDLE / 3);

/// A connection in memory to a server of its own.
struct ParkingStage<C> {
    client: C,
    app: Rc<TestHandler>,
    registry: Registry,
    shutdown: Shutdown,
}

impl ParkingStage<DuplexStream> {
    fn connect() -> Self {
        let (client, server) = duplex(64 * 1024);
        let (app, registry, shutdown) = (TestHandler::new(), Registry::new(), Shutdown::new());
        spawn_local(serve_wire(&app, server, BODY, &registry, shutdown.clone()));
        Self { client, app, registry, shutdown }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> ParkingStage<C> {
    /// Returns the number of parked connections.
    fn parked(&self) -> u64 {
        let text = self.registry.render();
        let value = text.lines().find_map(|line| line.strip_prefix("cachewarp_client_connections_parked "));
        value.unwrap_or_else(|| panic!("no gauge in:\n{text}")).parse().unwrap()
    }

    async fn send(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).await.unwrap();
        self.client.flush().await.unwrap();
    }

    async fn expect(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            read.push(self.client.read_u8().await.unwrap());
        }
        String::from_utf8(read).unwrap()
    }

    /// Gets a response, and waits until the connection is parked. Returns the time until then.
    async fn park(&mut self) -> Duration {
        self.send(GET).await;
        self.expect("hello").await;
        assert_eq!(self.parked(), 0);
        self.until_parked().await
    }

    /// Waits until the connection is parked, before its limit. Returns the time until then.
    async fn until_parked(&self) -> Duration {
        let since = Instant::now();
        while self.parked() == 0 {
            sleep(Duration::from_secs(1)).await;
            assert!(since.elapsed() < Duration::from_secs(IDLE), "the connection is not parked");
        }
        since.elapsed()
    }

    /// Reads to the end. Returns the text, and the time until the server closed its sending side.
    async fn end(&mut self) -> (String, Duration) {
        let began = Instant::now();
        let mut text = String::new();
        self.client.read_to_string(&mut text).await.unwrap();
        (text, began.elapsed())
    }
}

async fn local(script: impl Future<Output = ()>) {
    LocalSet::new().run_until(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_parked_connection_answers_the_next_request_at_every_cut() {
    local(async {
        let mut stage = ParkingStage::connect();
        for cut in 0..GET.len() {
            stage.park().await;
            let (first, rest) = GET.split_at(cut);
            stage.send(first).await;
            sleep(Duration::from_secs(1)).await;
            assert_eq!(stage.parked(), u64::from(cut == 0));
            stage.send(rest).await;
            stage.expect("hello").await;
        }
        assert_eq!(stage.app.served.get(), 2 * u32::try_from(GET.len()).unwrap());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_that_end_the_parking_are_all_answered() {
    local(async {
        let mut stage = ParkingStage::connect();
        stage.park().await;
        // The first request alone is longer than the read that ends the parking.
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(2_000));
        let posted = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nposted";
        stage.send(&[&long, GET, posted, GET].concat()).await;
        for end in ["hello", "hello", "posted", "hello"] {
            let answer = stage.expect(end).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        assert_eq!(stage.app.served.get(), 5);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_an_idle_connection_runs_on_while_it_is_parked() {
    local(async {
        let mut stage = ParkingStage::connect();
        stage.park().await;
        let parked = stage.park().await;
        assert_eq!(stage.end().await, (String::new(), Duration::from_secs(IDLE) - parked));
        assert_eq!(stage.parked(), 0);
        assert!(stage.registry.render().contains("cachewarp_client_connections_open 0"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_ends_a_long_parking_is_not_interrupted() {
    local(async {
        let mut stage = ParkingStage::connect();
        stage.park().await;
        // The timer fires meanwhile.
        sleep(LONG).await;
        assert_eq!(stage.parked(), 1);
        stage.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
        take(&stage.app.arrived).await;
        sleep(LONG).await;
        assert_eq!((stage.parked(), stage.app.dropped.available_permits()), (0, 0));
        stage.app.released.add_permits(1);
        stage.expect("hello").await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(stage.parked(), 0, "the connection was idle for a second only");
        stage.until_parked().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_head_runs_from_the_byte_that_ends_the_parking() {
    local(async {
        let mut stage = ParkingStage::connect();
        stage.park().await;
        stage.send("GET / HT").await;
        let (text, waited) = stage.end().await;
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
        assert_eq!(waited, Duration::from_secs(HEAD));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_its_side_ends_a_parked_connection() {
    local(async {
        let mut stage = ParkingStage::connect();
        stage.park().await;
        stage.client.shutdown().await.unwrap();
        assert_eq!(stage.end().await, (String::new(), Duration::ZERO));

        let mut stage = ParkingStage::connect();
        stage.park().await;
        stage.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
        stage.client.shutdown().await.unwrap();
        take(&stage.app.arrived).await;
        stage.app.released.add_permits(1);
        let (text, _) = stage.end().await;
        assert!(text.ends_with("hello"), "a half close behind a request loses no answer: {text}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_closes_a_parked_connection_after_its_grace() {
    local(async {
        let mut stage = ParkingStage::connect();
        stage.park().await;
        stage.shutdown.begin();
        let (text, waited) = stage.end().await;
        assert_eq!(text, "");
        assert!((DRAIN_GRACE..=DRAIN_GRACE + DRAIN_SPREAD).contains(&waited), "{waited:?}");

        let mut stage = ParkingStage::connect();
        stage.park().await;
        stage.shutdown.begin();
        stage.send(GET).await;
        let (text, _) = stage.end().await;
        assert!(text.ends_with("hello") && text.contains("connection: close\r\n"), "{text}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn framing_remembers_a_parked_connection() {
    local(async {
        let mut stage = ParkingStage::connect();
        stage.park().await;
        // Empty lines may precede a request; they end the parking and begin no head.
        stage.send("\r\n").await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(stage.parked(), 0);
        stage.park().await;
        stage
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
            .await;
        let (text, _) = stage.end().await;
        assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
        assert_eq!(stage.app.served.get(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_work_is_not_parked() {
    local(async {
        let mut stage = ParkingStage::connect();
        stage.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
        take(&stage.app.arrived).await;
        sleep(LONG).await;
        assert_eq!(stage.parked(), 0, "the handler works");
        stage.app.released.add_permits(1);
        stage.expect("hello").await;
        stage.send("GET / HT").await;
        sleep(Duration::from_secs(HEAD - 1)).await;
        assert_eq!(stage.parked(), 0, "a head has begun");
        stage.send("TP/1.1\r\nHost: a\r\n\r\n").await;
        stage.expect("hello").await;

        let mut stage = ParkingStage::connect();
        sleep(CLIENT_PARK_AFTER + Duration::from_secs(1)).await;
        assert_eq!(stage.parked(), 0, "a connection without a request has the limit of a head");
        stage.send("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: twice\r\n\r\n").await;
        stage.expect("\r\n\r\n").await;
        sleep(10 * LONG).await;
        assert_eq!(stage.parked(), 0, "a tunnel");
        stage.send("ab").await;
        stage.expect("abab").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_content_has_a_slow_reader_is_not_parked() {
    local(async {
        let mut stage = ParkingStage::connect();
        // The socket has delivered all of the content, and hyper still has the second chunk.
        let chunks = "3\r\npos\r\n3\r\nted\r\n0\r\n\r\n";
        stage
            .send(&format!("POST /early HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"))
            .await;
        stage.expect("hello").await;
        sleep(LONG).await;
        assert_eq!(stage.parked(), 0);
        stage.app.released.add_permits(1);
        stage.app.arrived.acquire_many(6).await.unwrap().forget();
        stage.park().await;

        // The reader gets content that hyper has handed over whole, although hyper is gone.
        stage.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nposted").await;
        stage.expect("hello").await;
        stage.until_parked().await;
        stage.app.released.add_permits(1);
        stage.app.arrived.acquire_many(6).await.unwrap().forget();
        stage.park().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_parked_connection_keeps_its_tls() {
    local(async {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let accepting = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let connecting = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();

        let (client, server) = duplex(64 * 1024);
        let (accepted, connected) = tokio::join!(
            TlsAcceptor::from(Arc::new(accepting)).accept(server),
            TlsConnector::from(Arc::new(connecting)).connect(ServerName::try_from("a.test").unwrap(), client),
        );
        let (app, registry, shutdown) = (TestHandler::new(), Registry::new(), Shutdown::new());
        spawn_local(serve_wire(&app, accepted.unwrap(), BODY, &registry, shutdown.clone()));
        let mut stage = ParkingStage { client: connected.unwrap(), app, registry, shutdown };
        for _ in 0..3 {
            stage.park().await;
        }
        stage.send(&[GET, GET].concat()).await;
        stage.expect("hello").await;
        stage.expect("hello").await;
        stage.until_parked().await;
        stage.shutdown.begin();
        // Without `close_notify`, the read would fail.
        assert_eq!(stage.end().await.0, "");
    })
    .await;
}

#[test]
fn a_parked_connection_is_small() {
    let (_client, server) = duplex(1);
    let (app, registry, shutdown) = (TestHandler::new(), Registry::new(), Shutdown::new());
    let bytes = size_of_val(&serve_wire(&app, server, BODY, &registry, shutdown));
    assert!(bytes <= 2 * 1024, "{bytes} bytes");
}

//! Interim responses, through wires of every size. The handler's interim responses come from
//! another task than the connection's, as those of a shared fetch do.

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::Instant;

use super::stage::{TestHandler, take};
use super::time_limits::{GET, serve_wire};
use crate::interim::InterimSink;
use crate::limits::CLIENT_INTERIM_BYTES_MAX;
use crate::server::Shutdown;
use crate::telemetry::Registry;

const WAIT: &str = "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n";
const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
/// Time after which the server cuts a response that its client does not read.
const BODY: Duration = Duration::from_secs(100);

struct InterimStage {
    client: DuplexStream,
    app: Rc<TestHandler>,
    registry: Registry,
}

impl InterimStage {
    /// Connects through a wire that holds `wire` bytes.
    fn connect(wire: usize) -> Self {
        let (client, server) = duplex(wire);
        let (app, registry) = (TestHandler::new(), Registry::new());
        spawn_local(serve_wire(&app, server, BODY, &registry, Shutdown::new()));
        Self { client, app, registry }
    }

    /// Sends a request, and returns the sink of its interim responses.
    async fn wait(&mut self, request: &str) -> InterimSink {
        self.client.write_all(request.as_bytes()).await.unwrap();
        take(&self.app.arrived).await;
        self.app.interims.borrow().clone()
    }

    fn release(&self) {
        self.app.released.add_permits(1);
    }

    async fn read(&mut self, bytes: usize) -> String {
        let mut read = vec![0; bytes];
        self.client.read_exact(&mut read).await.unwrap();
        String::from_utf8(read).unwrap()
    }

    /// Reads up to the end of a response, and returns everything.
    async fn response(&mut self) -> String {
        let mut text = String::new();
        while !text.ends_with("hello") {
            text += &self.read(1).await;
        }
        text
    }

    fn count(&self, series: &str) -> u64 {
        let text = self.registry.render();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} in:\n{text}")).parse().unwrap()
    }

    fn interims(&self, result: &str) -> u64 {
        self.count(&format!("cachewarp_client_interim_responses_total{{result=\"{result}\"}}"))
    }
}

async fn local(script: impl Future<Output = ()>) {
    LocalSet::new().run_until(script).await;
}

fn early_hints(sink: &InterimSink) {
    let mut fields = HeaderMap::new();
    fields.insert("link", HeaderValue::from_static("</a>"));
    sink.send(StatusCode::EARLY_HINTS, &fields);
}

/// Sends twice as many interim responses as a queue takes, and returns their number.
async fn flood(sink: &InterimSink) -> usize {
    let sent = 2 * CLIENT_INTERIM_BYTES_MAX / HINTS.len();
    for _ in 0..sent {
        early_hints(sink);
        tokio::task::yield_now().await;
    }
    sent
}

#[tokio::test(start_paused = true)]
async fn the_client_reads_interim_responses_while_the_handler_works() {
    local(async {
        for wire in (1..=HINTS.len() * 3).chain([1024]) {
            let (mut stage, began) = (InterimStage::connect(wire), Instant::now());
            for _ in 0..2 {
                let sink = stage.wait(WAIT).await;
                for count in 1..=2 {
                    (0..count).for_each(|_| early_hints(&sink));
                    assert_eq!(stage.read(HINTS.len() * count).await, HINTS.repeat(count), "{wire}");
                }
                stage.release();
                assert!(stage.response().await.starts_with("HTTP/1.1 200 OK\r\n"), "{wire}");
            }
            assert_eq!((stage.interims("forwarded"), stage.interims("dropped")), (6, 0), "{wire}");
            // No timer woke the connection.
            assert_eq!(began.elapsed(), Duration::ZERO, "{wire}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn interim_responses_precede_a_response_that_is_ready_at_once() {
    local(async {
        for wire in (1..=HINTS.len() * 3).chain([1024]) {
            let mut stage = InterimStage::connect(wire);
            let sink = stage.wait(WAIT).await;
            early_hints(&sink);
            early_hints(&sink);
            stage.release();
            // The connection fills the wire before the client reads.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let text = stage.response().await;
            let response = text.strip_prefix(&HINTS.repeat(2)).unwrap_or_else(|| panic!("{wire}: {text}"));
            assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{wire}: {text}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_interim_response_goes_to_its_own_request_or_nowhere() {
    local(async {
        let mut stage = InterimStage::connect(1024);
        let first = stage.wait(&[WAIT, WAIT].concat()).await;
        stage.release();
        assert!(stage.response().await.starts_with("HTTP/1.1 200 OK\r\n"));
        take(&stage.app.arrived).await;
        // The second request of the pipeline is in flight.
        early_hints(&first);
        let second = stage.app.interims.borrow().clone();
        early_hints(&second);
        assert_eq!(stage.read(HINTS.len()).await, HINTS);
        stage.release();
        assert!(stage.response().await.starts_with("HTTP/1.1 200 OK\r\n"));
        early_hints(&second);
        // A request that is answered at once has no sink.
        stage.client.write_all(GET.as_bytes()).await.unwrap();
        assert!(stage.response().await.starts_with("HTTP/1.1 200 OK\r\n"));
        assert_eq!(stage.interims("forwarded"), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_of_http_1_0_gets_no_interim_response() {
    local(async {
        let mut stage = InterimStage::connect(1024);
        let sink = stage.wait("GET /wait HTTP/1.0\r\nHost: a\r\n\r\n").await;
        assert!(!sink.has_client());
        early_hints(&sink);
        stage.release();
        assert!(stage.response().await.starts_with("HTTP/1.0 200 OK\r\n"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_holds_a_bounded_queue_and_is_cut() {
    local(async {
        let mut stage = InterimStage::connect(100);
        let sink = stage.wait(WAIT).await;
        flood(&sink).await;
        // No limit of the client runs while the handler works.
        tokio::time::sleep(10 * BODY).await;
        assert_eq!(stage.count("cachewarp_client_connections_open"), 1);
        stage.release();
        tokio::time::sleep(2 * BODY).await;
        assert_eq!(stage.count("cachewarp_client_answers_cut_total{protocol=\"http1\"}"), 1);
        let mut text = String::new();
        stage.client.read_to_string(&mut text).await.unwrap();
        assert!(HINTS.repeat(3).starts_with(&text), "{text}");
        assert!(text.len() <= 100);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_late_gets_whole_heads_and_the_response() {
    local(async {
        let mut stage = InterimStage::connect(100);
        let sink = stage.wait(WAIT).await;
        let sent = flood(&sink).await;
        stage.release();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let text = stage.response().await;
        let (interims, _) = text.split_once("HTTP/1.1 200 OK\r\n").unwrap();
        let forwarded = interims.len() / HINTS.len();
        assert_eq!(interims, HINTS.repeat(forwarded));
        assert!((2..sent).contains(&forwarded), "{forwarded} of {sent}");
        let counted = (stage.interims("forwarded"), stage.interims("dropped"));
        assert_eq!(counted, (forwarded as u64, (sent - forwarded) as u64));
    })
    .await;
}

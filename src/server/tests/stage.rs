//! A test server whose handler acts by the path, and a client that sends raw bytes.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use crate::interim::InterimSink;
use crate::request_id::RequestId;
use crate::server::{
    AddressSharing, ConnectionPeer, DrainOutcome, Handler, HandlerReply, Options, Shutdown, WorkerListener,
    serve,
};
use crate::telemetry::Registry;
use crate::telemetry::access::RequestRecord;

/// Runs a dialogue on a runtime like a worker's, within a timeout far above any dialogue's
/// duration.
pub(super) fn dialogue(script: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(async {
        tokio::time::timeout(Duration::from_secs(20), script).await.expect("the dialogue is stuck");
    }));
}

/// Bytes of `/big`: more than all buffers on the path hold.
pub(super) const BIG: usize = 8 << 20;

/// The test handler. Paths: `/wait`, `/panic`, `/panic-later`, `/panic-body`, `/echo`, `/big`,
/// `/early`, `/upgrade`; all others answer `hello`.
pub(super) struct TestHandler {
    /// A permit for each `/wait` that has arrived.
    pub(super) arrived: Semaphore,
    /// A permit for each `/wait` that may finish.
    pub(super) released: Semaphore,
    /// A permit for each `/wait` that was dropped before it finished.
    pub(super) dropped: Semaphore,
    pub(super) served: Cell<u32>,
    pub(super) peer: Cell<Option<ConnectionPeer>>,
    /// The sink of the last `/wait`.
    pub(super) interims: RefCell<InterimSink>,
}

impl TestHandler {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            arrived: Semaphore::new(0),
            released: Semaphore::new(0),
            dropped: Semaphore::new(0),
            served: Cell::new(0),
            peer: Cell::new(None),
            interims: RefCell::default(),
        })
    }

    async fn wait(&self) {
        struct DropSignal<'a>(Option<&'a Semaphore>);
        impl Drop for DropSignal<'_> {
            fn drop(&mut self) {
                if let Some(dropped) = self.0 {
                    dropped.add_permits(1);
                }
            }
        }
        let mut signal = DropSignal(Some(&self.dropped));
        self.arrived.add_permits(1);
        take(&self.released).await;
        signal.0 = None;
    }
}

/// Waits for a permit and consumes it.
pub(super) async fn take(semaphore: &Semaphore) {
    semaphore.acquire().await.unwrap().forget();
}

/// A body of some bytes, or of a panic.
pub(super) enum TestBodyStep {
    Bytes(Bytes),
    Panic,
}

impl Body for TestBodyStep {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Panic => panic!("a body that panics"),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Bytes(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Bytes(bytes) => http_body::SizeHint::with_exact(bytes.len() as u64),
            Self::Panic => http_body::SizeHint::default(),
        }
    }
}

impl Handler for TestHandler {
    type Body = TestBodyStep;

    fn handle(
        self: Rc<Self>,
        peer: ConnectionPeer,
        request: Request<Incoming>,
        _: RequestRecord,
        _: Option<RequestId>,
        interims: impl FnOnce() -> InterimSink,
    ) -> HandlerReply<TestBodyStep> {
        self.served.set(self.served.get() + 1);
        self.peer.set(Some(peer));
        match request.uri().path() {
            "/panic" => panic!("a handler that panics"),
            "/panic-body" => HandlerReply::Ready(Response::new(TestBodyStep::Panic)),
            "/upgrade" => HandlerReply::Ready(upgrade(request)),
            "/big" => HandlerReply::Ready(Response::new(TestBodyStep::Bytes(Bytes::from(vec![b'x'; BIG])))),
            "/early" => {
                spawn_local(async move {
                    take(&self.released).await;
                    let content = request.into_body().collect().await.unwrap().to_bytes();
                    self.arrived.add_permits(content.len());
                });
                HandlerReply::Ready(Response::new(TestBodyStep::Bytes(Bytes::from_static(b"hello"))))
            }
            "/panic-later" | "/wait" | "/echo" => {
                self.interims.replace(interims());
                HandlerReply::working(
                    async move { Response::new(TestBodyStep::Bytes(self.work(request).await)) },
                )
            }
            _ => HandlerReply::Ready(Response::new(TestBodyStep::Bytes(Bytes::from_static(b"hello")))),
        }
    }
}

impl TestHandler {
    async fn work(&self, request: Request<Incoming>) -> Bytes {
        match request.uri().path() {
            "/wait" => {
                self.wait().await;
                Bytes::from_static(b"hello")
            }
            "/echo" => {
                request.into_body().collect().await.map_or_else(|_| Bytes::new(), |all| all.to_bytes())
            }
            _ => {
                tokio::task::yield_now().await;
                panic!("work that panics")
            }
        }
    }
}

/// Switches to a protocol that echoes everything twice.
fn upgrade(mut request: Request<Incoming>) -> Response<TestBodyStep> {
    let upgraded = hyper::upgrade::on(&mut request);
    spawn_local(async move {
        let mut io = hyper_util::rt::TokioIo::new(upgraded.await.unwrap());
        let mut buffer = [0; 64];
        while let Ok(count @ 1..) = io.read(&mut buffer).await {
            io.write_all(&[&buffer[..count], &buffer[..count]].concat()).await.unwrap();
        }
    });
    let mut response = Response::new(TestBodyStep::Bytes(Bytes::new()));
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    let fields: [(&str, &str); 2] = [("connection", "upgrade"), ("upgrade", "twice")];
    let headers: HeaderMap =
        fields.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).into_iter().collect();
    *response.headers_mut() = headers;
    response
}

/// A running server.
pub(super) struct TestServer {
    pub(super) addr: SocketAddr,
    pub(super) app: Rc<TestHandler>,
    pub(super) shutdown: Shutdown,
    pub(super) registry: Registry,
    ended: JoinHandle<DrainOutcome>,
}

/// Returns options with limits that no dialogue reaches unless it sets them.
pub(super) fn options() -> Options {
    Options {
        addr: (Ipv4Addr::LOCALHOST, 0).into(),
        socket: None,
        sharing: AddressSharing::Alone,
        backlog: 16,
        connections_max: 8,
        when_full: crate::server::WhenFull::Wait,
        tls: None,
        proxied: None,
        request_ids: None,
        connections_per_address_max: None,
        head_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(30),
        body_timeout: Duration::from_secs(60),
        drain_timeout: Duration::from_secs(30),
    }
}

impl TestServer {
    pub(super) fn start(options: Options) -> Self {
        let listener = WorkerListener::bind(&options, 1).unwrap().remove(0);
        let addr = listener.local_addr().unwrap();
        let (app, shutdown, registry) = (TestHandler::new(), Shutdown::new(), Registry::new());
        let ended = spawn_local({
            let (app, shutdown, registry) = (Rc::clone(&app), shutdown.clone(), registry.clone());
            async move { serve(listener, &options, app, shutdown, &registry, None, None).await.unwrap() }
        });
        Self { addr, app, shutdown, registry, ended }
    }

    pub(super) async fn connect(&self) -> TestClient {
        TestClient(TcpStream::connect(self.addr).await.unwrap())
    }

    /// Returns the value of a metric by the beginning of its line.
    pub(super) fn metric(&self, line: &str) -> u64 {
        let text = self.registry.render();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {line} in:\n{text}")).parse().unwrap()
    }

    pub(super) fn refusals(&self, reason: &str) -> u64 {
        self.metric(&format!("cachewarp_client_refusals_total{{reason=\"{reason}\"}}"))
    }

    pub(super) async fn ended(self) -> DrainOutcome {
        self.ended.await.unwrap()
    }
}

/// A client that sends raw bytes.
pub(super) struct TestClient(pub(super) TcpStream);

impl TestClient {
    pub(super) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    pub(super) async fn get(&mut self, path: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    }

    /// Reads one response with a `Content-Length`: its status, head and body.
    pub(super) async fn answer(&mut self) -> (u16, String, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.expect("the head of a response"));
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let mut body = vec![0; field("content-length").map_or(0, |length| length.parse().unwrap())];
        self.0.read_exact(&mut body).await.expect("the body of a response");
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head, String::from_utf8(body).unwrap())
    }

    /// Reads one response: its status and body.
    pub(super) async fn reply(&mut self) -> (u16, String) {
        let (status, _, body) = self.answer().await;
        (status, body)
    }

    /// Closes the sending side.
    pub(super) async fn finish(&mut self) {
        self.0.shutdown().await.unwrap();
    }

    /// Reads the rest until the server closes. A reset fails the test.
    pub(super) async fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).await.expect("a clean end");
        rest
    }
}

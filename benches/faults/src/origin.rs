//! The origin of the bench: the first part of the path gives the lifetime of its answers, and the
//! bench controls its failures.
//!
//! The origin fails with `500`, and at its capacity with `503`. The proxy's own failures have other
//! statuses, except for that one.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

/// The controls of the origin.
#[derive(Default)]
pub(crate) struct Mood {
    /// Milliseconds that each answer takes.
    pub(crate) delay: AtomicU64,
    /// Answers of a hundred that are a 500.
    pub(crate) errors: AtomicU64,
    /// Stops listening, and closes all connections.
    pub(crate) gone: AtomicBool,
    /// The number of restarts: each one closes all connections.
    pub(crate) restarts: AtomicU64,
    /// Answers that the origin works on at once; as many may wait, and further ones are a 503. 0
    /// for no bound. Set once.
    pub(crate) workers: AtomicU64,
}

/// Bytes of each body.
const BODY_BYTES: usize = 1_000;
/// Interval at which the origin reads its controls.
const LOOK: Duration = Duration::from_millis(20);

/// The state of the origin's thread.
struct Desk {
    mood: Arc<Mood>,
    workers: Semaphore,
    waiting: Cell<u64>,
    served: Cell<u64>,
}

/// Runs the origin on its own thread until the process ends.
pub(crate) fn start(address: SocketAddr, mood: Arc<Mood>) {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            LocalSet::new().block_on(&runtime, serve(address, mood));
        }
    });
}

async fn serve(address: SocketAddr, mood: Arc<Mood>) {
    let desk = Desk { mood, workers: Semaphore::new(0), waiting: Cell::new(0), served: Cell::new(0) };
    let desk = Rc::new(desk);
    loop {
        let begun = desk.mood.restarts.load(Ordering::Relaxed);
        if desk.mood.gone.load(Ordering::Relaxed) {
            sleep(LOOK).await;
            continue;
        }
        let Ok(listener) = TcpListener::bind(address).await else {
            sleep(LOOK).await;
            continue;
        };
        // The connections close when the origin stops.
        let mut connections = JoinSet::new();
        while !desk.mood.gone.load(Ordering::Relaxed) && desk.mood.restarts.load(Ordering::Relaxed) == begun {
            if let Ok(Ok((stream, _))) = timeout(LOOK, listener.accept()).await {
                connections.spawn_local(converse(stream, Rc::clone(&desk)));
            }
            while connections.try_join_next().is_some() {}
        }
    }
}

async fn converse(stream: TcpStream, desk: Rc<Desk>) {
    // Without the option the connection is slower, but works.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let desk = Rc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(&request).await) }
    });
    // An error of a client is ignored.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Desk {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let workers = self.mood.workers.load(Ordering::Relaxed);
        if workers == 0 {
            self.work().await;
            return answer(request, self.status());
        }
        if self.waiting.get() >= 2 * workers {
            return answer(request, StatusCode::SERVICE_UNAVAILABLE);
        }
        if self.workers.available_permits() == 0 && self.waiting.get() == 0 {
            self.workers.add_permits(usize::try_from(workers).unwrap_or(1));
        }
        let waiting = Waiting::begin(&self.waiting);
        // The semaphore is never closed.
        let turn = self.workers.acquire().await;
        self.work().await;
        drop((turn, waiting));
        answer(request, self.status())
    }

    async fn work(&self) {
        let delay = self.mood.delay.load(Ordering::Relaxed);
        if delay > 0 {
            sleep(Duration::from_millis(delay)).await;
        }
    }

    fn status(&self) -> StatusCode {
        let served = self.served.get() + 1;
        self.served.set(served);
        // 37 and 100 have no common divisor: all remainders occur, and not in order.
        let failed = served * 37 % 100 < self.mood.errors.load(Ordering::Relaxed);
        if failed { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
    }
}

/// A counter of waiting requests, which decrements also if the client leaves.
struct Waiting<'a>(&'a Cell<u64>);

impl<'a> Waiting<'a> {
    fn begin(count: &'a Cell<u64>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

fn answer(request: &Request<Incoming>, status: StatusCode) -> Response<Full<Bytes>> {
    let control = match request.uri().path().split('/').nth(1) {
        Some("hot" | "wide") => "max-age=3600, stale-if-error=600",
        Some("short") => "max-age=1, stale-while-revalidate=5, stale-if-error=600",
        Some("miss") => "max-age=60",
        _ => "no-store",
    };
    let mut response = Response::new(Full::new(Bytes::from(format!("\"{}\"", "x".repeat(BODY_BYTES)))));
    *response.status_mut() = status;
    for (name, value) in [("content-type", "application/json"), ("cache-control", control)] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

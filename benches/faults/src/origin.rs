//! The origin of the bench: says how long its answers keep by the first part of the path, and does what it is told to.
//!
//! Its failures are `500`, and where it can do no more, `503`: the proxy's own are others, but for that one.

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

/// What the origin is told.
#[derive(Default)]
pub(crate) struct Mood {
    /// Milliseconds that each answer takes.
    pub(crate) delay: AtomicU64,
    /// Of a hundred answers, so many are a 500.
    pub(crate) errors: AtomicU64,
    /// Nobody listens, and what was open is closed.
    pub(crate) gone: AtomicBool,
    /// How often it was started anew: each time, all connections end.
    pub(crate) restarts: AtomicU64,
    /// How many answers it works on at one time; as many may wait, and the next is a 503. 0 for no bound. Set once.
    pub(crate) workers: AtomicU64,
}

/// Bytes of each body.
const BODY_BYTES: usize = 1_000;
/// How often it looks what it has been told.
const LOOK: Duration = Duration::from_millis(20);

/// What one thread works with.
struct Desk {
    mood: Arc<Mood>,
    workers: Semaphore,
    waiting: Cell<u64>,
    served: Cell<u64>,
}

/// Runs on a thread of its own until the process ends.
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
        // Dropped with all its connections when the origin goes.
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
    // Slower without, and no less right.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let desk = Rc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(&request).await) }
    });
    // A client that goes is no failure of ours.
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
        // Never closed.
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
        // 37 and 100 have no common divisor: all remainders come, and not in order.
        let failed = served * 37 % 100 < self.mood.errors.load(Ordering::Relaxed);
        if failed { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
    }
}

/// One that is here; also if its client leaves.
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

//! Response bodies: complete or an error, and with bounded read-ahead.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::time::{Instant, resume, sleep};

use super::script::{ScriptedOrigin, get, read, send};
use crate::limits::MIB;
use crate::origin::{BodyFraming, FetchError, FetchPhase};

/// Returns the client's error for a body after which the origin closes the connection.
async fn failure(answer: &str) -> FetchError {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let (response, peer) = tokio::join!(send(&client, get("/")), origin.answer(answer));
    drop(peer);
    let error = read(response).await.unwrap_err();
    assert_eq!(origin.metric("cachewarp_origin_requests_total{result=\"failed\"}"), 1);
    assert_eq!(origin.metric("cachewarp_origin_connections_idle"), 0);
    assert_eq!(error.phase(), FetchPhase::Body);
    error
}

#[tokio::test(flavor = "local")]
async fn an_incomplete_body_is_an_error() {
    for (answer, cut) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", (0, Some(10))),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"a\":", (5, Some(10))),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", (0, None)),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"a\"", (4, None)),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", (2, None)),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", (2, None)),
    ] {
        let error = failure(answer).await;
        let FetchError::CutBody { got, want } = error else { panic!("{error:?}") };
        assert_eq!((got, want), cut, "{answer}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_malformed_body_is_an_error() {
    for chunks in ["x\r\n{}\r\n0\r\n\r\n", "2\r\n{}x\r\n0\r\n\r\n", "fffffffffffffffff\r\n{}"] {
        let error = failure(&format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")).await;
        assert!(matches!(error, FetchError::BadBody(_)), "{error:?}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_stall_in_the_body_times_out() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n";
    let (response, mut peer) = tokio::join!(send(&client, get("/")), origin.answer(answer));
    let mut body = response.unwrap().into_body();
    // The deadline concerns one wait: three waits that each stay just below it pass.
    for piece in ["a", "b"] {
        let (frame, ()) = tokio::join!(body.frame(), async {
            sleep(Duration::from_secs(19)).await;
            peer.write(piece).await;
        });
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), piece);
    }
    // A pause of the reader does not consume it.
    sleep(Duration::from_secs(1000)).await;
    let began = Instant::now();
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(matches!(error, FetchError::BodyTimeout), "{error:?}");
    assert!(began.elapsed() >= Duration::from_secs(20) && began.elapsed() < Duration::from_millis(20_010));
    assert!(body.frame().await.is_none());
    peer.closed().await;
}

#[tokio::test(flavor = "local")]
async fn a_dropped_body_closes_its_connection() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
    let (response, peer) = tokio::join!(send(&client, get("/")), origin.answer(answer));
    drop(response);
    peer.closed().await;
    assert_eq!(origin.metric("cachewarp_origin_requests_total{result=\"abandoned\"}"), 1);
}

#[tokio::test(flavor = "local")]
async fn a_dropped_fetch_closes_its_connection() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let asked = async {
        let mut peer = origin.accept().await;
        peer.head().await;
        peer
    };
    let peer = tokio::select! {
        _ = send(&client, get("/")) => panic!("there was no answer"),
        peer = asked => peer,
    };
    peer.closed().await;
    assert_eq!(origin.metric("cachewarp_origin_requests_total{result=\"abandoned\"}"), 1);
}

/// Upper bound for the kernel's buffers on both sides of a loopback connection, and this client's.
const AHEAD_MAX: usize = 16 * MIB;

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_read_ahead_is_bounded() {
    const LENGTH: usize = 2048 * MIB;
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n");
    let (response, mut peer) = tokio::join!(send(&client, get("/")), origin.answer(head));
    let mut body = response.unwrap().into_body();
    assert_eq!(body.framing(), BodyFraming::Length(LENGTH as u64));

    let written = Cell::new(0);
    let write = async {
        let piece = vec![b'x'; MIB];
        while written.get() < LENGTH {
            peer.write(&piece).await;
            written.set(written.get() + piece.len());
        }
    };
    let reading = async {
        // The paused clock advances only once no task can run: the origin is blocked, or it would
        // have written all bytes.
        sleep(Duration::from_secs(1)).await;
        assert!(written.get() <= AHEAD_MAX, "{} bytes ahead of a reader that reads nothing", written.get());
        // From here on tasks can always run, and the paused clock would count the kernel's delays
        // as waits.
        resume();
        let mut got = 0;
        while let Some(frame) = body.frame().await {
            got += frame.unwrap().into_data().unwrap().len();
            assert!(written.get() <= got + AHEAD_MAX, "{} bytes ahead", written.get() - got);
        }
        assert_eq!(got, LENGTH);
    };
    tokio::join!(write, reading);
}

/// Waker that wakes a task and counts the wakes.
struct CountingWaker(AtomicUsize, Waker);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        self.1.wake_by_ref();
    }
}

#[tokio::test(flavor = "local")]
async fn reading_available_bytes_causes_no_wake() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let task = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let counted = Arc::new(CountingWaker(AtomicUsize::new(0), task));
    let waker = Waker::from(Arc::clone(&counted));
    let mut sending = pin!(send(&client, get("/")));
    let sending = poll_fn(|_| sending.as_mut().poll(&mut Context::from_waker(&waker)));
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let (response, _peer) = tokio::join!(sending, origin.answer(answer));
    let woken = counted.0.load(Ordering::Relaxed);
    let mut body = pin!(response.unwrap().into_body().collect());
    let Poll::Ready(body) = body.as_mut().poll(&mut Context::from_waker(&waker)) else {
        panic!("the body arrived with its head");
    };
    assert_eq!(body.unwrap().to_bytes(), "hello");
    assert_eq!(counted.0.load(Ordering::Relaxed), woken);
}

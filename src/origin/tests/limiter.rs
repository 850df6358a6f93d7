//! Queue and circuit breaker in front of the origin, under a controlled clock.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use http::Response;
use tokio::time::advance;

use super::script::{ScriptedOrigin, get, read, send, send_from};
use crate::limits::{
    ORIGIN_BREAKER_FAILURES, ORIGIN_BREAKER_PAUSE_MAX, ORIGIN_QUEUE_RELAPSE, ORIGIN_QUEUE_STANDING,
};
use crate::origin::{AddressShare, FaultParty, FetchError, FetchPhase, Options, OriginBody, OriginClient};

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

fn one_at_a_time(origin: &ScriptedOrigin, queue_timeout: Duration) -> OriginClient {
    let options = Options { connections_max: 1, queue_timeout, ..origin.options() };
    OriginClient::new(options, &origin.registry).unwrap()
}

#[tokio::test(flavor = "local")]
async fn a_request_beyond_the_limit_waits_in_the_queue() {
    let origin = ScriptedOrigin::listen().await;
    let client = one_at_a_time(&origin, Duration::from_secs(20));
    let (first, mut peer) =
        tokio::join!(send(&client, get("/1")), origin.answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"));
    let second = async { read(send(&client, get("/2")).await).await.unwrap() };
    let third = async { read(send(&client, get("/3")).await).await.unwrap() };
    let answer_both = async {
        while origin.metric("cachewarp_origin_waiting") < 2 {
            tokio::task::yield_now().await;
        }
        peer.write("hello").await;
        assert_eq!(read(first).await.unwrap(), "hello");
        for path in ["/2", "/3"] {
            assert!(peer.head().await.starts_with(&format!("GET {path} ")), "first in, first out");
            peer.write(HELLO).await;
        }
    };
    let (second, third, ()) = tokio::join!(second, third, answer_both);
    assert_eq!((second.as_str(), third.as_str()), ("hello", "hello"));
}

/// Sends a request from this address and answers only its head, so that it keeps its permit.
async fn hold_permit(
    origin: &ScriptedOrigin,
    client: &OriginClient,
    address: IpAddr,
) -> (Response<OriginBody>, impl Sized) {
    let (answer, peer) = tokio::join!(
        send_from(client, address, get("/")),
        origin.answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
    );
    (answer.unwrap(), peer)
}

#[tokio::test(flavor = "local")]
async fn one_address_leaves_a_share_of_the_permits_to_others() {
    let [greedy, other] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
    for (address_share, granted) in [(AddressShare::Bounded, 3), (AddressShare::Whole, 4)] {
        let origin = ScriptedOrigin::listen().await;
        let queue_timeout = Duration::from_millis(10);
        let options = Options { connections_max: 4, queue_timeout, address_share, ..origin.options() };
        let client = OriginClient::new(options, &origin.registry).unwrap();
        let mut holds = Vec::new();
        for _ in 0..granted {
            holds.push(hold_permit(&origin, &client, greedy).await);
        }
        let refused = send_from(&client, greedy, get("/")).await.err().unwrap();
        assert!(matches!(refused, FetchError::QueueTimeout), "{refused}");
        if address_share == AddressShare::Bounded {
            let _held = hold_permit(&origin, &client, other).await;
        }
        holds.pop();
        let _held = hold_permit(&origin, &client, greedy).await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_permit_goes_to_the_waiting_address_with_the_fewest() {
    let [greedy, other] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
    let origin = ScriptedOrigin::listen().await;
    let queue_timeout = Duration::from_secs(20);
    let options = Options { connections_max: 2, queue_timeout, ..origin.options() };
    let client = OriginClient::new(options, &origin.registry).unwrap();
    let (first, _peers) = hold_permit(&origin, &client, greedy).await;
    let _second = hold_permit(&origin, &client, greedy).await;
    let mut more = pin!(send_from(&client, greedy, get("/greedy")));
    assert!(poll_once(more.as_mut()).await.is_none(), "it waits");
    let mut one = pin!(send_from(&client, other, get("/other")));
    assert!(poll_once(one.as_mut()).await.is_none(), "it waits behind the first");
    drop(first);
    let (answer, mut peer) = tokio::join!(one, origin.answer(HELLO));
    assert_eq!(read(answer).await.unwrap(), "hello");
    // The request comes on the reused connection.
    let next = async {
        assert!(peer.head().await.starts_with("GET /greedy "));
        peer.write(HELLO).await;
    };
    let (answer, ()) = tokio::join!(more, next);
    assert_eq!(read(answer).await.unwrap(), "hello");
}

/// Returns the output of a future that is ready at its first poll.
async fn poll_once<T>(mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[tokio::test(flavor = "local")]
async fn a_request_without_a_permit_in_time_is_refused() {
    let origin = ScriptedOrigin::listen().await;
    for (queue_timeout, refusal) in
        [(Duration::ZERO, "queue-full"), (Duration::from_millis(10), "queue-timeout")]
    {
        let client = one_at_a_time(&origin, queue_timeout);
        let held = tokio::join!(
            send(&client, get("/")),
            origin.answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        );
        let error = send(&client, get("/")).await.err().unwrap();
        assert_eq!((error.phase(), error.fault()), (FetchPhase::Admission, FaultParty::Proxy), "{error}");
        assert_eq!(origin.metric(&format!("cachewarp_origin_refusals_total{{reason=\"{refusal}\"}}")), 1);
        // A request that gave up has left the queue, and the permit becomes free.
        drop(held);
        let (next, _peer) = tokio::join!(send(&client, get("/")), origin.answer(HELLO));
        assert_eq!(read(next).await.unwrap(), "hello");
    }
}

#[tokio::test(flavor = "local")]
async fn a_standing_queue_refuses_early() {
    let origin = ScriptedOrigin::listen().await;
    // The setting exceeds the test's duration: the refusal comes from the standing queue.
    let client = one_at_a_time(&origin, Duration::from_secs(3600));
    let (first, _peer) =
        tokio::join!(send(&client, get("/")), origin.answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"));
    let patient = send(&client, get("/"));
    let late = async {
        while origin.metric("cachewarp_origin_waiting") < 1 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(ORIGIN_QUEUE_STANDING).await;
        send(&client, get("/")).await.err().unwrap()
    };
    tokio::select! {
        _ = patient => panic!("the only permit is taken"),
        error = late => assert!(matches!(error, FetchError::QueueTimeout), "{error}"),
    }
    drop(first);
    // The queue is empty, and after the relapse time a new request gets the whole time-out.
    tokio::time::pause();
    advance(ORIGIN_QUEUE_RELAPSE).await;
    tokio::time::resume();
    let held =
        tokio::join!(send(&client, get("/")), origin.answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"));
    let waited = tokio::time::timeout(2 * ORIGIN_QUEUE_STANDING, send(&client, get("/"))).await;
    assert!(waited.is_err(), "it waits");
    drop(held);
}

#[tokio::test(flavor = "local")]
async fn repeated_failures_open_the_circuit_breaker() {
    let origin = ScriptedOrigin::listen().await;
    let gone = {
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        gone.local_addr().unwrap()
    };
    let authority =
        crate::key::Authority::parse(crate::key::Scheme::Http, gone.to_string().as_bytes()).unwrap();
    let client = OriginClient::new(Options { authority, ..origin.options() }, &origin.registry).unwrap();
    for _ in 0..ORIGIN_BREAKER_FAILURES {
        assert!(matches!(send(&client, get("/")).await, Err(FetchError::Connect(_))));
    }
    assert!(matches!(send(&client, get("/")).await, Err(FetchError::BreakerOpen)));
    assert_eq!(origin.metric("cachewarp_origin_breaker_opened_total"), 1);

    // The origin is back, and the first request after the pause is the probe.
    let back = tokio::net::TcpListener::bind(gone).await.unwrap();
    tokio::time::pause();
    advance(ORIGIN_BREAKER_PAUSE_MAX).await;
    tokio::time::resume();
    let serve = async {
        for _ in 0..2 {
            let (stream, _) = back.accept().await.unwrap();
            let mut stream = tokio::io::BufReader::new(stream);
            tokio::io::AsyncBufReadExt::read_line(&mut stream, &mut String::new()).await.unwrap();
            let close = HELLO.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
            tokio::io::AsyncWriteExt::write_all(&mut stream, close.as_bytes()).await.unwrap();
        }
    };
    let ask = async {
        for _ in 0..2 {
            assert_eq!(read(send(&client, get("/")).await).await.unwrap(), "hello");
        }
    };
    tokio::join!(serve, ask);
}

//! The queue in front of the origin, and the breaker, with the clock in hand.

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
async fn beyond_the_bound_a_request_waits_its_turn() {
    let origin = ScriptedOrigin::listen().await;
    let client = one_at_a_time(&origin, Duration::from_secs(20));
    let (first, mut peer) =
        tokio::join!(send(&client, get("/1")), origin.answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"));
    let second = async { read(send(&client, get("/2")).await).await.unwrap() };
    let third = async { read(send(&client, get("/3")).await).await.unwrap() };
    let in_turn = async {
        while origin.metric("cachewarp_origin_waiting") < 2 {
            tokio::task::yield_now().await;
        }
        peer.say("hello").await;
        assert_eq!(read(first).await.unwrap(), "hello");
        for path in ["/2", "/3"] {
            assert!(peer.head().await.starts_with(&format!("GET {path} ")), "first come, first served");
            peer.say(HELLO).await;
        }
    };
    let (second, third, ()) = tokio::join!(second, third, in_turn);
    assert_eq!((second.as_str(), third.as_str()), ("hello", "hello"));
}

/// Sends a request of this address, and answers it with a head only: its turn goes on.
async fn held(
    origin: &ScriptedOrigin,
    client: &OriginClient,
    asker: IpAddr,
) -> (Response<OriginBody>, impl Sized) {
    let (answer, peer) = tokio::join!(
        send_from(client, asker, get("/")),
        origin.answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
    );
    (answer.unwrap(), peer)
}

#[tokio::test(flavor = "local")]
async fn one_address_leaves_a_share_of_the_turns_to_others() {
    let [greedy, other] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
    for (address_share, granted) in [(AddressShare::Bounded, 3), (AddressShare::Whole, 4)] {
        let origin = ScriptedOrigin::listen().await;
        let queue_timeout = Duration::from_millis(10);
        let options = Options { connections_max: 4, queue_timeout, address_share, ..origin.options() };
        let client = OriginClient::new(options, &origin.registry).unwrap();
        let mut holds = Vec::new();
        for _ in 0..granted {
            holds.push(held(&origin, &client, greedy).await);
        }
        let refused = send_from(&client, greedy, get("/")).await.err().unwrap();
        assert!(matches!(refused, FetchError::QueueTimeout), "{refused}");
        if address_share == AddressShare::Bounded {
            let _held = held(&origin, &client, other).await;
        }
        holds.pop();
        let _held = held(&origin, &client, greedy).await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_turn_goes_to_the_address_that_holds_less_and_not_to_the_one_that_came_first() {
    let [greedy, other] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
    let origin = ScriptedOrigin::listen().await;
    let queue_timeout = Duration::from_secs(20);
    let options = Options { connections_max: 2, queue_timeout, ..origin.options() };
    let client = OriginClient::new(options, &origin.registry).unwrap();
    let (first, _peers) = held(&origin, &client, greedy).await;
    let _second = held(&origin, &client, greedy).await;
    let mut more = pin!(send_from(&client, greedy, get("/greedy")));
    assert!(poll_once(more.as_mut()).await.is_none(), "it waits");
    let mut one = pin!(send_from(&client, other, get("/other")));
    assert!(poll_once(one.as_mut()).await.is_none(), "behind it");
    drop(first);
    let (answer, mut peer) = tokio::join!(one, origin.answer(HELLO));
    assert_eq!(read(answer).await.unwrap(), "hello");
    // On the same connection.
    let next = async {
        assert!(peer.head().await.starts_with("GET /greedy "));
        peer.say(HELLO).await;
    };
    let (answer, ()) = tokio::join!(more, next);
    assert_eq!(read(answer).await.unwrap(), "hello");
}

/// The output of a future that has it at once.
async fn poll_once<T>(mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[tokio::test(flavor = "local")]
async fn a_turn_that_is_too_long_in_coming_is_a_refusal() {
    let origin = ScriptedOrigin::listen().await;
    for (patience, refusal) in [(Duration::ZERO, "queue-full"), (Duration::from_millis(10), "queue-timeout")]
    {
        let client = one_at_a_time(&origin, patience);
        let held = tokio::join!(
            send(&client, get("/")),
            origin.answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        );
        let error = send(&client, get("/")).await.err().unwrap();
        assert_eq!((error.phase(), error.fault()), (FetchPhase::Admission, FaultParty::Proxy), "{error}");
        assert_eq!(origin.metric(&format!("cachewarp_origin_refusals_total{{reason=\"{refusal}\"}}")), 1);
        // Whoever gave up has left its place in line, and the turn is free again.
        drop(held);
        let (next, _peer) = tokio::join!(send(&client, get("/")), origin.answer(HELLO));
        assert_eq!(read(next).await.unwrap(), "hello");
    }
}

#[tokio::test(flavor = "local")]
async fn in_a_queue_that_stands_nobody_waits_longer_than_some_turns_take() {
    let origin = ScriptedOrigin::listen().await;
    // Longer than the test may take: whoever is refused has been told sooner.
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
        _ = patient => panic!("the only turn is taken"),
        error = late => assert!(matches!(error, FetchError::QueueTimeout), "{error}"),
    }
    drop(first);
    // Nobody waits any more, and a while later who comes is as patient as ever.
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
async fn an_origin_that_fails_again_and_again_is_left_alone_for_a_moment() {
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

    // It is back, and the first to ask after the pause is the probe.
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

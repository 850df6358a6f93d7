//! Reuse of connections, and repetition of requests.

use std::time::Duration;

use http::Method;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::script::{OriginPeer, ScriptedOrigin, get, read, request, send, upload, with_body};
use crate::origin::{FetchError, OriginClient};

const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

#[tokio::test(flavor = "local")]
async fn a_connection_is_reused_after_every_complete_response() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let (first, mut peer) = tokio::join!(send(&client, get("/")), origin.answer(HELLO));
    assert_eq!(read(first).await.unwrap(), "hello");
    for answer in [
        HELLO,
        CHUNKED,
        EMPTY,
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
    ] {
        let (response, ()) = tokio::join!(send(&client, get("/")), peer.answer(answer));
        read(response).await.unwrap();
        assert_eq!(origin.metric("cachewarp_origin_connections_idle"), 1);
    }
    assert_eq!(origin.metric("cachewarp_origin_sends_total{connection=\"fresh\"}"), 1);
    assert_eq!(origin.metric("cachewarp_origin_sends_total{connection=\"reused\"}"), 5);
    assert_eq!(origin.metric("cachewarp_origin_requests_total{result=\"complete\"}"), 6);
    assert_eq!(origin.metric("cachewarp_origin_connections_open"), 1);
    drop(client);
    peer.closed().await;
}

#[tokio::test(flavor = "local")]
async fn the_last_used_connection_goes_first() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let both = async { (origin.accept().await, origin.accept().await) };
    let (first, second, (mut one, mut two)) =
        tokio::join!(send(&client, get("/a")), send(&client, get("/a")), async {
            let (mut one, mut two) = both.await;
            tokio::join!(one.answer(HELLO), two.answer(HELLO));
            (one, two)
        });
    read(first).await.unwrap();
    read(second).await.unwrap();
    assert_eq!(origin.metric("cachewarp_origin_connections_idle"), 2);
    for _ in 0..2 {
        let answered = async {
            tokio::select! {
                () = one.answer(HELLO) => 1,
                () = two.answer(HELLO) => 2,
            }
        };
        let (response, by) = tokio::join!(send(&client, get("/b")), answered);
        read(response).await.unwrap();
        assert_eq!(by, 2, "the second was given back last");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_connection_that_may_be_out_of_sync_is_not_reused() {
    let cases = [
        (
            "the origin closes it",
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello".to_owned(),
        ),
        (
            "the origin speaks HTTP/1.0",
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello".to_owned(),
        ),
        ("the origin sends a second response", format!("{HELLO}{HELLO}")),
        (
            "a 204 has a body",
            "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        ),
    ];
    for (case, answer) in cases {
        let origin = ScriptedOrigin::listen().await;
        let client = origin.client();
        let (first, old) = tokio::join!(send(&client, get("/")), origin.answer(answer));
        read(first).await.unwrap();
        sleep(Duration::from_millis(1)).await;
        let (second, _new) = tokio::join!(send(&client, get("/")), origin.answer(HELLO));
        assert_eq!(read(second).await.unwrap(), "hello", "{case}");
        old.closed().await;
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_connection_closed_while_idle_loses_no_request() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let peer = exchanged(&origin, &client, HELLO).await;
    drop(peer);
    sleep(Duration::from_millis(1)).await;
    let (second, _peer) = tokio::join!(send(&client, request(Method::POST, "/")), origin.answer(EMPTY));
    read(second).await.unwrap();
    assert_eq!(origin.metric("cachewarp_origin_sends_total{connection=\"fresh\"}"), 2);
    assert_eq!(origin.metric("cachewarp_origin_sends_total{connection=\"retried\"}"), 0);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_unsolicited_response_answers_no_request() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let mut old = exchanged(&origin, &client, HELLO).await;
    old.write("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret").await;
    sleep(Duration::from_millis(1)).await;
    let (second, _new) = tokio::join!(send(&client, request(Method::POST, "/")), origin.answer(HELLO));
    assert_eq!(read(second).await.unwrap(), "hello");
    old.closed().await;
    assert_eq!(origin.metric("cachewarp_origin_sends_total{connection=\"fresh\"}"), 2);
    assert_eq!(origin.metric("cachewarp_origin_sends_total{connection=\"reused\"}"), 0);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_pool_skips_a_closed_idle_connection() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let both = async { (origin.accept().await, origin.accept().await) };
    let (first, second, (mut one, two)) =
        tokio::join!(send(&client, get("/a")), send(&client, get("/a")), async {
            let (mut one, mut two) = both.await;
            tokio::join!(one.answer(HELLO), two.answer(HELLO));
            (one, two)
        });
    read(first).await.unwrap();
    read(second).await.unwrap();
    drop(two);
    sleep(Duration::from_millis(1)).await;
    let (third, ()) = tokio::join!(send(&client, request(Method::POST, "/b")), one.answer(EMPTY));
    read(third).await.unwrap();
    assert_eq!(origin.metric("cachewarp_origin_sends_total{connection=\"fresh\"}"), 2);
    assert_eq!(origin.metric("cachewarp_origin_sends_total{connection=\"reused\"}"), 1);
    assert_eq!(origin.metric("cachewarp_origin_connections_open"), 1);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn idle_connections_expire() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let peer = exchanged(&origin, &client, HELLO).await;
    sleep(Duration::from_secs(59)).await;
    assert_eq!(origin.metric("cachewarp_origin_connections_idle"), 1);
    peer.closed().await;
    assert_eq!(origin.metric("cachewarp_origin_connections_idle"), 0);
    assert_eq!(origin.metric("cachewarp_origin_connections_open"), 0);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_connection_is_not_used_when_the_origin_is_about_to_close_it() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let kept = HELLO.replace("\r\n\r\n", "\r\nkeep-alive: timeout=5\r\n\r\n");
    let mut peer = exchanged(&origin, &client, &kept).await;
    sleep(Duration::from_millis(3_900)).await;
    let (second, ()) = tokio::join!(send(&client, get("/")), peer.answer(HELLO));
    read(second).await.unwrap();
    assert_eq!(origin.metric("cachewarp_origin_sends_total{connection=\"reused\"}"), 1);

    // This response has no `Keep-Alive`, so the setting applies.
    sleep(Duration::from_secs(30)).await;
    let (third, ()) = tokio::join!(send(&client, get("/")), peer.answer(&kept));
    read(third).await.unwrap();
    assert_eq!(origin.metric("cachewarp_origin_sends_total{connection=\"reused\"}"), 2);
    sleep(Duration::from_secs(4)).await;
    let (fourth, _peer) = tokio::join!(send(&client, request(Method::POST, "/")), origin.answer(EMPTY));
    read(fourth).await.unwrap();
    assert_eq!(origin.metric("cachewarp_origin_sends_total{connection=\"fresh\"}"), 2);
    peer.closed().await;
}

/// Returns the origin's end of a connection after one complete exchange.
async fn exchanged(origin: &ScriptedOrigin, client: &OriginClient, answer: &str) -> OriginPeer {
    let (first, peer) = tokio::join!(send(client, get("/")), origin.answer(answer));
    read(first).await.unwrap();
    peer
}

/// Completes one exchange, then sends `method` on its connection, which the origin closes after
/// `last_words`.
async fn on_a_closing_connection(
    origin: &ScriptedOrigin,
    client: &OriginClient,
    method: Method,
    last_words: &str,
) {
    let mut peer = exchanged(origin, client, HELLO).await;
    let again = async {
        peer.answer(last_words).await;
        drop(peer);
    };
    let second = async { read(send(client, request(method, "/again")).await).await };
    let (second, ()) = tokio::join!(second, again);
    let error = second.unwrap_err();
    let expected = if last_words.is_empty() { "without a response" } else { "within the response head" };
    assert!(error.to_string().contains(expected), "{error}");
}

#[tokio::test(flavor = "local")]
async fn an_unanswered_idempotent_request_is_retried() {
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::DELETE] {
        let origin = ScriptedOrigin::listen().await;
        let client = origin.client();
        let (first, mut peer) = tokio::join!(send(&client, get("/")), origin.answer(HELLO));
        read(first).await.unwrap();
        let again = async {
            let head = peer.head().await;
            drop(peer);
            let mut peer = origin.accept().await;
            assert_eq!(peer.head().await, head);
            peer.write(EMPTY).await;
            peer
        };
        let (second, _peer) = tokio::join!(send(&client, request(method, "/again")), again);
        read(second).await.unwrap();
        assert_eq!(origin.metric("cachewarp_origin_sends_total{connection=\"retried\"}"), 1);
    }
}

#[tokio::test(flavor = "local")]
async fn a_request_is_retried_only_once() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let mut peer = exchanged(&origin, &client, HELLO).await;
    let closing = async {
        peer.head().await;
        drop(peer);
        drop(origin.answer("").await);
    };
    let (second, ()) = tokio::join!(send(&client, get("/again")), closing);
    assert!(matches!(second, Err(FetchError::Unanswered)));
    assert_eq!(origin.metric("cachewarp_origin_requests_total{result=\"failed\"}"), 1);
}

#[tokio::test(flavor = "local")]
async fn a_request_that_may_have_taken_effect_is_not_retried() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    on_a_closing_connection(&origin, &client, Method::POST, "").await;
    on_a_closing_connection(&origin, &client, Method::PATCH, "").await;
    // One byte is the start of a response.
    on_a_closing_connection(&origin, &client, Method::GET, "H").await;
    assert_eq!(origin.metric("cachewarp_origin_sends_total{connection=\"retried\"}"), 0);
}

#[tokio::test(flavor = "local")]
async fn a_request_with_a_body_is_not_retried() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let mut peer = exchanged(&origin, &client, HELLO).await;
    let (body, _client) = upload("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello").await;
    let closing = async {
        peer.head().await;
        drop(peer);
    };
    let (second, ()) = tokio::join!(send(&client, with_body(Method::PUT, "/", body)), closing);
    assert!(matches!(second, Err(FetchError::Unanswered)));
}

#[tokio::test(flavor = "local")]
async fn a_response_before_the_end_of_its_request_closes_the_connection() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let (body, mut sending) = upload("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n").await;
    sending.write_all(b"hello").await.unwrap();
    let early = async {
        let mut peer = origin.accept().await;
        peer.head().await;
        assert_eq!(peer.read(5).await, "hello");
        peer.write("HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
        peer
    };
    let (response, peer) = tokio::join!(send(&client, with_body(Method::POST, "/", body)), early);
    let response = response.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(read(Ok(response)).await.unwrap(), "big");
    assert_eq!(origin.metric("cachewarp_origin_connections_idle"), 0);
    peer.closed().await;
}

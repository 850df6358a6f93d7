//! Response heads: accepted and refused ones, and the deadline of each wait.

use std::time::Duration;

use http::Method;
use http_body::Body as _;
use tokio::time::Instant;

use super::script::{ScriptedOrigin, get, read, request, send};
use crate::limits::{ORIGIN_HEAD_BYTES_MAX, ORIGIN_HEAD_FIELDS_MAX};
use crate::origin::{
    BodyFraming, FaultParty, FetchError, FetchPhase, Options, OriginClient, OriginOptionsError,
};

/// Returns the client's result for a response after which the origin closes the connection.
async fn outcome(method: Method, answer: impl AsRef<[u8]>) -> Result<(u16, BodyFraming, String), FetchError> {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let close = async { drop(origin.answer(answer).await) };
    let (response, ()) = tokio::join!(send(&client, request(method, "/")), close);
    let response = response?;
    let (status, framing) = (response.status().as_u16(), response.body().framing());
    Ok((status, framing, read(Ok(response)).await?))
}

#[tokio::test(flavor = "local")]
async fn each_framing_ends_its_body() {
    for (method, answer, expected) in [
        (Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", (200, BodyFraming::Length(2), "{}")),
        (Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", (200, BodyFraming::Length(0), "")),
        (
            Method::GET,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
            (200, BodyFraming::Chunked, "{}"),
        ),
        (
            Method::GET,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n\r\n2\r\n{}\r\n0\r\nx: y\r\n\r\n",
            (200, BodyFraming::Chunked, "{}"),
        ),
        (Method::GET, "HTTP/1.1 200 OK\r\n\r\n{}", (200, BodyFraming::UntilClose, "{}")),
        (Method::GET, "HTTP/1.0 200 OK\r\n\r\n{}", (200, BodyFraming::UntilClose, "{}")),
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", (200, BodyFraming::None, "")),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\n", (204, BodyFraming::None, "")),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\n", (304, BodyFraming::None, "")),
        (
            Method::GET,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
             HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            (200, BodyFraming::Length(2), "{}"),
        ),
    ] {
        let (status, framing, body) = outcome(method, answer).await.unwrap();
        assert_eq!((status, framing, body.as_str()), expected, "{answer}");
    }
}

const TOO_LARGE: &str = "the response head is larger than 65536 bytes, 256 fields, 64 options in Connection, or 64 interim responses before it";

#[tokio::test(flavor = "local")]
async fn invalid_heads_are_refused() {
    let oversized = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(ORIGIN_HEAD_BYTES_MAX));
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(2 * ORIGIN_HEAD_BYTES_MAX));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(ORIGIN_HEAD_FIELDS_MAX + 1));
    for (answer, expected) in [
        ("", "the origin closed the connection without a response"),
        ("H", "the origin closed the connection within the response head"),
        ("HTTP/1.1 200 OK\r\ncontent-le", "the origin closed the connection within the response head"),
        ("HTTP/1.1 100 Continue\r\n\r\n", "the origin closed the connection within the response head"),
        ("SSH-2.0-OpenSSH_9\r\n", "the response head is malformed"),
        ("HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n", "the response head is malformed"),
        ("HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n", "the response head is malformed"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "the response head does not frame its body unambiguously",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            "the response head does not frame its body unambiguously",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "the response head does not frame its body unambiguously",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            "the origin switched to a protocol that was not requested",
        ),
        (&oversized, TOO_LARGE),
        (&endless, TOO_LARGE),
        (&many, TOO_LARGE),
    ] {
        let error = outcome(Method::GET, answer).await.unwrap_err();
        assert_eq!(error.to_string(), expected, "{answer:.80}");
        assert_eq!((error.phase(), error.fault()), (FetchPhase::Head, FaultParty::Origin), "{answer:.80}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_head_may_reach_the_limit() {
    let empty = "HTTP/1.1 204 No Content\r\nx: \r\n\r\n".len();
    let value = "x".repeat(ORIGIN_HEAD_BYTES_MAX - empty - 1);
    let answer = format!("HTTP/1.1 204 No Content\r\nx: {value}\r\n\r\n");
    assert_eq!(outcome(Method::GET, answer).await.unwrap().0, 204);
    let answer = format!("HTTP/1.1 204 No Content\r\n{}\r\n", "x: y\r\n".repeat(ORIGIN_HEAD_FIELDS_MAX));
    assert_eq!(outcome(Method::GET, answer).await.unwrap().0, 204);
}

#[tokio::test(flavor = "local")]
async fn hop_by_hop_fields_are_removed() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let answer = "HTTP/1.1 200 OK\r\nconnection: x-hop, content-length\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
                  proxy-authenticate: Basic\r\nupgrade: h2c\r\nx-end: 1\r\ncontent-length: 5, 5\r\n\r\nhello";
    let (response, _peer) = tokio::join!(send(&client, get("/")), origin.answer(answer));
    let response = response.unwrap();
    let names: Vec<_> = response.headers().keys().map(|name| name.as_str().to_owned()).collect();
    assert_eq!(names, ["x-end", "content-length"]);
    assert_eq!(response.headers()["content-length"], "5");
    assert_eq!(response.body().size_hint().exact(), Some(5));
    assert_eq!(read(Ok(response)).await.unwrap(), "hello");
}

#[tokio::test(flavor = "local")]
async fn a_refused_connection_is_the_origins_fault() {
    let origin = ScriptedOrigin::listen().await;
    let (client, registry) = (origin.client(), origin.registry.clone());
    drop(origin);
    let error = send(&client, get("/")).await.err().unwrap();
    assert!(matches!(error, FetchError::Connect(_)), "{error:?}");
    assert_eq!((error.phase(), error.fault()), (FetchPhase::Connect, FaultParty::Origin));
    let text = registry.render();
    assert!(text.contains("cachewarp_origin_failures_total{phase=\"connect\"} 1"), "{text}");
    assert!(text.contains("cachewarp_origin_connections_open 0"), "{text}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_stall_before_the_head_times_out() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    for bytes in ["", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\nx: "] {
        let began = Instant::now();
        let (response, peer) = tokio::join!(send(&client, get("/")), origin.answer(bytes));
        let error = response.err().unwrap();
        assert!(matches!(error, FetchError::HeadTimeout), "{error:?}");
        assert!(error.is_timeout());
        assert!(began.elapsed() < Duration::from_millis(10_010), "{:?}", began.elapsed());
        peer.closed().await;
    }
    assert_eq!(origin.metric("cachewarp_origin_timeouts_total"), 3);
    assert_eq!(origin.metric("cachewarp_origin_connections_open"), 0);
}

#[tokio::test(flavor = "local")]
async fn invalid_options_give_no_client() {
    let origin = ScriptedOrigin::listen().await;
    let bad = |options: Options| OriginClient::new(options, &origin.registry).err().unwrap();
    let options = Options { base_path: "api/".to_owned(), ..origin.options() };
    assert!(matches!(bad(options), OriginOptionsError::BasePath(_)));
}

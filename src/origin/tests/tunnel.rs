//! Upgrades: a tunnel follows only a 101 that was requested.

use std::net::IpAddr;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, Method, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::request_fields::RequestFields;

use super::script::{ScriptedOrigin, get, read, send, send_from};
use crate::key::{Authority, Scheme, Target};
use crate::origin::{FetchError, FetchPurpose, OutboundRequest, RequestBody, UpgradeProtocol};

/// Returns a WebSocket handshake, as the proxy sends it.
fn handshake(origin: &ScriptedOrigin) -> http::Request<RequestBody> {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, "keep-alive, Upgrade".parse().unwrap());
    headers.insert(UPGRADE, "websocket".parse().unwrap());
    let target = Target {
        scheme: Scheme::Http,
        authority: Authority::parse(Scheme::Http, b"api.test").unwrap(),
        path_and_query: "/chat".parse().unwrap(),
    };
    let purpose = FetchPurpose::Upgrade(UpgradeProtocol::asked(&Method::GET, &headers).unwrap());
    let asked = OutboundRequest {
        method: &Method::GET,
        target: &target,
        headers: &headers,
        fields: &RequestFields::default(),
        peer: "127.0.0.1".parse().unwrap(),
        version: Version::HTTP_11,
        id: None,
        purpose: &purpose,
    };
    http::Request::from_parts(origin.client().outbound().head(&asked).unwrap(), RequestBody::Empty)
}

#[tokio::test(flavor = "local")]
async fn a_tunnel_carries_bytes_both_ways() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    // The origin's first bytes arrive in one packet with its head.
    let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\nsec-x: 1\r\n\r\nfirst";
    let (response, mut peer) = tokio::join!(send(&client, handshake(&origin)), origin.answer(answer));
    let response = response.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()[CONNECTION], "upgrade");
    assert_eq!(response.headers()[UPGRADE], "websocket");
    assert_eq!(response.headers()["sec-x"], "1");

    let mut body = response.into_body();
    let mut tunnel = body.take_tunnel().unwrap();
    let mut received = [0; 5];
    tunnel.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"first");
    tunnel.write_all(b"hello").await.unwrap();
    assert_eq!(peer.read(5).await, "hello");
    peer.write("world").await;
    tunnel.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"world");

    // The tunnel counts as an open connection, and not as an idle one.
    assert_eq!(origin.metric("cachewarp_origin_connections_open"), 1);
    assert_eq!(origin.metric("cachewarp_origin_connections_idle"), 0);
    drop((tunnel, body));
    peer.closed().await;
    assert_eq!(origin.metric("cachewarp_origin_connections_open"), 0);
    assert_eq!(origin.metric("cachewarp_origin_requests_total{result=\"switched\"}"), 1);
}

#[tokio::test(flavor = "local")]
async fn tunnels_leave_connections_to_requests_and_end_with_their_body() {
    const SWITCH: &str =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    let [greedy, other] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let open = async |address| {
        let (response, peer) =
            tokio::join!(send_from(&client, address, handshake(&origin)), origin.answer(SWITCH));
        (response.unwrap(), peer)
    };
    let mut tunnels = Vec::new();
    for address in [greedy, greedy, greedy, greedy, greedy, other] {
        if tunnels.len() == 5 {
            let refused = send_from(&client, greedy, handshake(&origin)).await.map(drop).unwrap_err();
            assert!(matches!(refused, FetchError::Busy), "its share: {refused:?}");
        }
        tunnels.push(open(address).await);
    }
    assert_eq!(origin.metric("cachewarp_origin_tunnels"), 6);
    let refused = send_from(&client, other, handshake(&origin)).await.map(drop).unwrap_err();
    assert!(matches!(refused, FetchError::Busy), "all tunnels: {refused:?}");
    assert_eq!(origin.metric("cachewarp_origin_refusals_total{reason=\"connections\"}"), 2);
    // Two connections are left to requests, and a third request waits for one of them.
    let held = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
    let (first, _peer) = tokio::join!(send_from(&client, other, get("/1")), origin.answer(held));
    let (second, _peer) = tokio::join!(send_from(&client, greedy, get("/2")), origin.answer(held));
    let third = async { read(send_from(&client, greedy, get("/3")).await).await.unwrap() };
    let end_tunnel = async {
        while origin.metric("cachewarp_origin_waiting") == 0 {
            tokio::task::yield_now().await;
        }
        drop(tunnels.pop());
        origin.answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nthird").await
    };
    let (third, _peer) = tokio::join!(third, end_tunnel);
    assert_eq!(third, "third");
    assert_eq!(origin.metric("cachewarp_origin_tunnels"), 5);
    drop((first, second));
}

#[tokio::test(flavor = "local")]
async fn an_ordinary_response_to_an_upgrade_request_is_passed_on() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let answer =
        "HTTP/1.1 200 OK\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nno";
    let (response, mut peer) = tokio::join!(send(&client, handshake(&origin)), origin.answer(answer));
    let response = response.unwrap();
    assert!(!response.headers().contains_key(UPGRADE));
    assert_eq!(read(Ok(response)).await.unwrap(), "no");
    let hello = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let (next, ()) = tokio::join!(send(&client, get("/")), peer.answer(hello));
    assert_eq!(read(next).await.unwrap(), "hello");
}

#[tokio::test(flavor = "local")]
async fn a_switch_to_another_protocol_is_refused() {
    for fields in ["connection: upgrade\r\nupgrade: other\r\n", "connection: upgrade\r\n", ""] {
        let origin = ScriptedOrigin::listen().await;
        let client = origin.client();
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n");
        let (response, peer) = tokio::join!(send(&client, handshake(&origin)), origin.answer(answer));
        assert!(matches!(response, Err(FetchError::BadSwitch)), "{fields}");
        peer.closed().await;
    }
}

//! Request bodies: framed by their real length, slowed by the origin, and truncated where the
//! client truncates them.

use std::time::Duration;

use http::Method;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use super::script::{OriginPeer, ScriptedOrigin, read, request, send, upload, with_body};
use crate::limits::CLIENT_RATE_MIN;
use crate::origin::{FaultParty, FetchError, FetchPhase};

const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Reads a head and `bytes` more bytes, responds, and returns what it read.
async fn read_and_answer(origin: &ScriptedOrigin, bytes: usize) -> (OriginPeer, String) {
    let mut peer = origin.accept().await;
    let head = peer.head().await;
    let body = peer.read(bytes).await;
    peer.write(EMPTY).await;
    (peer, head + &body)
}

#[tokio::test(flavor = "local")]
async fn bodies_are_framed_by_their_real_length() {
    for (method, sent, bytes, received) in [
        (
            Method::POST,
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
            5,
            "POST / HTTP/1.1\r\nhost: origin.test\r\ncontent-length: 5\r\n\r\nhello",
        ),
        (
            Method::POST,
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: y\r\n\r\n",
            15,
            "POST / HTTP/1.1\r\nhost: origin.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            Method::GET,
            "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            15,
            "GET / HTTP/1.1\r\nhost: origin.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            Method::POST,
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
            0,
            "POST / HTTP/1.1\r\nhost: origin.test\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            Method::DELETE,
            "DELETE / HTTP/1.1\r\nhost: a\r\n\r\n",
            0,
            "DELETE / HTTP/1.1\r\nhost: origin.test\r\n\r\n",
        ),
    ] {
        let origin = ScriptedOrigin::listen().await;
        let client = origin.client();
        let (body, _sending) = upload(sent).await;
        let (response, (_peer, seen)) =
            tokio::join!(send(&client, with_body(method, "/", body)), read_and_answer(&origin, bytes));
        read(response).await.unwrap();
        assert_eq!(seen, received);
        assert_eq!(origin.metric("cachewarp_origin_connections_idle"), 1, "{sent}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_head_cannot_misstate_its_body() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let mut lying = request(Method::POST, "/");
    lying.headers_mut().insert("content-length", "5".parse().unwrap());
    lying.headers_mut().insert("transfer-encoding", "chunked".parse().unwrap());
    let (response, (_peer, seen)) = tokio::join!(send(&client, lying), read_and_answer(&origin, 0));
    read(response).await.unwrap();
    assert_eq!(seen, "POST / HTTP/1.1\r\nhost: origin.test\r\ncontent-length: 0\r\n\r\n");
}

#[tokio::test(flavor = "local")]
async fn a_truncated_upload_stays_truncated() {
    for head in ["content-length: 10\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        let origin = ScriptedOrigin::listen().await;
        let client = origin.client();
        let (body, sending) = upload(&format!("POST / HTTP/1.1\r\nhost: a\r\n{head}")).await;
        let cut = async {
            let mut peer = origin.accept().await;
            peer.head().await;
            drop(sending);
            peer.closed().await;
        };
        let (response, ()) = tokio::join!(send(&client, with_body(Method::POST, "/", body)), cut);
        let error = response.err().unwrap();
        assert!(matches!(error, FetchError::ClientCut), "{error:?}");
        assert_eq!((error.phase(), error.fault()), (FetchPhase::Request, FaultParty::Client));
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_stalled_client_is_the_clients_fault() {
    // In one case the client sends exactly its minimum rate; in the other one byte now and then,
    // which counts as a stall.
    for (piece_bytes, lasts) in [(19 * CLIENT_RATE_MIN as usize, 3 * 19 + 20), (1, 20)] {
        let origin = ScriptedOrigin::listen().await;
        let client = origin.client();
        let (body, mut sending) =
            upload("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n").await;
        let began = Instant::now();
        let piece = vec![b'x'; piece_bytes];
        let slow = async {
            let mut peer = origin.accept().await;
            peer.head().await;
            // The pause exceeds the head deadline, but the exchange waits for the client.
            for _ in 0..3 {
                sleep(Duration::from_secs(19)).await;
                sending.write_all(&piece).await.unwrap();
            }
            peer.closed().await;
        };
        let ask = async {
            let answer = send(&client, with_body(Method::POST, "/", body)).await;
            (answer, began.elapsed())
        };
        let ((response, took), ()) = tokio::join!(ask, slow);
        let error = response.err().unwrap();
        assert!(matches!(error, FetchError::ClientTimeout), "{error:?}");
        let lasts = Duration::from_secs(lasts);
        assert!(took >= lasts && took < lasts + Duration::from_secs(2), "{piece_bytes} bytes: {took:?}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_stalled_origin_is_the_origins_fault() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let (body, mut sending) =
        upload("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n").await;
    let pour = async {
        let piece = vec![b'x'; 256 * 1024];
        while sending.write_all(&piece).await.is_ok() {}
    };
    let stuck = async {
        let mut peer = origin.accept().await;
        peer.head().await;
        peer
    };
    tokio::select! {
        () = pour => panic!("the origin read the whole body"),
        (response, _peer) = async { tokio::join!(send(&client, with_body(Method::POST, "/", body)), stuck) } => {
            assert!(matches!(response, Err(FetchError::HeadTimeout)));
        }
    }
}

#[tokio::test(flavor = "local")]
async fn both_bodies_may_be_in_transfer_at_once() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let (body, mut sending) = upload("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n").await;
    let begin = async {
        let mut peer = origin.accept().await;
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").await;
        peer
    };
    let (response, mut peer) = tokio::join!(send(&client, with_body(Method::POST, "/", body)), begin);
    let echo = async {
        for piece in ["ab", "cd"] {
            sending.write_all(piece.as_bytes()).await.unwrap();
            let received = peer.read(2).await;
            peer.write(received).await;
        }
    };
    let (echoed, ()) = tokio::join!(read(response), echo);
    assert_eq!(echoed.unwrap(), "abcd");
    assert_eq!(origin.metric("cachewarp_origin_connections_idle"), 1);
}

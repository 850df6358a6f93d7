//! Request bodies: framed as what they are, held back by the origin, and cut where the client cut
//! them.

use std::time::Duration;

use http::Method;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use super::script::{OriginPeer, ScriptedOrigin, read, request, send, upload, with_body};
use crate::limits::CLIENT_RATE_MIN;
use crate::origin::{FaultParty, FetchError, FetchPhase};

const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Reads a head and so many bytes, answers, and returns what was read.
async fn take(origin: &ScriptedOrigin, bytes: usize) -> (OriginPeer, String) {
    let mut peer = origin.accept().await;
    let head = peer.head().await;
    let body = peer.read(bytes).await;
    peer.say(EMPTY).await;
    (peer, head + &body)
}

#[tokio::test(flavor = "local")]
async fn bodies_are_framed_as_what_they_are() {
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
            tokio::join!(send(&client, with_body(method, "/", body)), take(&origin, bytes));
        read(response).await.unwrap();
        assert_eq!(seen, received);
        assert_eq!(origin.metric("cachewarp_origin_connections_idle"), 1, "{sent}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_head_cannot_frame_another_body_than_there_is() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let mut lying = request(Method::POST, "/");
    lying.headers_mut().insert("content-length", "5".parse().unwrap());
    lying.headers_mut().insert("transfer-encoding", "chunked".parse().unwrap());
    let (response, (_peer, seen)) = tokio::join!(send(&client, lying), take(&origin, 0));
    read(response).await.unwrap();
    assert_eq!(seen, "POST / HTTP/1.1\r\nhost: origin.test\r\ncontent-length: 0\r\n\r\n");
}

#[tokio::test(flavor = "local")]
async fn a_request_that_the_client_cuts_is_cut() {
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
async fn a_client_that_stalls_is_the_clients_fault() {
    // As much as it owes in the time that it takes; and a byte now and then, which is a standstill
    // that looks busy.
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
            // Longer than the origin may take for its head, but it is not the origin that is waited
            // for.
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
async fn an_origin_that_does_not_read_is_the_origins_fault() {
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
        () = pour => panic!("somebody took it all"),
        (response, _peer) = async { tokio::join!(send(&client, with_body(Method::POST, "/", body)), stuck) } => {
            assert!(matches!(response, Err(FetchError::HeadTimeout)));
        }
    }
}

#[tokio::test(flavor = "local")]
async fn both_bodies_may_be_under_way_at_once() {
    let origin = ScriptedOrigin::listen().await;
    let client = origin.client();
    let (body, mut sending) = upload("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n").await;
    let begin = async {
        let mut peer = origin.accept().await;
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").await;
        peer
    };
    let (response, mut peer) = tokio::join!(send(&client, with_body(Method::POST, "/", body)), begin);
    let echo = async {
        for piece in ["ab", "cd"] {
            sending.write_all(piece.as_bytes()).await.unwrap();
            let heard = peer.read(2).await;
            peer.say(heard).await;
        }
    };
    let (echoed, ()) = tokio::join!(read(response), echo);
    assert_eq!(echoed.unwrap(), "abcd");
    assert_eq!(origin.metric("cachewarp_origin_connections_idle"), 1);
}

//! Requests that the server refuses itself before it closes the connection.

use super::stage::{TestServer, dialogue, options};
use crate::limits::CLIENT_HEAD_BYTES_MAX;

const LENGTH_FIRST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
const CODING_FIRST: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn an_ambiguous_request_is_refused_and_its_connection_closes() {
    let others = [
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
    ];
    for wire in [LENGTH_FIRST, CODING_FIRST].into_iter().chain(others) {
        dialogue(async {
            let stage = TestServer::start(options());
            let mut client = stage.connect().await;
            client.send(wire).await;
            let (status, head, _) = client.answer().await;
            assert_eq!(status, 400, "{wire:?}");
            assert!(head.contains("connection: close"), "{head}");
            client.finish().await;
            assert_eq!(client.rest().await, "", "{wire:?}");
            assert_eq!(stage.app.served.get(), 0);
            assert_eq!(stage.refusals("ambiguous-framing"), 1);
        });
    }
}

#[test]
fn requests_before_an_ambiguous_one_are_answered_first() {
    for cut in 0..LENGTH_FIRST.len() {
        dialogue(async {
            let stage = TestServer::start(options());
            let mut client = stage.connect().await;
            let (now, later) = LENGTH_FIRST.split_at(cut);
            client
                .send(&format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nfirst{now}"))
                .await;
            assert_eq!(client.reply().await, (200, "first".to_owned()));
            client.send(later).await;
            assert_eq!(client.reply().await.0, 400, "cut at {cut}");
            client.finish().await;
            assert_eq!(client.rest().await, "");
            assert_eq!(stage.app.served.get(), 1);
        });
    }
}

#[test]
fn malformed_requests_are_refused() {
    for wire in [
        "\0\0\0\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        "GET / HTTP/4.2\r\n\r\n",
    ] {
        dialogue(async {
            let stage = TestServer::start(options());
            let mut client = stage.connect().await;
            client.send(wire).await;
            assert_eq!(client.reply().await.0, 400, "{wire:?}");
            client.finish().await;
            assert_eq!(client.rest().await, "");
            assert_eq!(stage.refusals("malformed"), 1);
            assert_eq!(stage.app.served.get(), 0);
        });
    }
}

#[test]
fn an_oversized_head_is_refused_and_its_client_receives_the_response() {
    let fields: String = (0..200).map(|number| format!("x-{number}: y\r\n")).collect();
    let long =
        format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", "x".repeat(2 * CLIENT_HEAD_BYTES_MAX));
    for wire in [long, format!("GET / HTTP/1.1\r\n{fields}\r\n")] {
        dialogue(async {
            let stage = TestServer::start(options());
            let mut client = stage.connect().await;
            client.send(&wire).await;
            client.finish().await;
            assert_eq!(client.reply().await.0, 431);
            assert_eq!(client.rest().await, "");
            assert_eq!(stage.refusals("head-too-large"), 1);
        });
    }
}

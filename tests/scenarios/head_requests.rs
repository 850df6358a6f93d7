//! `HEAD` requests: an answer that CacheWarp makes itself has the length of the content of a `GET`,
//! and no content, over HTTP/1.1 and HTTP/2.

use std::net::SocketAddr;

use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::{LocalSet, spawn_local};

use crate::harness::{Client, Origin, Proxy};

/// A connection of one of the two protocols.
enum HyperClient {
    Http1(hyper::client::conn::http1::SendRequest<Empty<Bytes>>),
    Http2(hyper::client::conn::http2::SendRequest<Empty<Bytes>>),
}

impl HyperClient {
    async fn connect(addr: SocketAddr, is_http2: bool) -> Option<Self> {
        let stream = TokioIo::new(tokio::net::TcpStream::connect(addr).await.ok()?);
        Some(if is_http2 {
            let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
            let (sender, connection) = handshake.ok()?;
            spawn_local(connection);
            Self::Http2(sender)
        } else {
            let (sender, connection) = hyper::client::conn::http1::handshake(stream).await.ok()?;
            spawn_local(connection);
            Self::Http1(sender)
        })
    }

    async fn send(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => sender.send_request(request).await,
            Self::Http2(sender) => sender.send_request(request).await,
        }
    }
}

#[test]
fn own_answers_to_a_head_have_a_length_and_no_content() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let closed = Proxy::start("http://127.0.0.1:1", &[]);
    let long = format!("/{}", "a".repeat(17_000));
    let (clients, operators) = (proxy.addr(), proxy.admin_addr());
    let cases = [
        (clients, "/health", 200, true),
        (clients, "/ready", 200, true),
        (clients, "/a", 504, true),
        (clients, long.as_str(), 414, true),
        (closed.addr(), "/a", 502, true),
        (operators, "/health", 200, true),
        (operators, "/entries", 400, true),
        (operators, "/purge", 405, true),
        (operators, "/none", 404, true),
        // The length of these documents changes from one to the next.
        (operators, "/stats", 200, false),
        (operators, "/metrics", 200, false),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for is_http2 in [false, true] {
        for (addr, path, status, is_fixed) in cases {
            let case = format!("{addr} {:.20} http2={is_http2}", path);
            let (get, head) = LocalSet::new().block_on(&runtime, async {
                let mut client = HyperClient::connect(addr, is_http2).await.unwrap();
                let mut answers = Vec::new();
                for method in ["GET", "HEAD"] {
                    let target = if is_http2 { format!("http://{addr}{path}") } else { path.to_owned() };
                    let mut request = Request::builder().method(method).uri(target);
                    if !is_http2 {
                        request = request.header("host", addr.to_string());
                    }
                    if status == 504 {
                        request = request.header("cache-control", "only-if-cached");
                    }
                    let response = client.send(request.body(Empty::new()).unwrap()).await.unwrap();
                    let (head, body) = response.into_parts();
                    assert_eq!(head.status, status, "{method} {case}");
                    // hyper's client fails on a frame of content after a `HEAD`.
                    let body = body.collect().await.unwrap_or_else(|error| panic!("{case}: {error}"));
                    let length = head.headers.get("content-length").unwrap().to_str().unwrap().to_owned();
                    answers.push((length.parse::<usize>().unwrap(), body.to_bytes().len()));
                }
                (answers[0], answers[1])
            });
            assert!(get.0 > 0 && get.0 == get.1, "{case}: {get:?}");
            assert!(head.0 > 0 && (head.0 == get.0 || !is_fixed), "{case}: {head:?}");
            assert_eq!(head.1, 0, "{case}");
        }
    }
    // Over HTTP/1.1 the next response begins where the head of the last one ends.
    let mut client = Client::connect(clients);
    assert_eq!(client.request("HEAD", "/health", &[]).status, 200);
    assert_eq!(client.request("GET", "/health", &[]).status, 200);
}

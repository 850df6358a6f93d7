//! HTTP/1 dialogues.

use super::stage::{TestServer, dialogue, options, take};
use crate::server::Options;

fn hello() -> (u16, String) {
    (200, "hello".to_owned())
}

#[test]
fn one_connection_carries_many_requests() {
    dialogue(async {
        let stage = TestServer::start(options());
        let mut client = stage.connect().await;
        for _ in 0..3 {
            client.get("/").await;
            assert_eq!(client.reply().await, hello());
        }
        client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").await;
        assert_eq!(client.reply().await, (200, "abc".to_owned()));
        client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
        client.send("2;x=y\r\nde\r\n0\r\n\r\n").await;
        assert_eq!(client.reply().await, (200, "abcde".to_owned()));
        client.get("/").await;
        assert_eq!(client.reply().await, hello());
        assert_eq!(stage.app.peer.get().unwrap().addr, client.0.local_addr().unwrap());
        assert_eq!(stage.metric("cachewarp_client_connections_total{protocol=\"http1\"}"), 1);
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    dialogue(async {
        let stage = TestServer::start(options());
        let mut client = stage.connect().await;
        let wait = "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n";
        let echo = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n";
        client.send(&format!("{wait}{echo}12{echo}3")).await;
        take(&stage.app.arrived).await;
        client.send("4GET / HTTP/1.1\r\nHo").await;
        stage.app.released.add_permits(1);
        assert_eq!(client.reply().await, hello());
        assert_eq!(client.reply().await, (200, "12".to_owned()));
        assert_eq!(client.reply().await, (200, "34".to_owned()));
        client.send("st: a\r\n\r\n").await;
        assert_eq!(client.reply().await, hello());
        assert_eq!(stage.refusals("ambiguous-framing"), 0);
    });
}

#[test]
fn a_request_may_arrive_in_any_pieces() {
    dialogue(async {
        let stage = TestServer::start(options());
        let mut client = stage.connect().await;
        client.0.set_nodelay(true).unwrap();
        for byte in
            "\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nz\r\n0\r\n\r\n"
                .chars()
        {
            client.send(byte.encode_utf8(&mut [0; 4])).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.reply().await, (200, "z".to_owned()));
    });
}

#[test]
fn an_http_1_0_connection_closes_unless_it_asks_for_keep_alive() {
    dialogue(async {
        let stage = TestServer::start(options());
        let mut client = stage.connect().await;
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        assert_eq!(client.reply().await, hello());
        client.send("GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(client.reply().await, hello());
        assert_eq!(client.rest().await, "");
    });
}

#[test]
fn a_client_that_leaves_within_its_request_harms_no_other() {
    dialogue(async {
        let stage = TestServer::start(options());
        let mut client = stage.connect().await;
        client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").await;
        drop(client);
        let mut client = stage.connect().await;
        client.send("GET / HTT").await;
        drop(client);

        let mut client = stage.connect().await;
        client.get("/").await;
        assert_eq!(client.reply().await, hello());
    });
}

#[test]
fn clients_beyond_the_limit_wait_in_the_backlog() {
    dialogue(async {
        let stage = TestServer::start(Options { connections_max: 1, ..options() });
        let mut first = stage.connect().await;
        first.get("/wait").await;
        take(&stage.app.arrived).await;
        let mut second = stage.connect().await;
        second.get("/").await;
        stage.app.released.add_permits(1);
        assert_eq!(first.reply().await, hello());
        assert_eq!(stage.metric("cachewarp_client_connections_open"), 1);
        assert_eq!(stage.app.served.get(), 1, "the second has not been accepted");
        drop(first);
        assert_eq!(second.reply().await, hello());
    });
}

#[test]
fn a_panic_closes_only_its_own_connection() {
    dialogue(async {
        let stage = TestServer::start(options());
        let mut other = stage.connect().await;
        other.get("/wait").await;
        take(&stage.app.arrived).await;
        for path in ["/panic", "/panic-later"] {
            let mut client = stage.connect().await;
            client.get(path).await;
            assert_eq!(client.rest().await, "", "{path}");
        }
        let mut client = stage.connect().await;
        client.get("/panic-body").await;
        let cut = client.rest().await;
        assert!(!cut.ends_with("0\r\n\r\n"), "a partial body must not look complete: {cut}");
        stage.app.released.add_permits(1);
        assert_eq!(other.reply().await, hello());
        other.get("/").await;
        assert_eq!(other.reply().await, hello());
        assert_eq!(stage.metric("cachewarp_panics_total"), 3);
    });
}

#[test]
fn an_upgraded_connection_belongs_to_the_handler_and_keeps_its_permit() {
    dialogue(async {
        let stage = TestServer::start(Options { connections_max: 1, ..options() });
        let mut client = stage.connect().await;
        client
            .send("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: twice\r\n\r\n")
            .await;
        assert_eq!(client.answer().await.0, 101);
        for word in ["one\n", "Content-Length: x\n"] {
            client.send(word).await;
            let mut twice = vec![0; 2 * word.len()];
            tokio::io::AsyncReadExt::read_exact(&mut client.0, &mut twice).await.unwrap();
            assert_eq!(twice, word.repeat(2).as_bytes());
        }
        assert_eq!(stage.metric("cachewarp_client_connections_open"), 1);
        drop(client);
        let mut next = stage.connect().await;
        next.get("/").await;
        assert_eq!(next.reply().await, hello());
    });
}

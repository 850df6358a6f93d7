//! The drain of a server.

use std::time::Duration;

use super::stage::{TestClient, TestServer, dialogue, options, take};
use crate::server::{DrainOutcome, Options};

#[test]
fn a_drain_finishes_requests_in_flight_and_closes_idle_connections() {
    dialogue(async {
        let stage = TestServer::start(options());
        let mut silent = stage.connect().await;
        let mut idle = stage.connect().await;
        idle.get("/").await;
        assert_eq!(idle.reply().await.0, 200);
        let mut busy = stage.connect().await;
        busy.get("/wait").await;
        take(&stage.app.arrived).await;

        stage.shutdown.begin();
        assert_eq!(idle.rest().await, "");
        assert_eq!(silent.rest().await, "");
        let refused = tokio::net::TcpStream::connect(stage.addr).await;
        assert!(refused.is_err(), "the server still accepts connections");

        stage.app.released.add_permits(1);
        let (status, head, body) = busy.answer().await;
        assert_eq!((status, body.as_str()), (200, "hello"));
        assert!(head.contains("connection: close"), "{head}");
        assert_eq!(busy.rest().await, "");
        assert_eq!(stage.ended().await, DrainOutcome { cut: 0 });
    });
}

#[test]
fn a_drain_cuts_and_counts_unfinished_requests_at_its_timeout() {
    dialogue(async {
        let stage = TestServer::start(Options { drain_timeout: Duration::from_millis(50), ..options() });
        let mut clients: Vec<TestClient> = vec![stage.connect().await, stage.connect().await];
        for client in &mut clients {
            client.get("/wait").await;
            take(&stage.app.arrived).await;
        }
        stage.shutdown.begin();
        for client in &mut clients {
            assert_eq!(client.rest().await, "");
        }
        assert_eq!(stage.metric("cachewarp_client_connections_cut_total"), 2);
        assert_eq!(stage.ended().await, DrainOutcome { cut: 2 });
    });
}

#[test]
fn a_tunnel_counts_as_unfinished_work() {
    dialogue(async {
        let stage = TestServer::start(Options { drain_timeout: Duration::from_millis(50), ..options() });
        let mut client = stage.connect().await;
        client
            .send("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: twice\r\n\r\n")
            .await;
        assert_eq!(client.answer().await.0, 101);
        stage.shutdown.begin();
        assert_eq!(stage.ended().await, DrainOutcome { cut: 1 });
    });
}

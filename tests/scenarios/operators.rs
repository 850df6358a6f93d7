//! The operator's view: metrics, health, logs.

use std::collections::BTreeSet;

use crate::harness::{Answer, Client, Origin, Program, Proxy, Redis, Start, client, until};

/// Sends requests of every kind: hits, misses, unstorable, passed and failed ones.
fn traffic(proxy: &Proxy, origin: &Origin) {
    origin.answer("/a", Answer::json("{}"));
    origin.answer("/private", Answer::new(200, &[("Cache-Control", "private")], "{}"));
    origin.answer("/gone", Answer::silent().close());
    let mut client = proxy.connect();
    for target in ["/a", "/a", "/a", "/private", "/gone", "/health"] {
        client.get(target);
    }
    client.request("POST", "/orders", &[("Content-Length", "0")]);
    client.request("TRACE", "/a", &[]);
    for method in ["BREW", "get"] {
        client.request(method, "/orders", &[]);
    }
}

#[test]
fn metrics_count_requests_lookups_and_commands() {
    let (origin, redis) = (Origin::start(), Redis::start());
    // On a busy machine, a slow reply or a slow fetch would cost one more look-up.
    let settings = [("redis_timeout", "10s"), ("fetch_lease", "off")];
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);
    traffic(&proxy, &origin);
    for (series, value) in [
        (r#"cachewarp_requests_total{outcome="miss"}"#, 1.0),
        (r#"cachewarp_requests_total{outcome="hit-memory"}"#, 2.0),
        (r#"cachewarp_requests_total{outcome="uncacheable"}"#, 1.0),
        (r#"cachewarp_requests_total{outcome="failed"}"#, 1.0),
        (r#"cachewarp_requests_total{outcome="health"}"#, 1.0),
        (r#"cachewarp_requests_total{outcome="pass"}"#, 3.0),
        (r#"cachewarp_requests_total{outcome="refused"}"#, 1.0),
        (r#"cachewarp_request_duration_seconds_count{outcome="hit-memory"}"#, 2.0),
        (r#"cachewarp_not_stored_total{reason="private"}"#, 1.0),
        (r#"cachewarp_store_lookups_total{result="memory"}"#, 2.0),
        (r#"cachewarp_store_lookups_total{result="miss"}"#, 3.0),
        (r#"cachewarp_redis_connections{state="up"}"#, 4.0),
        (r#"cachewarp_origin_requests_total{result="complete"}"#, 5.0),
        (r#"cachewarp_origin_failures_total{phase="head"}"#, 1.0),
        ("cachewarp_memory_entries", 1.0),
        (r#"cachewarp_responses_total{method="GET",status="2xx",outcome="hit-memory"}"#, 2.0),
        (r#"cachewarp_responses_total{method="GET",status="5xx",outcome="failed"}"#, 1.0),
        (r#"cachewarp_responses_total{method="POST",status="4xx",outcome="pass"}"#, 1.0),
        (r#"cachewarp_responses_total{method="TRACE",status="4xx",outcome="refused"}"#, 1.0),
        (r#"cachewarp_responses_total{method="other",status="4xx",outcome="pass"}"#, 2.0),
        (r#"cachewarp_response_duration_seconds_count{outcome="hit-memory"}"#, 2.0),
        (r#"cachewarp_origin_responses_total{status="2xx"}"#, 2.0),
        (r#"cachewarp_origin_responses_total{status="4xx"}"#, 3.0),
        ("cachewarp_memory_evictions_total", 0.0),
        ("cachewarp_client_connections_accepted_total", 1.0),
        ("cachewarp_panics_total", 0.0),
    ] {
        assert_eq!(proxy.metric(series), value, "{series}");
    }
    // Three `GET`s, a `SET`, a `PING`.
    proxy.await_metric(r#"cachewarp_redis_commands_total{outcome="ok"}"#, 5.0);
    assert!(proxy.metric("cachewarp_memory_bytes") > 100.0);
    let (received, sent) = (
        proxy.metric("cachewarp_client_received_bytes_total"),
        proxy.metric("cachewarp_client_sent_bytes_total"),
    );
    assert!((300.0..3_000.0).contains(&received) && (1_000.0..8_000.0).contains(&sent), "{received} {sent}");
    // The server counts a connection as closed once it has detected the close.
    until("all connections to be closed", || proxy.metric("cachewarp_client_connections_open") == 0.0);
}

#[test]
fn the_admin_listener_is_separate_from_the_client_listener() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut operator = Client::connect(proxy.admin_addr());
    let health = operator.get("/health");
    assert_eq!((health.status, health.text()), (200, r#"{"status":"ok","redis":"off"}"#));
    let head = operator.request("HEAD", "/metrics", &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    for method in ["POST", "DELETE", "PUT"] {
        let response = operator.request(method, "/metrics", &[]);
        assert_eq!((response.status, response.field("allow")), (405, Some("GET, HEAD")));
    }
    for path in ["/metrics/", "/a", "/Health", "//"] {
        let response = operator.get(path);
        assert_eq!(
            (response.status, response.field("content-type")),
            (404, Some("application/problem+json")),
            "{path}"
        );
    }
    // No client request reaches the admin listener.
    assert_eq!(proxy.get("/metrics").text(), "no such path");
    assert_eq!(origin.count("/metrics"), 1);
    assert_eq!(
        proxy.metric(r#"cachewarp_requests_total{outcome="health"}"#),
        0.0,
        "admin requests are not counted as client requests"
    );
}

#[test]
fn the_admin_listener_can_be_disabled() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    let url = origin.url();
    let program = Program::start(&Start {
        arguments: &[
            "--listen-addr=127.0.0.1:0",
            "--admin-addr=off",
            "--redis-url=off",
            "--origin-url",
            &url,
        ],
        ..Start::default()
    });
    assert_eq!(client::get(program.await_addr(), "/a").status, 200);
    assert!(!program.await_line("serving").contains("admin"));
}

#[test]
fn loss_and_return_of_redis_are_logged_once_each() {
    let (origin, mut redis) = (Origin::start(), Redis::start());
    origin.answer("/a", Answer::json("{}"));
    let urls = [format!("--origin-url={}", origin.url()), format!("--redis-url={}", redis.url())];
    let flags = ["--listen-addr=127.0.0.1:0", "--admin-addr=off", "--worker-threads=1", &urls[0], &urls[1]];
    let program = Program::start(&Start { arguments: &flags, ..Start::default() });
    let mut client = Client::connect(program.await_addr());
    program.await_line("connected to Redis");
    redis.kill();
    program.await_line("lost the last connection to Redis");
    for _ in 0..50 {
        assert_eq!(client.get("/a").status, 200);
    }
    redis.restart();
    until("Redis to be back", || client.get("/health").text().contains("\"connected\""));
    program.signal("TERM");
    let log = program.end().stderr;
    let lines = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!((lines("connected to Redis"), lines("lost the last connection to Redis")), (2, 1), "{log}");
    // The log names each cause of a failed connection once: the end of a handshake by the dying
    // server, the closed port, and on a busy machine the timeout.
    let failures = log.lines().filter(|line| line.contains("cannot connect to Redis"));
    let causes: Vec<_> = failures.filter_map(|line| line.split_once("why=")).map(|(_, why)| why).collect();
    assert!(causes.iter().collect::<BTreeSet<_>>().len() == causes.len() && causes.len() <= 3, "{log}");
    assert_eq!(lines("cachewarp::redis"), 3 + causes.len(), "{log}");
}

/// Returns the log of a program that answered three requests.
fn log_of_three_requests(flags: &[&str]) -> String {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    let url = origin.url();
    let mut arguments = vec!["--listen-addr=127.0.0.1:0", "--admin-addr=off", "--origin-url", &url];
    arguments.extend(flags);
    let program = Program::start(&Start { arguments: &arguments, ..Start::default() });
    let line = program.await_line("serving");
    let addr = line.split(['=', '"', ' ']).find_map(|word| word.parse().ok()).unwrap();
    let mut client = Client::connect(addr);
    for target in ["/a?token=hunter2", "/a?token=hunter2", "/health"] {
        let credential = ("Authorization", "Bearer hunter2");
        assert_eq!(client.request("GET", target, &[credential]).status, 200);
    }
    program.signal("TERM");
    let ended = program.end();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "the log must not go to standard output");
    assert!(!ended.stderr.contains("hunter2"), "the log must not contain secrets: {}", ended.stderr);
    ended.stderr
}

#[test]
fn every_line_of_a_json_log_is_json() {
    // No server listens there: the log must say so once, not for each request.
    let redis = format!("--redis-url=redis://alice:hunter2@{}", Origin::start().stop());
    let log = log_of_three_requests(&[&redis, "--log-format=json", "--worker-threads=1"]);
    let mut targets = Vec::new();
    for line in log.lines() {
        let mut bytes = line.as_bytes().to_vec();
        let json = simd_json::to_owned_value(&mut bytes).unwrap_or_else(|error| panic!("{error}: {line}"));
        let object = format!("{json:?}");
        assert!(["timestamp", "level", "message", "target"].iter().all(|key| object.contains(key)), "{line}");
        targets.push(line.split("\"target\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned());
    }
    let of = |target: &str| targets.iter().filter(|found| found.starts_with(target)).count();
    assert_eq!((of("cachewarp"), of("cachewarp::redis")), (log.lines().count(), 1), "{log}");
}

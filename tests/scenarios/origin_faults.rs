//! Failing origins: the client gets the reason and never a truncated body as complete, and
//! CacheWarp stores nothing.

use std::collections::HashMap;
use std::io::{ErrorKind, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::harness::{Answer, Client, Gate, Origin, Program, Proxy, Response, Start};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";

/// Checks for a problem document (RFC 9457) with the reason and without internals.
fn assert_problem(response: &Response, code: u16, reason: &str, origin: &str) {
    assert_eq!((response.status, response.field("content-type")), (code, Some("application/problem+json")));
    assert_eq!(response.cache_status(), format!("CacheWarp; fwd=uri-miss; detail={reason}"));
    assert_eq!(response.field("cache-control"), Some("no-store"));
    assert!(response.text().contains(&format!("\"status\":{code}")), "{}", response.text());
    assert!(!response.text().contains(origin.trim_start_matches("http://")), "{}", response.text());
}

fn not_stored(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metric(&format!("cachewarp_not_stored_total{{reason=\"{reason}\"}}"))
}

/// Checks that a first request leaves no trace in the second response.
fn assert_not_stored(proxy: &Proxy, origin: &Origin, path: &str) {
    let before = origin.count(path);
    let mut client = proxy.connect();
    client.send_head("GET", path, &[]);
    let head = client.head();
    let status = head.field("cache-status").unwrap_or("none");
    assert!(!status.contains("hit"), "{path}: {status}");
    assert_eq!(origin.count(path), before + 1);
    assert_eq!(proxy.metric("cachewarp_memory_entries"), 0.0);
}

#[test]
fn a_refused_connection_gets_a_502() {
    let origin = Origin::start();
    let url = origin.url();
    origin.stop();
    let proxy = Proxy::start(&url, &[]);
    assert_problem(&proxy.get("/a"), 502, "origin-unreachable", &url);
    let post = proxy.connect().request("POST", "/a", &[("Content-Length", "0")]);
    assert_eq!((post.status, post.field("content-type")), (502, Some("application/problem+json")));
    assert_eq!(proxy.metric(r#"cachewarp_origin_failures_total{phase="connect"}"#), 2.0);
    assert_eq!(proxy.metric(r#"cachewarp_requests_total{outcome="failed"}"#), 2.0);
}

#[test]
fn an_origin_that_returns_is_used_at_once() {
    let origin = Origin::start();
    origin.answer("/a", Answer::silent().close());
    let proxy = Proxy::start(&origin.url(), &[]);
    assert_problem(&proxy.get("/a"), 502, "origin-closed", &origin.url());
    origin.answer("/a", Answer::json("{}"));
    assert_eq!(proxy.get("/a").status, 200);
}

#[test]
fn a_timeout_before_the_head_gets_a_504() {
    let origin = Origin::start();
    origin.answer("/a", Answer::silent().hang());
    origin.answer("/b", Answer::raw("HTTP/1.1 200 OK\r\nContent-").hang());
    let proxy = Proxy::start(&origin.url(), &[("origin_head_timeout", "100ms")]);
    for path in ["/a", "/b"] {
        assert_problem(&proxy.get(path), 504, "origin-head-timeout", &origin.url());
    }
    assert_eq!(proxy.metric(r#"cachewarp_origin_failures_total{phase="head"}"#), 2.0);
    assert_eq!(proxy.metric("cachewarp_origin_timeouts_total"), 2.0);
}

#[test]
fn a_request_beyond_the_pending_limit_gets_a_503() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", Answer::silent().pass(&gate).send(format!("{OK}Content-Length: 2\r\n\r\n{{}}")));
    let proxy = Proxy::start(&origin.url(), &[("origin_max_connections", "1")]);
    let mut first = proxy.connect();
    first.send_head("GET", "/a", &[]);
    gate.await_arrivals(1);
    let response = proxy.get("/b");
    assert_problem(&response, 503, "origin-overloaded", &origin.url());
    assert_eq!(response.field("retry-after"), Some("1"));
    gate.open();
    assert_eq!(first.response().status, 200);
    assert_eq!(proxy.get("/b").status, 404, "the limit must be free again");
}

#[test]
fn a_malformed_response_gets_a_502() {
    let origin = Origin::start();
    let long = format!("{OK}X-Long: {}\r\n\r\n", "x".repeat(70 * 1024));
    let many = format!("{OK}{}\r\n", "X-Many: x\r\n".repeat(300));
    let rows = [
        ("SSH-2.0-OpenSSH_9.6\r\n\r\n".to_owned(), "origin-bad-answer"),
        (long, "origin-head-too-large"),
        (many, "origin-head-too-large"),
        (format!("{OK}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{{}}"), "origin-bad-answer"),
        (format!("{OK}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}"), "origin-bad-answer"),
        (format!("{OK}Content-Length: two\r\n\r\n{{}}"), "origin-bad-answer"),
        ("HTTP/1.1 200".to_owned(), "origin-closed"),
    ];
    let proxy = Proxy::start(&origin.url(), &[]);
    for (number, (bytes, reason)) in rows.into_iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, Answer::raw(bytes.clone()).close());
        let response = proxy.get(&path);
        assert_eq!(response.status, 502, "{:?}", bytes.get(..60));
        assert_problem(&response, 502, reason, &origin.url());
    }
}

#[test]
fn a_truncated_body_is_cut_for_the_client() {
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    let rows = [
        ("cut of its length", "Content-Length: 10\r\n\r\n", "{\"a\"", Answer::close as fn(Answer) -> Answer),
        ("cut of a chunk", chunked, "9\r\n{\"a\"", Answer::close),
        ("cut of the last chunk", chunked, "4\r\n{\"a\"\r\n", Answer::close),
        ("wrongly chunked", chunked, "4\r\n{\"a\"\r\nzzz\r\n", Answer::hang),
        ("hangs", "Content-Length: 10\r\n\r\n", "{\"a\"", Answer::hang),
    ];
    for (case, framing, body, then) in rows {
        for cache_control in ["max-age=60", "no-store"] {
            let origin = Origin::start();
            let answer = format!("{OK}Cache-Control: {cache_control}\r\n{framing}{body}");
            origin.answer("/a", then(Answer::raw(answer)));
            let proxy = Proxy::start(&origin.url(), &[("origin_body_timeout", "100ms")]);
            let mut client = proxy.connect();
            client.send_head("GET", "/a", &[]);
            let head = client.head();
            assert_eq!(head.word(1), "200");
            let (body, end) = client.body_of("GET", &head);
            assert_eq!(body, b"{\"a\"", "{case}: all bytes before the cut");
            let end = end.expect_err(case).kind();
            assert!(matches!(end, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{case}: {end:?}");
            assert_eq!(proxy.metric(r#"cachewarp_origin_failures_total{phase="body"}"#), 1.0, "{case}");
            let reason = if cache_control == "no-store" { "no-store" } else { "cut-body" };
            assert_eq!(not_stored(&proxy, reason), 1.0, "{case}");
            assert_not_stored(&proxy, &origin, "/a");
        }
    }
}

#[test]
fn invalid_json_reaches_the_client_unchanged() {
    let bodies =
        ["{\"broken\": ", "", "{} {}", "{'a':1}", "[1,]", "NaN", "\u{feff}{}", "<html>", "\"\u{1}\""];
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for (number, body) in bodies.iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, Answer::json(body));
        assert_eq!(
            (proxy.get(&path).text(), proxy.get(&path).cache_status()),
            (*body, "CacheWarp; fwd=uri-miss; detail=invalid-json")
        );
        assert_not_stored(&proxy, &origin, &path);
    }
    assert_eq!(not_stored(&proxy, "invalid-json"), 3.0 * bodies.len() as f64);
}

#[test]
fn other_media_types_pass_through() {
    let origin = Origin::start();
    type Fields = &'static [(&'static str, &'static str)];
    let rows: [(Fields, u16, &str); 5] = [
        (&[("Content-Type", "text/html")], 200, "content-type"),
        (&[], 200, "content-type"),
        (
            &[("Content-Type", "application/octet-stream"), ("Cache-Control", "max-age=60")],
            200,
            "content-type",
        ),
        (&[JSON], 404, "status"),
        (&[JSON, ("Cache-Control", "max-age=60")], 500, "status"),
    ];
    let proxy = Proxy::start(&origin.url(), &[]);
    for (number, (fields, code, reason)) in rows.into_iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, Answer::new(code, fields, "<p>\u{20ac}</p>"));
        let response = proxy.get(&path);
        assert_eq!((response.status, response.text()), (code, "<p>\u{20ac}</p>"));
        assert_eq!(response.cache_status(), format!("CacheWarp; fwd=uri-miss; detail={reason}"));
        assert_not_stored(&proxy, &origin, &path);
    }
}

#[test]
fn the_storable_media_types_can_be_extended() {
    let origin = Origin::start();
    origin.answer(
        "/a",
        Answer::new(404, &[("Content-Type", "text/html"), ("Cache-Control", "max-age=60")], "<p>"),
    );
    let proxy = Proxy::start(&origin.url(), &[("cache_content_types", "*"), ("cache_statuses", "200,404")]);
    assert_eq!(proxy.get("/a").cache_status(), "CacheWarp; fwd=uri-miss; stored");
    let again = proxy.get("/a");
    assert_eq!((again.status, again.text(), again.cache_status().contains("hit")), (404, "<p>", true));
}

/// Each body ends with its connection. A JSON text is stored if no beginning of it is JSON.
#[test]
fn a_close_delimited_body_is_stored_if_its_content_shows_its_end() {
    let origin = Origin::start();
    let text = OK.replace("application/json", "text/plain\r\nCache-Control: max-age=60");
    let gzipped =
        |bytes: Vec<u8>| [format!("{OK}Content-Encoding: gzip\r\n\r\n").into_bytes(), bytes].concat();
    let cut = gzip("{\"a\": 1}").split_last().unwrap().1.to_vec();
    let bytes = |body: &str| format!("{OK}\r\n{body}").into_bytes();
    let rows = [
        (bytes("{\"a\": 1}"), Ok("{\"a\": 1}")),
        (bytes(" [1]\n"), Ok(" [1]\n")),
        (bytes("\"a\""), Ok("\"a\"")),
        (format!("{}\r\n{{}}", OK.replace("1.1", "1.0")).into_bytes(), Ok("{}")),
        (format!("{OK}Connection: close\r\n\r\n{{}}").into_bytes(), Ok("{}")),
        (bytes("{\"a\": 1"), Err("cut-body")),
        (bytes("12"), Err("undelimited")),
        (bytes("null"), Err("undelimited")),
        (bytes(""), Err("cut-body")),
        (format!("{text}\r\n{{}}").into_bytes(), Err("undelimited")),
        (gzipped(cut), Err("cut-body")),
    ];
    let proxy = Proxy::start(&origin.url(), &[("cache_content_types", "*")]);
    let mut refused = HashMap::new();
    for (number, (bytes, want)) in rows.into_iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, Answer::raw(bytes.clone()).close());
        // Requests join the fetch until its check ends.
        let mut await_refusal = || {
            let Err(reason) = want else { return };
            let count = refused.entry(reason).or_insert(0.0);
            *count += 1.0;
            proxy.await_metric(&format!("cachewarp_not_stored_total{{reason=\"{reason}\"}}"), *count);
        };
        let first = proxy.get(&path);
        await_refusal();
        let second = proxy.get(&path);
        await_refusal();
        let case = String::from_utf8_lossy(&bytes).into_owned();
        assert_eq!((first.status, &first.body), (200, &second.body), "{case}");
        match want {
            Ok(body) => {
                assert_eq!(second.text(), body, "{case}");
                assert!(second.cache_status().contains("hit"), "{case}: {}", second.cache_status());
            }
            Err(_) => assert!(!second.cache_status().contains("hit"), "{case}"),
        }
    }
}

/// A truncated response is no sign that the stored one has ended.
#[test]
fn a_truncated_close_delimited_body_replaces_nothing() {
    let origin = Origin::start();
    let head = format!("{OK}Cache-Control: max-age=0, stale-while-revalidate=60\r\nETag: \"a\"\r\n\r\n");
    origin.answer("/a", Answer::raw(format!("{head}{{\"a\": 1}}")).close());
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    origin.answer("/a", Answer::raw(format!("{head}{{\"a\":")).close());
    assert_eq!(proxy.get("/a").text(), "{\"a\": 1}");
    proxy.await_metric(r#"cachewarp_not_stored_total{reason="cut-body"}"#, 1.0);
    assert_eq!(proxy.get("/a").text(), "{\"a\": 1}", "the stored response stays");
}

/// Bodies that are small on the wire and dense once decoded, and large ones.
#[test]
fn an_invalid_large_body_is_checked_apart_and_remembered() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for (number, body) in
        [gzip(&"[".repeat(8 << 20)), gzip(&"{\"\":".repeat(1 << 20))].into_iter().enumerate()
    {
        let head = format!("{OK}Content-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
        for suffix in ["a", "b"] {
            let path = format!("/{number}{suffix}");
            origin.answer(&path, Answer::raw(head.clone()).send(body.clone()));
            assert_eq!(proxy.get(&path).body, body);
            let count = 2.0 * number as f64 + if suffix == "a" { 1.0 } else { 2.0 };
            proxy.await_metric(r#"cachewarp_not_stored_total{reason="invalid-json"}"#, count);
        }
        assert_eq!(proxy.metric("cachewarp_json_checks_total{kind=\"remembered\"}"), number as f64 + 1.0);
    }
    let large = format!("[\"{}\"]", "x".repeat(900 << 10));
    origin.answer("/large", Answer::json(&large));
    let checks = |kind: &str| proxy.metric(&format!("cachewarp_json_checks_total{{kind=\"{kind}\"}}"));
    let (apart, at_once) = (checks("apart"), checks("at-once"));
    assert_eq!(proxy.get("/large").text(), large);
    proxy.await_metric("cachewarp_memory_entries", 1.0);
    assert_eq!((checks("apart"), checks("at-once")), (apart + 1.0, at_once), "no worker checks a large body");
    assert!(proxy.get("/large").cache_status().contains("hit"));
}

#[test]
fn json_values_beyond_every_number_type_are_stored() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let deep = format!("{}{}", "[".repeat(1_100), "]".repeat(1_100));
    let rows = ["{\"wei\":123456789012345678901234567890}", "[1e400]", "\"\\ud83d\"", &deep];
    for (number, body) in rows.into_iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, Answer::json(body));
        assert_eq!(proxy.get(&path).text(), body);
        let second = proxy.get(&path);
        assert_eq!((second.text(), second.cache_status().contains("hit")), (body, true));
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn an_encoded_body_is_stored_unchanged() {
    let origin = Origin::start();
    let rows = [
        ("gzip", gzip("{\"a\": 1}"), Ok(())),
        ("gzip", gzip("not json"), Err("invalid-json")),
        ("gzip", b"not gzip".to_vec(), Err("content-encoding")),
        // A small body that decodes to a large one: the check decodes it up to a limit.
        ("gzip", gzip(&" ".repeat(10 << 20)), Err("content-encoding")),
        ("rot13", b"{}".to_vec(), Err("content-encoding")),
    ];
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut refused = 0.0;
    for (number, (coding, body, want)) in rows.into_iter().enumerate() {
        let path = format!("/{number}");
        let head = format!("{OK}Content-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n", body.len());
        origin.answer(&path, Answer::raw(head).send(body.clone()));
        let first = proxy.get(&path);
        if want == Err("content-encoding") {
            refused += 1.0;
            // Requests join the fetch until its check ends.
            proxy.await_metric(r#"cachewarp_not_stored_total{reason="content-encoding"}"#, refused);
        }
        let second = proxy.get(&path);
        if want == Err("content-encoding") {
            refused += 1.0;
            proxy.await_metric(r#"cachewarp_not_stored_total{reason="content-encoding"}"#, refused);
        }
        assert_eq!((&first.body, &second.body), (&body, &body));
        assert_eq!(
            (first.field("content-encoding"), second.field("content-encoding")),
            (Some(coding), Some(coding))
        );
        match want {
            Ok(()) => assert!(second.cache_status().contains("hit")),
            Err(reason) => {
                assert_eq!(second.cache_status(), format!("CacheWarp; fwd=uri-miss; detail={reason}"))
            }
        }
    }
}

#[test]
fn a_body_of_two_gibibytes_streams_through_unbuffered() {
    const PIECE: usize = 0x10000;
    const PIECES: usize = (2 << 30) / PIECE;
    let origin = Origin::start();
    let chunk = format!("{PIECE:x}\r\n{}\r\n", " ".repeat(PIECE));
    let unknown = Answer::raw(format!("{OK}Transfer-Encoding: chunked\r\n\r\n"))
        .repeat(chunk, PIECES)
        .send("0\r\n\r\n");
    let declared = Answer::raw(format!("{OK}Content-Length: {}\r\n\r\n", PIECE * PIECES / 4));
    origin.answer("/unknown", unknown);
    origin.answer("/declared", declared.repeat(vec![b' '; PIECE], PIECES / 4));
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
    let mut client = Client::connect(program.await_addr());
    client.get("/health");
    let before = program.peak_kib();
    for (path, length) in [("/unknown", PIECE * PIECES), ("/declared", PIECE * PIECES / 4)] {
        client.send_head("GET", path, &[]);
        let head = client.head();
        let (read, end) = client.skip_body(&head);
        end.unwrap();
        assert_eq!(read, length as u64);
    }
    let grown = program.peak_kib() - before;
    assert!(grown < 32 * 1024, "it took {grown} KiB more");
}

//! `QUERY` (RFC 10008): a safe method with content, cached like `GET` under a key that has the
//! content.

use std::io::Write;

use serde_json::Value;
use tempfile::NamedTempFile;

use super::admin::{admin_request, purge};
use crate::harness::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, Http2, RST_STREAM, block};
use crate::harness::{Answer, Client, Gate, Origin, Program, Proxy, Redis, Response, Then, until};

const FRESH: (&str, &str) = ("Cache-Control", "max-age=600");
const JSON: (&str, &str) = ("Content-Type", "application/json");
const TOKEN: (&str, &str) = ("CacheWarp-Explain", "t");

/// Starts an origin that echoes the content of each request, with these fields.
fn echoing(path: &str, fields: &'static [(&'static str, &'static str)]) -> Origin {
    let origin = Origin::start();
    echo(&origin, path, fields);
    origin
}

fn echo(origin: &Origin, path: &str, fields: &'static [(&'static str, &'static str)]) {
    origin.script(path, |exchange| {
        let content = String::from_utf8_lossy(&exchange.body()?).into_owned();
        let of = |name| exchange.request.field(name).unwrap_or("none").to_owned();
        let text = serde_json::json!({
            "method": exchange.request.method,
            "content": content,
            "type": of("content-type"),
            "language": of("content-language"),
            "accepted": of("accept-language"),
        });
        Answer::json_with(fields, &text.to_string()).give(exchange)
    });
}

fn send(client: &mut Client, target: &str, content: &str, fields: &[(&str, &str)]) {
    let length = content.len().to_string();
    client.send_head("QUERY", target, &[&[("Content-Length", length.as_str())], fields].concat());
    client.send(content);
}

fn query_with(proxy: &Proxy, target: &str, content: &str, fields: &[(&str, &str)]) -> Response {
    let mut client = proxy.connect();
    send(&mut client, target, content, fields);
    client.response()
}

fn query(proxy: &Proxy, content: &str) -> Response {
    query_with(proxy, "/a", content, &[JSON])
}

fn is_hit(answer: &Response) -> bool {
    answer.cache_status().starts_with("CacheWarp; hit")
}

fn member(answer: &Response, name: &str) -> String {
    let text: Value = serde_json::from_str(answer.text()).unwrap();
    text[name].as_str().unwrap_or_default().to_owned()
}

/// Sends a `QUERY` until the store answers it.
fn await_hit(proxy: &Proxy, content: &str) {
    until("the response to be stored", || is_hit(&query(proxy, content)));
}

#[test]
fn a_response_answers_queries_with_equal_content_only() {
    let origin = echoing("/a", &[FRESH, ("Accept-Query", "application/json")]);
    let proxy = Proxy::start(&origin.url(), &[]);
    let contents: [(&str, &[(&str, &str)]); 8] = [
        ("{\"a\":1}", &[JSON]),
        ("{\"a\":2}", &[JSON]),
        ("{\"a\":1} ", &[JSON]),
        ("{\"a\":1}", &[("Content-Type", "text/csv")]),
        ("{\"a\":1}", &[JSON, ("Content-Language", "de")]),
        ("{\"a\":1}", &[JSON, ("Content-Encoding", "x-own")]),
        ("{\"a\":1}", &[]),
        ("", &[JSON]),
    ];
    for (content, fields) in contents {
        let first = query_with(&proxy, "/a", content, fields);
        assert!(!is_hit(&first), "{content} {fields:?}: {}", first.cache_status());
        until("the response to be stored", || is_hit(&query_with(&proxy, "/a", content, fields)));
    }
    let before = origin.count("/a");
    for (content, fields) in contents {
        let hit = query_with(&proxy, "/a", content, fields);
        assert!(is_hit(&hit), "{content} {fields:?}: {}", hit.cache_status());
        assert_eq!((member(&hit, "method"), member(&hit, "content")), ("QUERY".into(), content.into()));
        assert_eq!(hit.field("accept-query"), Some("application/json"));
    }
    assert_eq!(origin.count("/a"), before);
    let fetched = proxy.get("/a");
    assert!(!is_hit(&fetched) && member(&fetched, "method") == "GET", "a QUERY answers no GET");
    let sent = &origin.seen("/a")[0];
    assert!(sent.field("cachewarp-query-content").is_none(), "no origin gets the digest");
    let hits = r#"cachewarp_responses_total{method="QUERY",status="2xx",outcome="hit-memory"}"#;
    assert!(proxy.metric(hits) >= 8.0);
}

#[test]
fn queries_of_http2_and_http1_share_a_response() {
    let origin = echoing("/a", &[FRESH]);
    let proxy = Proxy::start(&origin.url(), &[]);
    await_hit(&proxy, "12");
    let before = origin.count("/a");
    let mut client = Http2::connect(proxy.addr());
    let fields = [
        (":method", "QUERY"),
        (":scheme", "http"),
        (":authority", "test"),
        (":path", "/a"),
        ("content-type", "application/json"),
    ];
    client.send(HEADERS, END_HEADERS, 1, &block(&fields)).unwrap();
    client.send(DATA, 0, 1, b"1").unwrap();
    client.send(DATA, END_STREAM, 1, b"2").unwrap();
    let mut body = Vec::new();
    loop {
        let frame = client.next().unwrap();
        assert_ne!(frame.kind, RST_STREAM);
        if frame.stream == 1 && frame.kind == DATA {
            body.extend_from_slice(&frame.payload);
        }
        if frame.stream == 1 && frame.flags & END_STREAM != 0 {
            break;
        }
    }
    assert_eq!(body, query(&proxy, "12").body);
    assert_eq!(origin.count("/a"), before);
}

#[test]
fn no_client_chooses_the_digest_of_its_content() {
    let origin = echoing("/a", &[FRESH]);
    let proxy = Proxy::start(&origin.url(), &[]);
    for (own, fields) in [
        ("1", &[JSON, ("CacheWarp-Query-Content", "x")][..]),
        ("2", &[JSON, ("Connection", "cachewarp-query-content")]),
        ("3", &[JSON, ("Connection", "keep-alive, CacheWarp_Query_Content")]),
        ("4", &[JSON, ("Content-Language", "de"), ("Connection", "content-language")]),
    ] {
        for _ in 0..2 {
            let answer = query_with(&proxy, "/a", own, fields);
            assert_eq!(member(&answer, "content"), own, "{fields:?}");
        }
    }
    // The origin did not receive the language, so no request that states it gets the response.
    let german = query_with(&proxy, "/a", "4", &[JSON, ("Content-Language", "de")]);
    assert_eq!(member(&german, "language"), "de");
    assert!(origin.seen("/a").iter().all(|sent| sent.field("cachewarp-query-content").is_none()));
}

#[test]
fn queries_obey_the_rules_of_gets() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    type Fields = &'static [(&'static str, &'static str)];
    let rows: [(Fields, Fields, bool); 10] = [
        (&[FRESH], &[], true),
        (&[], &[], true),
        (&[("Cache-Control", "no-store")], &[], false),
        (&[("Cache-Control", "private, max-age=600")], &[], false),
        (&[("Set-Cookie", "a=b")], &[], false),
        (&[FRESH], &[("Cache-Control", "no-store")], false),
        (&[FRESH], &[("Authorization", "Bearer alice")], false),
        (&[("Cache-Control", "public, max-age=600")], &[("Authorization", "Bearer alice")], true),
        (&[], &[("X-User", "7")], false),
        (&[FRESH], &[("X-User", "7")], true),
    ];
    for (at, (answer, request, stored)) in rows.into_iter().enumerate() {
        let path = format!("/{at}");
        echo(&origin, &path, answer);
        let fields = [request, &[JSON]].concat();
        query_with(&proxy, &path, "{}", &fields);
        if stored {
            until("the response to be stored", || is_hit(&query_with(&proxy, &path, "{}", &fields)));
        } else {
            let again = query_with(&proxy, &path, "{}", &fields);
            assert!(!is_hit(&again), "{answer:?} to {request:?}: {}", again.cache_status());
            assert_eq!(origin.count(&path), 2, "{answer:?} to {request:?}");
        }
    }
}

#[test]
fn conditions_ranges_and_vary_apply_to_queries() {
    let origin = echoing("/a", &[FRESH, ("ETag", "\"1\""), ("Vary", "Accept-Language")]);
    let proxy = Proxy::start(&origin.url(), &[]);
    await_hit(&proxy, "{}");
    let unchanged = query_with(&proxy, "/a", "{}", &[JSON, ("If-None-Match", "\"1\"")]);
    assert_eq!((unchanged.status, is_hit(&unchanged)), (304, true), "{}", unchanged.cache_status());
    let part = query_with(&proxy, "/a", "{}", &[JSON, ("Range", "bytes=0-3")]);
    assert_eq!((part.status, part.body.len()), (206, 4));
    let german = query_with(&proxy, "/a", "{}", &[JSON, ("Accept-Language", "de")]);
    assert!(!is_hit(&german) && member(&german, "accepted") == "de");
    assert_eq!(member(&query(&proxy, "{}"), "accepted"), "none");
}

#[test]
fn concurrent_queries_share_a_fetch_by_their_content() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.script("/a", {
        let gate = gate.clone();
        move |exchange| {
            let content = String::from_utf8_lossy(&exchange.body()?).into_owned();
            gate.pass();
            Answer::json_with(&[FRESH], &content).give(exchange)
        }
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut clients: Vec<Client> = Vec::new();
    for content in ["1", "2", "1", "2"] {
        let mut client = proxy.connect();
        send(&mut client, "/a", content, &[JSON]);
        clients.push(client);
    }
    gate.await_arrivals(2);
    proxy.await_askers(4);
    gate.open();
    let texts: Vec<_> = clients.iter_mut().map(|client| client.response().text().to_owned()).collect();
    assert_eq!(texts, ["1", "2", "1", "2"]);
    assert_eq!(origin.count("/a"), 2);
}

#[test]
fn a_query_is_sent_again_on_a_new_connection() {
    let origin = echoing("/a", &[("Cache-Control", "no-store")]);
    let proxy = Proxy::start(&origin.url(), &[]);
    assert_eq!(query(&proxy, "1").status, 200);
    // The reused connection ends once the request has been read, and the new one answers.
    let ended = std::sync::atomic::AtomicBool::new(false);
    origin.script("/a", move |exchange| {
        let content = String::from_utf8_lossy(&exchange.body()?).into_owned();
        if !ended.swap(true, std::sync::atomic::Ordering::Relaxed) {
            return Ok(Then::Close);
        }
        Answer::json(&content).give(exchange)
    });
    let answer = query(&proxy, "23");
    assert_eq!((answer.status, answer.text()), (200, "23"));
    assert_eq!(origin.count("/a"), 3);
}

#[test]
fn a_write_and_a_purge_end_the_responses_to_queries() {
    let (origin, redis) = (echoing("/a", &[FRESH]), Redis::start());
    let nodes =
        [(), ()].map(|()| Proxy::start_with_redis(&origin.url(), &redis.url(), &[("redis_timeout", "5s")]));
    let await_both = || {
        for content in ["1", "2"] {
            nodes.iter().for_each(|node| await_hit(node, content));
        }
        until("the GET to be stored", || is_hit(&nodes[0].get("/a")));
    };
    let assert_ended = |node: &Proxy, by: &str| {
        for content in ["1", "2"] {
            assert!(!is_hit(&query(node, content)), "{content} after {by}");
        }
    };
    await_both();
    let written = nodes[0].connect().request("POST", "/a", &[("Content-Length", "0")]);
    assert_eq!(written.status, 200);
    assert_ended(&nodes[0], "a POST");
    assert!(!is_hit(&nodes[0].get("/a")));

    await_both();
    purge(&nodes[0], r#"{"url":"http://test/a"}"#);
    nodes.iter().take(1).for_each(|node| assert_ended(node, "a purge"));

    // The outcome of the write is unknown.
    await_both();
    origin.script("/a", |exchange| {
        exchange.body()?;
        Ok(Then::Close)
    });
    assert_eq!(nodes[0].connect().request("POST", "/a", &[("Content-Length", "0")]).status, 502);
    echo(&origin, "/a", &[FRESH]);
    assert_ended(&nodes[0], "a write of unknown outcome");
}

#[test]
fn large_content_passes_uncached_and_whole() {
    let origin = echoing("/a", &[FRESH]);
    let proxy = Proxy::start(&origin.url(), &[("query_body_max", "1KiB")]);
    let large = "x".repeat(1025);
    for _ in 0..2 {
        let stated = query(&proxy, &large);
        assert_eq!((stated.status, member(&stated, "content") == large), (200, true));
        let mut client = proxy.connect();
        client.send_head("QUERY", "/a", &[JSON, ("Transfer-Encoding", "chunked")]);
        // The proxy has read the beginning before it sees that the content is too large.
        client.send(format!("401\r\n{large}\r\n5\r\n"));
        client.send("yyyyy\r\n0\r\n\r\n");
        let chunked = client.response();
        assert_eq!(member(&chunked, "content"), format!("{large}yyyyy"));
        assert!(!is_hit(&stated) && !is_hit(&chunked));
    }
    assert_eq!(origin.count("/a"), 4);
    let largest = "x".repeat(1024);
    await_hit(&proxy, &largest);
    let off = Proxy::start(&origin.url(), &[("query_body_max", "0")]);
    for _ in 0..2 {
        assert!(!is_hit(&query(&off, "1")) && !is_hit(&query(&off, "")));
    }
}

#[test]
fn a_client_that_stalls_its_content_holds_no_permit() {
    let origin = echoing("/a", &[FRESH]);
    let proxy = Proxy::start(&origin.url(), &[("max_pending_requests", "1")]);
    let mut stalled = proxy.connect();
    stalled.send_head("QUERY", "/a", &[JSON, ("Content-Length", "4")]);
    stalled.send("12");
    until("the content to be read in part", || proxy.metric("cachewarp_body_bytes") == 2.0);
    let other = query(&proxy, "1");
    assert_eq!((other.status, other.text().is_empty()), (200, false), "{}", other.cache_status());
    stalled.send("34");
    let answer = stalled.response();
    assert_eq!((answer.status, member(&answer, "content")), (200, "1234".to_owned()));
    // A client that leaves in the middle reaches no origin.
    let mut left = proxy.connect();
    left.send_head("QUERY", "/a", &[JSON, ("Content-Length", "4")]);
    left.send("56");
    until("the content to be read in part", || proxy.metric("cachewarp_body_bytes") >= 2.0);
    drop(left);
    until("the content to be dropped", || proxy.metric("cachewarp_body_bytes") < 2.0);
    assert_eq!(origin.count("/a"), 2);
}

#[test]
fn a_stale_response_is_refreshed_by_its_own_query() {
    let origin = echoing("/a", &[("Cache-Control", "max-age=1, stale-while-revalidate=600"), ("Age", "2")]);
    let proxy = Proxy::start(&origin.url(), &[]);
    let own = || query_with(&proxy, "/a", "12", &[JSON, ("Content-Language", "de")]);
    assert_eq!(own().status, 200);
    until("a stale answer", || is_hit(&own()));
    until("a refresh", || origin.seen("/a").len() > 1);
    for sent in origin.seen("/a") {
        let of = |name| sent.field(name).map(str::to_owned);
        assert_eq!((sent.method.as_str(), of("content-length")), ("QUERY", Some("2".to_owned())));
        assert_eq!(of("content-type"), Some("application/json".to_owned()), "{sent:?}");
        assert_eq!(of("content-language"), Some("de".to_owned()), "{sent:?}");
    }
}

#[test]
fn routes_apply_to_queries_that_they_list() {
    let origin = Origin::start();
    for path in ["/listed", "/unlisted", "/none"] {
        echo(&origin, path, &[]);
    }
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(
        b"[[route]]\nname = 'listed'\npath = '/listed'\nmethods = ['GET', 'QUERY']\n\
          cache_control = 'max-age=600'\n\
          [[route]]\nname = 'write'\npath = '/write'\nmethods = ['POST']\non_write = { purge = ['listed'] }\n\
          [[route]]\nname = 'unlisted'\npath = '/unlisted'\n",
    )
    .unwrap();
    let routes_file = file.path().to_str().unwrap();
    let settings = [("routes_file", routes_file), ("explain_token", "t"), ("cache_default_ttl", "0")];
    let proxy = Proxy::start(&origin.url(), &settings);
    let listed = || query_with(&proxy, "/listed", "1", &[JSON]);
    listed();
    until("the response to be stored", || is_hit(&listed()));
    origin.answer("/write", Answer::json("{}"));
    assert_eq!(proxy.connect().request("POST", "/write", &[("Content-Length", "0")]).status, 200);
    assert!(!is_hit(&listed()), "the write purges the route");
    // The author of a route for GET did not decide on QUERY.
    let proxy = Proxy::start(&origin.url(), &[("routes_file", routes_file), ("explain_token", "t")]);
    for _ in 0..2 {
        let passed = query_with(&proxy, "/unlisted", "1", &[JSON, TOKEN]);
        let explained: Value = serde_json::from_str(passed.field("cachewarp-explain").unwrap()).unwrap();
        assert_eq!((&explained["passes"], &explained["outcome"]), (&"route-method".into(), &"pass".into()));
        assert_eq!(passed.cache_status(), "CacheWarp; fwd=bypass; detail=route-method");
    }
    let other = || query_with(&proxy, "/none", "1", &[JSON, TOKEN]);
    let explained: Value = serde_json::from_str(other().field("cachewarp-explain").unwrap()).unwrap();
    assert_eq!(explained["route"], "query");
    until("the response to be stored", || is_hit(&other()));
}

#[test]
fn operators_inspect_and_explain_a_query() {
    let origin = echoing("/a", &[FRESH]);
    let proxy = Proxy::start(&origin.url(), &[("explain_token", TOKEN.1)]);
    await_hit(&proxy, r#"{"a":1}"#);
    let found = |query: &str| {
        let target = format!("/entries?url=http://test/a&header=Content-Type:application/json{query}");
        let answer = admin_request(proxy.admin_addr(), "GET", &target, &[], "");
        (answer.status, member(&answer, "found"))
    };
    let content = "&method=QUERY&content=%7B%22a%22:1%7D";
    for (query, status, tier) in [
        (content.to_owned(), 200, "memory"),
        (content.replace(":1", ":2"), 200, "nothing"),
        ("&method=QUERY".to_owned(), 200, "nothing"),
        ("&method=GET".to_owned(), 200, "nothing"),
        (format!("{content}&header=Content-Language:de"), 200, "nothing"),
        // No cache handles such a request.
        (format!("{content}&header=Connection:content-language"), 400, ""),
        (content.replace("method=QUERY&", ""), 400, ""),
    ] {
        assert_eq!(found(&query), (status, tier.to_owned()), "{query}");
    }
    let admin = format!("--admin-addr={}", proxy.admin_addr());
    let url = format!("http://{}/a", proxy.addr());
    let query = ["-H", "Content-Type: application/json", "--query", r#"{"a":1}"#];
    let inspected = Program::run(&[&["inspect", "http://test/a", &admin], &query[..]].concat());
    assert_eq!((inspected.code, inspected.stderr.as_str()), (Some(0), ""));
    assert!(inspected.stdout.contains("held"), "{}", inspected.stdout);
    let explain = ["explain", url.as_str(), "-H", "Host: test", "--token", TOKEN.1];
    let explained = Program::run(&[&explain[..], &query].concat());
    assert_eq!((explained.code, explained.stderr.as_str()), (Some(0), ""));
    assert!(explained.stdout.contains("CacheWarp; hit"), "{}", explained.stdout);
    let other = Program::run(&[&explain[..], &query[..3], &["{}"]].concat());
    assert!(other.stdout.contains("fwd=vary-miss"), "{}", other.stdout);
}

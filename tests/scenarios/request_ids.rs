//! Ids of requests: accepted, generated, sent to the origin, returned, and stored with no answer.

use std::collections::HashSet;

use serde_json::Value;

use crate::harness::{Answer, Client, Exchange, Gate, Origin, Program, Proxy, Redis, Response, Start, Then};

const ID: &str = "x-request-id";
const SHARED: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: public, max-age=600\r\nETag: \"1\"\r\n";

/// Answers with the id that the origin received, and a second one.
fn echo(exchange: &mut Exchange) -> std::io::Result<Then> {
    let id = exchange.request.field(ID).unwrap_or("none").to_owned();
    Answer::raw(format!(
        "{SHARED}X-Request-Id: {id}\r\nX-Request-Id: of-the-origin\r\nContent-Length: 2\r\n\r\n{{}}"
    ))
    .give(exchange)
}

/// Returns every id among the fields of a head.
fn ids(fields: &[(String, String)]) -> Vec<&str> {
    fields.iter().filter(|(name, _)| name == ID).map(|(_, value)| value.as_str()).collect()
}

/// Returns the only id of an answer.
fn id(response: &Response) -> String {
    let ids = ids(&response.head.fields);
    assert_eq!(ids.len(), 1, "{:?}", response.head);
    ids[0].to_owned()
}

fn is_generated(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[test]
fn each_answer_has_the_id_of_its_own_request() {
    let (origin, gate, redis) = (Origin::start(), Gate::new(), Redis::start());
    let opened = gate.clone();
    origin.script("/a", move |exchange| {
        opened.pass();
        echo(exchange)
    });
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[("cache_memory_size", "0")]);
    let other = Proxy::start_with_redis(&origin.url(), &redis.url(), &[]);
    let mut clients: Vec<_> = (0..3).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send_head("GET", "/a", &[("X-Request-Id", "forged")]);
    }
    proxy.await_askers(3);
    gate.open();
    let mut answers: Vec<_> = clients.iter_mut().map(Client::response).collect();
    redis.await_keys(1);
    // From Redis, from memory, as a 304, as a part, and as a head.
    answers.push(proxy.get("/a"));
    answers.extend((0..2).map(|_| other.get("/a")));
    answers.push(other.get_with("/a", &[("If-None-Match", "\"1\"")]));
    answers.push(other.get_with("/a", &[("Range", "bytes=0-0")]));
    answers.push(other.connect().request("HEAD", "/a", &[]));
    answers.push(other.connect().request("TRACE", "/a", &[]));
    answers.push(other.get("/health"));
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 304, 206, 200, 405, 200]);
    let own: HashSet<_> = answers.iter().map(id).collect();
    assert_eq!(own.len(), answers.len(), "{own:?}");
    assert!(own.iter().all(|id| is_generated(id)), "{own:?}");

    let fetched = origin.seen("/a").pop().unwrap();
    assert_eq!(origin.count("/a"), 1);
    let of_the_fetch = ids(&fetched.head.fields);
    assert!(of_the_fetch.iter().all(|id| own.contains(*id)) && of_the_fetch.len() == 1, "{fetched:?}");
}

#[test]
fn only_a_trusted_proxy_states_an_id() {
    let origin = Origin::start();
    for path in ["/cached", "/passed"] {
        origin.script(path, echo);
    }
    let trusting = Proxy::start(&origin.url(), &[("trusted_proxies", "127.0.0.1")]);
    let others = Proxy::start(&origin.url(), &[]);
    let stated = [("X-Request-Id", "edge-7"), ("X_Request_Id", "spelt"), ("Content-Length", "0")];
    for (proxy, is_trusted) in [(&trusting, true), (&others, false)] {
        let answers =
            [proxy.get_with("/cached", &stated[..2]), proxy.connect().request("POST", "/passed", &stated)];
        for (answer, path) in answers.iter().zip(["/cached", "/passed"]) {
            let id = id(answer);
            assert_eq!(id == "edge-7", is_trusted, "{path} {id}");
            assert_eq!(is_generated(&id), !is_trusted, "{path} {id}");
            let sent = origin.seen(path).pop().unwrap();
            assert_eq!(ids(&sent.head.fields), [id.as_str()], "{path}");
            assert_eq!(sent.field("x_request_id"), None, "{path}");
        }
    }
    // A hit of a trusted peer has its own id, and the field does not keep it from the cache.
    let hit = trusting.get_with("/cached", &[("X-Request-Id", "edge-8")]);
    assert_eq!((hit.cache_status().contains("; hit"), id(&hit).as_str()), (true, "edge-8"));
    let long = "x".repeat(60 * 1024);
    for invalid in ["", " ", "a b", "<b>", "\"", "a,b", "a\tb", "\u{e4}", long.as_str()] {
        let answer = trusting.get_with("/cached", &[("X-Request-Id", invalid)]);
        assert_eq!(answer.status, 200);
        assert!(is_generated(&id(&answer)), "{invalid:.20}");
    }
    let twice = trusting.get_with("/cached", &[("X-Request-Id", "a"), ("X-Request-Id", "a")]);
    assert!(is_generated(&id(&twice)));
}

#[test]
fn another_header_carries_the_ids() {
    let origin = Origin::start();
    origin.script("/a", echo);
    let settings = [("request_id_header", "X-Acme-Call"), ("trusted_proxies", "127.0.0.1")];
    let proxy = Proxy::start(&origin.url(), &settings);
    // The name is in no list, and does not keep a request from the cache.
    origin.answer("/default", Answer::json("{}"));
    for outcome in ["stored", "hit"] {
        let answer = proxy.get_with("/default", &[("X-Acme-Call", outcome)]);
        assert!(answer.cache_status().contains(outcome), "{}", answer.cache_status());
        assert_eq!(answer.field("x-acme-call"), Some(outcome));
    }
    assert_eq!(origin.seen("/default")[0].field("x-acme-call"), Some("stored"));
    assert_eq!(proxy.get("/a").field("x-request-id"), Some("none"));
}

#[test]
fn off_leaves_the_field_to_the_origin() {
    let origin = Origin::start();
    origin.script("/a", echo);
    let settings = [("request_id_header", "off"), ("trusted_proxies", "127.0.0.1")];
    let proxy = Proxy::start(&origin.url(), &settings);
    let answer = proxy.get_with("/a", &[("X-Request-Id", "7")]);
    assert_eq!(ids(&answer.head.fields), ["none", "of-the-origin"]);
    assert_eq!(proxy.get("/health").field(ID), None);
}

/// A request that the server refuses before its handler has an id too, and the log has the id that
/// the client and the origin have.
#[test]
fn the_access_log_has_the_id_of_the_answer() {
    let origin = Origin::start();
    origin.script("/a", echo);
    let url = format!("--origin-url={}", origin.url());
    let arguments = [
        "--listen-addr=127.0.0.1:0",
        "--admin-addr=off",
        "--redis-url=off",
        "--worker-threads=1",
        "--access-log=json",
        &url,
    ];
    let program = Program::start(&Start { arguments: &arguments, ..Start::default() });
    let addr = program.await_addr();
    let mut client = Client::connect(addr);
    let mut ids: Vec<_> =
        (0..2).map(|_| id(&client.request("GET", "/a", &[("X-Request-Id", "forged")]))).collect();
    client.send("GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
    let refused = client.response();
    assert_eq!(refused.status, 400);
    ids.push(id(&refused));
    program.signal("TERM");
    let ended = program.end();
    let lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let logged: Vec<_> =
        lines.iter().filter_map(|line| line["cachewarp.request_id"].as_str().map(str::to_owned)).collect();
    assert_eq!(logged, ids);
    assert_eq!(origin.seen("/a")[0].field(ID), Some(ids[0].as_str()));
}

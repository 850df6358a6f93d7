//! Resources that the origin refuses with `503` and `Retry-After`: an equal request gets the rest
//! of the time and does not reach the origin; every other request does.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, UNIX_EPOCH};

use cachewarp::time;

use crate::harness::{Answer, Client, Gate, Origin, Proxy, until};

const REFUSALS: &str = "cachewarp_retry_after_refusals_total";
const OTHER_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn refusal(status: u16, retry_after: &str) -> Answer {
    Answer::new(status, &[("Retry-After", retry_after)], "busy")
}

/// Returns the `Retry-After` of a refusal by the proxy.
fn rest(client: &mut Client, path: &str, fields: &[(&str, &str)]) -> u64 {
    let answer = client.request("GET", path, fields);
    assert_eq!(answer.status, 503, "{path}");
    assert!(answer.cache_status().ends_with("; detail=origin-retry-after"), "{}", answer.cache_status());
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(answer.field("content-type"), Some("application/problem+json"));
    answer.field("retry-after").and_then(|rest| rest.parse().ok()).expect("the rest in seconds")
}

#[test]
fn an_equal_request_waits_for_the_retry_after() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(time::now().as_millis() + 50_000));
    let rows = [("/seconds", "60", 60), ("/date", date.as_str(), 50), ("/long", "86400", 60)];
    for (path, retry_after, seconds) in rows {
        let before = proxy.metric(REFUSALS);
        origin.answer(path, refusal(503, retry_after));
        let mut client = proxy.connect();
        let first = client.get(path);
        assert_eq!((first.status, first.text()), (503, "busy"), "the origin's own answer");
        assert_eq!(first.field("retry-after"), Some(retry_after));
        for fields in [&[][..], &[], &[("traceparent", "00-1-2-00")], &[("Range", "bytes=0-1")]] {
            let rest = rest(&mut client, path, fields);
            assert!((1..=seconds).contains(&rest), "{path}: {rest}");
        }
        assert_eq!(origin.count(path), 1, "{path}");
        assert_eq!(proxy.metric(REFUSALS) - before, 4.0);
    }
}

/// Another client cannot have caused the refusal, and is not refused by it.
#[test]
fn a_refusal_closes_a_resource_only_for_equal_requests() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    origin.answer("/a", refusal(503, "60"));
    assert_eq!(proxy.get("/a").text(), "busy");
    rest(&mut proxy.connect(), "/a", &[]);
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=0")], "{}"));
    let requests: [&[(&str, &str)]; 6] = [
        &[("User-Agent", "another")],
        &[("Accept-Language", "de")],
        &[("Cache-Control", "no-cache")],
        &[("Authorization", "Bearer a")],
        &[("Cookie", "a=b")],
        &[("X-Who", "a")],
    ];
    for fields in requests {
        assert_eq!(proxy.get_with("/a", fields).status, 200, "{fields:?}");
    }
    assert_eq!(proxy.get("/a?b").status, 200);
    assert_eq!(Client::connect_from(OTHER_ADDRESS, proxy.addr()).get("/a").status, 200);
    rest(&mut proxy.connect(), "/a", &[]);
    assert_eq!(origin.count("/a"), 1 + requests.len() + 2);
}

#[test]
fn other_answers_and_other_requests_refuse_nothing() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    type Fields = &'static [(&'static str, &'static str)];
    let rows: [(&str, Answer, Fields); 7] = [
        ("/429", refusal(429, "60"), &[]),
        ("/500", refusal(500, "60"), &[]),
        ("/none", Answer::new(503, &[], "busy"), &[]),
        ("/zero", refusal(503, "0"), &[]),
        ("/malformed", refusal(503, "soon"), &[]),
        ("/credential", refusal(503, "60"), &[("Authorization", "Bearer a")]),
        ("/unlisted", refusal(503, "60"), &[("X-Who", "a")]),
    ];
    for (path, answer, fields) in rows {
        origin.answer(path, answer);
        for _ in 0..3 {
            assert_eq!(proxy.get_with(path, fields).text(), "busy", "{path}");
        }
        assert_eq!(origin.count(path), 3, "{path}");
    }
    assert_eq!(proxy.metric(REFUSALS), 0.0);
}

#[test]
fn the_origin_gets_the_next_request_after_the_retry_after() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    origin.answer("/a", refusal(503, "1"));
    let begun = time::instant();
    assert_eq!(proxy.get("/a").text(), "busy");
    origin.answer("/a", Answer::json("{}"));
    until("the refusal to end", || proxy.get("/a").status == 200);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(origin.count("/a"), 2);
}

/// The followers of the refused fetch are equal to its leader.
#[test]
fn equal_followers_of_a_refused_fetch_are_refused() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let answer = "HTTP/1.1 503 Busy\r\nRetry-After: 60\r\nContent-Length: 4\r\n\r\nbusy";
    origin.answer("/a", Answer::silent().pass(&gate).send(answer));
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut clients: Vec<Client> = (0..6).map(|_| proxy.connect()).collect();
    clients.iter_mut().for_each(|client| client.send_head("GET", "/a", &[]));
    gate.await_arrivals(1);
    proxy.await_askers(6);
    gate.open();
    let answers: Vec<_> = clients.iter_mut().map(Client::response).collect();
    let busy = answers.iter().filter(|answer| answer.text() == "busy").count();
    assert_eq!((busy, origin.count("/a")), (1, 1));
    assert_eq!(proxy.metric(REFUSALS), 5.0);
}

/// An entry that no failure lets stand in does not change the origin's refusal.
#[test]
fn an_entry_that_may_not_be_served_stale_leaves_the_refusal() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let fields = [("Cache-Control", "max-age=60, must-revalidate"), ("Age", "100"), ("ETag", "\"a\"")];
    origin.answer("/a", Answer::json_with(&fields, "{}"));
    proxy.get("/a");
    until("the response to be stored", || {
        proxy.get("/a");
        origin.seen("/a").last().is_some_and(|request| request.field("if-none-match").is_some())
    });
    let before = origin.count("/a");
    origin.answer("/a", refusal(503, "60"));
    assert_eq!(proxy.get("/a").text(), "busy");
    for _ in 0..3 {
        rest(&mut proxy.connect(), "/a", &[]);
    }
    assert_eq!(origin.count("/a"), before + 1);
}

/// The head of a `QUERY` does not have its content, which the origin may have refused.
#[test]
fn the_refusal_of_a_query_closes_no_resource() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    origin.answer("/a", refusal(503, "60"));
    let query = |content: &str| {
        let mut client = proxy.connect();
        client.send_head("QUERY", "/a", &[("Content-Length", "2")]);
        client.send(content);
        client.response().status
    };
    assert_eq!((query("[]"), origin.count("/a")), (503, 1));
    origin.answer("/a", Answer::json("{}"));
    assert_eq!((query("{}"), origin.count("/a")), (200, 2));
}

#[test]
fn a_stale_response_comes_before_a_remembered_refusal() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[("cache_stale_if_error", "60s")]);
    origin.answer("/a", refusal(503, "60"));
    let mut refused = Client::connect_from(OTHER_ADDRESS, proxy.addr());
    assert_eq!(refused.get("/a").text(), "busy");
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=1")], "{}"));
    assert_eq!(proxy.get("/a").text(), "{}");
    until("the response to be stale", || {
        let fields = [("Cache-Control", "only-if-cached")];
        proxy.connect().request("GET", "/a", &fields).status == 504
    });
    let answer = refused.get("/a");
    assert_eq!((answer.status, origin.count("/a")), (200, 2), "{}", answer.cache_status());
}

//! A response to a `POST` that equals the response to a `GET`, as its `Content-Location` says (RFC
//! 9110 §9.3.3).

use super::admin::purge;
use crate::harness::{Answer, Client, Gate, Origin, Proxy, Redis, Response};

const OLD: &str = r#"{"state":"old"}"#;
const NEW: &str = r#"{"state":"new"}"#;
const FRESH: (&str, &str) = ("Cache-Control", "max-age=600");
const ITSELF: (&str, &str) = ("Content-Location", "/a");

fn post(proxy: &Proxy, fields: &[(&str, &str)]) -> Response {
    let mut client = proxy.connect();
    client.send_head("POST", "/a", &[fields, &[("Content-Length", "2")]].concat());
    client.send("{}");
    client.response()
}

fn is_stored(proxy: &Proxy) -> bool {
    proxy.get_with("/a", &[("Cache-Control", "only-if-cached")]).status == 200
}

#[test]
fn a_post_response_is_stored_with_content_location_and_lifetime() {
    type Fields = &'static [(&'static str, &'static str)];
    // The response fields, the request fields, and whether a later `GET` hits.
    let rows: [(Fields, Fields, bool); 12] = [
        (&[FRESH, ITSELF], &[], true),
        (&[FRESH, ("Content-Location", "http://test/a")], &[], true),
        (&[FRESH], &[], false),
        (&[FRESH, ("Content-Location", "/b")], &[], false),
        (&[FRESH, ("Content-Location", "/a?b")], &[], false),
        (&[ITSELF], &[], false),
        (&[("Cache-Control", "private, max-age=600"), ITSELF], &[], false),
        (&[("Cache-Control", "no-store"), ITSELF], &[], false),
        (&[FRESH, ITSELF], &[("Cache-Control", "no-store")], false),
        (&[FRESH, ITSELF], &[("Authorization", "Bearer alice")], false),
        (&[FRESH, ITSELF], &[("Cookie", "id=alice")], false),
        (&[("Cache-Control", "public, max-age=600"), ITSELF], &[("Cookie", "id=alice")], true),
    ];
    for (answer, request, stored) in rows {
        let origin = Origin::start();
        let proxy = Proxy::start(&origin.url(), &[]);
        origin.answer("/a", Answer::json_with(&[FRESH], OLD));
        proxy.get("/a");
        origin.answer("/a", Answer::json_with(answer, NEW));
        let own = post(&proxy, request);
        assert_eq!((own.status, own.text()), (200, NEW), "{answer:?}");
        assert_eq!(own.cache_status() == "CacheWarp; fwd=method; stored", stored, "{}", own.cache_status());
        assert_eq!(is_stored(&proxy), stored, "{answer:?} to {request:?}");
        assert_eq!(proxy.get("/a").text(), NEW, "the POST must invalidate the old entry");
    }
}

/// No lookup of the process has read the purge log before.
#[test]
fn the_first_post_of_a_process_is_stored_in_redis() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let nodes = [(); 2].map(|()| Proxy::start_with_redis(&origin.url(), &redis.url(), &[]));
    origin.answer("/a", Answer::json_with(&[FRESH, ITSELF], NEW));
    let own = post(&nodes[0], &[]);
    assert_eq!(own.cache_status(), "CacheWarp; fwd=method; stored");
    redis.await_keys(1);
    assert!(nodes.iter().all(is_stored));
}

#[test]
fn a_varying_post_response_is_stored_as_a_variant() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    origin.script("/a", |exchange| {
        exchange.body()?;
        let language = exchange.request.field("accept-language").unwrap_or("none").to_owned();
        Answer::json_with(&[FRESH, ITSELF, ("Vary", "Accept-Language")], &format!("{language:?}"))
            .give(exchange)
    });
    assert_eq!(post(&proxy, &[("Accept-Language", "en")]).text(), r#""en""#);
    let english = proxy.get_with("/a", &[("Accept-Language", "en")]);
    assert!(english.cache_status().starts_with("CacheWarp; hit"), "{}", english.cache_status());
    assert_eq!(english.text(), r#""en""#);
    assert_eq!(proxy.get_with("/a", &[("Accept-Language", "de")]).text(), r#""de""#);
}

#[test]
fn a_superseded_post_response_is_not_stored() {
    let (origin, before_head, before_body) = (Origin::start(), Gate::new(), Gate::new());
    let proxy = Proxy::start(&origin.url(), &[]);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=600\r\nContent-Location: /a\r\n";
    let answer = format!("{head}Content-Length: {}\r\n\r\n", OLD.len());
    let mut superseded: Vec<Client> = Vec::new();
    for (gate, steps) in [
        (&before_head, Answer::silent().pass(&before_head).send(answer.clone()).send(OLD)),
        (&before_body, Answer::raw(answer.clone()).pass(&before_body).send(OLD)),
    ] {
        origin.answer("/a", steps);
        let mut client = proxy.connect();
        client.send_head("POST", "/a", &[("Content-Length", "0")]);
        gate.await_arrivals(1);
        superseded.push(client);
    }
    // The head of the second response must arrive first, or the test would cover only one case.
    let second = superseded[1].head();
    origin.answer("/a", Answer::new(204, &[], ""));
    assert_eq!(proxy.connect().request("DELETE", "/a", &[]).status, 204);
    before_body.open();
    assert_eq!(superseded[1].body_of("POST", &second).0, OLD.as_bytes());
    before_head.open();
    assert_eq!(superseded[0].response().text(), OLD);
    assert!(!is_stored(&proxy));
    origin.answer("/a", Answer::json_with(&[FRESH], NEW));
    assert_eq!(proxy.get("/a").text(), NEW);
}

/// Returns whether nodes serve the response to a `POST` after a change by another node, which came
/// while the response was on its way.
fn is_old_after(change: impl Fn(&Proxy, &Origin)) -> bool {
    let (origin, redis, before_head) = (Origin::start(), Redis::start(), Gate::new());
    let nodes = [(); 2].map(|()| Proxy::start_with_redis(&origin.url(), &redis.url(), &[]));
    origin.answer("/other", Answer::json_with(&[FRESH], NEW));
    // A first lookup reads the purge log, without which nothing is stored.
    nodes.iter().for_each(|node| drop(node.get("/other")));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=600\r\nContent-Location: /a\r\n";
    let posted = format!("{head}Content-Length: {}\r\n\r\n{OLD}", OLD.len());
    origin.answer("/a", Answer::silent().pass(&before_head).send(posted));
    let mut client = nodes[1].connect();
    client.send_head("POST", "/a", &[("Content-Length", "0")]);
    before_head.await_arrivals(1);
    change(&nodes[0], &origin);
    before_head.open();
    let own = client.response();
    assert_eq!(own.text(), OLD);
    if own.cache_status().contains("stored") {
        // The entry may count as purged for every reader.
        redis.await_keys(2);
    }
    let is_old = |node: &Proxy| node.get_with("/a", &[("Cache-Control", "only-if-cached")]).text() == OLD;
    let [first, second] = nodes.each_ref().map(is_old);
    assert_eq!(first, second);
    first
}

#[test]
fn a_post_response_does_not_outlast_a_change_by_another_node() {
    assert!(is_old_after(|_, _| {}));
    let fetched = |node: &Proxy, origin: &Origin| {
        origin.answer("/a", Answer::json_with(&[FRESH], NEW));
        assert_eq!(node.get("/a").text(), NEW);
    };
    let deleted = |node: &Proxy, origin: &Origin| {
        origin.answer("/a", Answer::new(204, &[], ""));
        assert_eq!(node.connect().request("DELETE", "/a", &[]).status, 204);
    };
    let purged =
        |order: &'static str| move |node: &Proxy, _: &Origin| assert_eq!(purge(node, order).status, 200);
    assert!(is_old_after(fetched), "the response is as new as that to the GET");
    assert!(!is_old_after(deleted));
    assert!(!is_old_after(|node, origin| {
        deleted(node, origin);
        fetched(node, origin);
    }));
    for order in [r#"{"url":"http://test/a"}"#, r#"{"prefix":"http://test/"}"#, r#"{"all":true}"#] {
        assert!(!is_old_after(purged(order)), "{order}");
    }
}

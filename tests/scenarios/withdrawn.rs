//! Withdrawal of stored responses (RFC 9111 §4.3.3): an unstorable whole response to a validation
//! ends the stored one in memory, in Redis, on every node, and for requests under way. Errors end
//! no response.

use crate::harness::{Answer, Gate, Origin, Proxy, Redis, Response, until};

const OLD: &str = r#"{"state":"old"}"#;
const NEW: &str = r#"{"state":"new"}"#;
const TAG: (&str, &str) = ("ETag", "\"a\"");
const JSON: (&str, &str) = ("Content-Type", "application/json");
/// The age on arrival: forty seconds beyond a lifetime of sixty.
const AGE: (&str, &str) = ("Age", "100");
const FRESH: (&str, &str) = ("Cache-Control", "max-age=600");
/// Directives of a response that is served during a refresh, and instead of an error.
const REFRESHED: &str = "max-age=60, stale-while-revalidate=600, stale-if-error=600";
/// Directives of a response that is validated first, and served instead of an error.
const VALIDATED: &str = "max-age=60, stale-if-error=600";
const WITHDRAWALS: &str = "cachewarp_withdrawals_total";

fn old(directives: &str) -> Answer {
    Answer::json_with(&[("Cache-Control", directives), AGE, TAG], OLD)
}

fn error(status: u16) -> Answer {
    Answer::new(status, &[JSON], r#"{"error":true}"#)
}

/// Returns whole responses that are not storable and that any anonymous request may get.
fn withdrawing() -> Vec<(&'static str, Answer)> {
    let control = |control: &str| Answer::json_with(&[("Cache-Control", control)], NEW);
    let status = |status: u16, fields: &[(&str, &str)]| Answer::new(status, fields, "");
    vec![
        ("private", control("private")),
        ("no-store", control("no-store, max-age=600")),
        ("no-cache", control("no-cache")),
        ("malformed", control("max-age=600, private=\"")),
        ("a cookie", Answer::json_with(&[FRESH, ("Set-Cookie", "a=b")], NEW)),
        ("another media type", Answer::new(200, &[("Content-Type", "text/html"), FRESH], "<html>")),
        ("no JSON", Answer::json_with(&[FRESH], "{")),
        ("too large", Answer::json_with(&[FRESH], &format!("\"{}\"", "x".repeat(2_000)))),
        (
            "too large, in chunks",
            Answer::raw(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
            .send(format!("{:x}\r\n\"{}\"\r\n0\r\n\r\n", 2_002, "x".repeat(2_000))),
        ),
        ("any request", Answer::json_with(&[FRESH, ("Vary", "*")], NEW)),
        ("stale already", Answer::json_with(&[("Cache-Control", "max-age=0")], NEW)),
        ("204", status(204, &[])),
        ("301", status(301, &[("Location", "/b")])),
        ("302", status(302, &[("Location", "/b")])),
        ("308", status(308, &[("Location", "/b")])),
        ("401", status(401, &[("WWW-Authenticate", "Basic")])),
        ("402", status(402, &[])),
        ("403", status(403, &[])),
        ("404", status(404, &[])),
        ("405", status(405, &[("Allow", "POST")])),
        ("410", status(410, &[])),
        ("451", status(451, &[])),
    ]
}

fn is_hit(response: &Response) -> bool {
    response.cache_status().starts_with("CacheWarp; hit")
}

#[test]
fn an_unstorable_response_to_a_refresh_removes_the_stored_one_from_every_node() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let settings = [("cache_max_body", "1KiB"), ("redis_timeout", "10s")];
    let nodes = [(); 2].map(|()| Proxy::start_with_redis(&origin.url(), &redis.url(), &settings));
    for (number, (case, answer)) in withdrawing().into_iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, old(REFRESHED));
        assert_eq!(nodes[0].get(&path).text(), OLD, "{case}");
        redis.await_keys(1);
        origin.answer(&path, answer);
        let before = nodes[1].metric(WITHDRAWALS);
        let stale = nodes[1].get(&path);
        assert_eq!((stale.text(), is_hit(&stale)), (OLD, true), "{case}");
        nodes[1].await_metric(WITHDRAWALS, before + 1.0);
        redis.await_keys(0);
        assert_ne!(nodes[1].get(&path).text(), OLD, "{case}");
        until("the other node to drop the entry", || nodes[0].get(&path).text() != OLD);
        // No later request brings the response back.
        origin.answer(&path, error(503));
        for node in &nodes {
            assert_eq!(node.get(&path).status, 503, "{case}");
        }
    }
}

#[test]
fn an_unstorable_response_to_a_validation_removes_the_stored_one() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[("cache_max_body", "1KiB")]);
    for (number, (case, answer)) in withdrawing().into_iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, old(VALIDATED));
        proxy.get(&path);
        origin.answer(&path, error(503));
        assert_eq!(proxy.get(&path).text(), OLD, "{case}: the stale response must replace an error");
        origin.answer(&path, answer);
        let before = proxy.metric(WITHDRAWALS);
        // The failure has paused the refresh, so this client wants the origin to be asked.
        let asked = proxy.get_with(&path, &[("Cache-Control", "no-cache")]);
        assert_ne!(asked.text(), OLD, "{case}");
        // The proxy learns the end of the body a moment after the client gets the response.
        proxy.await_metric(WITHDRAWALS, before + 1.0);
        origin.answer(&path, error(503));
        assert_eq!(proxy.get(&path).status, 503, "{case}: a withdrawn response must not replace an error");
    }
}

#[test]
fn an_error_or_a_broken_response_leaves_the_stored_one() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let cut = Answer::raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
        .close();
    let mut answers: Vec<_> =
        [500, 502, 503, 504, 429, 408].map(|status| (status.to_string(), error(status))).into();
    answers.push(("nothing".to_owned(), Answer::silent().close()));
    answers.push(("a part of a head".to_owned(), Answer::raw("HTTP/1.1 200 OK\r\nX-").close()));
    answers.push(("a part of a body".to_owned(), cut));
    for (number, (case, answer)) in answers.into_iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, old(REFRESHED));
        proxy.get(&path);
        origin.answer(&path, answer);
        let asked = origin.count(&path);
        for _ in 0..2 {
            assert_eq!(proxy.get(&path).text(), OLD, "{case}");
            origin.await_count(&path, asked + 1);
        }
    }
    assert_eq!(proxy.metric(WITHDRAWALS), 0.0);
}

#[test]
fn a_refusal_of_a_requests_form_concerns_only_that_request() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for status in [400, 406, 414, 431] {
        let path = format!("/{status}");
        origin.answer(&path, old(VALIDATED));
        proxy.get(&path);
        origin.answer(&path, error(status));
        assert_eq!(proxy.get_with(&path, &[("Accept", "x/y")]).status, status);
        origin.answer(&path, error(503));
        assert_eq!(proxy.get(&path).text(), OLD, "{status}");
    }
    // No client determined the form of the cache's own request.
    origin.answer("/own", old(REFRESHED));
    proxy.get("/own");
    origin.answer("/own", error(400));
    assert_eq!(proxy.get("/own").text(), OLD);
    proxy.await_metric(WITHDRAWALS, 1.0);
    assert_eq!(proxy.get("/own").status, 400);
}

#[test]
fn a_response_to_a_credential_withdraws_no_shared_response() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let fields = [("Authorization", "Bearer alice"), ("Cookie", "id=alice"), ("X-Api-Key", "alice")];
    for (number, credential) in fields.into_iter().enumerate() {
        for (status, control) in [(200, "private"), (200, "max-age=600"), (403, "max-age=600"), (404, "")] {
            let path = format!("/{number}-{status}-{}", control.len());
            origin.answer(&path, old("public, max-age=60, stale-if-error=600"));
            proxy.get(&path);
            origin.answer(&path, Answer::new(status, &[JSON, ("Cache-Control", control)], NEW));
            let own = proxy.get_with(&path, &[credential]);
            assert_eq!((own.status, own.text()), (status, NEW), "{credential:?}");
            origin.answer(&path, error(503));
            assert_eq!(proxy.get(&path).text(), OLD, "{credential:?} {status} {control}");
        }
    }
    assert_eq!(proxy.metric(WITHDRAWALS), 0.0);
}

#[test]
fn only_the_validated_variant_is_withdrawn() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[("redis_timeout", "10s")]);
    let old = |directives| {
        Answer::json_with(&[("Cache-Control", directives), AGE, TAG, ("Vary", "Accept-Language")], OLD)
    };
    let get = |language: &str| proxy.get_with("/a", &[("Accept-Language", language)]);
    origin.answer("/a", old(VALIDATED));
    get("de");
    redis.await_keys(2);
    get("fr");
    redis.await_keys(3);
    origin.answer("/a", error(404));
    assert_eq!(get("de").status, 404);
    redis.await_keys(2);
    origin.answer("/a", error(503));
    assert_eq!(get("de").status, 503);
    assert_eq!(get("fr").text(), OLD);
}

#[test]
fn a_request_under_way_does_not_restore_a_withdrawn_response() {
    let (origin, redis, gate) = (Origin::start(), Redis::start(), Gate::new());
    let node = || Proxy::start_with_redis(&origin.url(), &redis.url(), &[("redis_timeout", "10s")]);
    let nodes = [node(), node()];
    origin.answer("/a", old(VALIDATED));
    nodes[0].get("/a");
    redis.await_keys(1);
    let at_gate = gate.clone();
    origin.script("/a", move |exchange| {
        if exchange.request.field("accept") == Some("a/held") {
            at_gate.pass();
            return error(503).give(exchange);
        }
        error(404).give(exchange)
    });
    // Each request has found the stored response and is about to fail: one as a leader, one alone,
    // one at another node.
    let mut held: Vec<_> = [&nodes[0], &nodes[0], &nodes[1]].iter().map(|node| node.connect()).collect();
    for (number, (client, control)) in
        held.iter_mut().zip(["max-stale=1", "no-cache", "max-stale=1"]).enumerate()
    {
        client.send_head("GET", "/a", &[("Accept", "a/held"), ("Cache-Control", control)]);
        gate.await_arrivals(number + 1);
    }
    assert_eq!(nodes[0].get_with("/a", &[("Cache-Control", "no-cache")]).status, 404);
    redis.await_keys(0);
    gate.open();
    for client in &mut held {
        assert_eq!(client.response().status, 503);
    }
}

#[test]
fn a_withdrawn_resource_is_fetched_like_any_other() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    origin.answer("/a", old(REFRESHED));
    proxy.get("/a");
    origin.answer("/a", error(404));
    proxy.get("/a");
    proxy.await_metric(WITHDRAWALS, 1.0);
    let asked = origin.count("/a");
    for number in 1..=5 {
        assert_eq!(proxy.get("/a").status, 404);
        assert_eq!(origin.count("/a"), asked + number, "one fetch per request and no refresh");
    }
    origin.answer("/a", Answer::json_with(&[FRESH], NEW));
    until("the response to be stored again", || is_hit(&proxy.get("/a")));
    assert_eq!(proxy.get("/a").text(), NEW);
}

#[test]
fn a_redis_that_refuses_the_removal_restores_no_withdrawn_response() {
    for memory in ["0", "64MiB"] {
        let (origin, redis) = (Origin::start(), Redis::start());
        // A full Redis still removes keys; a user without the right does not.
        redis.command(&["ACL", "SETUSER", "cachewarp", "on", ">secret", "~*", "&*", "+@all"]);
        let url = redis.url().replace("redis://", "redis://cachewarp:secret@");
        let settings = [("redis_timeout", "10s"), ("cache_memory_size", memory)];
        let proxy = Proxy::start_with_redis(&origin.url(), &url, &settings);
        origin.answer("/a", old(VALIDATED));
        proxy.get("/a");
        redis.await_keys(1);
        redis.command(&["ACL", "SETUSER", "cachewarp", "-set", "-unlink", "-del", "-eval", "-evalsha"]);
        origin.answer("/a", error(404));
        assert_eq!(proxy.get("/a").status, 404);
        assert_eq!(redis.keys().len(), 1, "Redis must still hold the entry");
        redis.command(&["ACL", "SETUSER", "cachewarp", "+@all"]);
        origin.answer("/a", error(503));
        assert_eq!(proxy.get("/a").status, 503, "{memory}");
    }
}

//! Targeted cache control (RFC 9213): it replaces `Cache-Control` if it parses, and the field for
//! CacheWarp alone reaches no client.

use crate::harness::{Answer, Gate, Origin, Proxy, Redis, Response};

const BODY: &str = r#"{"a":1}"#;
const OURS: &str = "CacheWarp-Cache-Control";
const CDN: &str = "CDN-Cache-Control";
const ALL: &str = "Cache-Control";

/// Returns the remaining lifetime of a hit, or `None` for a miss.
fn ttl(response: &Response) -> Option<u64> {
    let rest = response.cache_status().strip_prefix("CacheWarp; hit; ttl=")?;
    rest.split(';').next()?.parse().ok()
}

#[test]
fn the_most_specific_valid_field_applies() {
    type Fields = &'static [(&'static str, &'static str)];
    // The response fields, and the lifetime in seconds if the response is stored.
    let rows: &[(Fields, Option<u64>)] = &[
        (&[(CDN, "max-age=600"), (ALL, "max-age=100")], Some(600)),
        (&[(OURS, "max-age=900"), (CDN, "max-age=600"), (ALL, "max-age=100")], Some(900)),
        (&[(OURS, "max-age=900"), (ALL, "no-store")], Some(900)),
        (&[(CDN, "max-age=600"), (ALL, "private")], Some(600)),
        (&[(CDN, "no-store"), (ALL, "max-age=100")], None),
        (&[(CDN, "private"), (ALL, "public, max-age=100")], None),
        (&[(OURS, "no-store"), (CDN, "max-age=600"), (ALL, "max-age=100")], None),
        (&[(CDN, "max-age=600"), ("Expires", "0")], Some(600)),
        // A malformed structured field and an empty one are ignored.
        (&[(CDN, "max-age=600, ,"), (ALL, "max-age=100")], Some(100)),
        (&[(CDN, "MAX-AGE=600"), (ALL, "max-age=100")], Some(100)),
        (&[(CDN, "max-age=\"600"), (ALL, "no-store")], None),
        (&[(CDN, ""), (ALL, "max-age=100")], Some(100)),
        (&[(OURS, "no store"), (CDN, "max-age=600"), (ALL, "max-age=100")], Some(600)),
        // A directive with a value of the wrong type permits nothing, and an unknown directive has
        // no effect.
        (&[(CDN, "max-age=\"600\""), (ALL, "max-age=100")], None),
        (&[(CDN, "max-age=6.5"), (ALL, "max-age=100")], None),
        (&[(CDN, "max-age=-1"), (ALL, "max-age=100")], None),
        (&[(CDN, "x=1, max-age=600;y=2"), (ALL, "no-store")], Some(600)),
        (&[(CDN, "max-age=100"), (CDN, "max-age=600")], Some(600)),
        (&[(CDN, "no-store=?0, max-age=600"), (ALL, "no-store")], Some(600)),
        (&[("Surrogate-Control", "max-age=600"), (ALL, "max-age=100")], Some(100)),
    ];
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for (number, (fields, lifetime)) in rows.iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, Answer::json_with(fields, BODY));
        proxy.get(&path);
        let again = proxy.get(&path);
        match (lifetime, ttl(&again)) {
            (None, None) => {}
            (Some(want), Some(ttl)) => assert!((want - 50..=*want).contains(&ttl), "{fields:?}: {ttl}"),
            (want, got) => panic!("{fields:?}: {want:?} and not {got:?}: {}", again.cache_status()),
        }
        // CacheWarp always forwards `CDN-Cache-Control` to the next cache, and always removes its
        // own field.
        let passed_on = fields.iter().find(|(name, _)| *name == CDN).map(|(_, value)| *value);
        assert_eq!(
            (again.field("cdn-cache-control"), again.field("cachewarp-cache-control")),
            (passed_on, None)
        );
    }
}

#[test]
fn targeted_fields_govern_requests_with_a_credential() {
    let rows = [
        (CDN, "public, max-age=600", "no-store", true),
        (CDN, "max-age=600", "public", false),
        (CDN, "s-maxage=600", "private", true),
        (OURS, "max-age=600, must-revalidate", "public", true),
    ];
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for (number, (name, targeted, all, shared)) in rows.into_iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, Answer::json_with(&[(name, targeted), (ALL, all)], BODY));
        proxy.get_with(&path, &[("Authorization", "Bearer alice")]);
        let bob = proxy.get_with(&path, &[("Authorization", "Bearer bob")]);
        assert_eq!(ttl(&bob).is_some(), shared, "{targeted} and {all}: {}", bob.cache_status());
    }
}

#[test]
fn the_field_for_cachewarp_reaches_no_client() {
    let (origin, redis, gate) = (Origin::start(), Redis::start(), Gate::new());
    let ours = (OURS, "max-age=600");
    let node =
        |memory| Proxy::start_with_redis(&origin.url(), &redis.url(), &[("cache_memory_size", memory)]);
    let (proxy, without_memory) = (node("1MiB"), node("0"));
    let mut answers: Vec<(&str, Response)> = Vec::new();

    origin.answer("/stored", Answer::json_with(&[ours, ("ETag", "\"a\"")], BODY));
    answers.push(("a miss", proxy.get("/stored")));
    redis.await_keys(1);
    answers.push(("memory", proxy.get("/stored")));
    answers.push(("redis", without_memory.get("/stored")));
    answers.push(("head", proxy.connect().request("HEAD", "/stored", &[])));
    answers.push(("304", proxy.get_with("/stored", &[("If-None-Match", "\"a\"")])));
    answers.push(("206", proxy.get_with("/stored", &[("Range", "bytes=0-1")])));
    origin.answer("/stored", Answer::not_modified(&[ours]));
    answers.push(("validated", proxy.get_with("/stored", &[("Cache-Control", "no-cache")])));
    answers.push(("freshened", proxy.get("/stored")));

    origin.answer("/private", Answer::json_with(&[(OURS, "private")], BODY));
    answers.push(("uncacheable", proxy.get("/private")));
    answers.push(("not to be stored", proxy.get_with("/private", &[("Cache-Control", "no-store")])));
    answers.push(("a head that is passed", proxy.connect().request("HEAD", "/private", &[])));
    answers.push(("a part", proxy.get_with("/private", &[("Range", "bytes=0-1")])));
    answers.push(("a post", proxy.connect().request("POST", "/private", &[("Content-Length", "0")])));
    origin.answer("/post", Answer::json_with(&[ours, ("Content-Location", "/post")], BODY));
    answers.push((
        "a post that is stored",
        proxy.connect().request("POST", "/post", &[("Content-Length", "0")]),
    ));

    origin.answer("/error", Answer::new(503, &[ours], ""));
    answers.push(("an error", proxy.get("/error")));
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{OURS}: max-age=600\r\n");
    let answer = format!("{head}Content-Length: {}\r\n\r\n{BODY}", BODY.len());
    origin.answer("/shared", Answer::silent().pass(&gate).send(answer));
    let mut clients = [proxy.connect(), proxy.connect()];
    clients.iter_mut().for_each(|client| client.send_head("GET", "/shared", &[]));
    gate.await_arrivals(1);
    gate.open();
    answers.extend(clients.iter_mut().map(|client| ("a shared fetch", client.response())));

    for (label, response) in answers {
        let named = response.head.fields.iter().any(|(name, _)| name == "cachewarp-cache-control");
        assert!(!named, "{label}: {response:?}");
    }
}

//! Cache control for caches like us: it takes the place of `Cache-Control` where it can be read,
//! and what is for us alone reaches nobody else (RFC 9213).

use crate::harness::{Answer, Gate, Origin, Proxy, Redis, Response};

const BODY: &str = r#"{"a":1}"#;
const OURS: &str = "CacheWarp-Cache-Control";
const CDN: &str = "CDN-Cache-Control";
const ALL: &str = "Cache-Control";

/// How long a hit is still fresh; none if it is no hit.
fn ttl(response: &Response) -> Option<u64> {
    let rest = response.cache_status().strip_prefix("CacheWarp; hit; ttl=")?;
    rest.split(';').next()?.parse().ok()
}

#[test]
fn which_field_speaks() {
    type Fields = &'static [(&'static str, &'static str)];
    // What the response says, and its lifetime in seconds if it is stored.
    let rows: &[(Fields, Option<u64>)] = &[
        (&[(CDN, "max-age=600"), (ALL, "max-age=100")], Some(600)),
        (&[(OURS, "max-age=900"), (CDN, "max-age=600"), (ALL, "max-age=100")], Some(900)),
        (&[(OURS, "max-age=900"), (ALL, "no-store")], Some(900)),
        (&[(CDN, "max-age=600"), (ALL, "private")], Some(600)),
        (&[(CDN, "no-store"), (ALL, "max-age=100")], None),
        (&[(CDN, "private"), (ALL, "public, max-age=100")], None),
        (&[(OURS, "no-store"), (CDN, "max-age=600"), (ALL, "max-age=100")], None),
        (&[(CDN, "max-age=600"), ("Expires", "0")], Some(600)),
        // What is no structured field is not there; nor is an empty one.
        (&[(CDN, "max-age=600, ,"), (ALL, "max-age=100")], Some(100)),
        (&[(CDN, "MAX-AGE=600"), (ALL, "max-age=100")], Some(100)),
        (&[(CDN, "max-age=\"600"), (ALL, "no-store")], None),
        (&[(CDN, ""), (ALL, "max-age=100")], Some(100)),
        (&[(OURS, "no store"), (CDN, "max-age=600"), (ALL, "max-age=100")], Some(600)),
        // A directive of the wrong type permits nothing, and what is unknown says nothing.
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
        // Whatever it says: `CDN-Cache-Control` is for the next one too, and ours is not.
        let passed_on = fields.iter().find(|(name, _)| *name == CDN).map(|(_, value)| *value);
        assert_eq!(
            (again.field("cdn-cache-control"), again.field("cachewarp-cache-control")),
            (passed_on, None)
        );
    }
}

#[test]
fn credentials_heed_it_as_they_heed_cache_control() {
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
fn what_is_for_us_alone_reaches_nobody() {
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

    for (how, response) in answers {
        let named = response.head.fields.iter().any(|(name, _)| name == "cachewarp-cache-control");
        assert!(!named, "{how}: {response:?}");
    }
}

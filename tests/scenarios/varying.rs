//! The request fields that select among a resource's responses (RFC 9111 §4.1), for origins whose
//! responses name different fields, as middleware does.

use crate::harness::{Answer, Origin, Proxy, Redis, Response, until};

const FRESH: (&str, &str) = ("Cache-Control", "max-age=600");
/// The age on arrival equals the lifetime.
const STALE: [(&str, &str); 2] = [("Cache-Control", "max-age=60"), ("Age", "60")];
const TAG: (&str, &str) = ("ETag", "\"a\"");
const ENGLISH: (&str, &str) = ("Accept-Language", "en");
const GERMAN: (&str, &str) = ("Accept-Language", "de");

fn is_hit(response: &Response) -> bool {
    response.cache_status().starts_with("CacheWarp; hit")
}

/// Returns whether the response is stored, without changing the store.
fn is_stored(proxy: &Proxy, path: &str, fields: &[(&str, &str)]) -> bool {
    proxy.get_with(path, &[fields, &[("Cache-Control", "only-if-cached")]].concat()).status == 200
}

/// Stores the responses to requests with these fields, one after another.
fn store(proxy: &Proxy, path: &str, requests: &[&[(&str, &str)]]) {
    for fields in requests {
        proxy.get_with(path, fields);
        until("the response to be stored", || is_stored(proxy, path, fields));
    }
}

/// Starts an origin like the `cors` and `compression` middlewares: each names its field only in
/// responses that depend on it.
fn cors(origin: &Origin) {
    origin.script("/a", |exchange| {
        let Some(from) = exchange.request.field("origin").map(str::to_owned) else {
            return Answer::json_with(&[FRESH, ("Vary", "Accept-Language")], r#""plain""#).give(exchange);
        };
        let fields = [FRESH, ("Vary", "Origin, Accept-Language"), ("Access-Control-Allow-Origin", &*from)];
        Answer::json_with(&fields, &format!("\"{from}\"")).give(exchange)
    });
    origin.script("/b", |exchange| {
        let Some(from) = exchange.request.field("origin").map(str::to_owned) else {
            return Answer::json_with(&[FRESH], r#""plain""#).give(exchange);
        };
        let fields = [FRESH, ("Vary", "Origin"), ("Access-Control-Allow-Origin", &*from)];
        Answer::json_with(&fields, &format!("\"{from}\"")).give(exchange)
    });
}

#[test]
fn a_response_with_fewer_vary_fields_displaces_no_variant() {
    let (origin, redis) = (Origin::start(), Redis::start());
    cors(&origin);
    let settings = [("redis_timeout", "10s")];
    for node in
        [Proxy::start(&origin.url(), &[]), Proxy::start_with_redis(&origin.url(), &redis.url(), &settings)]
    {
        let [one, other] = ["https://one.test", "https://other.test"].map(|from| [("Origin", from)]);
        for path in ["/a", "/b"] {
            store(&node, path, &[&one, &other, &[]]);
            for fields in [&one, &other] {
                let response = node.get_with(path, fields);
                assert!(is_hit(&response), "{path} {}", response.cache_status());
                assert_eq!(response.field("access-control-allow-origin"), Some(fields[0].1));
            }
            let plain = node.get(path);
            assert!(is_hit(&plain), "{path} {}", plain.cache_status());
            assert_eq!((plain.text(), plain.field("access-control-allow-origin")), ("\"plain\"", None));
        }
        // A request without a stored variant gets no other request's variant.
        let third = node.get_with("/b", &[("Origin", "https://third.test")]);
        assert_eq!(third.cache_status(), "CacheWarp; fwd=vary-miss; stored");
    }
}

#[test]
fn vary_fields_of_later_responses_select_as_well() {
    let origin = Origin::start();
    cors(&origin);
    let proxy = Proxy::start(&origin.url(), &[]);
    let one = ("Origin", "https://one.test");
    // The plain responses name only the language.
    store(&proxy, "/a", &[&[ENGLISH], &[GERMAN], &[one, ENGLISH]]);
    // The first list had other fields, so its variants are unreachable once.
    store(&proxy, "/a", &[&[ENGLISH], &[GERMAN], &[one, GERMAN]]);
    for fields in [&[ENGLISH][..], &[GERMAN], &[one, ENGLISH], &[one, GERMAN]] {
        assert!(is_stored(&proxy, "/a", fields), "{fields:?}");
    }
}

#[test]
fn a_304_with_another_vary_keeps_the_response() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[("redis_timeout", "10s")]);
    // The `Vary` that is stored, the one of the 304, and the result.
    let rows = [
        (Some("Origin, Accept-Language"), Some("Origin"), "accept-language, origin"),
        (Some("Origin, Accept-Language"), Some(""), "accept-language, origin"),
        (Some("Origin, Accept-Language"), None, "Origin, Accept-Language"),
        (Some("Origin"), Some("Accept-Language"), "accept-language, origin"),
        (None, Some("Origin, Accept-Language"), "Origin, Accept-Language"),
    ];
    for (number, (stored, updated, both)) in rows.into_iter().enumerate() {
        let path = format!("/{number}");
        let vary = |value: Option<&'static str>| value.map(|value| ("Vary", value)).into_iter();
        let fields: Vec<_> = STALE.into_iter().chain([TAG]).chain(vary(stored)).collect();
        origin.answer(&path, Answer::json_with(&fields, "1"));
        let request = [("Origin", "https://one.test"), ENGLISH];
        proxy.get_with(&path, &request);
        // The response is stored, and stale.
        until("the response to be stored", || {
            let asked = proxy.get_with(&path, &request);
            asked.cache_status().starts_with("CacheWarp; fwd=stale")
        });
        let fields: Vec<_> = [FRESH].into_iter().chain(vary(updated)).collect();
        origin.answer(&path, Answer::not_modified(&fields));
        let validated = proxy.get_with(&path, &request);
        assert_eq!(validated.cache_status(), "CacheWarp; fwd=stale; fwd-status=304; stored", "{number}");
        until("the response to be stored", || is_stored(&proxy, &path, &request));
        let hit = proxy.get_with(&path, &request);
        assert_eq!((is_hit(&hit), hit.text(), hit.field("vary")), (true, "1", Some(both)), "{number}");
        // The fields of both responses select.
        for other in [[("Origin", "https://other.test"), ENGLISH], [request[0], GERMAN]] {
            let is_alike = updated.is_none() && stored.is_none();
            assert_eq!(is_stored(&proxy, &path, &other), is_alike, "{number} {other:?}");
        }
    }
}

#[test]
fn a_304_with_another_vary_keeps_the_response_after_a_refresh() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let settings = [("redis_timeout", "10s")];
    let nodes = [(); 2].map(|()| Proxy::start_with_redis(&origin.url(), &redis.url(), &settings));
    let (both, one) = (("Vary", "Origin, Accept-Language"), ("Vary", "Origin"));
    let swr = ("Cache-Control", "max-age=60, stale-while-revalidate=600");
    let request = [("Origin", "https://one.test"), ENGLISH];
    for (number, updated) in [&[FRESH, one][..], &[FRESH]].into_iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, Answer::json_with(&[swr, STALE[1], TAG, both], "1"));
        nodes[0].get_with(&path, &request);
        origin.answer(&path, Answer::not_modified(updated));
        let fresh =
            [request[0], request[1], ("Cache-Control", "only-if-cached, max-age=1000, min-fresh=500")];
        for node in &nodes {
            until("the refreshed response", || {
                assert_eq!(node.get_with(&path, &request).text(), "1");
                node.get_with(&path, &fresh).status == 200
            });
        }
        // The other node refreshes too if it looks before Redis has the refreshed response.
        let seen = origin.seen(&path);
        assert!((2..=3).contains(&seen.len()), "one refresh of each node at most: {}", seen.len());
        assert!(seen[1..].iter().all(|request| request.field("if-none-match") == Some("\"a\"")));
        for other in [[("Origin", "https://other.test"), ENGLISH], [request[0], GERMAN]] {
            assert!(!is_stored(&nodes[0], &path, &other), "{number} {other:?}");
        }
    }
}

#[test]
fn cache_status_reports_stored_only_for_stored_responses() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for (value, field) in [
        ("vary-star", ("Vary", "*")),
        ("private", ("Cache-Control", "private")),
        ("no-store", ("Cache-Control", "no-store")),
        ("content-type", ("Content-Type", "text/html")),
    ] {
        let path = format!("/{value}");
        origin.answer(&path, Answer::json_with(&[STALE[0], STALE[1], TAG], "1"));
        proxy.get(&path);
        origin.answer(&path, Answer::not_modified(&[field]));
        let validated = proxy.get(&path);
        assert_eq!(validated.cache_status(), format!("CacheWarp; fwd=stale; fwd-status=304; detail={value}"));
        assert!(!is_stored(&proxy, &path, &[]), "{value}");
    }
}

//! Routes: every member through the whole proxy, and the requests to which no member applies.

use std::io::Write;

use serde_json::Value;
use tempfile::NamedTempFile;

use crate::harness::{Answer, Client, Gate, Origin, Proxy, Redis, Response, until};

const FRESH: (&str, &str) = ("Cache-Control", "max-age=600");
const TOKEN: &str = "sesame";
const ASKED: (&str, &str) = ("CacheWarp-Explain", TOKEN);
const BEARER: (&str, &str) = ("Authorization", "Bearer x");

/// Writes a routes file.
fn file(routes: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(routes.as_bytes()).unwrap();
    file
}

/// Starts a proxy with these routes and without a default lifetime.
fn routed(origin: &Origin, routes: &str, settings: &[(&str, &str)]) -> Proxy {
    let file = file(routes);
    let own = [
        ("routes_file", file.path().to_str().unwrap()),
        ("cache_default_ttl", "0"),
        ("explain_token", TOKEN),
    ];
    Proxy::start(&origin.url(), &[&own[..], settings].concat())
}

/// Returns a route for a path, with these further lines.
fn route(name: &str, path: &str, members: &str) -> String {
    format!("[[route]]\nname = \"{name}\"\npath = \"{path}\"\n{members}\n")
}

fn is_hit(response: &Response) -> bool {
    response.cache_status().starts_with("CacheWarp; hit")
}

/// Requests a target twice, and returns whether the second answer is a hit.
fn hits(proxy: &Proxy, target: &str, fields: &[(&str, &str)]) -> bool {
    assert!(!is_hit(&proxy.get_with(target, fields)), "{target}");
    is_hit(&proxy.get_with(target, fields))
}

/// Returns a member of the explanation by its dotted path.
fn explained(response: &Response, path: &str) -> Value {
    let field = response.field("cachewarp-explain").unwrap_or_else(|| panic!("unexplained: {response:?}"));
    let explanation: Value = serde_json::from_str(field).unwrap();
    path.split('.').try_fold(&explanation, |value, name| value.get(name)).cloned().unwrap_or(Value::Null)
}

fn purge(proxy: &Proxy, order: &str) {
    let mut admin = Client::connect(proxy.admin_addr());
    let length = order.len();
    admin.send(format!("POST /purge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{order}"));
    let answer = admin.response_to("POST");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn routes_without_caching_pass() {
    let origin = Origin::start();
    for path in ["/no", "/off", "/on"] {
        origin.answer(path, Answer::json_with(&[FRESH], "{}"));
    }
    let routes = [
        route("no", "/no", "cache = false"),
        route("off", "/off", "mode = \"off\""),
        route("on", "/on", "cache = true\nmode = \"on\""),
    ];
    let proxy = routed(&origin, &routes.concat(), &[]);
    for (path, detail) in [("/no", "route/no"), ("/off", "route/off")] {
        for method in ["GET", "HEAD", "GET"] {
            let response = proxy.connect().request(method, path, &[("If-None-Match", "\"a\""), ASKED]);
            assert_eq!(response.cache_status(), format!("CacheWarp; fwd=bypass; detail={detail}"));
            assert_eq!(explained(&response, "matched_route"), path.trim_start_matches('/'));
            assert_eq!(explained(&response, "passes"), "route");
        }
        let seen = origin.seen(path);
        assert_eq!(seen.len(), 3, "{path}");
        assert!(seen.iter().all(|request| request.field("if-none-match") == Some("\"a\"")), "{path}");
    }
    assert_eq!(proxy.metric(r#"cachewarp_requests_total{outcome="pass"}"#), 6.0);
    assert!(hits(&proxy, "/on", &[]));
}

#[test]
fn cache_control_sets_the_freshness_and_nothing_else() {
    let origin = Origin::start();
    let proxy = routed(&origin, &route("a", "/{case}", "cache_control = \"max-age=600\""), &[]);
    for (path, fields, request, stored) in [
        ("/plain", &[][..], &[][..], true),
        ("/no-cache", &[("Cache-Control", "no-cache"), ("Pragma", "no-cache"), ("Expires", "0")], &[], true),
        ("/private", &[("Cache-Control", "private")], &[], false),
        ("/no-store", &[("Cache-Control", "no-store")], &[], false),
        ("/set-cookie", &[("Set-Cookie", "a=b")], &[], false),
        ("/vary", &[("Vary", "*")], &[], false),
        ("/bearer", &[], &[BEARER], false),
        ("/public-bearer", &[("Cache-Control", "public")], &[BEARER], false),
        ("/shared-bearer", &[("Cache-Control", "public, max-age=9")], &[BEARER], true),
        ("/short-bearer", &[("Cache-Control", "must-revalidate, max-age=9")], &[BEARER], false),
        ("/long-bearer", &[("Cache-Control", "must-revalidate, max-age=900")], &[BEARER], true),
        ("/unlisted", &[], &[("X-User", "7")], false),
        ("/short-unlisted", &[("Cache-Control", "max-age=9")], &[("X-User", "7")], false),
        ("/long-unlisted", &[("Cache-Control", "max-age=900")], &[("X-User", "7")], true),
    ] {
        origin.answer(path, Answer::json_with(fields, "{}"));
        assert_eq!(hits(&proxy, path, request), stored, "{path}");
    }
    let fetched = proxy.get_with("/plain", &[ASKED]);
    assert_eq!(explained(&fetched, "stored.lifetime"), 600.0);
    assert_eq!(explained(&fetched, "matched_route"), "a");
}

#[test]
fn each_override_lifts_its_own_prohibition() {
    const CASES: [(&str, (&str, &str)); 3] = [
        ("private", ("Cache-Control", "private, max-age=600")),
        ("no-store", ("Cache-Control", "no-store, max-age=600")),
        ("set-cookie", ("Set-Cookie", "session=1")),
    ];
    for (word, _) in CASES {
        let origin = Origin::start();
        let members = format!("cache_control = \"max-age=600\"\noverride = [\"{word}\"]");
        let proxy = routed(&origin, &route("a", "/{case}", &members), &[]);
        for (name, field) in CASES {
            origin.answer(&format!("/{name}"), Answer::json_with(&[field], "{}"));
            assert_eq!(hits(&proxy, &format!("/{name}"), &[]), name == word, "{name} {word}");
        }
        origin.answer("/bearer", Answer::json_with(&[CASES[0].1, CASES[1].1, CASES[2].1], "{}"));
        assert!(!hits(&proxy, "/bearer", &[BEARER]), "{word}");
        let hit = proxy.get(&format!("/{word}"));
        assert_eq!(hit.field("set-cookie"), None, "no other client gets the cookie");
        assert!(!is_hit(&proxy.get_with(&format!("/{word}"), &[BEARER])), "{word}");
    }
}

#[test]
fn lifetimes_and_windows_are_those_of_the_route() {
    let origin = Origin::start();
    let members = "default_ttl = \"7s\"\nnegative_ttl = \"8s\"\nstale_while_revalidate = \"9s\"\n\
                   stale_if_error = \"10s\"";
    let routes = [
        route("a", "/routed/{case}", members),
        route("b", "/stated", "cache_control = \"max-age=5, stale-while-revalidate=6, stale-if-error=7\""),
    ];
    let proxy = routed(&origin, &routes.concat(), &[("cache_stale_if_error", "99s")]);
    let json = [("Content-Type", "application/json")];
    for (path, status, want) in [
        ("/routed/found", 200, Some((7.0, 9.0, 10.0))),
        ("/routed/lost", 404, Some((8.0, 9.0, 10.0))),
        ("/stated", 200, Some((5.0, 6.0, 7.0))),
        ("/other", 200, None),
        ("/lost", 404, None),
    ] {
        origin.answer(path, Answer::new(status, &json, "{}"));
        let response = proxy.get_with(path, &[ASKED]);
        let seconds = |name: &str| explained(&response, &format!("fetched.{name}")).as_f64();
        let facts = (seconds("lifetime"), seconds("stale_while_revalidate"), seconds("stale_if_error"));
        let want = want.map(|(lifetime, revalidate, error)| (Some(lifetime), Some(revalidate), Some(error)));
        assert_eq!(facts, want.unwrap_or_default(), "{path}");
    }
}

#[test]
fn limits_of_stored_responses_are_those_of_the_route() {
    let origin = Origin::start();
    let members = "max_body = \"20B\"\ncontent_types = [\"text/plain\"]\nstatuses = [203]";
    let large = "max_body = \"3MiB\"";
    let routes = [route("a", "/a/{case}", members), route("large", "/large", large)];
    let proxy = routed(&origin, &routes.concat(), &[]);
    let long = "x".repeat(21);
    for (path, status, media, body, stored) in [
        ("/a/all", 203, "text/plain", "x", true),
        ("/a/status", 200, "text/plain", "x", false),
        ("/a/type", 203, "application/json", "1", false),
        ("/a/body", 203, "text/plain", &long, false),
        ("/other", 200, "application/json", "1", true),
        ("/other-type", 200, "text/plain", "x", false),
    ] {
        origin.answer(path, Answer::new(status, &[("Content-Type", media), FRESH], body));
        assert_eq!(hits(&proxy, path, &[]), stored, "{path}");
    }
    let large = format!("\"{}\"", "x".repeat(2 << 20));
    for path in ["/small", "/large"] {
        origin.answer(path, Answer::json_with(&[FRESH], &large));
    }
    assert!(!hits(&proxy, "/small", &[]));
    // The JSON of a large body is checked after the answer.
    until("the large response to be stored", || is_hit(&proxy.get("/large")));
}

#[test]
fn time_outs_are_those_of_the_route() {
    let origin = Origin::start();
    let members = "collapse_timeout = \"0s\"\norigin_head_timeout = \"300ms\"";
    let routes = [
        route("a", "/a", members),
        route("b", "/b", "origin_body_timeout = \"300ms\""),
        route("c", "/c", "collapse_timeout = \"0s\""),
        route("w", "/w", "methods = [\"POST\"]\norigin_head_timeout = \"300ms\""),
    ];
    let settings =
        [("origin_head_timeout", "10m"), ("origin_body_timeout", "10m"), ("collapse_timeout", "10m")];
    let proxy = routed(&origin, &routes.concat(), &settings);
    for path in ["/a", "/w"] {
        origin.answer(path, Answer::silent().hang());
    }
    assert_eq!(proxy.get("/a").status, 504);
    assert_eq!(proxy.connect().request("POST", "/w", &[("Content-Length", "0")]).status, 504);

    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n1";
    origin.answer("/b", Answer::raw(head).hang());
    let mut client = proxy.connect();
    client.send_head("GET", "/b", &[]);
    let head = client.head();
    assert!(client.body_of("GET", &head).1.is_err(), "the body is cut");

    let gate = Gate::new();
    origin.answer("/c", Answer::silent().pass(&gate).send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    let mut clients = [proxy.connect(), proxy.connect()];
    clients.iter_mut().for_each(|client| client.send_head("GET", "/c", &[]));
    // The second request does not wait for the first.
    gate.await_arrivals(2);
    gate.open();
    assert!(clients.iter_mut().all(|client| client.response().status == 200));
}

#[test]
fn a_route_ignores_cache_control_of_clients() {
    let origin = Origin::start();
    let proxy = routed(&origin, &route("a", "/a", "ignore_client_cache_control = true"), &[]);
    for path in ["/a", "/b"] {
        origin.answer(path, Answer::json_with(&[FRESH], "{}"));
        proxy.get(path);
        let response = proxy.get_with(path, &[("Cache-Control", "no-cache")]);
        assert_eq!(is_hit(&response), path == "/a");
    }
}

#[test]
fn request_fields_and_cookies_have_the_classes_of_the_route() {
    let origin = Origin::start();
    let members = "default_ttl = \"10m\"\nkey_headers = [\"x-version\"]\nharmless_headers = [\"x-app\"]\n\
                   credential_headers = [\"x-session\"]\nignored_cookies = [\"theme\", \"_ga*\"]";
    let routes = [route("a", "/a/{case}", members), route("b", "/b/{case}", "default_ttl = \"10m\"")];
    let proxy = routed(&origin, &routes.concat(), &[]);
    for (field, own, other) in [
        (("X-Version", "2"), true, false),
        (("X-App", "2"), true, false),
        (("X-Session", "2"), false, false),
        (("Cookie", "theme=dark; _ga_x=1"), true, false),
        (("Cookie", "theme=dark; session=1"), false, false),
    ] {
        for (path, stored) in [("/a", own), ("/b", other)] {
            let path = format!("{path}/{}", field.1.replace(['=', ';', ' '], "-") + field.0);
            origin.answer(&path, Answer::json("{}"));
            assert_eq!(hits(&proxy, &path, &[field]), stored, "{path} {field:?}");
        }
    }
    origin.answer("/a/explicit", Answer::json_with(&[FRESH], "{}"));
    assert!(!hits(&proxy, "/a/explicit", &[("X-Session", "1")]), "a credential of the route");
    origin.answer("/a/keyed", Answer::json("{}"));
    for version in ["1", "2"] {
        assert!(hits(&proxy, "/a/keyed", &[("X-Version", version)]), "each version has an entry");
    }
    let path = "/a/theme-dark---_ga_x-1Cookie";
    assert!(origin.seen(path).iter().all(|request| request.field("cookie").is_none()), "not sent");
}

#[test]
fn the_asked_query_is_the_keyed_query() {
    let origin = Origin::start();
    let routes = [
        route("a", "/a", "[route.query]\nignore = [\"utm_*\"]\nsort = true"),
        route("b", "/b", "[route.query]\nonly = [\"page\"]"),
    ];
    let proxy = routed(&origin, &routes.concat(), &[]);
    for (path, asked, others) in [
        ("/a", "/a?b=1&c=2", ["/a?c=2&utm_x=1&b=1", "/a?%75tm_y=2&b=1&c=2", "/a?b=1&c=2"]),
        ("/b", "/b?page=2", ["/b?page=2&x=1", "/b?utm=1&page=2", "/b?page=2"]),
    ] {
        origin.answer(path, Answer::json_with(&[FRESH], "{}"));
        for (number, target) in others.iter().enumerate() {
            assert_eq!(is_hit(&proxy.get(target)), number > 0, "{target}");
        }
        let seen: Vec<_> = origin.seen(path).into_iter().map(|request| request.target).collect();
        assert_eq!(seen, [asked]);
    }
    // A purge and a write of any spelling name the same resource.
    purge(&proxy, r#"{"url":"http://test/a?utm_z=9&c=2&b=1"}"#);
    assert!(!is_hit(&proxy.get("/a?b=1&c=2")));
    assert!(is_hit(&proxy.get("/a?b=1&c=2")));
    assert_eq!(proxy.connect().request("DELETE", "/a?c=2&b=1&utm_q", &[]).status, 200);
    assert!(!is_hit(&proxy.get("/a?b=1&c=2")), "a write invalidates the keyed query");
}

#[test]
fn tags_of_the_route_purge_its_responses() {
    let origin = Origin::start();
    let proxy = routed(&origin, &route("rates", "/rates/{pair}", "tags = [\"pair:{pair}\"]"), &[]);
    for path in ["/rates/a", "/rates/b"] {
        origin.answer(path, Answer::json_with(&[FRESH, ("Cache-Tag", "own")], "{}"));
        assert!(hits(&proxy, path, &[]));
    }
    purge(&proxy, r#"{"tag":"pair:a"}"#);
    assert!(hits(&proxy, "/rates/a", &[]) && is_hit(&proxy.get("/rates/b")));
    purge(&proxy, r#"{"tag":"own"}"#);
    assert!(hits(&proxy, "/rates/a", &[]) && hits(&proxy, "/rates/b", &[]));
}

#[test]
fn paths_with_several_readings_pass() {
    let origin = Origin::start();
    let routes = [
        route("a", "/public/{x}", "cache_control = \"max-age=600\"\noverride = [\"private\"]"),
        route("b", "/private/{*rest}", "cache = false"),
    ];
    let proxy = routed(&origin, &routes.concat(), &[]);
    for path in [
        "/public/x;y",
        "/public//x",
        "/public/x/",
        "/public/%2e%2e",
        "/public/a%2Fb",
        "/PUBLIC/x",
        "/public/..%2fprivate%2fx",
        "/public/x%00",
        "/private/x.css",
        "/Private/x",
        "//private/x",
        "/private;v=1/x",
    ] {
        origin.answer(path, Answer::json_with(&[FRESH], "{}"));
        for _ in 0..2 {
            let response = proxy.get(path);
            assert!(response.cache_status().starts_with("CacheWarp; fwd=bypass"), "{path} {response:?}");
        }
        assert_eq!(origin.count(path), 2, "{path}");
    }
    // One reading, and not plain: the members that allow storing do not apply.
    origin.answer("/public/a:b", Answer::json_with(&[("Cache-Control", "private")], "{}"));
    assert!(!hits(&proxy, "/public/a:b", &[]));
    origin.answer("/public/ok", Answer::json_with(&[("Cache-Control", "private")], "{}"));
    assert!(hits(&proxy, "/public/ok", &[]));
}

/// Withdrawing a rule withdraws its entries on every node.
#[test]
fn an_entry_under_other_rules_is_a_miss() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "private, max-age=600")], "{}"));
    origin.answer("/b", Answer::json_with(&[FRESH], "{}"));
    let node = |routes: &str| {
        let file = file(routes);
        let all = [("explain_token", TOKEN), ("routes_file", file.path().to_str().unwrap())];
        let settings = if routes.is_empty() { &all[..1] } else { &all[..] };
        Proxy::start_with_redis(&origin.url(), &redis.url(), settings)
    };
    let lifting = route("a", "/{x}", "override = [\"private\"]");
    let first = node(&lifting);
    for path in ["/a", "/b"] {
        first.get(path);
    }
    let same = node(&lifting);
    let only_if_cached = [("Cache-Control", "only-if-cached")];
    for path in ["/a", "/b"] {
        until("the response to be stored", || same.get_with(path, &only_if_cached).status == 200);
    }
    assert!(is_hit(&same.get("/a")) && is_hit(&same.get("/b")));
    for (number, routes) in ["", &route("a", "/{x}", "default_ttl = \"1s\"")].into_iter().enumerate() {
        let other = node(routes);
        let response = other.get_with("/a", &[ASKED]);
        assert_eq!(
            response.cache_status().split("; key").next(),
            Some("CacheWarp; fwd=uri-miss; detail=private")
        );
        assert!(response.field("cachewarp-explain").is_some_and(|field| field.contains("other-rules")));
        assert!(!is_hit(&other.get("/b")), "stored under other rules");
        assert_eq!(origin.count("/a"), number + 2);
    }
}

//! Stale responses and the requests that get them: during a refresh, instead of an error, or
//! because the client accepts them (RFC 9111 §4.2.4 and §5.2.1, RFC 5861).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use cachewarp::time;

use crate::harness::{Answer, Gate, Origin, PATIENCE, Proxy, Redis, Response, until};

const OLD: &str = r#"{"state":"old"}"#;
const NEW: &str = r#"{"state":"new"}"#;
const TAG: (&str, &str) = ("ETag", "\"a\"");
/// The age on arrival: forty seconds beyond a lifetime of sixty.
const AGE: (&str, &str) = ("Age", "100");
/// Distinguishes fresh from stale and starts no refresh: a client that states a maximum age accepts
/// nothing stale.
const ONLY_IF_FRESH: (&str, &str) = ("Cache-Control", "only-if-cached, max-age=1000");

/// Returns a response that is stale on arrival.
fn stale(directives: &str) -> Answer {
    Answer::json_with(&[("Cache-Control", directives), AGE, TAG], OLD)
}

fn error(status: u16) -> Answer {
    Answer::new(status, &[("Content-Type", "application/json")], r#"{"error":true}"#)
}

fn await_stale(proxy: &Proxy, path: &str) {
    until("the response to be stale", || proxy.get_with(path, &[ONLY_IF_FRESH]).status == 504);
}

/// Returns the seconds since the end of a hit's lifetime, by its `Cache-Status`.
fn seconds_past(response: &Response) -> u64 {
    let status = response.cache_status();
    let past = status.strip_prefix("CacheWarp; hit; ttl=-").and_then(|rest| rest.split(';').next());
    past.unwrap_or_else(|| panic!("{status} is no stale hit")).parse().unwrap()
}

/// RFC 9111 §5.2.2.10 forbids it, unless the operator states that the origin means something else.
#[test]
fn a_response_with_s_maxage_is_served_stale_by_setting() {
    for (setting, is_served) in [("off", false), ("on", true)] {
        let origin = Origin::start();
        origin.answer("/a", stale("s-maxage=60, stale-while-revalidate=600"));
        let proxy = Proxy::start(&origin.url(), &[("stale_despite_s_maxage", setting)]);
        proxy.get("/a");
        let status = proxy.get("/a").cache_status().to_owned();
        assert_eq!(status.starts_with("CacheWarp; hit; ttl=-"), is_served, "{status}");
    }
}

#[test]
fn a_stale_response_is_served_to_all_during_one_refresh() {
    let (origin, redis, gate) = (Origin::start(), Redis::start(), Gate::new());
    origin.answer("/a", stale("max-age=60, stale-while-revalidate=600"));
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[("worker_threads", "2")]);
    assert_eq!(proxy.get("/a").cache_status(), "CacheWarp; fwd=uri-miss; stored");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=60\r\n";
    origin.answer(
        "/a",
        Answer::silent().pass(&gate).send(format!("{head}Content-Length: {}\r\n\r\n{NEW}", NEW.len())),
    );
    for _ in 0..10 {
        let response = proxy.get("/a");
        assert_eq!((response.text(), seconds_past(&response) >= 40), (OLD, true));
        let age: u64 = response.field("age").unwrap().parse().unwrap();
        assert!((100..120).contains(&age), "{age}");
    }
    gate.await_arrivals(1);
    assert_eq!(
        (origin.count("/a"), proxy.metric("cachewarp_refreshes_total")),
        (2, 1.0),
        "one refresh serves all requests"
    );
    gate.open();
    until("the refresh to be stored", || proxy.get("/a").text() == NEW);
    assert!(proxy.get("/a").cache_status().starts_with("CacheWarp; hit; ttl=5"));
    assert_eq!(origin.count("/a"), 2);
}

#[test]
fn a_refresh_sends_no_client_fields() {
    let origin = Origin::start();
    origin.answer("/a", {
        let fields = [
            ("Cache-Control", "public, max-age=60, stale-while-revalidate=600"),
            AGE,
            TAG,
            ("Vary", "X-Abc"),
        ];
        Answer::json_with(&fields, OLD)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    let own = [
        ("X-Abc", "1"),
        ("Authorization", "Bearer alice"),
        ("Cookie", "id=alice"),
        ("X-Api-Key", "alice"),
        ("X-Other", "alice"),
        ("If-None-Match", "\"x\""),
        ("Range", "bytes=0-1"),
    ];
    proxy.get_with("/a", &own[..1]);
    assert_eq!(proxy.get_with("/a", &own).text(), OLD.split_at(2).0, "a part of the stale response");
    origin.await_count("/a", 2);
    let asked = &origin.seen("/a")[1];
    let sent = own.map(|(name, _)| asked.field(&name.to_ascii_lowercase()));
    assert_eq!(
        sent,
        [Some("1"), None, None, None, None, Some("\"a\""), None],
        "a refresh must send only the variant's field and the cache's condition"
    );
}

#[test]
fn a_refresh_concerns_the_stale_variant() {
    let origin = Origin::start();
    let stale = |text: &str| {
        let control = ("Cache-Control", "max-age=60, stale-while-revalidate=600");
        Answer::json_with(&[control, AGE, TAG, ("Vary", "X-Abc")], text)
    };
    origin.answer("/a", stale(OLD));
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    // For the origin and the cache this request has no `X-Abc`, so the refresh concerns the variant
    // without the field. A refresh with the field would let the origin's 304 confirm the other
    // variant.
    origin.answer("/a", Answer::new(304, &[("Cache-Control", "max-age=60")], ""));
    assert_eq!(proxy.get_with("/a", &[("X-Abc", "1"), ("Connection", "x-abc")]).text(), OLD);
    origin.await_count("/a", 2);
    let asked = &origin.seen("/a")[1];
    assert_eq!((asked.field("if-none-match"), asked.field("x-abc")), (Some("\"a\""), None));
    origin.answer("/a", stale(NEW));
    assert_eq!(proxy.get_with("/a", &[("X-Abc", "1")]).text(), NEW);
}

#[test]
fn a_request_that_accepts_nothing_stale_validates_beside_the_refresh() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", stale("max-age=60, stale-while-revalidate=600"));
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    origin.answer(
        "/a",
        Answer::silent().pass(&gate).send("HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\n\r\n"),
    );
    assert_eq!(proxy.get("/a").text(), OLD);
    gate.await_arrivals(1);
    let mut strict = proxy.connect();
    strict.send_head("GET", "/a", &[("Cache-Control", "max-age=1000")]);
    origin.await_count("/a", 3);
    gate.open();
    let response = strict.response();
    assert_eq!(
        (response.text(), response.cache_status()),
        (OLD, "CacheWarp; fwd=request; fwd-status=304; stored")
    );
}

#[test]
fn a_setting_allows_stale_responses_unless_the_origin_decides() {
    let origin = Origin::start();
    let settings = [("cache_default_ttl", "500ms"), ("cache_stale_while_revalidate", "1h")];
    let proxy = Proxy::start(&origin.url(), &settings);
    let rows = [
        ("/silent", "", true),
        ("/own-word", "max-age=1, stale-while-revalidate=0", false),
        ("/strict", "max-age=1, must-revalidate", false),
    ];
    for (path, directives, served) in rows {
        let fields = [("Cache-Control", directives), ("Age", "0")];
        let fields = if directives.is_empty() { &fields[1..] } else { &fields };
        origin.answer(path, Answer::json_with(fields, OLD));
        proxy.get(path);
        await_stale(&proxy, path);
        origin.answer(path, Answer::json_with(fields, NEW));
        let response = proxy.get(path);
        if served {
            assert_eq!((response.text(), seconds_past(&response) < 20), (OLD, true));
            until("the refresh to be stored", || proxy.get(path).text() == NEW);
        } else {
            assert_eq!(
                (response.text(), response.cache_status()),
                (NEW, "CacheWarp; fwd=stale; stored"),
                "{path}"
            );
        }
    }
}

#[test]
fn a_failed_refresh_leaves_the_stored_response() {
    let origin = Origin::start();
    origin.answer("/a", stale("max-age=60, stale-while-revalidate=600"));
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    origin.answer("/a", error(503));
    // The second refresh starts after the pause that follows the first.
    for refreshes in 1..=2 {
        until("a refresh", || {
            assert_eq!(proxy.get("/a").text(), OLD);
            origin.count("/a") == 1 + refreshes
        });
        until("the refresh to end", || proxy.metric("cachewarp_shared_fetches") == 0.0);
    }
    origin.stop();
    assert_eq!(proxy.get("/a").text(), OLD);
}

#[test]
fn a_hot_key_costs_a_failing_origin_few_requests() {
    /// Requests at the origin after which the test ends: one, and one after each of two pauses.
    const FAILED: usize = 3;
    const CLIENTS: usize = 4;
    const RATE_MAX: f64 = 5.0;
    let origin = Origin::start();
    let fields = [("Cache-Control", "max-age=1, stale-if-error=600"), TAG];
    origin.answer("/a", Answer::json_with(&fields, OLD));
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    await_stale(&proxy, "/a");
    origin.answer("/a", error(503));
    let (begun, served) = (time::instant(), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = proxy.connect();
                while origin.count("/a") < 1 + FAILED && begun.elapsed() < PATIENCE {
                    assert_eq!(client.get("/a").text(), OLD);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let (asked, seconds) = (origin.count("/a") - 1, begun.elapsed().as_secs_f64());
    assert!(asked >= FAILED, "{asked} requests in {seconds} s: a pause does not end");
    assert!(asked as f64 <= 1.0 + RATE_MAX * seconds, "{asked} requests in {seconds} s");
    let served = served.into_inner();
    assert!(served > 100 * asked, "{served} responses are no load");
}

#[test]
fn a_stale_response_replaces_an_error_if_the_origin_allows_it() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let allowed = "max-age=60, stale-if-error=600";
    let rows = [
        (allowed, 500, true),
        (allowed, 502, true),
        (allowed, 503, true),
        (allowed, 504, true),
        (allowed, 501, false),
        (allowed, 404, false),
        ("max-age=60, stale-if-error=10", 503, false),
        ("max-age=60", 503, false),
        ("max-age=60, stale-if-error=600, must-revalidate", 503, false),
        ("max-age=60, stale-if-error=600, proxy-revalidate", 503, false),
        ("s-maxage=60, stale-if-error=600", 503, false),
        ("max-age=60, stale-if-error=600, no-cache", 503, false),
    ];
    for (number, (directives, status, replaced)) in rows.into_iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, stale(directives));
        assert_eq!(proxy.get(&path).cache_status(), "CacheWarp; fwd=uri-miss; stored", "{directives}");
        origin.answer(&path, error(status));
        for _ in 0..2 {
            let response = proxy.get(&path);
            if replaced {
                assert_eq!((response.status, response.text()), (200, OLD), "{directives} and {status}");
                assert!(seconds_past(&response) >= 40);
            } else {
                assert_eq!(response.status, status, "{directives}");
                assert!(!response.cache_status().contains("hit"), "{}", response.cache_status());
            }
        }
        if status == 404 {
            // A 404 is no server error: it ends the stored response (`withdrawn.rs`).
            continue;
        }
        // A server error does not end the stored response: a client that demands validation still
        // gets it.
        origin.answer(&path, Answer::not_modified(&[("Cache-Control", "max-age=60")]));
        assert_eq!(proxy.get_with(&path, &[("Cache-Control", "no-cache")]).text(), OLD);
    }
    let replaced = rows.iter().filter(|(_, _, replaced)| *replaced).count();
    assert_eq!(proxy.metric(r#"cachewarp_requests_total{outcome="stale-on-error"}"#), 2.0 * replaced as f64);
}

/// Requests a hot resource as fast as two clients can. Returns the duration, and the number of
/// requests at the origin.
fn storm(proxy: &Proxy, origin: &Origin, path: &str) -> (Duration, usize) {
    let script = path.split('?').next().unwrap();
    let (before, begun) = (origin.count(script), time::instant());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                for _ in 0..200 {
                    assert_eq!((client.get(path).text(), proxy.get(path).text()), (OLD, OLD), "{path}");
                }
            });
        }
    });
    (begun.elapsed(), origin.count(script) - before)
}

#[test]
fn a_failing_origin_gets_one_request_a_second_while_stale_responses_are_served() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[("origin_head_timeout", "500ms")]);
    let cut = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{";
    let failures = [
        ("/500", error(500)),
        ("/502", error(502)),
        ("/503", error(503)),
        ("/504", error(504)),
        ("/closed", Answer::silent().close()),
        ("/silent", Answer::silent().hang()),
        ("/nonsense", Answer::raw("nonsense\r\n\r\n").close()),
        ("/cut", Answer::raw(cut).close()),
    ];
    for window in ["stale-if-error=600", "stale-while-revalidate=600, stale-if-error=600"] {
        for (path, failure) in &failures {
            let path = &format!("{path}?{}", window.len());
            let script = path.split('?').next().unwrap();
            origin.answer(script, stale(&format!("max-age=60, {window}")));
            proxy.get(path);
            origin.answer(script, failure.clone());
            // The first request gets the origin's response: a cut body is cut.
            let mut first = proxy.connect();
            first.send_head("GET", path, &[("Connection", "close")]);
            first.rest();
            until("the failure to be known", || proxy.metric("cachewarp_shared_fetches") == 0.0);
            let (took, asked) = storm(&proxy, &origin, path);
            assert!(asked as f64 <= 1.0 + took.as_secs_f64(), "{path}: {asked} times in {took:?}");
        }
    }
}

/// RFC 5861 §4 names neither of these statuses, and none ends the stored response.
#[test]
fn a_refresh_that_brings_another_error_is_not_repeated_at_once() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for status in [408, 421, 425, 429, 501, 507, 520, 599] {
        let path = &format!("/{status}");
        origin.answer(path, stale("max-age=60, stale-while-revalidate=600"));
        proxy.get(path);
        origin.answer(path, error(status));
        assert_eq!(proxy.get(path).text(), OLD);
        until("the failure to be known", || {
            origin.count(path) == 2 && proxy.metric("cachewarp_shared_fetches") == 0.0
        });
        let (took, asked) = storm(&proxy, &origin, path);
        assert!(asked as f64 <= 1.0 + took.as_secs_f64(), "{status}: {asked} times in {took:?}");
    }
}

#[test]
fn an_origin_gets_no_request_before_its_retry_after() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    origin.answer("/a", stale("max-age=60, stale-if-error=600"));
    proxy.get("/a");
    origin.answer("/a", Answer::new(503, &[("Retry-After", "60")], ""));
    assert_eq!(proxy.get("/a").text(), OLD);
    let (_, asked) = storm(&proxy, &origin, "/a");
    assert_eq!(asked, 0);
    // A request that accepts nothing stale goes to the origin, and its success serves all later
    // requests.
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=60")], NEW));
    assert_eq!(proxy.get_with("/a", &[("Cache-Control", "no-cache")]).text(), NEW);
    until("the new one to be stored", || proxy.get("/a").text() == NEW);
}

/// `Retry-After` as seconds and as a date, in the foreground and in the background.
#[test]
fn every_refusal_with_a_retry_after_is_heeded() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let date = UNIX_EPOCH + Duration::from_millis(time::now().as_millis() + 120_000);
    let date = httpdate::fmt_http_date(date);
    let both = "max-age=60, stale-while-revalidate=600, stale-if-error=600";
    let rows = [
        (503, "max-age=60, stale-if-error=600"),
        (503, "max-age=60, stale-while-revalidate=600"),
        (503, both),
        (429, "max-age=60, stale-while-revalidate=600"),
        (429, both),
    ];
    for (status, directives) in rows {
        for after in ["60", &date] {
            let path = &format!("/{status}/{}/{}", directives.len(), after.len());
            origin.answer(path, stale(directives));
            proxy.get(path);
            origin.answer(path, Answer::new(status, &[("Retry-After", after)], ""));
            assert_eq!(proxy.get(path).text(), OLD, "{status} {directives}");
            until("the failure to be known", || {
                origin.count(path) == 2 && proxy.metric("cachewarp_shared_fetches") == 0.0
            });
            // Without the field, the second pause ends within this time.
            let begun = time::instant();
            let mut client = proxy.connect();
            while begun.elapsed() < Duration::from_secs(3) {
                assert_eq!(client.get(path).text(), OLD, "{status} {directives}");
            }
            assert_eq!(origin.count(path), 2, "{status} {directives}, Retry-After: {after}");
        }
    }
}

#[test]
fn a_head_gets_the_status_of_a_get() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for (path, directives, status) in
        [("/allowed", "max-age=60, stale-if-error=600", 200), ("/silent", "max-age=60", 503)]
    {
        origin.answer(path, stale(directives));
        proxy.get(path);
        origin.answer(path, error(503));
        for method in ["GET", "HEAD"] {
            let response = proxy.connect().request(method, path, &[]);
            assert_eq!(response.status, status, "{method} {path}: {}", response.cache_status());
        }
    }
}

#[test]
fn a_client_or_a_setting_allows_a_stale_response_on_error() {
    let origin = Origin::start();
    let asked = [("Cache-Control", "stale-if-error=600")];
    let proxy = Proxy::start(&origin.url(), &[]);
    origin.answer("/client", stale("max-age=60"));
    proxy.get("/client");
    origin.answer("/client", error(503));
    assert_eq!(proxy.get_with("/client", &asked).text(), OLD);
    assert_eq!(proxy.get("/client").status, 503);

    let proxy =
        Proxy::start(&origin.url(), &[("cache_default_ttl", "500ms"), ("cache_stale_if_error", "1h")]);
    for (path, directives, status) in
        [("/operator", "", 200), ("/origin", "max-age=1, stale-if-error=0", 503)]
    {
        let fields = [("Cache-Control", directives)];
        origin.answer(path, Answer::json_with(if directives.is_empty() { &[] } else { &fields }, OLD));
        proxy.get(path);
        await_stale(&proxy, path);
        origin.answer(path, error(503));
        assert_eq!(proxy.get(path).status, status, "{path}");
    }
}

#[test]
fn a_stale_response_replaces_a_failed_fetch() {
    let settings = [("origin_head_timeout", "500ms"), ("origin_connect_timeout", "1s")];
    let failures: [(&str, Answer, u16); 3] = [
        ("silence", Answer::silent().hang(), 504),
        ("a close", Answer::silent().close(), 502),
        ("nonsense", Answer::raw("nonsense\r\n\r\n").close(), 502),
    ];
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &settings);
    let allowed = stale("max-age=60, stale-if-error=600");
    // A response that arrived stale is served without validation only if the origin, the client or
    // the operator allows it.
    let silent = stale("max-age=60");
    let forbidden = stale("max-age=60, stale-if-error=600, must-revalidate");
    for (failure, answer, status) in failures {
        for (number, (stored, want)) in
            [(&allowed, 200), (&silent, status), (&forbidden, status)].into_iter().enumerate()
        {
            let path = format!("/{}/{number}", failure.replace(' ', "-"));
            origin.answer(&path, stored.clone());
            proxy.get(&path);
            origin.answer(&path, answer.clone());
            let response = proxy.get(&path);
            assert_eq!(response.status, want, "{failure}: {number}: {}", response.cache_status());
        }
    }
    for (path, stored) in [("/allowed", &allowed), ("/silent", &silent), ("/forbidden", &forbidden)] {
        origin.answer(path, stored.clone());
        proxy.get(path);
    }
    origin.stop();
    assert_eq!(
        ["/allowed", "/silent", "/forbidden"].map(|path| proxy.get(path).status),
        [200, 502, 502],
        "refused"
    );
}

#[test]
fn a_recently_fresh_response_is_served_if_the_origin_is_unreachable() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[("cache_default_ttl", "500ms")]);
    let strict = [("Cache-Control", "max-age=1, must-revalidate"), TAG];
    for (path, fields) in [("/a", &[TAG][..]), ("/strict", &strict)] {
        origin.answer(path, Answer::json_with(fields, OLD));
        proxy.get(path);
    }
    await_stale(&proxy, "/a");
    await_stale(&proxy, "/strict");
    origin.answer("/a", error(503));
    assert_eq!(proxy.get("/a").status, 503, "an error response must pass");
    origin.stop();
    let response = proxy.get("/a");
    assert_eq!((response.text(), seconds_past(&response) < 60), (OLD, true));
    for field in [("Cache-Control", "no-cache"), ("Cache-Control", "max-age=1000"), ("Authorization", "x")] {
        assert_eq!(proxy.get_with("/a", &[field]).status, 502, "{field:?}");
    }
    assert_eq!(proxy.get("/strict").status, 502);
}

#[test]
fn all_followers_of_a_failed_fetch_get_the_stale_response() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let proxy =
        Proxy::start(&origin.url(), &[("cache_default_ttl", "500ms"), ("cache_stale_if_error", "1h")]);
    for (path, answer) in [
        ("/nonsense", Answer::silent().pass(&gate).send("nonsense\r\n\r\n").close()),
        ("/error", Answer::silent().pass(&gate).send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")),
    ] {
        origin.answer(path, Answer::json_with(&[TAG], OLD));
        proxy.get(path);
        await_stale(&proxy, path);
        origin.answer(path, answer);
    }
    let others = proxy.metric(CONNECTIONS);
    let mut clients: Vec<_> = (0..10).map(|_| proxy.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send_head("GET", if number % 2 == 0 { "/nonsense" } else { "/error" }, &[]);
    }
    until("all to wait", || proxy.metric(CONNECTIONS) >= others + 10.0);
    gate.await_arrivals(2);
    gate.open();
    for client in &mut clients {
        let response = client.response();
        assert_eq!((response.text(), seconds_past(&response) >= 1), (OLD, true));
    }
    assert_eq!((origin.count("/nonsense"), origin.count("/error")), (2, 2));
}

/// The metric of client connections that have sent data.
const CONNECTIONS: &str = r#"cachewarp_client_connections_total{protocol="http1"}"#;

#[test]
fn the_clients_directives_bound_freshness_and_staleness() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    // The stored directives, the requested directives, and whether the response is a hit.
    let half = "max-age=160";
    let rows = [
        ("max-age=60", "max-stale", true),
        ("max-age=60", "max-stale=100", true),
        ("max-age=60", "max-stale=39", false),
        ("max-age=60", "max-stale=x", false),
        ("max-age=60", "max-stale=100, max-age=50", false),
        ("max-age=60", "max-stale=100, max-age=200", true),
        ("max-age=60", "max-stale, no-cache", false),
        ("max-age=60, must-revalidate", "max-stale", false),
        ("max-age=60, proxy-revalidate", "max-stale", false),
        ("s-maxage=60", "max-stale", false),
        ("no-cache, max-age=600", "max-stale", false),
        (half, "min-fresh=50", true),
        (half, "min-fresh=61", false),
        (half, "max-age=110", true),
        (half, "max-age=99", false),
        (half, "max-age=x", false),
        (half, "max-stale", true),
        (half, "no-store", true),
    ];
    for (number, (stored, asked, served)) in rows.into_iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, stale(stored));
        proxy.get(&path);
        let response = proxy.get_with(&path, &[("Cache-Control", asked)]);
        assert_eq!(response.text(), OLD, "{stored} and {asked}");
        assert_eq!(
            response.cache_status().contains("hit"),
            served,
            "{stored} and {asked}: {}",
            response.cache_status()
        );
        assert_eq!(origin.count(&path), 2 - usize::from(served), "{stored} and {asked}");
        let cached = format!("{asked}, only-if-cached");
        let response = proxy.get_with(&path, &[("Cache-Control", &cached)]);
        assert_eq!(response.status, if served { 200 } else { 504 }, "{stored} and {cached}");
    }
    assert_eq!(proxy.get_with("/never", &[("Cache-Control", "only-if-cached")]).status, 504);
    assert_eq!(origin.count("/never"), 0);
}

#[test]
fn jitter_spreads_the_ends_of_lifetimes() {
    let origin = Origin::start();
    let ttls = |proxy: &Proxy| -> Vec<u64> {
        let ttl = |number: usize| {
            let path = format!("/{number}");
            origin.answer(&path, Answer::json_with(&[("Cache-Control", "max-age=1000")], OLD));
            proxy.get(&path);
            let response = proxy.get(&path);
            let ttl = response.cache_status().strip_prefix("CacheWarp; hit; ttl=").expect("a hit");
            ttl.split(';').next().unwrap().parse().unwrap()
        };
        (0..32).map(ttl).collect()
    };
    let even = ttls(&Proxy::start(&origin.url(), &[]));
    assert!(even.iter().all(|ttl| (950..=1000).contains(ttl)), "{even:?}");
    let uneven = ttls(&Proxy::start(&origin.url(), &[("cache_ttl_jitter", "50%")]));
    assert!(uneven.iter().all(|ttl| (450..=1000).contains(ttl)), "{uneven:?}");
    // The probability that all lie within a tenth of the range is below 1 in 10^20.
    let (least, most) = (uneven.iter().min().unwrap(), uneven.iter().max().unwrap());
    assert!(most - least > 100, "{uneven:?}");
}

#[test]
fn an_expensive_response_is_refreshed_before_it_expires() {
    let origin = Origin::start();
    // The response arrives after a fetch of a tenth of a second, with less than a second of
    // lifetime left.
    origin.script("/a", |exchange| {
        thread::sleep(Duration::from_millis(100));
        Answer::json_with(&[("Cache-Control", "max-age=60"), ("Age", "59")], OLD).give(exchange)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    (0..20).for_each(|_| drop(proxy.get("/a")));
    assert_eq!(proxy.metric("cachewarp_refreshes_total"), 0.0, "no early refresh by default");
    let proxy = Proxy::start(&origin.url(), &[("cache_early_refresh", "1000%")]);
    until("an early refresh", || {
        assert_eq!(proxy.get("/a").text(), OLD);
        proxy.metric("cachewarp_refreshes_total") > 0.0
    });
}

#[test]
fn a_stale_response_for_an_unreachable_origin_is_kept_in_every_tier() {
    for memory in ["64MiB", "0"] {
        let (origin, redis) = (Origin::start(), Redis::start());
        // Without a validator, only its use as a stale answer on error keeps the response stored.
        origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=1")], OLD));
        origin.answer("/strict", Answer::json_with(&[("Cache-Control", "max-age=1, must-revalidate")], OLD));
        let settings = [("cache_memory_size", memory), ("redis_timeout", "10s")];
        let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);
        for path in ["/a", "/strict"] {
            proxy.get(path);
            until("the response to be stored", || proxy.get_with(path, &[ONLY_IF_FRESH]).status == 200);
        }
        for path in ["/a", "/strict"] {
            await_stale(&proxy, path);
        }
        origin.stop();
        let stale = proxy.get("/a");
        assert_eq!((stale.status, stale.text()), (200, OLD), "{memory}");
        assert!(stale.cache_status().starts_with("CacheWarp; hit; ttl=-"), "{}", stale.cache_status());
        assert_eq!(proxy.get("/strict").status, 502, "{memory}");
    }
}

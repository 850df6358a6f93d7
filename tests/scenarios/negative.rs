//! Negative caching by setting: `cache_negative_ttl`.

use crate::harness::{Answer, Origin, Proxy, Redis};

const NOTHING: &str = r#"{"error":"nothing here"}"#;
const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn a_missing_resource_is_stored_if_the_setting_allows_it() {
    type Fields = &'static [(&'static str, &'static str)];
    // The status, the origin's further fields, and whether the response is stored without and with
    // the setting.
    let rows: [(u16, Fields, bool, bool); 9] = [
        (404, &[], false, true),
        (410, &[], false, true),
        (404, &[("Cache-Control", "max-age=60")], false, true),
        (404, &[("Cache-Control", "no-store")], false, false),
        (404, &[("Cache-Control", "private")], false, false),
        (404, &[("Cache-Control", "max-age=0")], false, false),
        (404, &[("Set-Cookie", "a=b")], false, false),
        (405, &[], false, false),
        (500, &[], false, false),
    ];
    let (origin, redis) = (Origin::start(), Redis::start());
    let off = Proxy::start(&origin.url(), &[]);
    let on = Proxy::start_with_redis(&origin.url(), &redis.url(), &[("cache_negative_ttl", "30s")]);
    for (number, (status, fields, without, with)) in rows.into_iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, Answer::new(status, &[&[JSON], fields].concat(), NOTHING));
        for (proxy, stored) in [(&off, without), (&on, with)] {
            proxy.get(&path);
            let again = proxy.get(&path);
            assert_eq!((again.status, again.text()), (status, NOTHING));
            assert_eq!(
                again.cache_status().contains("hit"),
                stored,
                "{status} {fields:?}: {}",
                again.cache_status()
            );
        }
    }
    origin.answer("/page", Answer::new(404, &[("Content-Type", "text/html")], "nothing here"));
    on.get("/page");
    assert!(
        on.get("/page").cache_status().ends_with("detail=content-type"),
        "the setting must not extend the storable media types"
    );
}

#[test]
fn a_negative_response_has_its_own_lifetime_and_is_replaced() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[("cache_negative_ttl", "5s"), ("cache_default_ttl", "1h")]);
    origin.answer("/a", Answer::new(404, &[JSON], NOTHING));
    proxy.get("/a");
    let hit = proxy.get("/a");
    let ttl =
        hit.cache_status().strip_prefix("CacheWarp; hit; ttl=").expect("a hit").split(';').next().unwrap();
    assert!(ttl.parse::<u64>().unwrap() <= 5, "{ttl}");
    // The negative lifetime is a default, so it does not apply to requests with a credential.
    let named = proxy.get_with("/a", &[("Authorization", "Bearer alice")]);
    assert_eq!(named.cache_status(), "CacheWarp; fwd=bypass; detail=authorization");
    origin.answer("/a", Answer::new(201, &[JSON], "{}"));
    assert_eq!(proxy.connect().request("PUT", "/a", &[("Content-Length", "0")]).status, 201);
    origin.answer("/a", Answer::json("{}"));
    assert_eq!((proxy.get("/a").status, proxy.get("/a").text()), (200, "{}"));
}

#[test]
fn a_response_without_content_needs_no_valid_json() {
    let origin = Origin::start();
    let statuses = ("cache_statuses", "200,203,204,301,308,404,405,410");
    let proxy = Proxy::start(&origin.url(), &[statuses]);
    let fields = [JSON, ("Cache-Control", "max-age=60"), ("Location", "/there")];
    for (status, stored) in [
        (204, true),
        (301, true),
        (308, true),
        (404, true),
        (405, true),
        (410, true),
        (200, false),
        (203, false),
    ] {
        let path = format!("/{status}");
        let head: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = if status == 204 { "" } else { "Content-Length: 0\r\n" };
        origin.answer(&path, Answer::raw(format!("HTTP/1.1 {status} Scripted\r\n{head}{length}\r\n")));
        proxy.get(&path);
        let again = proxy.get(&path);
        assert_eq!((again.status, again.text()), (status, ""));
        let status_says = again.cache_status();
        assert_eq!(status_says.starts_with("CacheWarp; hit"), stored, "{status}: {status_says}");
    }
    // The framing does not matter. The end of a connection proves no end of a content.
    for (framing, stored) in
        [("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true), ("Connection: close\r\n\r\n", false)]
    {
        for status in [301, 308, 404, 410] {
            let path = format!("/{status}/{stored}");
            let head: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let answer = Answer::raw(format!("HTTP/1.1 {status} Scripted\r\n{head}{framing}"));
            origin.answer(&path, if stored { answer } else { answer.close() });
            proxy.get(&path);
            let again = proxy.get(&path);
            assert_eq!((again.status, again.text()), (status, ""));
            let status_says = again.cache_status();
            assert_eq!(status_says.starts_with("CacheWarp; hit"), stored, "{path}: {status_says}");
        }
    }
    // A response with content must match its type.
    origin.answer("/not-json", Answer::new(404, &fields, "nothing here"));
    proxy.get("/not-json");
    assert!(proxy.get("/not-json").cache_status().ends_with("detail=invalid-json"));
}

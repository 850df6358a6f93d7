//! Cache poisoning and cache deception: no request of one client decides another client's response,
//! and no URL makes a private response public.

use crate::harness::{Answer, Origin, Proxy};

const STORABLE: (&str, &str) = ("Cache-Control", "max-age=60");

/// Fields by which frameworks replace a part of the request, or that describe its source: a shared
/// fetch sends none of them.
const DROPPED: &[&str] = &[
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-Scheme",
    "X-Forwarded-For",
    "Forwarded",
    "X-Real-IP",
    "X-Original-URL",
    "X-Original-URI",
    "X-Original-Host",
    "X-Original-Method",
    "X-Rewrite-URL",
    "X-Host",
    "X-HTTP-Host-Override",
    "X-HTTP-Method",
    "X-HTTP-Method-Override",
    "X-Method-Override",
    "X_Forwarded_Host",
    "X_Original_URL",
    "Range",
    "If-Range",
    "If-None-Match",
    "If-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Trailer",
];

/// Fields that a shared fetch sends unchanged: by RFC 9110 §12.5.5 an origin that answers by one of
/// them names it in `Vary`.
const FORWARDED: &[&str] = &["User-Agent", "Accept", "Accept-Language", "Origin", "Referer", "X-Anything"];

/// Starts an origin that echoes its requests.
fn echo(origin: &Origin, path: &str, vary: Option<&'static str>) {
    origin.script(path, move |exchange| {
        let echoed = exchange.request.head.fields.iter().map(|(name, value)| format!("{name}={value}"));
        let echoed = echoed.collect::<Vec<_>>().join("; ").replace(['"', '\\'], "");
        let mut fields = vec![STORABLE];
        fields.extend(vary.map(|vary| ("Vary", vary)));
        Answer::json_with(&fields, &format!("\"{echoed}\"")).give(exchange)
    });
}

#[test]
fn unkeyed_fields_that_could_change_the_response_do_not_reach_the_origin() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for (number, name) in DROPPED.iter().enumerate() {
        let path = format!("/{number}");
        echo(&origin, &path, None);
        proxy.get_with(&path, &[(name, "evil")]);
        let victim = proxy.get(&path);
        assert_eq!(victim.status, 200, "{name}");
        assert!(!victim.text().contains("evil"), "{name}: {}", victim.text());
    }
}

#[test]
fn an_origin_with_a_correct_vary_is_not_poisoned() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for (number, name) in FORWARDED.iter().enumerate() {
        let path = format!("/{number}");
        echo(&origin, &path, Some(name));
        assert!(proxy.get_with(&path, &[(name, "evil")]).text().contains("evil"), "{name} must be forwarded");
        let victim = proxy.get_with(&path, &[(name, "good")]);
        assert!(victim.text().contains("good") && !victim.text().contains("evil"), "{name}");
        assert!(!proxy.get(&path).text().contains("evil"), "{name}");
    }
}

#[test]
fn a_field_that_connection_removes_selects_no_variant() {
    let origin = Origin::start();
    echo(&origin, "/a", Some("Accept-Language"));
    let proxy = Proxy::start(&origin.url(), &[]);
    // The origin never sees the field. If the response were stored under the field's value, all
    // clients that send it would get this response.
    let taken = [("Accept-Language", "de"), ("Connection", "keep-alive, accept-language")];
    assert!(!proxy.get_with("/a", &taken).text().contains("accept-language"));
    let german = proxy.get_with("/a", &[("Accept-Language", "de")]);
    assert!(german.text().contains("accept-language=de"), "{}", german.text());
    assert!(!proxy.get("/a").text().contains("accept-language"));
    assert_eq!(origin.count("/a"), 2, "a removed field counts as absent");
}

/// Paths that lead other caches to store a private response.
const PATHS: &[&str] = &[
    "/account.json/x.css",
    "/account.json;x.css",
    "/account.json%00.css",
    "/account.json%2fx.css",
    "/account.json%3fx.css",
    "/account.json/..%2fstatic/x.js",
    "/static/..%2faccount.json",
    "/account.json?x.css",
    "/account.json%23.css",
    "/account.json%0a.css",
    "//account.json",
    "/ACCOUNT.json",
];

#[test]
fn no_url_makes_a_private_response_public() {
    let origin = Origin::start();
    for path in PATHS {
        origin.script(path.split('?').next().unwrap(), |exchange| {
            let owner = ["authorization", "cookie", "x-api-key", "x_api_key"]
                .map(|name| exchange.request.field(name));
            let owner = owner.into_iter().flatten().next().unwrap_or("anonymous");
            // The response has no cache control: anonymous requests get the default lifetime.
            Answer::json(&format!("\"of {owner}\"")).give(exchange)
        });
    }
    let proxy = Proxy::start(&origin.url(), &[]);
    for path in PATHS {
        for (name, value) in
            [("Authorization", "alice"), ("Cookie", "alice"), ("X-Api-Key", "alice"), ("X_Api_Key", "alice")]
        {
            assert_eq!(proxy.get_with(path, &[(name, value)]).text(), "\"of alice\"", "{path} {name}");
            assert_eq!(proxy.get(path).text(), "\"of anonymous\"", "{path} {name}");
            assert_eq!(proxy.get_with(path, &[(name, "bob")]).text(), "\"of bob\"", "{path} {name}");
        }
    }
}

#[test]
fn similar_requests_have_separate_entries() {
    let origin = Origin::start();
    let targets = [
        "/a?b=c",
        "/a%3fb=c",
        "/a;b=c",
        "/a/?b=c",
        "//a?b=c",
        "/./a?b=c",
        "/x/../a?b=c",
        "/%61?b=c",
        "/A?b=c",
        "/a?B=c",
        "/a?b=c&",
        "/a?b=c&b=c",
        "/a?b=%63",
        "/a?b=c%20",
        "/a?b=c;d",
        "/a??b=c",
        "/a%2f?b=c",
        "/a%252f?b=c",
    ];
    for target in targets {
        origin.script(target.split('?').next().unwrap(), |exchange| {
            let target = exchange.request.target.clone();
            Answer::json_with(&[STORABLE], &format!("\"{target}\"")).give(exchange)
        });
    }
    let proxy = Proxy::start(&origin.url(), &[]);
    for _ in 0..2 {
        for target in targets {
            assert_eq!(proxy.get(target).text(), format!("\"{target}\""));
        }
    }
    // Each host has its own entries, except for equal spellings by RFC 3986 §6.2.
    origin.script("/host", |exchange| {
        let host = exchange.request.field("x-forwarded-host").unwrap_or_default().to_owned();
        Answer::json_with(&[STORABLE], &format!("\"{host}\"")).give(exchange)
    });
    for (host, name) in [
        ("a.test", "a.test"),
        ("a.test.", "a.test."),
        ("A.TEST:80", "a.test"),
        ("a.test:8080", "a.test:8080"),
        ("b.test", "b.test"),
    ] {
        let mut client = proxy.connect();
        client.send(format!("GET /host HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.response().text(), format!("\"{name}\""), "{host}");
    }
    assert_eq!(origin.count("/host"), 4);
}

#[test]
fn the_number_of_variants_is_bounded() {
    let origin = Origin::start();
    echo(&origin, "/a", Some("X-Anything"));
    let proxy = Proxy::start(&origin.url(), &[("cache_memory_size", "1MiB"), ("cache_max_body", "16KiB")]);
    for number in 0..500 {
        let value = format!("{number}-{}", "x".repeat(8_000));
        assert_eq!(proxy.get_with("/a", &[("X-Anything", &value)]).status, 200);
        assert!(proxy.metric("cachewarp_memory_bytes") <= f64::from(1 << 20));
    }
}

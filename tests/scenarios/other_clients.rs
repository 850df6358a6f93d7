//! Members of the kinds by which one client's answer could reach another: found by a stranger with
//! default settings and plausible ones.

use crate::harness::{Answer, Client, Exchange, Origin, Proxy};

const ALICE: (&str, &str) = ("X-Auth-Token", "alice");
const BOB: (&str, &str) = ("X-Auth-Token", "bob");

/// Answers with the value of a field, and a condition with a 304 for any client.
fn name_the_caller(
    exchange: &mut Exchange,
    field: &str,
    fields: &[(&str, &str)],
) -> std::io::Result<crate::harness::Then> {
    let name = exchange.request.field(field).unwrap_or("nobody").to_owned();
    let is_conditional = ["if-none-match", "if-modified-since"]
        .iter()
        .any(|condition| exchange.request.field(condition).is_some());
    if is_conditional {
        Answer::not_modified(fields).give(exchange)
    } else {
        Answer::json_with(fields, &format!("{name:?}")).give(exchange)
    }
}

#[test]
fn a_validator_without_stated_lifetime_is_not_shared_between_tokens() {
    let tag = ("ETag", "\"3\"");
    let changed = ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    for validator in [tag, changed] {
        for stated in [
            ("Cache-Control", "no-cache"),
            ("Cache-Control", "no-cache, max-age=60"),
            ("Cache-Control", "max-age=0"),
            ("Cache-Control", "max-age=0, must-revalidate"),
            ("Expires", "0"),
            ("Expires", "-1"),
        ] {
            let origin = Origin::start();
            origin.script("/a", move |exchange| {
                name_the_caller(exchange, "x-auth-token", &[validator, stated])
            });
            let proxy = Proxy::start(&origin.url(), &[]);
            assert_eq!(proxy.get_with("/a", &[ALICE]).text(), r#""alice""#);
            assert_eq!(proxy.get_with("/a", &[BOB]).text(), r#""bob""#, "{validator:?} {stated:?}");
            assert_eq!(proxy.get("/a").text(), r#""nobody""#, "{validator:?} {stated:?}");
        }
    }
}

#[test]
fn the_fields_of_a_validation_with_a_credential_are_not_shared() {
    let credentials = [("Cookie", "sid=alice"), ("Authorization", "alice"), ("X-Api-Key", "alice"), ALICE];
    for credential in credentials {
        for method in ["GET", "HEAD"] {
            let origin = Origin::start();
            let shared = [("Cache-Control", "public, max-age=60"), ("ETag", "\"1\"")];
            origin.script("/a", move |exchange| {
                let is_alice = exchange.request.field(credential.0).is_some();
                let own = [("ETag", "\"1\""), ("X-User", "alice"), ("X-CSRF-Token", "of-alice")];
                match (is_alice, exchange.request.field("if-none-match")) {
                    (true, Some(_)) => Answer::not_modified(&own).give(exchange),
                    (true, None) => Answer::json_with(&own, "1").give(exchange),
                    (false, _) => Answer::json_with(&shared, "1").give(exchange),
                }
            });
            let proxy = Proxy::start(&origin.url(), &[]);
            proxy.get("/a");
            let newer = ("Cache-Control", "no-cache");
            let own = proxy.connect().request(method, "/a", &[credential, newer]);
            assert_eq!(own.status, 200);
            let other = proxy.get("/a");
            assert!(other.cache_status().starts_with("CacheWarp; hit"), "{}", other.cache_status());
            assert_eq!((other.field("x-user"), other.field("x-csrf-token")), (None, None), "{credential:?}");
        }
    }
}

#[test]
fn a_head_with_a_credential_removes_no_shared_response() {
    let origin = Origin::start();
    origin.script("/a", |exchange| {
        let fields = match exchange.request.field("authorization") {
            Some(_) => [("Cache-Control", "max-age=60"), ("ETag", "\"of-alice\"")],
            None => [("Cache-Control", "public, max-age=60"), ("ETag", "\"1\"")],
        };
        Answer::json_with(&fields, "1").give(exchange)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    let fields = [("Authorization", "alice"), ("Cache-Control", "no-cache")];
    assert_eq!(proxy.connect().request("HEAD", "/a", &fields).status, 200);
    assert!(proxy.get("/a").cache_status().starts_with("CacheWarp; hit"));
}

#[test]
fn a_key_contains_no_statement_of_an_untrusted_peer() {
    for field in ["x-forwarded-user", "client-cert", "x-forwarded-prefix"] {
        for trusts in [true, false] {
            let origin = Origin::start();
            origin.script("/a", move |exchange| name_the_caller(exchange, field, &[]));
            let networks = if trusts { "127.0.0.1/32" } else { "127.0.0.2/32" };
            let proxy = Proxy::start(&origin.url(), &[("key_headers", field), ("trusted_proxies", networks)]);
            let first = proxy.get_with("/a", &[(field, "bob")]);
            let second = proxy.get_with("/a", &[(field, "bob")]);
            let anonymous = proxy.get("/a");
            let name = if trusts { r#""bob""# } else { r#""nobody""# };
            assert_eq!((first.text(), second.text()), (name, name), "{field}");
            assert!(second.cache_status().starts_with("CacheWarp; hit"), "{}", second.cache_status());
            assert_eq!(anonymous.text(), r#""nobody""#);
            // A peer without trust has the key of a request without the field.
            assert_eq!(anonymous.cache_status().starts_with("CacheWarp; hit"), !trusts);
        }
    }
}

#[test]
fn a_post_is_not_stored_under_the_key_of_another_query() {
    let routes = "[[route]]\nname = \"items\"\npath = \"/items/{id}\"\nquery.only = [\"page\"]\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, routes).unwrap();
    let origin = Origin::start();
    for (target, is_stored) in [("/items/7?page=1&as=alice", false), ("/items/7?page=1", true)] {
        let proxy = Proxy::start(&origin.url(), &[("routes_file", file.path().to_str().unwrap())]);
        origin.script("/items/7", move |exchange| {
            exchange.body()?;
            let is_post = exchange.request.method == "POST";
            let body = format!("{:?}", if is_post { "posted" } else { "got" });
            let fields = [("Cache-Control", "max-age=60"), ("Content-Location", target)];
            Answer::json_with(&fields, &body).give(exchange)
        });
        let own = proxy.connect().request("POST", target, &[("Content-Length", "0")]);
        assert_eq!(own.text(), r#""posted""#);
        let other = proxy.get("/items/7?page=1");
        assert_eq!(other.text() == r#""posted""#, is_stored, "{target}");
    }
}

#[test]
fn two_spellings_of_one_request_select_as_the_origin_does() {
    // `Connection` removes the field in both spellings.
    let origin = Origin::start();
    origin.script("/a", |exchange| name_the_caller(exchange, "x_tenant", &[("Cache-Control", "max-age=60")]));
    let proxy = Proxy::start(&origin.url(), &[("key_headers", "x_tenant")]);
    let removed = proxy.get_with("/a", &[("x_tenant", "bob"), ("Connection", "x-tenant")]);
    assert_eq!(removed.text(), r#""nobody""#);
    assert_eq!(proxy.get_with("/a", &[("x_tenant", "bob")]).text(), r#""bob""#);

    // One odd cookie is not the two cookies of two lines.
    origin.script("/c", |exchange| {
        name_the_caller(exchange, "cookie", &[("Cache-Control", "public, max-age=60"), ("Vary", "Cookie")])
    });
    let one = proxy.get_with("/c", &[("Cookie", "lang=en, role=guest")]);
    let mut client: Client = proxy.connect();
    let two = client.request("GET", "/c", &[("Cookie", "lang=en"), ("Cookie", "role=guest")]);
    assert_eq!(one.text(), r#""lang=en, role=guest""#);
    assert_eq!(two.text(), r#""lang=en; role=guest""#);
}

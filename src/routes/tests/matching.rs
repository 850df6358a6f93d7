//! Matching: precedence, captures, and the readings of paths.

use http::Method;

use crate::routes::tests::table;
use crate::routes::{PathForm, RouteMatch, RouteTable};

/// Returns routes with these paths; each is named by its index.
fn of_paths(paths: &[&str]) -> RouteTable {
    let route = |(at, path): (usize, &&str)| format!("[[route]]\nname = \"r{at}\"\npath = \"{path}\"\n");
    table(&paths.iter().enumerate().map(route).collect::<String>())
}

fn get<'t, 'p>(table: &'t RouteTable, path: &'p str) -> RouteMatch<'t, 'p> {
    table.find(&Method::GET, "api.example.com", path)
}

/// Returns the captures of a match as text.
fn captures(found: &RouteMatch<'_, '_>) -> String {
    found.captures().map(|(name, value)| format!("{name}={value} ")).collect::<String>().trim_end().to_owned()
}

#[test]
fn the_most_specific_path_matches() {
    let table = of_paths(&[
        "/{*all}",
        "/v1/{a}/x",
        "/v1/{b}/{c}",
        "/v1/rates/{pair}",
        "/v1/rates/all",
        "/v1/{*rest}",
        "/v1/files/{*rest}",
        "/v1/files/{x}/{y}",
        "/",
        "/end/",
    ]);
    for (path, index, want) in [
        ("/", 8, ""),
        ("/other", 0, "all=other"),
        ("/v1/rates/all", 4, ""),
        ("/v1/rates/EURUSD", 3, "pair=EURUSD"),
        ("/v1/rates/x", 3, "pair=x"),
        ("/v1/q/x", 1, "a=q"),
        ("/v1/q/y", 2, "b=q c=y"),
        ("/v1/q/y/z", 5, "rest=q%2Fy%2Fz"),
        ("/v1/files/a/b", 7, "x=a y=b"),
        ("/v1/files/a/b/c", 6, "rest=a%2Fb%2Fc"),
        ("/v1/files/a", 6, "rest=a"),
        ("/v1/q", 5, "rest=q"),
        ("/v1/files/", 6, "rest="),
        ("/v1/", 5, "rest="),
        ("/end/", 9, ""),
        ("/v1/r%61tes/a%20b", 3, "pair=a%20b"),
        ("/v1/rates/caf%c3%a9", 3, "pair=caf%C3%A9"),
    ] {
        let found = get(&table, path);
        assert_eq!((found.index(), captures(&found)), (Some(index), want.to_owned()), "{path}");
    }
    let deep = format!("/v1{}", "/s".repeat(100));
    assert_eq!(get(&table, &deep).index(), Some(5));
}

#[test]
fn a_segment_capture_is_not_empty() {
    let table = of_paths(&["/a/{x}", "/b/{x}/c"]);
    for path in ["/a/", "/a", "/b//c", "/a/b/c", "", "*"] {
        assert_eq!(get(&table, path).index(), None, "{path}");
    }
}

#[test]
fn a_literal_of_two_spellings_matches_as_each_pattern_writes_it() {
    let table = of_paths(&["/V3/{x}", "/v3/{x}/y"]);
    for (path, index, is_ambiguous) in [
        ("/V3/q", Some(0), false),
        ("/v3/q", None, true),
        ("/v3/q/y", Some(1), false),
        ("/V3/q/y", None, true),
    ] {
        let found = get(&table, path);
        assert_eq!((found.index(), found.is_ambiguous()), (index, is_ambiguous), "{path}");
    }
}

#[test]
fn a_literal_that_leads_nowhere_gives_way_to_a_capture_and_a_remainder() {
    let long = "a-literal-of-more-than-two-words";
    let table = of_paths(&["/a/{x}/c", "/a/b/d", "/{*rest}", &format!("/{long}/{{x}}"), "/users:batch"]);
    for (path, index, permits) in [
        ("/a/b/c", 0, true),
        ("/a/b/d", 1, true),
        ("/a/b/e", 2, true),
        ("/a/b", 2, true),
        ("/a/;", 2, false),
        (&format!("/{long}/7"), 3, true),
        (&format!("/{long}/7/8"), 2, true),
        ("/a-literal-of-more-THAN-two-wordz/7", 2, true),
        ("/users:batch", 4, false),
    ] {
        let found = get(&table, path);
        assert_eq!((found.index(), found.permits()), (Some(index), permits), "{path}");
    }
}

#[test]
fn methods_and_hosts_are_compared_after_the_path() {
    let table = table(
        r#"
[[route]]
name = "any-host"
path = "/v1/{x}"
[[route]]
name = "wildcard"
host = "*.example.com"
path = "/v1/{y}"
[[route]]
name = "host"
host = "api.example.com"
path = "/v1/{z}"
[[route]]
name = "literal"
path = "/v1/rates"
[[route]]
name = "literal-host"
host = "other.example.com"
path = "/v1/special"
[[route]]
name = "write"
methods = ["POST"]
path = "/v1/{id}"
on_write = { purge_tags = ["x"] }
[[route]]
name = "only-get"
methods = ["GET"]
path = "/v2/x"
"#,
    );
    for (method, host, path, want) in [
        (Method::GET, "api.example.com", "/v1/q", Some("host")),
        (Method::GET, "api.example.com:8443", "/v1/q", Some("host")),
        (Method::GET, "api.example.com.", "/v1/q", Some("host")),
        (Method::HEAD, "b.example.com", "/v1/q", Some("wildcard")),
        (Method::GET, "a.b.example.com", "/v1/q", Some("wildcard")),
        (Method::GET, "example.com", "/v1/q", Some("any-host")),
        // A more specific path precedes a longer host.
        (Method::GET, "api.example.com", "/v1/rates", Some("literal")),
        (Method::GET, "other.example.com", "/v1/special", Some("literal-host")),
        // A literal path of another host or method does not hide the capture.
        (Method::GET, "api.example.com", "/v1/special", Some("host")),
        (Method::POST, "api.example.com", "/v1/rates", Some("write")),
        (Method::GET, "x", "/v2/x", Some("only-get")),
        (Method::HEAD, "x", "/v2/x", None),
        (Method::PUT, "x", "/v1/q", None),
    ] {
        let found = table.find(&method, host, path);
        assert_eq!(found.route().map(|route| &*route.name), want, "{method} {host} {path}");
    }
}

/// A table of rules that an attacker may want to evade, or to reach.
fn guarded() -> RouteTable {
    table(
        r#"
[[route]]
name = "rates"
path = "/v1/rates/{pair}"
cache_control = "max-age=60"
override = ["private"]
[[route]]
name = "rate-of-all"
path = "/v1/rates/all"
cache = false
[[route]]
name = "account"
path = "/v1/accounts/{id}"
cache = false
[[route]]
name = "slash"
path = "/v2/items/"
default_ttl = "5s"
[[route]]
name = "static"
path = "/static/{*file}"
default_ttl = "1h"
[[route]]
name = "Upper"
path = "/V3/Rates/{x}"
"#
        .replace("\"Upper\"", "\"upper\"")
        .as_str(),
    )
}

#[test]
fn permissive_members_apply_to_plain_paths() {
    let table = guarded();
    for path in [
        "/v1/rates/EURUSD",
        "/v1/rates/eur-usd_1.0~",
        "/v1/rates/EUR%20USD",
        "/v1/r%61tes/x",
        "/v1/rates/caf%C3%A9",
        "/v2/items/",
        "/static/a/b.css",
    ] {
        let found = get(&table, path);
        assert!(found.permits() && found.form() == PathForm::Plain && !found.passes_through(), "{path}");
    }
    // These match a route in one reading only; its other members apply.
    for path in ["/v1/rates/a,b", "/v1/rates/user@x", "/v1/rates/a:b", "/v1/rates/(x)"] {
        let found = get(&table, path);
        assert!(found.index() == Some(0) && !found.permits() && !found.passes_through(), "{path}");
    }
}

#[test]
fn a_path_that_another_reading_matches_passes_uncached() {
    let table = guarded();
    for path in [
        // Web cache deception: a private resource with a suffix.
        "/v1/accounts/42;x.css",
        "/v1/accounts/42/",
        "/v1/accounts/42//",
        "/v1/accounts/42%2F",
        "/v1/accounts/42/.",
        "/v1/accounts/42/x/..",
        "/v1/accounts/42%00.css",
        "/v1/accounts/42%0A.css",
        "/v1/accounts/42%3F.css",
        "/v1/accounts/42%23.css",
        "/v1/accounts/42%2f%2e%2e%2f43",
        "/v1/accounts/42%3B.css",
        // Delimiters in front.
        "//v1/accounts/42",
        "/v1//accounts/42",
        "/./v1/accounts/42",
        "/x/../v1/accounts/42",
        "/x/%2e%2e/v1/accounts/42",
        "/static/..%2Fv1/accounts/42",
        "/static/../v1/accounts/42",
        "/static/%2e%2e/v1/accounts/42",
        "/static/..%5Cv1%5Caccounts%5C42",
        "/;x/../v1/accounts/42",
        "/v1;x/accounts/42",
        "/v1\\accounts\\42",
        "/v1%5Caccounts/42",
        // Letter case and encodings.
        "/V1/Accounts/42",
        "/v1/ACCOUNTS/42",
        "/v1/%41ccounts/42",
        "/v1/acc%256Funts/42",
        "/v1%2Faccounts%2F42",
        "/v1/accounts%2F42",
        "/v1/accounts%252F42",
        "/v1/accounts/%ff",
        "/v3/rates/x",
        // A permissive rule whose literal twin forbids storing.
        "/v1/rates/ALL",
        "/v1/rates/all/",
        "/v1/rates/all;x",
        "/v1/rates/%61ll/.",
        "/v1/rates/All",
        // A permissive rule that would match, were the path plain.
        "/v1/rates/x;y",
        "/v1/rates/a%2Fb",
        "/v1/rates//x",
        "/v1/rates/x/",
        "/v1/rates/a%25",
        "/v2/items",
        "/v2/items//",
        "/static",
        "/static/",
        "/static/a//b",
        "/static/a/",
    ] {
        assert!(get(&table, path).passes_through(), "{path}");
        assert!(!get(&table, path).permits(), "{path}");
    }
    // No reading of these belongs to a route.
    for path in ["/other", "/other;x", "/v1", "/v1/", "/v1/accounts", "/v1/accounts/4/x", "/v9//x"] {
        let found = get(&table, path);
        assert!(found.index().is_none() && !found.passes_through(), "{path}");
    }
}

#[test]
fn a_path_with_too_many_readings_passes_uncached() {
    let table = guarded();
    for path in ["/a//b/;x/%2e%2e/c%5Cd%2F%2Fe;y%00/f/./%253Bz//", &format!("/{};", "a".repeat(2000))] {
        let found = get(&table, path);
        assert!(found.passes_through() && found.other_route().is_none(), "{path}");
    }
    // A long plain path has one reading.
    assert!(!get(&table, &format!("/{}", "a".repeat(2000))).passes_through());
}

#[test]
fn a_write_purges_for_every_reading() {
    let table = table(
        r#"
[[route]]
name = "account"
path = "/v1/accounts/{id}"
tags = ["account:{id}", "accounts"]
[[route]]
name = "items"
path = "/v1/accounts/{id}/items"
[[route]]
name = "pay"
path = "/v1/accounts/{id}/payments"
methods = ["POST"]
on_write = { purge = ["account", "items"], purge_tags = ["account:{id}"], wait = true }
"#,
    );
    let purged = |path: &str| -> Vec<String> {
        let writes = table.find_writes(&Method::POST, "a", path);
        writes.iter().flat_map(|write| table.purged_tags(write)).collect()
    };
    assert_eq!(
        purged("/v1/accounts/42/payments"),
        ["route account id=42", "route items id=42", "account:42"]
    );
    for path in [
        "/v1/accounts/42/payments/",
        "/v1//accounts/42/payments",
        "/V1/Accounts/42/Payments",
        "/v1/accounts/42;x/payments",
        "/v1/accounts/%34%32/payments",
        "/v1/accounts/42%2Fpayments",
        "/v1/accounts/42/payments%00",
        "/v1/accounts/1/../42/payments",
    ] {
        assert!(purged(path).contains(&"route account id=42".to_owned()), "{path}: {:?}", purged(path));
    }
    assert!(table.find_writes(&Method::PUT, "a", "/v1/accounts/42/payments").is_empty());
    // Each tag of a stored response is the tag of its write, in any spelling.
    for (stored, written) in [
        ("/v1/accounts/aB", "/v1/accounts/Ab/payments"),
        ("/v1/accounts/a%20b", "/v1/accounts/a%20b/payments"),
        ("/v1/accounts/a@b", "/v1/accounts/a%40b/payments"),
        ("/v1/accounts/%41", "/v1/accounts/a/payments"),
    ] {
        let tags = get(&table, stored).stored_tags().unwrap_or_default();
        assert!(tags.first().is_some_and(|tag| purged(written).contains(tag)), "{stored} {tags:?}");
    }
    let tags = get(&table, "/v1/accounts/aB").stored_tags();
    assert_eq!(tags, Some(vec!["route account id=ab".into(), "account:aB".into(), "accounts".into()]));
    assert_eq!(get(&table, &format!("/v1/accounts/{}", "a".repeat(300))).stored_tags(), None);
    assert_eq!(get(&table, "/other").stored_tags(), Some(Vec::new()));
}

//! The example file, the listing, and the report on one request.

use http::Method;

use crate::routes::member::MEMBERS;
use crate::routes::tests::table;
use crate::routes::{RouteFault, RouteTable};

const EXAMPLE: &str = include_str!("../../../examples/routes.toml");
const PAGE: &str = include_str!("../../../ROUTES.md");

#[test]
fn the_example_is_valid_and_has_every_member() {
    let table = RouteTable::parse(EXAMPLE.as_bytes());
    assert_eq!(table.as_ref().err(), None);
    for member in MEMBERS {
        let is_in = EXAMPLE
            .lines()
            .any(|line| line.starts_with(&format!("{member} = ")) || line == format!("[route.{member}]"));
        assert!(is_in, "{member}");
    }
    let listing = table.map(|table| table.listing()).unwrap_or_default();
    for line in [
        "route rates: GET,HEAD /v1/rates/{pair}",
        "  cache_control = \"max-age=5, stale-while-revalidate=30\"  (permissive: plain paths only)",
        "  override = [\"private\", \"set-cookie\"]  (permissive: plain paths only)",
        "  default_ttl = 1h  (permissive: plain paths only)",
        "route countries: GET,HEAD *.example.com/v1/countries",
        "  query = only [\"page\", \"limit\"] sort",
        "  on_write = purge [\"account\", \"account-items\"], purge_tags [\"account:{id}\"], wait, hold 1s",
        "7 routes, 2 with permissive members, 1 with override",
    ] {
        assert!(listing.lines().any(|given| given == line), "{line}: {listing}");
    }
    assert!(!listing.contains("unreachable") && !listing.contains("never cached"), "{listing}");
}

#[test]
fn the_page_lists_every_member_and_no_other() {
    let cells = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let listed: Vec<_> = cells.flat_map(|cell| cell.trim_end_matches('`').split("`, `")).collect();
    assert_eq!(listed, MEMBERS);
}

#[test]
fn unreachable_routes_are_listed() {
    let table = table(
        r#"
[[route]]
name = "all"
path = "/a/{*all}"
[[route]]
name = "none"
path = "/a/"
[[route]]
name = "one"
path = "/a/{x}"
[[route]]
name = "more"
path = "/a/{x}/{*rest}"
[[route]]
name = "plain"
path = "/b"
[[route]]
name = "slash"
path = "/b/"
"#,
    );
    let listing = table.listing();
    let behind = |route: &str| {
        let mut lines = listing.lines().skip_while(|line| !line.starts_with(&format!("route {route}: ")));
        lines.nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(behind("all"), "  unreachable: its requests match route more", "{listing}");
    assert_eq!(behind("slash"), "  never cached: another reading of its paths matches route plain");
    assert!(behind("plain").starts_with("route "), "{listing}");
}

#[test]
fn a_report_names_the_route_and_the_reasons() {
    let table = RouteTable::parse(EXAMPLE.as_bytes()).unwrap_or_default();
    let report = table.report(&Method::GET, "api.example.com", "/v1/rates/EURUSD");
    for line in [
        "GET /v1/rates/EURUSD matches route rates (line 10): /v1/rates/{pair}",
        "  capture pair = EURUSD",
        "  the path is plain",
        "  tags of a stored response: [\"route rates pair=eurusd\", \"pair:EURUSD\"]",
        "  not route account: segment 2 is \"rates\", and not \"accounts\"",
    ] {
        assert!(report.lines().any(|given| given == line), "{line}: {report}");
    }
    for (method, path, want) in [
        (Method::GET, "/v1/rates/x;y", "  passes uncached: the reading \"/v1/rates/x\" matches route rates"),
        (Method::GET, "/v1/rates/a,b", "  the path is not plain; not applied: cache_control"),
        (Method::GET, "/other", "GET /other matches no route; the global settings apply"),
        (Method::PUT, "/v1/rates/x", "  not route rates: PUT is not a method of it"),
        (Method::GET, "/v1/countries", "  not route countries: its host differs"),
        (Method::GET, "/v1/sessions/x", "  route sessions passes requests through"),
        (
            Method::GET,
            "/V1/Sessions/x",
            "  passes uncached: the reading \"/V1/Sessions/x\" matches route sessions",
        ),
        (
            Method::POST,
            "/v1/accounts/7/payments",
            "  route payments purges the tags: [\"route account id=7\", \"route account-items id=7\", \"account:7\"]",
        ),
    ] {
        let report = table.report(&method, "", path);
        assert!(report.lines().any(|given| given == want), "{want}: {report}");
    }
}

#[test]
fn the_digest_covers_the_rules_of_storing_and_not_the_time_outs() {
    let digest = |members: &str| {
        let table = table(&format!("[[route]]\nname = 'a'\npath = '/{{x}}'\n{members}\n"));
        table.routes().first().map(super::super::route::Route::rules_digest)
    };
    let plain = digest("");
    assert!(plain.is_some());
    for same in [
        "origin_head_timeout = '1s'",
        "origin_body_timeout = '1s'",
        "collapse_timeout = '1s'",
        "host = 'a'",
        "methods = ['GET']",
    ] {
        assert_eq!(digest(same), plain, "{same}");
    }
    let others: Vec<_> = [
        "cache = true",
        "cache = false",
        "mode = 'off'",
        "cache_control = 'max-age=5'",
        "cache_control = 'max-age=6'",
        "cache_control = 'max-age=5, must-revalidate'",
        "cache_control = 'max-age=5, stale-if-error=5'",
        "cache_control = 'max-age=5, stale-while-revalidate=5'",
        "override = ['private']",
        "override = ['no-store']",
        "override = ['no-store', 'private']",
        "default_ttl = '5s'",
        "negative_ttl = '5s'",
        "stale_while_revalidate = '5s'",
        "stale_if_error = '5s'",
        "max_body = '5B'",
        "content_types = ['*']",
        "content_types = ['a/b']",
        "statuses = ['*']",
        "statuses = [200]",
        "ignore_client_cache_control = true",
        "ignore_client_cache_control = false",
        "key_headers = ['x-a']",
        "harmless_headers = ['x-a']",
        "credential_headers = ['x-a']",
        "ignored_cookies = ['a']",
        "ignored_cookies = ['*']",
        "tags = ['a']",
        "tags = ['b']",
        "query = { ignore = ['a'] }",
        "query = { only = ['a'] }",
        "query = { sort = true }",
    ]
    .into_iter()
    .map(|members| (members, digest(members)))
    .collect();
    for (at, (members, digest)) in others.iter().enumerate() {
        assert!(digest.is_some() && *digest != plain, "{members}");
        assert!(others.iter().skip(at + 1).all(|(_, other)| other != digest), "{members}");
    }
    // The order of a set has no meaning.
    assert_eq!(digest("override = ['private', 'no-store']"), digest("override = ['no-store', 'private']"));
    assert_eq!(digest("statuses = [404, 200]"), digest("statuses = [200, 404]"));
}

#[test]
fn an_error_shows_its_place_and_hint() {
    let errors = RouteTable::parse(b"[[route]]\nname = 'a'\npth = '/'\n").err().unwrap_or_default();
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "line 1, column 1: route \"a\": `path` is missing",
            "line 3, column 1: route \"a\": unknown member `pth`; did you mean `path`?",
        ]
    );
    assert!(errors.iter().any(|error| error.fault == RouteFault::Missing("path")));
}

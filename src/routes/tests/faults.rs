//! Errors of a routes file: each with its line, all at once.

use crate::limits::{ROUTES_FILE_BYTES_MAX, ROUTES_MAX};
use crate::routes::tests::{errors, table};
use crate::routes::{RouteFault, RouteTable};

/// A route with a name and a path, and one more line.
fn route(line: &str) -> String {
    format!("[[route]]\nname = \"a\"\npath = \"/a/{{id}}\"\n{line}\n")
}

#[test]
fn no_route_has_the_name_of_the_further_routes_in_metrics() {
    let found = errors("[[route]]\nname = 'other'\npath = '/a'\n");
    assert_eq!(found.iter().map(|error| &error.fault).collect::<Vec<_>>(), [&RouteFault::ReservedName]);
}

#[test]
fn every_member_has_its_errors_with_line_and_hint() {
    let mut missing = Vec::new();
    for (line, want) in [
        ("pth = 1", "line 4, column 1: route \"a\": unknown member `pth`; did you mean `path`?"),
        (
            "default_tll = '5s'",
            "line 4, column 1: route \"a\": unknown member `default_tll`; did you mean `default_ttl`?",
        ),
        ("identity = 'x'", "line 4, column 1: route \"a\": `identity` is not available yet"),
        (
            "host = 'API.example.com'",
            "line 4, column 8: route \"a\": `host` is neither a host nor `*.` and a host, in lower case and without a port; did you mean `api.example.com`?",
        ),
        ("host = 3", "line 4, column 8: route \"a\": `host` is not a string"),
        ("methods = []", "line 4, column 11: route \"a\": `methods` is an empty list"),
        (
            "methods = ['get']",
            "line 4, column 12: route \"a\": \"get\" is not a method in upper case; did you mean `GET`?",
        ),
        ("methods = ['GET', 'GET']", "line 4, column 19: route \"a\": `methods` has \"GET\" twice"),
        ("methods = 'GET'", "line 4, column 11: route \"a\": `methods` is not a list of strings"),
        (
            "methods = ['CONNECT']",
            "line 4, column 12: route \"a\": \"CONNECT\" is not a method in upper case",
        ),
        ("cache = 'yes'", "line 4, column 9: route \"a\": `cache` is not true or false"),
        ("mode = 'of'", "line 4, column 8: route \"a\": `mode` has \"of\", which is not one of on, off"),
        ("mode = 'shadow'", "line 4, column 8: route \"a\": `mode = \"shadow\"` is not available yet"),
        ("cache_control = 'max-age=x'", "line 4, column 17: route \"a\": `cache_control` is malformed"),
        (
            "cache_control = 'max-age=5, max-age=6'",
            "line 4, column 17: route \"a\": `cache_control` is malformed",
        ),
        (
            "cache_control = 'stale-if-error=5'",
            "line 4, column 17: route \"a\": `cache_control` has no `max-age`",
        ),
        (
            "cache_control = 'public, max-age=5'",
            "line 4, column 17: route \"a\": `cache_control` has `public`, which does not set freshness; remove it; `override` lifts a prohibition of the origin",
        ),
        (
            "cache_control = 's-maxage=5'",
            "line 4, column 17: route \"a\": `cache_control` has `s-maxage`, which does not set freshness; use `max-age`",
        ),
        (
            "cache_control = 'max-age=5, no-store'",
            "line 4, column 17: route \"a\": `cache_control` has `no-store`, which does not set freshness; use `cache = false`",
        ),
        (
            "override = ['credentials']",
            "line 4, column 13: route \"a\": `override = [\"credentials\"]` is not available yet",
        ),
        (
            "override = ['privat']",
            "line 4, column 13: route \"a\": `override` has \"privat\", which is not one of private, no-store, set-cookie; did you mean `private`?",
        ),
        (
            "default_ttl = '5 s'",
            "line 4, column 15: route \"a\": `default_ttl` is not a whole number with a unit; did you mean `5s`?",
        ),
        (
            "default_ttl = -1",
            "line 4, column 15: route \"a\": `default_ttl` is not a whole number with a unit",
        ),
        (
            "default_ttl = 0x10",
            "line 4, column 15: route \"a\": `default_ttl` is not a duration, such as \"250ms\" or \"30s\"",
        ),
        (
            "default_ttl = 1.5",
            "line 4, column 15: route \"a\": `default_ttl` is not a duration, such as \"250ms\" or \"30s\"",
        ),
        ("default_ttl = '721h'", "line 4, column 15: route \"a\": `default_ttl` must be at most 720h"),
        (
            "origin_head_timeout = 0",
            "line 4, column 23: route \"a\": `origin_head_timeout` must be at least 1ms",
        ),
        (
            "max_body = '1MB'",
            "line 4, column 12: route \"a\": `max_body` has the unknown unit \"MB\"; did you mean `1MiB`?",
        ),
        ("max_body = 0", "line 4, column 12: route \"a\": `max_body` must be at least 1B"),
        (
            "content_types = ['json']",
            "line 4, column 18: route \"a\": `content_types` has \"json\", which is not `type/subtype` or `+suffix`",
        ),
        (
            "content_types = ['*', '+json']",
            "line 4, column 23: route \"a\": `content_types` has \"+json\", which is not needed beside `*`",
        ),
        (
            "statuses = [206]",
            "line 4, column 13: route \"a\": `statuses` has \"206\", which is not a status from 200 to 599 other than 206 and 304",
        ),
        (
            "key_headers = ['a b']",
            "line 4, column 16: route \"a\": `key_headers` has \"a b\", which is not a header name",
        ),
        (
            "key_headers = ['authorization']",
            "line 4, column 16: route \"a\": `key_headers` has \"authorization\", which is refused: it identifies the client (RFC 9111 §3.5)",
        ),
        ("key_headers = ['x-a', 'x_a']", "line 4, column 23: route \"a\": `key_headers` has \"x_a\" twice"),
        (
            "harmless_headers = ['cookie']",
            "line 4, column 21: route \"a\": `harmless_headers` has \"cookie\", which is refused: it identifies the client",
        ),
        (
            "key_headers = ['x-a']\ncredential_headers = ['x-a']",
            "line 4, column 15: route \"a\": `key_headers` has \"x-a\", which is also in `credential_headers`",
        ),
        (
            "ignored_cookies = ['a b']",
            "line 4, column 20: route \"a\": `ignored_cookies` has \"a b\", which is not a cookie name or a prefix with `*`",
        ),
        ("tags = ['a b']", "line 4, column 9: route \"a\": the tag \"a b\" has ' ', which no tag has"),
        (
            "tags = ['a:{id']",
            "line 4, column 9: route \"a\": the tag \"a:{id\" has a brace without its partner",
        ),
        ("tags = ['']", "line 4, column 9: route \"a\": the tag \"\" is empty"),
        (
            "tags = ['a:{ids}']",
            "line 4, column 8: route \"a\": the path has no capture \"ids\", which the tag \"a:{ids}\" needs; did you mean `id`?",
        ),
        (
            "query = { ignore = ['a'], only = ['b'] }",
            "line 4, column 9: route \"a\": `query` has `ignore` and `only`",
        ),
        ("query = {}", "line 4, column 9: route \"a\": `query` has no effect"),
        (
            "query = { only = ['a*b'] }",
            "line 4, column 19: route \"a\": `only` has \"a*b\", which is not a parameter's decoded name or a prefix with `*`",
        ),
        (
            "query = { sorted = true }",
            "line 4, column 11: route \"a\": unknown member `sorted`; did you mean `sort`?",
        ),
        (
            "on_write = { purge = ['a'] }",
            "line 4, column 12: route \"a\": `on_write` is for unsafe methods, and `GET` is safe",
        ),
        (
            "methods = ['POST']\non_write = { wait = true }",
            "line 5, column 12: route \"a\": `on_write` has neither `purge` nor `purge_tags`",
        ),
        (
            "methods = ['POST']\non_write = { purge = ['b'] }",
            "line 5, column 23: route \"a\": `purge` names \"b\", which is no route",
        ),
        (
            "methods = ['POST']\non_write = { purge = ['a'] }",
            "line 5, column 23: route \"a\": `purge` names \"a\", whose responses are never stored",
        ),
        (
            "methods = ['POST']\non_write = { purge_tags = ['x:{ida}'] }",
            "line 5, column 12: route \"a\": the path has no capture \"ida\", which the tag \"x:{ida}\" needs; did you mean `id`?",
        ),
        (
            "methods = ['POST']\non_write = { purge_tags = ['x'], hold = '1s' }",
            "line 5, column 12: route \"a\": `hold` needs `wait = true`",
        ),
        (
            "methods = ['POST']\non_write = { purge_tags = ['x'], wait = true, hold = '2m' }",
            "line 5, column 54: route \"a\": `hold` must be at most 1m",
        ),
        (
            "methods = ['POST']\ntags = ['x']",
            "line 5, column 8: route \"a\": `tags` has no effect: no response to these methods is stored",
        ),
        (
            "cache = false\ndefault_ttl = '5s'",
            "line 5, column 15: route \"a\": `default_ttl` has no effect beside `cache = false`",
        ),
    ] {
        let errors: Vec<_> = errors(&route(line)).iter().map(ToString::to_string).collect();
        if !errors.iter().any(|error| error == want) {
            missing.push(format!("{line}: {errors:#?}, and not {want}"));
        }
    }
    assert!(
        missing.is_empty(),
        "{}",
        missing.join(
            "
"
        )
    );
}

#[test]
fn names_and_paths_have_their_errors() {
    for (text, want) in [
        ("", "line 1, column 1: the file has no `[[route]]`"),
        ("x = 1", "line 1, column 1: unknown member `x`; known members: route"),
        ("[[routes]]\nname = 'a'", "line 1, column 3: unknown member `routes`; did you mean `route`?"),
        ("[route]\nname = 'a'", "line 1, column 1: `route` is not a list of tables; write `[[route]]`"),
        ("route = [1]", "line 1, column 10: `route` is not a list of tables"),
        ("[[route]]\npath = '/a'", "line 1, column 1: `name` is missing"),
        ("[[route]]\nname = 'a'", "line 1, column 1: route \"a\": `path` is missing"),
        (
            "[[route]]\nname = 'A B'\npath = '/'",
            "line 2, column 8: the name is not 1 to 64 of a-z, 0-9 and `-`; did you mean `a-b`?",
        ),
        (
            "[[route]]\nname = 'a'\npath = 'v1'",
            "line 3, column 8: route \"a\": `path` does not begin with `/`; did you mean `/v1`?",
        ),
        (
            "[[route]]\nname = 'a'\npath = '/a?b'",
            "line 3, column 8: route \"a\": `path` has '?', which no path has; percent-encode it; a route matches the path without its query",
        ),
        (
            "[[route]]\nname = 'a'\npath = '/v1/x:y'\ndefault_ttl = 1",
            "line 4, column 15: route \"a\": `default_ttl` applies to plain paths only, and no path of this route is plain",
        ),
        (
            "[[route]]\nname = 'a'\npath = '/a'\n\n[[route]]\nname = 'a'\npath = '/b'",
            "line 6, column 8: route \"a\": the name is also that of the route on line 1",
        ),
        (
            "[[route]]\nname = 'a'\npath = '/a/{x}'\n\n[[route]]\nname = 'b'\nmethods = ['HEAD']\npath = '/A/{y}'",
            "line 8, column 8: route \"b\": `HEAD` of this host and path is also matched by route \"a\" on line 1",
        ),
        (
            "[[route]]\nname = 'a'\npath = '/a/{x}'\n\n[[route]]\nname = 'b'\nmethods = ['PUT']\npath = '/b'\non_write = { purge = ['a'] }",
            "line 9, column 23: route \"b\": the path has no capture \"x\", which route \"a\" needs",
        ),
        ("[[route]]\nname = 'a'\nname = 'b'", "line 3, column 1: duplicate key"),
        ("[[route]]\nname = 'a'\npath = \"/a", "line 3, column 11: invalid basic string, expected `\"`"),
    ] {
        let errors: Vec<_> = errors(text).iter().map(ToString::to_string).collect();
        assert!(errors.iter().any(|error| error == want), "{text}: {errors:#?}, and not {want}");
    }
}

#[test]
fn all_errors_are_reported_at_once() {
    let text =
        "[[route]]\nname = 'a'\npath = 'x'\nmode = 'no'\n\n[[route]]\npath = '/b'\nmax_body = 'x'\nzzz = 1\n";
    let lines: Vec<_> = errors(text).iter().map(|error| error.line).collect();
    assert_eq!(lines, [3, 4, 6, 8, 9]);
    // Every violation of TOML is reported too.
    let lines: Vec<_> = errors("[[route]]\nname = \npath = ]\n").iter().map(|error| error.line).collect();
    assert!(lines.contains(&2) && lines.contains(&3), "{lines:?}");
}

#[test]
fn files_that_are_no_text_are_refused() {
    let fault =
        |bytes: &[u8]| RouteTable::parse(bytes).err().map(|errors| (errors[0].line, errors[0].fault.clone()));
    assert_eq!(fault(b"[[route]]\nname = '\xff'"), Some((2, RouteFault::NotUtf8)));
    assert_eq!(fault(b"\xef\xbb\xbf[[route]]"), Some((1, RouteFault::ByteOrderMark)));
    assert_eq!(fault(&vec![b'#'; ROUTES_FILE_BYTES_MAX + 1]), Some((1, RouteFault::TooLarge)));
    let many = "[[route]]\n".repeat(ROUTES_MAX + 1);
    assert_eq!(fault(many.as_bytes()), Some((1, RouteFault::TooManyRoutes)));
}

#[test]
fn every_cut_of_a_file_is_refused_or_read() {
    let text =
        "[[route]]\nname = \"a\"\npath = \"/a/{id}\"\ntags = [\"x:{id}\"]\n[route.query]\nonly = [\"p\"]\n";
    assert_eq!(table(text).routes().len(), 1);
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        match RouteTable::parse(&text.as_bytes()[..end]) {
            Ok(table) => assert_eq!(table.routes().len(), 1, "{end}"),
            Err(errors) => assert!(!errors.is_empty(), "{end}"),
        }
    }
}

#[test]
fn a_thousand_routes_are_read() {
    let text: String =
        (0..1000).map(|n| format!("[[route]]\nname = 'r{n}'\npath = '/v1/r{n}/{{id}}'\n")).collect();
    let table = table(&text);
    assert_eq!(table.routes().len(), 1000);
    let found = table.find(&http::Method::GET, "a", "/v1/r999/7");
    assert_eq!(found.route().map(|route| &*route.name), Some("r999"));
}

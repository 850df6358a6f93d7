//! The routes file, and the match of a path.

use std::collections::BTreeSet;

use cachewarp::routes::{PathForm, RouteTable};
use http::Method;

/// Checks that a file is read into distinct routes or refused with errors in the order of its
/// lines, each of which is one line of a report.
pub(crate) fn routes_file(data: &[u8]) {
    match RouteTable::parse(data) {
        Ok(table) => {
            let names: BTreeSet<_> = table.routes().iter().map(|route| &route.name).collect();
            assert_eq!(names.len(), table.routes().len(), "two routes have one name");
            assert!(table.listing().lines().count() > names.len(), "a route is not listed");
            let again = RouteTable::parse(data).unwrap_or_default();
            for (route, other) in table.routes().iter().zip(again.routes()) {
                assert_eq!(route.rules_digest(), other.rules_digest(), "a digest changes");
                assert!(
                    !(route.passes_through()
                        && route.members.cache_control.is_some()
                        && route.members.mode.is_none())
                );
            }
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "a file is refused without an error");
            let lines = data.iter().filter(|byte| **byte == b'\n').count() + 1;
            assert!(
                errors.iter().all(|error| (1..=lines).contains(&error.line)),
                "a line is outside of the file"
            );
            assert!(errors.windows(2).all(|pair| pair[0].line <= pair[1].line), "errors are not sorted");
            assert!(
                errors.iter().all(|error| error.to_string().lines().count() == 1),
                "an error has several lines"
            );
        }
    }
}

const ROUTES: &[u8] = br#"
[[route]]
name = "rates"
path = "/v1/rates/{pair}"
cache_control = "max-age=60"
[[route]]
name = "all-rates"
path = "/v1/rates/all"
cache = false
[[route]]
name = "account"
path = "/v1/accounts/{id}"
cache = false
[[route]]
name = "items"
path = "/v2/items/"
default_ttl = "5s"
[[route]]
name = "static"
path = "/static/{*file}"
default_ttl = "1h"
"#;

/// The paths of the routes that forbid storing, as a second implementation matches them.
const PRIVATE: [&[&str]; 2] = [&["v1", "rates", "all"], &["v1", "accounts", "{}"]];

/// A way in which an origin reads a path, after an optional decoding.
const READINGS: [fn(&str) -> String; 5] = [
    |path| path.to_owned(),
    |path| {
        path.split('/')
            .map(|segment| segment.split(';').next().unwrap_or_default())
            .collect::<Vec<_>>()
            .join("/")
    },
    |path| {
        format!("/{}", path.split('/').filter(|segment| !segment.is_empty()).collect::<Vec<_>>().join("/"))
    },
    |path| path.to_ascii_lowercase(),
    |path| path.trim_end_matches('/').to_owned(),
];

/// Decodes a path once, as an origin does that has no notion of reserved characters.
fn decoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let digits =
            path.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn is_private(path: &str) -> bool {
    let segments: Vec<_> = path.split('/').skip(1).collect();
    PRIVATE.iter().any(|pattern| {
        pattern.len() == segments.len()
            && pattern.iter().zip(&segments).all(|(pattern, segment)| match *pattern {
                "{}" => !segment.is_empty(),
                literal => literal == *segment,
            })
    })
}

/// Matches a path. Checks that no path which some origin reads as one that must not be stored is
/// cached, and that permissive members apply to plain paths only.
///
/// The origins decode the path or not, and then read it in up to two of five ways.
pub(crate) fn route_match(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    if !path.starts_with('/')
        || path.contains(|letter: char| !letter.is_ascii_graphic() || "?#".contains(letter))
    {
        return;
    }
    let table = RouteTable::parse(ROUTES).expect("the routes are valid");
    let found = table.find(&Method::GET, "api.test", path);
    for start in [path.to_owned(), decoded(path)] {
        for first in READINGS {
            for second in READINGS {
                let reading = second(&first(&start));
                assert!(found.passes_through() || !is_private(&reading), "an origin reads it as {reading:?}");
            }
        }
    }
    if found.permits() {
        assert!(found.form() == PathForm::Plain && !found.is_ambiguous());
        let inner = path.strip_suffix('/').unwrap_or(path);
        assert!(
            !inner.contains("//") && !path.contains([';', '\\']) && !path.contains("/../"),
            "it is not plain"
        );
        for bad in ["%2f", "%5c", "%00", "%25", "%3b"] {
            assert!(!path.to_ascii_lowercase().contains(bad), "it is not plain");
        }
    }
    for (_, value) in found.captures() {
        assert!(value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b';'));
    }
    if let (Some(tags), Some(_)) = (found.stored_tags(), found.route()) {
        assert!(tags.first().is_some_and(|tag| tag.starts_with("route ")), "the implied tag is missing");
    }
    assert!(table.report(&Method::GET, "", path).starts_with("GET /"));
}

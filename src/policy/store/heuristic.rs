//! The heuristic lifetime of a response without an explicit one (RFC 9111 §4.2.2).
//!
//! The operator's lifetimes come first: one for a `200` with JSON, and one for `404` and `410`. The
//! RFC's heuristic, which uses the time since the last change, applies to JSON and, if the operator
//! allows all media types, to every type; and to a `200` and, if the operator allows all statuses,
//! to every status. It does not apply to a type or status that the operator lists, so that an error
//! page is not unexpectedly served for half a minute.

use std::time::Duration;

use http::StatusCode;
use http::header::{DATE, LAST_MODIFIED, PRAGMA};

use crate::limits::HEURISTIC_LIFETIME_MAX;

use crate::policy::exchange::Exchange;
use crate::policy::parse::directives::{self, DirectiveScope, Directives};
use crate::policy::parse::{date, media};
use crate::policy::store::rules::{CacheRules, ContentTypes, StorableStatuses};
use crate::policy::store::status;

/// The divisor of the time since the last change: the response is expected to stay unchanged for a
/// tenth of it.
const UNCHANGED_DIVISOR: u32 = 10;

/// Returns the heuristic lifetime of a response without an explicit one, if any rule gives one.
pub(in crate::policy) fn heuristic_lifetime(
    exchange: &Exchange<'_>,
    directives: &Directives,
    rules: &CacheRules,
) -> Option<Duration> {
    // §5.4 gives `Pragma` no meaning in a response, and `must-understand` may override `no-store`.
    // But an origin that sends either does not expect heuristic caching. `no-cache` is explicit
    // too.
    let unwanted = directives.no_store
        || directives.no_cache == DirectiveScope::Whole
        || exchange.response.get_all(PRAGMA).iter().any(directives::lists_no_cache);
    if unwanted {
        return None;
    }
    rules
        .negative(exchange.status)
        .or_else(|| default_lifetime(exchange, rules))
        .or_else(|| lifetime_by_last_change(exchange, directives, rules))
}

fn default_lifetime(exchange: &Exchange<'_>, rules: &CacheRules) -> Option<Duration> {
    let plain = exchange.status == StatusCode::OK && media::is_json(exchange.response);
    (plain && !rules.default_ttl.is_zero()).then_some(rules.default_ttl)
}

fn lifetime_by_last_change(
    exchange: &Exchange<'_>,
    directives: &Directives,
    rules: &CacheRules,
) -> Option<Duration> {
    let by_status = rules.statuses == StorableStatuses::Any || exchange.status == StatusCode::OK;
    let by_type = rules.content_types == ContentTypes::Any || media::is_json(exchange.response);
    let by_rfc = status::is_heuristically_cacheable(exchange.status) || directives.public;
    if !by_status || !by_type || !by_rfc || rules.default_ttl.is_zero() {
        return None;
    }
    let changed = date::of(exchange.response, &LAST_MODIFIED)?;
    let unchanged = date::of(exchange.response, &DATE).unwrap_or(exchange.received).since(changed);
    Some((unchanged / UNCHANGED_DIVISOR).min(HEURISTIC_LIFETIME_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::{OwnedExchange, rules, rules_of_the_rfc};

    const EARLIER: &str = "Sun, 06 Nov 1994 11:59:50 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 12:01:00 GMT";
    const NOON_MILLIS: u64 = 784_123_200_000;

    #[test]
    fn heuristic_lifetimes_follow_the_rules() {
        let heuristic = |status: u16, fields: &[(&str, &str)], rules: &CacheRules| {
            let owned = OwnedExchange::response(status, fields).at(NOON_MILLIS, NOON_MILLIS);
            heuristic_lifetime(&owned.exchange(), &Directives::of(&owned.response), rules)
                .map(|lifetime| lifetime.as_secs())
        };
        let json = ("content-type", "application/json");
        let public = ("cache-control", "public");
        // 100 s before noon, and a year before it.
        let recent = ("last-modified", "Sun, 06 Nov 1994 11:58:20 GMT");
        let old = ("last-modified", "Sat, 06 Nov 1993 12:00:00 GMT");
        let listed = CacheRules {
            statuses: StorableStatuses::Listed(vec![StatusCode::NOT_FOUND]),
            content_types: ContentTypes::Listed(vec!["text/html".into()]),
            ..rules()
        };
        let open = rules_of_the_rfc();
        let all_types = CacheRules { content_types: ContentTypes::Any, ..rules() };
        let all_statuses = CacheRules { statuses: StorableStatuses::Any, ..rules() };
        let html = ("content-type", "text/html");
        let off = CacheRules { default_ttl: Duration::ZERO, ..open.clone() };
        let negative = CacheRules { negative_ttl: Duration::from_secs(5), ..rules() };
        let rows = [
            ("json", 200, &[json][..], &rules(), Some(30)),
            ("json-open", 200, &[json, recent], &open, Some(30)),
            ("json-off", 200, &[json, recent], &off, None),
            ("a-404-that-is-listed", 404, &[json, recent], &listed, None),
            ("a-type-that-is-listed", 200, &[("content-type", "text/html"), recent], &listed, None),
            ("all-types", 200, &[html, recent], &all_types, Some(10)),
            ("all-types-json", 200, &[json, recent], &all_types, Some(30)),
            ("all-types-of-a-404", 404, &[html, recent], &all_types, None),
            ("all-statuses", 404, &[json, recent], &all_statuses, Some(10)),
            ("all-statuses-of-html", 200, &[html, recent], &all_statuses, None),
            ("all-statuses-403", 403, &[json, recent], &all_statuses, None),
            ("rfc9111-4.2.2-tenth", 200, &[recent], &open, Some(10)),
            ("rfc9111-4.2.2-cap", 200, &[old], &open, Some(24 * 3600)),
            ("rfc9111-4.2.2-date", 200, &[recent, ("date", EARLIER)], &open, Some(9)),
            ("rfc9111-4.2.2-nothing", 200, &[], &open, None),
            ("rfc9111-4.2.2-bad-date", 200, &[("last-modified", "noon")], &open, None),
            ("rfc9111-4.2.2-ahead", 200, &[("last-modified", LATER)], &open, Some(0)),
            ("rfc9110-15.1-404", 404, &[recent], &open, Some(10)),
            ("rfc9110-15.1-403", 403, &[recent], &open, None),
            ("rfc9111-5.2.2.9-public", 599, &[public, recent], &open, Some(10)),
            ("rfc9111-5.2.2.9-without", 599, &[recent], &open, None),
            ("negative-404", 404, &[], &negative, Some(5)),
            ("negative-410", 410, &[recent], &negative, Some(5)),
            ("negative-pragma", 404, &[("pragma", "no-cache")], &negative, None),
            ("negative-405", 405, &[], &negative, None),
            ("negative-off", 404, &[], &rules(), None),
        ];
        for (id, status, fields, rules, want) in rows {
            assert_eq!(heuristic(status, fields, rules), want, "{id}");
        }
    }
}

//! The freshness lifetime of a response, and its age on arrival (RFC 9111 §4.2).
//!
//! All times count from the moment of reception on the local clock. The origin's clock is used only
//! against itself (`Expires` minus `Date`) and to compute the age on arrival. There, an origin
//! clock that runs behind makes a response look older, never younger.

use std::time::Duration;

use http::header::{AGE, DATE, EXPIRES, HeaderMap};

use crate::limits::LIFETIME_MAX;
use crate::time::Timestamp;

use crate::policy::exchange::Exchange;
use crate::policy::parse::date;
use crate::policy::parse::directives::{DirectiveSource, Directives};
use crate::policy::parse::seconds::DeltaSeconds;
use crate::policy::store::heuristic::heuristic_lifetime;
use crate::policy::store::rules::CacheRules;

/// The `freshness_lifetime` (§4.2.1) and its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum Lifetime {
    /// The lifetime from the origin; zero if it is invalid.
    Explicit(Duration),
    /// A guess by the operator's setting or by the RFC's rule.
    Heuristic(Duration),
    /// No lifetime.
    Unknown,
}

impl Lifetime {
    /// Returns the first lifetime in the order of §4.2.1.
    pub(in crate::policy) fn of(
        exchange: &Exchange<'_>,
        directives: &Directives,
        rules: &CacheRules,
    ) -> Self {
        match Self::stated(exchange, directives) {
            Some(lifetime) => Self::Explicit(lifetime),
            None => heuristic_lifetime(exchange, directives, rules).map_or(Self::Unknown, Self::Heuristic),
        }
    }

    /// Returns the lifetime that the origin states; zero if it is invalid.
    pub(in crate::policy) fn stated(exchange: &Exchange<'_>, directives: &Directives) -> Option<Duration> {
        if let Some(seconds) =
            directives.s_maxage.or(DeltaSeconds::ZERO).or(directives.max_age.or(DeltaSeconds::ZERO))
        {
            Some(seconds.duration())
        } else {
            let expires =
                directives.source == DirectiveSource::CacheControl && exchange.response.contains_key(EXPIRES);
            expires.then(|| until_expires(exchange))
        }
    }

    /// Returns the duration; zero without a lifetime.
    pub(in crate::policy) fn duration(self) -> Duration {
        match self {
            Self::Explicit(lifetime) | Self::Heuristic(lifetime) => lifetime,
            Self::Unknown => Duration::ZERO,
        }
    }
}

/// Returns the `corrected_initial_age` of §4.2.3.
pub(in crate::policy) fn initial_age(exchange: &Exchange<'_>) -> Duration {
    let apparent_age =
        date(exchange).map_or(Duration::ZERO, |date| whole_second(exchange.received).since(date));
    let response_delay = exchange.received.since(exchange.requested);
    apparent_age.max(age_value(exchange.response).saturating_add(response_delay))
}

/// Limits a lifetime so that it ends at most [`LIFETIME_MAX`] after reception.
pub(in crate::policy) fn capped(lifetime: Duration, initial_age: Duration) -> Duration {
    lifetime.min(initial_age.saturating_add(LIFETIME_MAX))
}

/// Reads `Age` (§5.1): the first member of a list counts, and a malformed number counts as absent.
fn age_value(response: &HeaderMap) -> Duration {
    response
        .get(AGE)
        .and_then(|line| line.as_bytes().split(|&byte| byte == b',').next())
        .and_then(|first| DeltaSeconds::parse(first.trim_ascii().iter().copied()))
        .map_or(Duration::ZERO, DeltaSeconds::duration)
}

/// Returns `Expires` minus `Date` (§5.3). A malformed date, such as `0`, has already passed.
fn until_expires(exchange: &Exchange<'_>) -> Duration {
    let date = date(exchange).unwrap_or_else(|| whole_second(exchange.received));
    date::of(exchange.response, &EXPIRES).map_or(Duration::ZERO, |expires| expires.since(date))
}

/// Returns the time at which the origin made the response, if it states one.
fn date(exchange: &Exchange<'_>) -> Option<Timestamp> {
    date::of(exchange.response, &DATE)
}

/// Drops the fraction of a second. HTTP dates have none, and a comparison with one would make a
/// response look up to a second older.
fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_millis(time.as_millis() / 1000 * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::{OwnedExchange, rules};

    const EARLIER: &str = "Sun, 06 Nov 1994 11:59:50 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 12:01:00 GMT";
    const NOON: &str = "Sun, 06 Nov 1994 12:00:00 GMT";
    const NOON_MILLIS: u64 = 784_123_200_000;

    type Fields = &'static [(&'static str, &'static str)];

    fn lifetime(fields: Fields, rules: &CacheRules) -> Lifetime {
        let owned = OwnedExchange::response(200, fields).at(NOON_MILLIS, NOON_MILLIS + 400);
        Lifetime::of(&owned.exchange(), &Directives::of(&owned.response), rules)
    }

    fn explicit(seconds: u64) -> Lifetime {
        Lifetime::Explicit(Duration::from_secs(seconds))
    }

    #[test]
    fn freshness_lifetime_follows_the_rfc() {
        let rows: &[(&str, Fields, Lifetime)] = &[
            (
                "rfc9111-4.2.1-s-maxage",
                &[("cache-control", "max-age=1, s-maxage=2"), ("expires", LATER)],
                explicit(2),
            ),
            ("rfc9111-4.2.1-max-age", &[("cache-control", "max-age=1"), ("expires", LATER)], explicit(1)),
            ("rfc9111-4.2.1-expires", &[("expires", LATER), ("date", NOON)], explicit(60)),
            ("rfc9111-4.2.1-bad-s-maxage", &[("cache-control", "max-age=1, s-maxage=x")], explicit(0)),
            (
                "rfc9111-4.2.1-bad-max-age",
                &[("cache-control", "max-age=-1"), ("expires", LATER)],
                explicit(0),
            ),
            (
                "rfc9111-4.2.1-conflict",
                &[("cache-control", "max-age=1"), ("cache-control", "max-age=9")],
                explicit(0),
            ),
            ("rfc9111-5.3-no-date", &[("expires", LATER)], explicit(60)),
            ("rfc9111-5.3-bad-date", &[("expires", LATER), ("date", "noon")], explicit(60)),
            ("rfc9111-5.3-zero", &[("expires", "0")], explicit(0)),
            ("rfc9111-5.3-past", &[("expires", NOON), ("date", LATER)], explicit(0)),
            ("rfc9111-5.3-alike", &[("expires", LATER), ("expires", LATER)], explicit(60)),
            ("rfc9111-5.3-conflict", &[("expires", LATER), ("expires", NOON)], explicit(0)),
            ("rfc9110-5.6.7-rfc850", &[("expires", "Sunday, 06-Nov-94 12:01:00 GMT")], explicit(60)),
            ("rfc9110-5.6.7-asctime", &[("expires", "Sun Nov  6 12:01:00 1994")], explicit(60)),
            ("rfc9110-5.6.7-zone", &[("expires", "Sun, 06 Nov 1994 12:01:00 UTC")], explicit(0)),
            ("rfc9111-4.2.2", &[], Lifetime::Unknown),
            (
                "rfc9111-4.2.2-json",
                &[("content-type", "application/json")],
                Lifetime::Heuristic(Duration::from_secs(30)),
            ),
            (
                "rfc9111-5.4-pragma",
                &[("content-type", "application/json"), ("pragma", "x, No-Cache")],
                Lifetime::Unknown,
            ),
            (
                "rfc9111-5.2.2.4-no-cache",
                &[("content-type", "application/json"), ("cache-control", "no-cache")],
                Lifetime::Unknown,
            ),
            (
                "rfc9111-4.2-case",
                &[("expires", "SUN, 06 NOV 1994 12:01:00 gmt"), ("date", NOON)],
                explicit(60),
            ),
            (
                "rfc9213-2.2-expires",
                &[("cdn-cache-control", "max-age=7"), ("expires", LATER), ("cache-control", "s-maxage=9")],
                explicit(7),
            ),
            (
                "rfc9213-2.2-no-expires",
                &[("cdn-cache-control", "foo"), ("expires", LATER), ("cache-control", "s-maxage=9")],
                Lifetime::Unknown,
            ),
        ];
        for (id, fields, want) in rows {
            assert_eq!(lifetime(fields, &rules()), *want, "{id}");
        }
    }

    #[test]
    fn initial_age_follows_the_rfc() {
        let rows: &[(&str, Fields, u64)] = &[
            ("rfc9111-4.2.3-delay", &[], 400),
            ("rfc9111-4.2.3-age", &[("age", "7")], 7_400),
            ("rfc9111-4.2.3-apparent", &[("date", EARLIER), ("age", "7")], 10_000),
            ("rfc9111-4.2.3-corrected", &[("date", EARLIER), ("age", "10")], 10_400),
            ("rfc9111-4.2.3-future-date", &[("date", "Sun, 06 Nov 1994 13:00:00 GMT")], 400),
            ("rfc9111-4.2.3-this-second", &[("date", NOON)], 400),
            ("rfc9111-5.1-first", &[("age", "7, 0")], 7_400),
            ("rfc9111-5.1-first-line", &[("age", "7"), ("age", "0")], 7_400),
            ("rfc9111-5.1-not-a-number", &[("age", "abc")], 400),
            ("rfc9111-5.1-negative", &[("age", "-7")], 400),
            ("rfc9111-5.1-fraction", &[("age", "7.0")], 400),
            ("rfc9111-5.1-overflow", &[("age", "99999999999")], (1 << 31) * 1000 + 400),
        ];
        for (id, fields, millis) in rows {
            let owned = OwnedExchange::response(200, fields).at(NOON_MILLIS, NOON_MILLIS + 400);
            assert_eq!(initial_age(&owned.exchange()), Duration::from_millis(*millis), "{id}");
        }
    }

    #[test]
    fn lifetimes_end_at_the_limit() {
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(capped(day, Duration::ZERO), day);
        assert_eq!(capped(365 * day, Duration::ZERO), LIFETIME_MAX);
        assert_eq!(capped(365 * day, 40 * day), 40 * day + LIFETIME_MAX);
    }
}

//! `Date`, `Expires`, `Age` and `Last-Modified` in the policy.

use std::time::Duration;

use cachewarp::limits::LIFETIME_MAX;
use cachewarp::policy::{Obligations, Reuse, reuse, storable};
use cachewarp::time::Timestamp;
use http::{HeaderMap, Method};

use super::heads::{NOON_MILLIS, exchange, facts, head, lines, rules, target};

/// Two bytes give the transfer time of the response; then lines: `Date`, `Expires`, `Age`,
/// `Last-Modified`, `Cache-Control`.
///
/// Checks that no input causes a panic; that a stored response is kept within bounds, is at least
/// as old as its transfer took, ages by the second, and is fresh until its end and no longer; and
/// that dates in the preferred form give the lifetime that a calendar gives.
pub(crate) fn dates(data: &[u8]) {
    let Some(([high, low], text)) = data.split_first_chunk() else { return };
    let names = ["date", "expires", "age", "last-modified", "cache-control"];
    let response = head(names.into_iter().zip(lines(text)).filter(|(_, line)| !line.is_empty()));
    let requested = Timestamp::from_millis(NOON_MILLIS);
    let delay = Duration::from_millis(u16::from_be_bytes([*high, *low]).into());
    let received = requested.plus(delay);
    let request = facts(&Method::GET, &HeaderMap::new());
    let Ok(stored) = storable(
        &exchange(&request, &target("/a"), &response, requested, received),
        &rules(Duration::from_secs(5)),
    ) else {
        return;
    };
    assert!(stored.initial_age >= delay, "{stored:?}");
    assert!(stored.ttl(received) <= LIFETIME_MAX && stored.keep_for(received) <= LIFETIME_MAX, "{stored:?}");
    assert!(!stored.keep_for(received).is_zero(), "a useless response is stored: {stored:?}");

    let (mut before, hour) = (received, Duration::from_secs(3600));
    for later in [0, 1, 999, 1_000, 59_999, 3_600_000, u64::MAX / 2] {
        let now = Timestamp::from_millis(received.as_millis().saturating_add(later));
        assert!(stored.age(now) >= stored.age(before) && stored.ttl(now) <= stored.ttl(before));
        assert!(stored.keep_for(now) <= stored.keep_for(before));
        let fresh = stored.age(now) < stored.lifetime;
        let allowed = !stored.obligations.contains(Obligations::NO_CACHE);
        let served = matches!(reuse(&stored, &request, now), Reuse::Fresh { .. });
        assert_eq!(served, fresh && allowed, "{later} ms later: {stored:?}");
        before = now;
    }
    assert_eq!(stored.age(received.plus(hour)) - stored.age(received), hour);

    // Only without another source of the lifetime.
    if response.get("cache-control").is_none() {
        let date = response.get("date").map(|line| seconds(line.as_bytes()));
        let expires = response.get("expires").and_then(|line| seconds(line.as_bytes()));
        let made = match date {
            None => Some(received.as_millis() / 1000),
            Some(date) => date,
        };
        if let (Some(made), Some(expires)) = (made, expires) {
            let lifetime = Duration::from_secs(expires.saturating_sub(made));
            let capped = lifetime.min(stored.initial_age.saturating_add(LIFETIME_MAX));
            assert_eq!(stored.lifetime, capped, "{response:?}");
        }
    }
}

/// Returns the seconds since the epoch of a date such as `Sun, 06 Nov 1994 12:00:00 GMT`, by an
/// independent calendar, or `None` for any other form.
fn seconds(line: &[u8]) -> Option<u64> {
    const MONTHS: [(&str, u64); 12] = [
        ("Jan", 31),
        ("Feb", 28),
        ("Mar", 31),
        ("Apr", 30),
        ("May", 31),
        ("Jun", 30),
        ("Jul", 31),
        ("Aug", 31),
        ("Sep", 30),
        ("Oct", 31),
        ("Nov", 30),
        ("Dec", 31),
    ];
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let text = std::str::from_utf8(line).ok()?;
    let (weekday, rest) = text.split_once(", ")?;
    let words: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, clock, "GMT"] = words[..] else { return None };
    let number = |text: &str, digits: usize| -> Option<u64> {
        (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
    };
    let [hour, minute, second] = clock.split(':').collect::<Vec<_>>()[..] else { return None };
    let (hour, minute, second) = (number(hour, 2)?, number(minute, 2)?, number(second, 2)?);
    let (day, year) = (number(day, 2)?, number(year, 4)?);
    let every = |years: u64, year: u64| year.is_multiple_of(years);
    let is_leap = |year: u64| every(4, year) && (!every(100, year) || every(400, year));
    let at = MONTHS.iter().position(|(name, _)| *name == month)?;
    let length = MONTHS[at].1 + u64::from(at == 1 && is_leap(year));
    if year < 1970 || hour > 23 || minute > 59 || second > 59 || !(1..=length).contains(&day) {
        return None;
    }
    let years: u64 = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum();
    let months: u64 =
        MONTHS[..at].iter().map(|(_, days)| days).sum::<u64>() + u64::from(at > 1 && is_leap(year));
    let days = years + months + day - 1;
    let is_that_day = DAYS[usize::try_from(days % 7).ok()?] == weekday;
    is_that_day.then_some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

//! Idle time that the origin states for a connection: `Keep-Alive: timeout=5` (RFC 2068 §19.7.1.1).
//!
//! A request that is sent while the origin closes the connection is lost, and one with a body
//! cannot be sent again. Node, Apache and other servers state when they close; the pool stops using
//! the connection some time before.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::limits::ORIGIN_KEEP_ALIVE_MARGIN;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Returns the time for which a connection with this response head may be idle and used again, or
/// `None` if the head does not state one.
pub(super) fn usable_for(head: &HeaderMap) -> Option<Duration> {
    let value = head.get(KEEP_ALIVE)?.to_str().ok()?;
    let timeout = value.split(',').find_map(|parameter| {
        let (name, seconds) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then_some(seconds.trim())
    })?;
    // A number with too many digits exceeds every idle time-out, so it is ignored.
    let idle_time = Duration::from_secs(timeout.parse().ok()?);
    Some(idle_time.saturating_sub(ORIGIN_KEEP_ALIVE_MARGIN).max(idle_time / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usable_time_ends_before_the_stated_time() {
        for (value, millis) in [
            ("timeout=5", Some(4_000)),
            ("timeout=5, max=100", Some(4_000)),
            ("max=100 , Timeout = 60", Some(59_000)),
            ("timeout=1", Some(500)),
            ("timeout=0", Some(0)),
            ("max=100", None),
            ("timeout", None),
            ("timeout=", None),
            ("timeout=-1", None),
            ("timeout=soon", None),
            ("timeout=99999999999999999999999", None),
            ("", None),
        ] {
            let mut head = HeaderMap::new();
            head.insert(KEEP_ALIVE, value.parse().unwrap());
            assert_eq!(usable_for(&head), millis.map(Duration::from_millis), "{value}");
        }
        assert_eq!(usable_for(&HeaderMap::new()), None);
    }
}

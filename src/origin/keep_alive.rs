//! How long the origin keeps a connection that is idle, by its own word: `Keep-Alive: timeout=5`
//! (RFC 2068 §19.7.1.1).
//!
//! A connection that is used in the moment in which the origin closes it costs a request, and one
//! with a body cannot be sent again. Node, Apache and others say when that moment is; then the
//! connection is not used any more some time before.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::limits::ORIGIN_KEEP_ALIVE_MARGIN;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// How long a connection that brought this head may be idle and be used again; nothing if the
/// origin does not say.
pub(super) fn usable_for(head: &HeaderMap) -> Option<Duration> {
    let said = head.get(KEEP_ALIVE)?.to_str().ok()?;
    let timeout = said.split(',').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then_some(value.trim())
    })?;
    // More digits than a number has are more seconds than we keep any.
    let kept = Duration::from_secs(timeout.parse().ok()?);
    Some(kept.saturating_sub(ORIGIN_KEEP_ALIVE_MARGIN).max(kept / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_before_the_origin_says_so() {
        for (said, millis) in [
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
            head.insert(KEEP_ALIVE, said.parse().unwrap());
            assert_eq!(usable_for(&head), millis.map(Duration::from_millis), "{said}");
        }
        assert_eq!(usable_for(&HeaderMap::new()), None);
    }
}

//! Refusals of the origin: requests that it answered with `503` and `Retry-After`.
//!
//! Until the stated time has passed, the proxy answers an equal request itself, with `503` and the
//! rest of the time. Two requests are equal if the origin receives the same bytes of both: method,
//! target and every field, also the client's address in `X-Forwarded-For`. An origin may refuse one
//! address or one kind of client, so its refusal says nothing about any other request. A client can
//! therefore close a resource for itself, and for no other client.
//!
//! **Always:** a refusal lasts no longer than [`RETRY_AFTER_MAX`]. The table has a fixed size and
//! evicts the least useful refusal first; an evicted one costs one request to the origin.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use crate::limits::{ORIGIN_REFUSALS_MAX, RETRY_AFTER_MAX};
use crate::proxy::fetch::head_digest::HeadDigest;
use crate::time::millis;

/// The refusals of a process.
pub(in crate::proxy) struct OriginRefusals {
    begun: Instant,
    /// The end of each refusal.
    refusals: Cache<HeadDigest, Instant>,
    /// The end of the last refusal, in milliseconds since the table was created. Without a refusal
    /// in force, a request computes no digest. The value orders no other memory access: only the
    /// number of origin requests depends on it.
    last_until: AtomicU64,
}

impl OriginRefusals {
    /// Creates a table without refusals.
    pub(in crate::proxy) fn new(now: Instant) -> Self {
        Self { begun: now, refusals: Cache::new(ORIGIN_REFUSALS_MAX), last_until: AtomicU64::new(0) }
    }

    /// Returns whether any refusal is in force.
    pub(in crate::proxy::fetch) fn has_any(&self, now: Instant) -> bool {
        self.millis(now) < self.last_until.load(Ordering::Relaxed)
    }

    /// Returns the rest of the time for which the origin refuses this head.
    pub(in crate::proxy::fetch) fn rest(&self, head: &HeadDigest, now: Instant) -> Option<Duration> {
        let rest = self.refusals.get(head)?.checked_duration_since(now).filter(|rest| !rest.is_zero());
        if rest.is_none() {
            self.refusals.remove(head);
        }
        rest
    }

    /// Records that the origin refuses this head.
    pub(in crate::proxy::fetch) fn refuse(&self, head: HeadDigest, retry_after: Duration, now: Instant) {
        let until = now + retry_after.min(RETRY_AFTER_MAX);
        self.refusals.insert(head, until);
        self.last_until.fetch_max(self.millis(until), Ordering::Relaxed);
    }

    fn millis(&self, at: Instant) -> u64 {
        millis(at.saturating_duration_since(self.begun))
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;
    use crate::time;

    fn head(target: &str, fields: &[(&'static str, &'static str)]) -> HeadDigest {
        let mut request = Request::get(target);
        for (name, value) in fields {
            request = request.header(*name, HeaderValue::from_static(value));
        }
        HeadDigest::of(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn equal_bytes_alone_have_equal_digests() {
        let fields = [("user-agent", "curl"), ("x-forwarded-for", "192.0.2.1")];
        let refused = head("/a?b", &fields);
        assert_eq!(head("/a?b", &fields), refused);
        let others = [
            head("/a?c", &fields),
            head("/a", &fields),
            head("/a?b", &fields[..1]),
            head("/a?b", &[fields[0], ("x-forwarded-for", "192.0.2.2")]),
            head("/a?b", &[("user-agent", "wget"), fields[1]]),
            head("/a?b", &[("user-agen", "tcurl"), fields[1]]),
            head("/a?b", &[fields[0], fields[1], ("accept", "")]),
        ];
        for other in others {
            assert_ne!(other, refused);
        }
    }

    #[test]
    fn a_refusal_ends_with_its_time_and_at_the_limit() {
        let (refused, other) = (head("/a", &[]), head("/b", &[]));
        for (wanted, seconds) in [(1, 1), (30, 30), (86_400, RETRY_AFTER_MAX.as_secs())] {
            let now = time::instant();
            let refusals = OriginRefusals::new(now);
            assert!(!refusals.has_any(now));
            refusals.refuse(refused, Duration::from_secs(wanted), now);
            assert!(refusals.has_any(now));
            assert_eq!(refusals.rest(&other, now), None, "{wanted}");
            let later = now + Duration::from_millis(300);
            let rest = Duration::from_secs(seconds) - Duration::from_millis(300);
            assert_eq!(refusals.rest(&refused, later), Some(rest), "{wanted}");
            let over = now + Duration::from_secs(seconds);
            assert_eq!(refusals.rest(&refused, over), None, "{wanted}");
            assert!(!refusals.has_any(over), "{wanted}");
        }
    }

    #[test]
    fn the_table_has_a_fixed_size() {
        let now = time::instant();
        let refusals = OriginRefusals::new(now);
        for number in 0..2 * ORIGIN_REFUSALS_MAX {
            refusals.refuse(head(&format!("/{number}"), &[]), RETRY_AFTER_MAX, now);
        }
        assert!(refusals.refusals.len() <= ORIGIN_REFUSALS_MAX);
    }
}

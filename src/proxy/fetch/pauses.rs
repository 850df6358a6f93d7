//! Pauses after origin failures: for a while the proxy serves stored responses stale and does not
//! send their fetch again.
//!
//! An origin that fails under load does not recover if every request for an entry reaches it. Each
//! failed fetch of a key with a stored entry therefore starts a pause of that key. The pause lasts
//! as long as the origin's `Retry-After`, else [`REFRESH_PAUSE_MIN`], doubled with each failure up
//! to [`REFRESH_PAUSE_MAX`]; random jitter lengthens it, so that the nodes of a fleet do not retry
//! in step. The next request after the pause starts a background refresh with none of the client's
//! fields, so a client whose own fields make the origin fail cannot prolong the pauses. Until the
//! outcome is known, all requests are served stale; if it takes longer than [`REFRESH_PAUSE_MIN`],
//! a further request starts another refresh.
//!
//! The policy decides for each request whether a stale response may answer it. A pause only records
//! that the origin is failing: a request that may not have the stored response still goes to the
//! origin.
//!
//! **Always:** a pause is no longer than [`RETRY_AFTER_MAX`] plus its jitter. For one key, at most
//! one refresh begins in each [`REFRESH_PAUSE_MIN`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use crate::key::CacheKey;
use crate::limits::{REFRESH_PAUSE_MAX, REFRESH_PAUSE_MIN, REFRESH_PAUSES_MAX, RETRY_AFTER_MAX};
use crate::policy::OriginFailure;
use crate::time::millis;

/// The maximum jitter, as a fraction of the pause.
const JITTER_MAX: f64 = 0.25;

/// The pauses of a process.
pub(in crate::proxy) struct RefreshPauses {
    begun: Instant,
    pauses: Cache<CacheKey, Arc<RefreshPause>>,
}

/// The pause of one key. The counters order no other memory access: only the number of origin
/// requests depends on them.
struct RefreshPause {
    /// Milliseconds since the table was created.
    until: AtomicU64,
    failures: AtomicU32,
    failure: OriginFailure,
}

/// Whether a refresh is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum RefreshProbe {
    /// The pause is over, and this caller retries.
    Due,
    /// The pause continues, or another caller retries.
    NotDue,
}

impl RefreshPauses {
    /// Creates a table without pauses.
    pub(in crate::proxy) fn new(now: Instant) -> Self {
        Self { begun: now, pauses: Cache::new(REFRESH_PAUSES_MAX) }
    }

    /// Returns the origin's last failure for `key` while its pause continues.
    pub(in crate::proxy) fn of(&self, key: &CacheKey, now: Instant) -> Option<OriginFailure> {
        let pause = self.pauses.get(key)?;
        (self.millis(now) < pause.until.load(Ordering::Relaxed)).then_some(pause.failure)
    }

    /// Returns the origin's last failure for `key`, and whether this caller should retry.
    pub(in crate::proxy) fn probe(
        &self,
        key: &CacheKey,
        now: Instant,
    ) -> Option<(OriginFailure, RefreshProbe)> {
        let pause = self.pauses.get(key)?;
        let (now, until) = (self.millis(now), pause.until.load(Ordering::Relaxed));
        let probing = now.saturating_add(millis(REFRESH_PAUSE_MIN));
        let is_due = now >= until
            && pause.until.compare_exchange(until, probing, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        Some((pause.failure, if is_due { RefreshProbe::Due } else { RefreshProbe::NotDue }))
    }

    /// Records a failed fetch of `key`, which has a stored entry. `jitter` is between 0 and 1.
    pub(in crate::proxy) fn failed(
        &self,
        key: &CacheKey,
        failure: OriginFailure,
        retry_after: Option<Duration>,
        now: Instant,
        jitter: f64,
    ) {
        let failures = self.pauses.get(key).map_or(0, |pause| pause.failures.load(Ordering::Relaxed));
        let doubled = REFRESH_PAUSE_MIN.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
        let base = match retry_after {
            Some(wanted) => wanted.clamp(REFRESH_PAUSE_MIN, RETRY_AFTER_MAX),
            None => doubled.min(REFRESH_PAUSE_MAX),
        };
        let until = now + base.mul_f64(1.0 + JITTER_MAX * jitter.clamp(0.0, 1.0));
        let pause = RefreshPause {
            until: AtomicU64::new(self.millis(until)),
            failures: AtomicU32::new(failures.saturating_add(1)),
            failure,
        };
        self.pauses.insert(*key, Arc::new(pause));
    }

    /// Records a successful fetch of `key`.
    pub(in crate::proxy) fn succeeded(&self, key: &CacheKey) {
        self.pauses.remove(key);
    }

    fn millis(&self, at: Instant) -> u64 {
        millis(at.saturating_duration_since(self.begun))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Scheme, Target};
    use crate::policy::OriginFailure::{Disconnected, ErrorResponse};
    use crate::time;

    fn key(path: &'static str) -> CacheKey {
        let target = Target::parse(Scheme::Http, &path.parse().unwrap(), [&b"a"[..]].into_iter()).unwrap();
        CacheKey::of(&target)
    }

    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_double_up_to_a_limit_and_end_with_a_success() {
        let (key, mut now) = (key("/a"), time::instant());
        let pauses = RefreshPauses::new(now);
        assert_eq!(pauses.of(&key, now), None);
        for seconds in [1, 2, 4, 8, 8, 8] {
            pauses.failed(&key, ErrorResponse, None, now, 0.0);
            let over = now + Duration::from_secs(seconds);
            assert_eq!(pauses.of(&key, over - MOMENT), Some(ErrorResponse), "{seconds}");
            assert_eq!(pauses.of(&key, over), None, "{seconds}");
            now = over;
        }
        pauses.succeeded(&key);
        assert_eq!(pauses.probe(&key, now), None);
        pauses.failed(&key, Disconnected, None, now, 1.0);
        assert_eq!(
            pauses.of(&key, now + Duration::from_millis(1_249)),
            Some(Disconnected),
            "jitter included"
        );
        assert_eq!(pauses.of(&key, now + Duration::from_millis(1_250)), None, "the doubling starts again");
    }

    #[test]
    fn retry_after_sets_the_pause_within_limits() {
        let (key, now) = (key("/a"), time::instant());
        let pauses = RefreshPauses::new(now);
        for (wanted, seconds) in [(0, 1), (5, 5), (30, 30), (86_400, 60)] {
            pauses.failed(&key, ErrorResponse, Some(Duration::from_secs(wanted)), now, 0.0);
            let over = now + Duration::from_secs(seconds);
            assert!(pauses.of(&key, over - MOMENT).is_some(), "{wanted}");
            assert_eq!(pauses.of(&key, over), None, "{wanted}");
        }
    }

    #[test]
    fn after_a_pause_one_caller_retries_and_the_others_wait() {
        let ((key, other), begun) = ((key("/a"), key("/b")), time::instant());
        let pauses = RefreshPauses::new(begun);
        pauses.failed(&key, ErrorResponse, None, begun, 0.0);
        let (due, not_due) =
            (Some((ErrorResponse, RefreshProbe::Due)), Some((ErrorResponse, RefreshProbe::NotDue)));
        assert_eq!(pauses.probe(&key, begun), not_due);
        let over = begun + REFRESH_PAUSE_MIN;
        assert_eq!(pauses.probe(&other, over), None);
        assert_eq!(pauses.probe(&key, over), due, "the caller that retries");
        for _ in 0..100 {
            assert_eq!(pauses.probe(&key, over), not_due);
        }
        let silent = over + REFRESH_PAUSE_MIN;
        assert_eq!(pauses.probe(&key, silent), due, "the retry may have been lost");
        assert_eq!(pauses.probe(&key, silent), not_due);
    }
}

//! Early refresh of fresh responses, and jitter against simultaneous expiry.
//!
//! The caller passes the random numbers, from 0 to 1.

use std::time::Duration;

use crate::time::Timestamp;

use crate::policy::store::stored::{Obligations, StoredFacts};

impl StoredFacts {
    /// Shortens the remaining lifetime by at most `jitter`, a fraction of it; `random` selects the
    /// share of that fraction.
    #[must_use]
    pub fn jittered(self, jitter: f64, random: f64) -> Self {
        let rest = self.lifetime.saturating_sub(self.initial_age);
        let taken = rest.as_secs_f64() * (jitter * random).clamp(0.0, 1.0);
        let taken = Duration::try_from_secs_f64(taken).unwrap_or_default().min(rest);
        Self { lifetime: self.lifetime - taken, ..self }
    }
}

/// Returns whether this request should refresh a response that is still fresh, so that it is
/// renewed before it expires.
///
/// XFetch (Vattani, Chierichetti, Lowenstein, *Optimal Probabilistic Cache Stampede Prevention*,
/// 2015): the probability grows with the time that a fetch takes and as the expiry approaches.
/// Among many requests, about one refreshes in time. `fetch_took` is the duration of a fetch,
/// `beta` the eagerness (0 disables early refresh), `random` a number from 0 to 1.
pub fn refresh_early(
    stored: &StoredFacts,
    now: Timestamp,
    fetch_took: Duration,
    beta: f64,
    random: f64,
) -> bool {
    let ttl = stored.ttl(now);
    // RFC 8246: the response does not change while it is fresh.
    if ttl.is_zero() || beta <= 0.0 || stored.obligations.contains(Obligations::IMMUTABLE) {
        return false;
    }
    let early = fetch_took.as_secs_f64() * beta * -random.clamp(f64::MIN_POSITIVE, 1.0).ln();
    early >= ttl.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::RulesDigest;

    fn stored(lifetime: u64) -> StoredFacts {
        StoredFacts {
            received: Timestamp::EPOCH,
            initial_age: Duration::from_secs(10),
            lifetime: Duration::from_secs(lifetime),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            obligations: Obligations::default(),
            rules: RulesDigest::NONE,
        }
    }

    #[test]
    fn jitter_shortens_the_remaining_lifetime() {
        for (jitter, random, lifetime) in [
            (0.0, 1.0, 110),
            (0.1, 0.0, 110),
            (0.1, 1.0, 100),
            (0.5, 0.5, 85),
            (1.0, 1.0, 10),
            (9.0, 9.0, 10),
        ] {
            let jittered = stored(110).jittered(jitter, random);
            assert_eq!(jittered.lifetime.as_secs(), lifetime, "{jitter} {random}");
            assert_eq!(StoredFacts { lifetime: stored(110).lifetime, ..jittered }, stored(110));
        }
        assert_eq!(stored(5).jittered(0.5, 1.0), stored(5), "stale already");
        assert_eq!(stored(110).jittered(f64::NAN, 0.5).lifetime.as_secs(), 110);
    }

    #[test]
    fn early_refresh_becomes_likelier_with_age() {
        let took = Duration::from_secs(1);
        let at = |seconds: u64, random| {
            refresh_early(&stored(110), Timestamp::from_millis(seconds * 1000), took, 1.0, random)
        };
        // The response expires at second 100; -ln(0.05) is about 3.
        assert!(!at(0, 0.05) && !at(96, 0.05) && at(98, 0.05) && at(99, 0.05));
        assert!(!at(98, 0.9), "most requests do not refresh");
        assert!(!at(99, 1.0));
        assert!(at(99, 0.0), "a random number of zero has a logarithm");
        assert!(!at(100, 0.0), "stale responses are not refreshed early");
    }

    #[test]
    fn zero_beta_and_immutable_disable_early_refresh() {
        let now = Timestamp::from_millis(99_999);
        let took = Duration::from_secs(60);
        assert!(refresh_early(&stored(110), now, took, 1.0, 0.1));
        assert!(!refresh_early(&stored(110), now, took, 0.0, 0.1));
        assert!(!refresh_early(&stored(110), now, Duration::ZERO, 1.0, 0.1));
        let immutable = StoredFacts { obligations: Obligations::IMMUTABLE, ..stored(110) };
        assert!(!refresh_early(&immutable, now, took, 1.0, 0.1));
    }
}

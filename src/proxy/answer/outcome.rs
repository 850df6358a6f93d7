//! The outcome by which an answer is counted: the label `outcome` of metrics, logs and `/stats`.

use crate::label::Label as _;
use crate::telemetry::CacheResult;

crate::labels! {
    /// The outcome of a request.
    pub(in crate::proxy) enum Outcome {
        /// Answered from the memory tier.
        HitMemory => "hit-memory",
        /// Answered from Redis.
        HitRedis => "hit-redis",
        /// Answered from the origin, by a fetch of its own whose response was storable.
        Miss => "miss",
        /// Answered from a store, after the origin validated the entry.
        Validated => "validated",
        /// Answered stale from a store, because the origin failed.
        StaleOnError => "stale-on-error",
        /// Answered from another request's fetch.
        Collapsed => "collapsed",
        /// Answered from the origin through the cache, and not stored.
        Uncacheable => "uncacheable",
        /// Answered from the origin, bypassing the cache.
        Pass => "pass",
        /// Answered by a purge of the target.
        Purge => "purge",
        /// Became a tunnel.
        Tunnel => "tunnel",
        /// Answered by the proxy itself, to `OPTIONS` with `Max-Forwards: 0`.
        Options => "options",
        /// Answered by the health check.
        Health => "health",
        /// Answered with a failure of the origin, or of the connection to it.
        Failed => "failed",
        /// Answered with a refusal of the request.
        Refused => "refused",
    }
}

impl Outcome {
    /// Returns the result of a request that could have been a hit.
    pub(in crate::proxy) const fn cache_result(self) -> Option<CacheResult> {
        match self {
            Self::HitMemory | Self::HitRedis => Some(CacheResult::Hit),
            Self::Miss | Self::Validated | Self::StaleOnError | Self::Collapsed | Self::Uncacheable => {
                Some(CacheResult::Miss)
            }
            Self::Pass
            | Self::Purge
            | Self::Tunnel
            | Self::Options
            | Self::Health
            | Self::Failed
            | Self::Refused => None,
        }
    }
}

/// Returns the labels of the outcomes of all requests that could have been hits.
pub fn cacheable_outcomes() -> impl Iterator<Item = &'static str> {
    Outcome::ALL.iter().filter(|outcome| outcome.cache_result().is_some()).map(|outcome| outcome.word())
}

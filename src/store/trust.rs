//! The trust in a value that was read from Redis.

use std::time::{Duration, Instant};

use crate::redis::{Client, TrackedVersion, TrackingTable, TrackingToken};
use crate::time;

/// The reason to trust that a cached value is current.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum EntryTrust {
    /// No other process could change it.
    Always,
    /// Redis would have pushed its invalidation.
    Tracked(TrackingToken),
    /// Redis has pushed its invalidation, and a worker reads it again. Only the purge log has this
    /// trust, until this instant, and while the connection of the push lives.
    Revalidating(TrackingToken, Instant),
    /// The value is recent: trusted until this instant.
    Until(Instant),
    /// The value is this process' own and on its way to Redis; the put waits for the reply.
    /// Invalidations that arrive meanwhile belong to the value before it. Without a reply, the
    /// value is trusted like [`Until`](Self::Until).
    InFlight(Instant),
}

impl EntryTrust {
    /// Returns the trust with which other requests may use a value that was just read; `None` if
    /// they may not. Without tracking, the trust lasts for `ttl` since the read was `sent`: a purge
    /// waits for this time from its own write, which the read may have missed.
    pub(in crate::store) fn of_read(
        redis: &Client,
        name: &[u8],
        version: &TrackedVersion,
        sent: Instant,
        ttl: Duration,
    ) -> Option<Self> {
        match version.token(name) {
            Some(token) => Some(Self::Tracked(token)),
            None if redis.is_tracking(name) => None,
            None => Some(Self::Until(sent + ttl)),
        }
    }

    /// Returns whether a change of the value would be known here, as long as the trust holds.
    pub(in crate::store) fn is_tracked(self) -> bool {
        match self {
            Self::Always | Self::Tracked(_) => true,
            Self::Revalidating(..) | Self::Until(_) | Self::InFlight(_) => false,
        }
    }

    pub(in crate::store) fn holds(self, tracking: &TrackingTable) -> bool {
        match self {
            Self::Always => true,
            Self::Tracked(token) => tracking.is_valid(token),
            Self::Revalidating(token, moment) => tracking.is_valid(token) && time::instant() <= moment,
            Self::Until(moment) | Self::InFlight(moment) => time::instant() <= moment,
        }
    }
}

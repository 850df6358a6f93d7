//! For how long something that was read may be believed.

use std::time::Instant;

use crate::redis::{TrackingTable, TrackingToken};
use crate::time;

/// Why something that is remembered is still so.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum EntryTrust {
    /// Nobody else could change it.
    Always,
    /// Redis would have said otherwise.
    Tracked(TrackingToken),
    /// Redis has said otherwise, and is being asked what it is now: of the purge clock, until then,
    /// and not for long. The connection that brought it is still there.
    Outrun(TrackingToken, Instant),
    /// It is not old.
    Until(Instant),
    /// It is ours and on its way to Redis, whose word on it the put waits for: news that are on
    /// *their* way are of what was there before. If that word does not come, as
    /// [`Until`](Self::Until).
    Arriving(Instant),
}

impl EntryTrust {
    pub(in crate::store) fn holds(self, seats: &TrackingTable) -> bool {
        match self {
            Self::Always => true,
            Self::Tracked(witness) => seats.is_valid(witness),
            Self::Outrun(witness, moment) => seats.is_valid(witness) && time::instant() <= moment,
            Self::Until(moment) | Self::Arriving(moment) => time::instant() <= moment,
        }
    }
}

//! A check of an entry against the purges: the state that it may use, and its result.

use crate::entry::TagDigest;
use crate::store::purge::log::{PurgeLog, PurgeStatus, TagGeneration};
use crate::store::purge::tag_changes::TagStamp;

/// The required consistency of a check.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Consistency<'a> {
    /// Only trusted state counts, and the state read for this request.
    Verified(&'a PurgeSnapshot),
    /// Redis is unreachable: the last known state counts.
    LastKnown,
}

/// The purge state at which an entry was found valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct CheckedAt {
    /// The revision of the purge state; zero if the entry has not been checked.
    pub(in crate::store) revision: u64,
    /// The stamp of the entry's tags.
    pub(in crate::store) tags: TagStamp,
}

impl CheckedAt {
    /// The state of an entry that has not been checked.
    pub(in crate::store) const NEVER: Self = Self { revision: 0, tags: TagStamp::UNKNOWN };
}

/// The result of a check of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum PurgeVerdict {
    /// The effect of the purges, at this state.
    Known(PurgeStatus, CheckedAt),
    /// The purge log must be read first.
    LogUnknown,
    /// The generations of these tags must be read first.
    TagsUnknown(Vec<TagDigest>),
}

/// The purge state read for one request.
#[derive(Debug, Default)]
pub(in crate::store) struct PurgeSnapshot {
    pub(in crate::store) log: Option<PurgeLog>,
    /// The tag generations read, at most one for each tag of the request's entry.
    tags: Vec<(TagDigest, Option<TagGeneration>)>,
}

impl PurgeSnapshot {
    /// Returns the generation read for a tag: `None` if it was not read, `Some(None)` if Redis has
    /// none.
    pub(in crate::store) fn tag_generation(&self, tag: TagDigest) -> Option<Option<TagGeneration>> {
        self.tags.iter().find(|(of, _)| *of == tag).map(|(_, generation)| *generation)
    }

    pub(in crate::store) fn record(&mut self, tag: TagDigest, generation: Option<TagGeneration>) {
        self.tags.push((tag, generation));
    }
}

//! A check of an entry against the purges: what it requires, and its result.

use crate::entry::TagDigest;
use crate::store::purge::log::PurgeStatus;
use crate::store::purge::snapshot::PurgeSnapshot;

/// The required consistency of a check.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Consistency<'a> {
    /// Only trusted state counts, and the state read for this request.
    Verified(&'a PurgeSnapshot),
    /// Redis is unreachable: the last known state counts.
    LastKnown,
}

/// The result of a check of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum PurgeVerdict {
    /// The effect of the purges, at this revision.
    Known(PurgeStatus, u64),
    /// The purge log must be read first.
    LogUnknown,
    /// The generations of these tags must be read first.
    TagsUnknown(Vec<TagDigest>),
}

//! The check of an entry against the purges that this process knows.
//!
//! **Always:** unknown state is read from Redis, and a missing tag generation means that the tag's
//! entries are purged. While Redis is unreachable, an entry is valid only if Redis has pushed no
//! change of the last log, and if the generations of its tags were read since the log's last
//! change.

use crate::entry::{self, PurgeGeneration, TagDigest};
use crate::key::Target;
use crate::store::purge::cached::Cached;
use crate::store::purge::log::{PurgeStatus, TagGeneration};
use crate::store::purge::state::PurgeState;
use crate::store::purge::tag_changes::TagStamp;
use crate::store::purge::verdict::{CheckedAt, Consistency, PurgeVerdict};
use crate::store::trust::EntryTrust;
use crate::time::Timestamp;

impl PurgeState {
    /// Returns the effect of the purges on an entry of this target that was found valid at
    /// `checked`.
    pub(in crate::store) fn judge(
        &self,
        bytes: &[u8],
        target: &Target,
        consistency: Consistency<'_>,
        checked: CheckedAt,
    ) -> PurgeVerdict {
        // The revision is read first: a change during the check makes another one.
        let revision = self.revision();
        let local = self.local().judge(bytes, target);
        let remembered = self.remembered.as_ref().map(|remembered| remembered.judge(bytes, target));
        if local == PurgeStatus::Purged || remembered == Some(PurgeStatus::Purged) {
            return PurgeVerdict::Known(PurgeStatus::Purged, CheckedAt::NEVER);
        }
        match self.judge_by_log(bytes, target, consistency, CheckedAt { revision, ..checked }) {
            PurgeVerdict::Known(status, checked) => PurgeVerdict::Known(status.and(local), checked),
            unknown @ (PurgeVerdict::LogUnknown | PurgeVerdict::TagsUnknown(_)) => unknown,
        }
    }

    /// Returns the effect of the purges of a resource, as far as this process knows them by itself,
    /// on a variant that was received then. A list of variants has no time of receipt: an older
    /// list leads to variants that memory still holds, though the resource was purged since.
    pub(in crate::store) fn judge_variant(&self, resource: u128, received: Timestamp) -> PurgeStatus {
        match &self.remembered {
            Some(remembered) if remembered.covers(resource, received) => PurgeStatus::Purged,
            Some(_) | None => self.local().judge_name(resource, received),
        }
    }

    fn judge_by_log(
        &self,
        bytes: &[u8],
        target: &Target,
        consistency: Consistency<'_>,
        checked: CheckedAt,
    ) -> PurgeVerdict {
        let CheckedAt { mut revision, .. } = checked;
        let Some((generation, tags)) = entry::history(bytes) else {
            return PurgeVerdict::Known(PurgeStatus::Valid, checked);
        };
        let log = self.log();
        // The entry was stored while the purge generation was unknown. It is valid until the node
        // has read the log, or has learned of a purge: a purge since then has found no generation
        // of the entry to compare.
        if matches!(consistency, Consistency::LastKnown)
            && generation == PurgeGeneration::default()
            && log.value.is_none()
            && !self.knows_of_purge()
        {
            return PurgeVerdict::Known(PurgeStatus::Valid, CheckedAt::NEVER);
        }
        let known = match consistency {
            Consistency::Verified(snapshot) if revision == 0 => snapshot.log.as_ref(),
            Consistency::Verified(_) => log.value.as_ref(),
            Consistency::LastKnown => log.value.as_ref().filter(|_| log.is_last_known()),
        };
        let Some(known) = known else { return PurgeVerdict::LogUnknown };
        let mut status = known.judge(generation, target);
        if status == PurgeStatus::Purged {
            return PurgeVerdict::Known(status, checked);
        }
        // No purge was recorded since the entry was fetched, so none of its tags either.
        if generation.count >= known.generation.count {
            let known_unpurged = checked.tags != TagStamp::UNKNOWN;
            let tags = if known_unpurged { checked.tags } else { self.unpurged_stamp(tags, generation) };
            return PurgeVerdict::Known(status, CheckedAt { tags, ..checked });
        }
        // The stamp is read before the generations.
        let mut stamp = self.tag_changes.stamp(tags.clone());
        if matches!(consistency, Consistency::Verified(_)) && stamp == checked.tags {
            return PurgeVerdict::Known(status, checked);
        }
        let mut unknown = Vec::new();
        for tag in tags {
            let tag_generation = match consistency {
                Consistency::LastKnown => self.last_known_tag(tag, known.generation),
                Consistency::Verified(snapshot) => match self.cached_tag(tag) {
                    Some(known) => {
                        // Without tracking, the judgement ends with the generation: the entry is
                        // checked again at each lookup.
                        if matches!(known.trust, Some(EntryTrust::Until(_))) {
                            (revision, stamp) = (0, TagStamp::UNKNOWN);
                        }
                        Some(known.value)
                    }
                    None => {
                        // A generation read for this request alone makes no revision for others.
                        (revision, stamp) = (0, TagStamp::UNKNOWN);
                        snapshot.tag_generation(tag)
                    }
                },
            };
            match tag_generation {
                Some(tag_generation) => {
                    status = status.and(
                        tag_generation
                            .map_or(PurgeStatus::Purged, |tag_generation| tag_generation.judge(generation)),
                    )
                }
                None => unknown.push(tag),
            }
        }
        if status != PurgeStatus::Purged && !unknown.is_empty() {
            return PurgeVerdict::TagsUnknown(unknown);
        }
        PurgeVerdict::Known(status, CheckedAt { revision, tags: stamp })
    }

    /// Returns the stamp of the tags of an entry that was fetched at `generation`, if Redis pushes
    /// the next change of each tag to this process, and no purge of a tag covers the entry so far.
    /// Sends nothing.
    pub(in crate::store) fn unpurged_stamp(
        &self,
        mut tags: impl Iterator<Item = TagDigest> + Clone,
        generation: PurgeGeneration,
    ) -> TagStamp {
        // The stamp is read before the generations.
        let stamp = self.tag_changes.stamp(tags.clone());
        let is_unpurged = |tag| {
            self.cached_tag(tag).is_some_and(|known| {
                known.trust.is_some_and(EntryTrust::is_tracked)
                    && known.value.is_some_and(|of_tag| of_tag.judge(generation) == PurgeStatus::Valid)
            })
        };
        if tags.all(is_unpurged) { stamp } else { TagStamp::UNKNOWN }
    }

    /// Returns the generation of a tag: `None` if it is unknown, `Some(None)` if Redis has none.
    pub(in crate::store) fn tag_generation(&self, tag: TagDigest) -> Option<Option<TagGeneration>> {
        Some(self.cached_tag(tag)?.value)
    }

    /// Returns the trusted generation of a tag.
    fn cached_tag(&self, tag: TagDigest) -> Option<Cached<TagGeneration>> {
        self.tags.get(&tag.0).filter(|known| known.trust.is_some_and(|trust| trust.holds(&self.tracking)))
    }

    /// Returns the last known generation of a tag: `None` if a purge that the log has counted may
    /// have changed it since.
    fn last_known_tag(&self, tag: TagDigest, log: PurgeGeneration) -> Option<Option<TagGeneration>> {
        let known = self.tags.get(&tag.0)?;
        (known.is_last_known() && known.log == log).then_some(known.value)
    }
}

//! Purges of the tags and groups that an origin's answer shows as changed.
//!
//! Such a purge holds on this node once it returns. The caller may also wait until the whole fleet
//! has confirmed it, for a short time: another node serves the old state for no longer than its
//! invalidation takes, so most answers are not delayed for it.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout_at;

use crate::entry::TagDigest;
use crate::limits::WRITE_WAIT_MAX;
use crate::redis::{Client, Command, CommandError};
use crate::store::fleet::waiting_writes::WriteConfirmation;
use crate::store::handle::Store;
use crate::store::purge::apply::UnconfirmedPurge;
use crate::store::purge::log::BulkPurge;
use crate::store::purge::names::{CacheTag, PurgeError, PurgeScope, PurgeStrength};
use crate::store::together::together;
use crate::time;

/// The tags and groups that an origin's answer shows as changed.
#[derive(Clone, Debug, Default)]
pub struct ChangedTags {
    /// The tags and groups.
    pub scopes: Vec<PurgeScope>,
    /// The tags whose responses are not stored for a time.
    pub held: Vec<(CacheTag, Duration)>,
}

impl Store {
    /// Purges without waiting for other nodes. This process uses none of the purged entries once
    /// this returns. A failure of Redis is counted.
    pub async fn purge_changed(&self, changed: &ChangedTags) {
        let unconfirmed = UnconfirmedPurge::new(self, &changed.scopes, PurgeStrength::Hard);
        match self.purge_tags(changed).await {
            Ok(()) => unconfirmed.confirmed(),
            Err(_) => self.metrics.removal_lost(),
        }
    }

    /// Purges, and waits until every node has confirmed, for at most [`WRITE_WAIT_MAX`]. A purge
    /// that Redis has not accepted by then holds in this process, which repeats it.
    pub async fn purge_changed_everywhere(&self, changed: &ChangedTags) -> WriteConfirmation {
        let deadline = time::instant() + WRITE_WAIT_MAX;
        let epoch = self.redis.as_ref().map(Client::topology_epoch);
        let unconfirmed = UnconfirmedPurge::new(self, &changed.scopes, PurgeStrength::Hard);
        match timeout_at(deadline.into(), self.purge_tags(changed)).await {
            Ok(Ok(())) => unconfirmed.confirmed(),
            Ok(Err(_)) | Err(_) => {
                self.metrics.removal_lost();
                return WriteConfirmation::Unconfirmed;
            }
        }
        let Some((fleet, epoch)) = self.fleet.as_ref().zip(epoch) else {
            return WriteConfirmation::Confirmed;
        };
        let confirmation = fleet.confirm_write(epoch, self.written_names(changed));
        timeout_at(deadline.into(), confirmation).await.unwrap_or(WriteConfirmation::Unconfirmed)
    }

    async fn purge_tags(&self, changed: &ChangedTags) -> Result<(), PurgeError> {
        let now = time::instant();
        let name_key = &self.shared.options.name_key;
        let holds: Vec<_> =
            changed.held.iter().map(|(tag, held_for)| (tag.digest(name_key), *held_for)).collect();
        holds.iter().for_each(|(tag, held_for)| self.shared.holds.hold(*tag, *held_for, now));
        let tags = changed.scopes.iter().filter_map(|scope| scope.tag_digest(name_key));
        let Some(writer) = self.writer() else {
            tags.for_each(|tag| self.shared.purges.purge_tag(tag, PurgeStrength::Hard, time::now()));
            return Ok(());
        };
        // A fetch that begins after the purge is recorded sees the holds.
        let held = together(holds.iter().map(|hold| self.write_hold(writer.redis, *hold))).await;
        held.into_iter().collect::<Result<(), _>>()?;
        let generation = writer.record(BulkPurge::Counted).await?.generation;
        let done =
            together(tags.clone().map(|tag| writer.write_tag(tag, generation, PurgeStrength::Hard))).await;
        // Redis pushes these invalidations as well, and to this connection it may have done so
        // already.
        tags.for_each(|tag| self.shared.purges.invalidate_tag(tag.0));
        self.shared.purges.invalidate();
        done.into_iter().collect()
    }

    async fn write_hold(
        &self,
        redis: &Client,
        (tag, held_for): (TagDigest, Duration),
    ) -> Result<(), CommandError> {
        let (name, value) = (self.shared.hold_name(tag), Bytes::from_static(b"1"));
        redis.command(&Command::Set { key: &name, value: &value, ttl: held_for }).await.map(drop)
    }

    /// Returns the names of the keys that the purge has written in Redis.
    fn written_names(&self, changed: &ChangedTags) -> Vec<Vec<u8>> {
        let name_key = &self.shared.options.name_key;
        let tags = changed.scopes.iter().filter_map(|scope| scope.tag_digest(name_key));
        let holds = changed.held.iter().map(|(tag, _)| self.shared.hold_name(tag.digest(name_key)));
        let tags = tags.map(|tag| self.shared.tag_name(tag));
        std::iter::once(self.shared.log_name()).chain(tags).chain(holds).collect()
    }
}

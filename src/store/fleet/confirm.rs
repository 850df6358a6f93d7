//! The confirmation of a purge by the whole fleet.
//!
//! A purge is confirmed when all workers of all registered nodes have acknowledged a sync, and all
//! connections that received it. A node that is cut off from Redis is still registered and does not
//! acknowledge; so the purge is not confirmed, and its result names the node. After
//! [`SILENT_SYNCS_MAX`] such syncs the fleet drops the node: purges do not wait for it until it
//! renews its registration, and are still unconfirmed until its registration expires.
//!
//! If Redis has lost the registry, nodes connect and register again one after the other. The sync
//! is repeated until each has acknowledged it, or until the time is over.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout_at;

use crate::limits::{SILENT_SYNCS_MAX, SYNC_REPEATED};
use crate::redis::{Client, CommandError};
use crate::store::fleet::listener::FleetListener;
use crate::store::fleet::membership::KnownNode;
use crate::store::fleet::registry::RegistryChange;
use crate::store::fleet::round::{SyncProgress, SyncRound};
use crate::store::fleet::sync::{SyncRequest, SyncTally};
use crate::store::purge::names::{PurgeResult, PurgeStrength};
use crate::store::scripts::is_refused;
use crate::time;

impl FleetListener {
    /// Asks all workers of the fleet to catch up, and waits until they have.
    ///
    /// Cancel safe: later acknowledgements are dropped.
    pub(in crate::store) async fn sync(
        &self,
        redis: &Client,
        names: &[u128],
        strength: PurgeStrength,
        timeout: Duration,
    ) -> Result<PurgeResult, CommandError> {
        let deadline = time::instant() + timeout;
        loop {
            let (round, tally) = self.sync_once(redis, names, strength, deadline).await?;
            let now = time::instant();
            let progress = round.progress(&tally, now);
            if progress == SyncProgress::Waiting && now < deadline {
                continue;
            }
            if progress == SyncProgress::Waiting {
                self.report_silent(redis, &round.silent(&tally)).await;
            }
            return Ok(round.result(&tally, now));
        }
    }

    /// Publishes one sync, and waits for its acknowledgements: until the deadline, or, if nodes may
    /// not have registered again, for a part of that time.
    pub(super) async fn sync_once(
        &self,
        redis: &Client,
        names: &[u128],
        strength: PurgeStrength,
        deadline: Instant,
    ) -> Result<(SyncRound, SyncTally), CommandError> {
        let id = self.sync_id();
        let (answered, mut acks) = watch::channel(SyncTally::default());
        self.tallies.borrow_mut().insert(id, answered);
        let _waiting = SyncWait(self, id);
        let (ack_channel, names) = (self.ack_channel.clone(), names.to_vec());
        let request = SyncRequest { id, ack_channel, sent: time::now(), names, strength }.to_string();
        let fleet_channels = redis.fleet_channels();
        let fleet = &self.shared.fleet;
        let (sent, key) = (fleet.version(), self.shared.registry_name());
        let (published, registry) = tokio::join!(
            self.publish(&fleet_channels, &self.sync_channel, &request),
            RegistryChange::Look.run(redis, &key),
        );
        let failed = published.iter().filter(|published| published.is_err()).count();
        if let Some(Err(why)) = published.first().filter(|_| failed == published.len()) {
            return Err(*why);
        }
        let is_registry_known = match registry {
            Ok(registry) => {
                fleet.record(registry, sent, time::instant());
                true
            }
            // Without the right to scripts no node is registered.
            Err(why) => is_refused(why),
        };
        let round = SyncRound {
            nodes: fleet.nodes(),
            receivers: published.iter().flatten().sum(),
            servers: u32::try_from(fleet_channels.len()).unwrap_or(u32::MAX),
            is_published: failed == 0 && is_registry_known,
        };
        let now = time::instant();
        let may_register = |one: &KnownNode| one.is_registered(now) && one.is_lost() && !one.is_dropped();
        let until =
            if round.nodes.iter().any(may_register) { deadline.min(now + SYNC_REPEATED) } else { deadline };
        let is_over = |tally: &SyncTally| round.progress(tally, now) != SyncProgress::Waiting;
        let _ = timeout_at(until.into(), acks.wait_for(is_over)).await;
        let tally = acks.borrow().clone();
        self.shared.fleet.note_other_rules(round.result(&tally, now).other_rules);
        Ok((round, tally))
    }

    /// Draws the identifier of a sync. With a name key, no other client can predict it: else that
    /// client could publish a sync with it first, and have it acknowledged before the purge.
    fn sync_id(&self) -> u64 {
        let drawn = if self.shared.options.name_key.is_set() { getrandom::u64().ok() } else { None };
        drawn.unwrap_or_else(|| fastrand::u64(..))
    }

    /// Counts a sync that nodes left unanswered, for the whole fleet.
    async fn report_silent(&self, redis: &Client, ids: &[u64]) {
        if ids.is_empty() {
            return;
        }
        let fleet = &self.shared.fleet;
        fleet.note_silent(ids);
        let sent = fleet.version();
        // Without a reply a later purge waits for the node once more.
        if let Ok(registry) = (RegistryChange::Silent { ids }).run(redis, &self.shared.registry_name()).await
        {
            fleet.record(registry, sent, time::instant());
        }
        for one in fleet.nodes() {
            if ids.contains(&one.node.id) && one.node.silent == SILENT_SYNCS_MAX {
                tracing::warn!(
                    node = &*one.node.name,
                    "a node left {SILENT_SYNCS_MAX} purges unanswered; purges do not wait for it now"
                );
            }
        }
    }
}

/// A guard that removes a sync's tally, also when the caller is dropped.
struct SyncWait<'a>(&'a FleetListener, u64);

impl Drop for SyncWait<'_> {
    fn drop(&mut self) {
        self.0.tallies.borrow_mut().remove(&self.1);
    }
}

//! The repetition of purges that Redis did not accept.
//!
//! A purge or a removal applies at once in this process, and stays in its [`LocalPurges`] if Redis
//! refuses it (`OOM`, `READONLY`), does not answer, or is not connected. One task of the process
//! writes it again until Redis accepts it: after a pause that doubles, in the order of the marks.
//! `write.rs` argues why a repetition may come late and in any order.
//!
//! Once Redis has accepted a purge, it invalidates the entries in every node's memory. In the own
//! process the mark stays until every worker has processed these invalidations: the task publishes
//! a sync, as a purge does. Without an acknowledgement the mark stays for [`PURGE_ACK_TIMEOUT`],
//! after which no connection can deliver an older reply.
//!
//! **Always:** the queue has a limit, beyond which coarser purges replace its purges, and no purge
//! leaves it before Redis has accepted it. A process that ends loses its queue.
//!
//! [`LocalPurges`]: crate::store::purge::local::LocalPurges

use std::rc::Rc;

use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use crate::key::CacheKey;
use crate::limits::{
    PURGE_ACK_TIMEOUT, PURGE_REPEAT_PAUSE_MAX, PURGE_REPEAT_PAUSE_MIN, PURGES_REPEATED_TOGETHER,
};
use crate::redis::Client;
use crate::store::fleet::listener::FleetListener;
use crate::store::metrics::Metrics;
use crate::store::purge::local::PendingPurge;
use crate::store::purge::names::{PurgeError, PurgeScope, PurgeStrength};
use crate::store::purge::write::PurgeWriter;
use crate::store::shared::StoreShared;
use crate::store::together::together;

/// The task that repeats the purges of this process; it runs in one worker.
pub(in crate::store) struct PurgeRepeater {
    shared: StoreShared,
    redis: Client,
    fleet: Rc<FleetListener>,
    metrics: Rc<Metrics>,
    /// The number of the last mark whose repetition failed.
    after: u64,
    /// The number of coarsenings that have been counted.
    coarsened: u64,
}

/// The result of one round of repetitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RoundOutcome {
    /// No purge is pending.
    Empty,
    /// Redis has accepted every purge of the round.
    Accepted,
    /// Redis has not accepted some purge of the round.
    Refused,
}

impl PurgeRepeater {
    pub(in crate::store) fn new(
        shared: StoreShared,
        redis: Client,
        fleet: Rc<FleetListener>,
        metrics: Rc<Metrics>,
    ) -> Self {
        Self { shared, redis, fleet, metrics, after: 0, coarsened: 0 }
    }

    /// Repeats pending purges for the life of the worker. The log has one line when purges begin to
    /// be pending, one when none is left, and one for each coarsening.
    pub(in crate::store) async fn run(mut self) {
        loop {
            self.shared.purges.local().wait_for_mark().await;
            let mut pause = PURGE_REPEAT_PAUSE_MIN;
            let mut is_logged = false;
            loop {
                self.count_coarsenings();
                match self.round().await {
                    RoundOutcome::Empty => break,
                    RoundOutcome::Accepted => pause = PURGE_REPEAT_PAUSE_MIN,
                    RoundOutcome::Refused => {
                        if !is_logged {
                            is_logged = true;
                            warn!("Redis did not accept a purge; this node repeats it until Redis does");
                        }
                        sleep(pause).await;
                        pause = (pause * 2).min(PURGE_REPEAT_PAUSE_MAX);
                    }
                }
            }
            if is_logged {
                info!("Redis has accepted every pending purge");
            }
        }
    }

    fn count_coarsenings(&mut self) {
        let coarsened = self.shared.purges.local().coarsened();
        if coarsened > self.coarsened {
            self.metrics.purges_coarsened(coarsened - self.coarsened);
            warn!("too many purges are pending; coarser purges replace them");
            self.coarsened = coarsened;
        }
    }

    /// Repeats some pending purges, the first one alone: while Redis does not answer, the others
    /// are not sent.
    async fn round(&mut self) -> RoundOutcome {
        let pending = self.shared.purges.local().pending(self.after, PURGES_REPEATED_TOGETHER);
        let Some((first, others)) = pending.split_first() else { return RoundOutcome::Empty };
        let topology = self.redis.topology_epoch();
        let writer = PurgeWriter { shared: &self.shared, redis: &self.redis };
        let mut done = vec![writer.purge(&first.scope, first.strength).await];
        if !matches!(&done[..], [Err(PurgeError::Redis(error))] if !error.is_answer()) {
            let others = others.iter().map(|purge| writer.purge(&purge.scope, purge.strength));
            done.extend(together(others).await);
        }
        let is_done = pending.iter().zip(&done);
        let mut accepted: Vec<_> = is_done.filter(|(_, done)| done.is_ok()).map(|(purge, _)| purge).collect();
        let names: Vec<_> = accepted.iter().flat_map(|purge| writer.written_names(&purge.scope)).collect();
        if !accepted.is_empty() && self.redis.wait_replicated(topology, &names).await.is_err() {
            accepted.clear();
        }
        self.metrics.purges_repeated(accepted.len(), done.len() - accepted.len());
        if !accepted.is_empty() {
            self.settle(&accepted).await;
        }
        if accepted.len() == pending.len() {
            self.after = 0;
            return RoundOutcome::Accepted;
        }
        self.after =
            done.len().checked_sub(1).and_then(|last| pending.get(last)).map_or(0, |last| last.number);
        RoundOutcome::Refused
    }

    /// Removes the marks of accepted purges once this process needs them no more.
    async fn settle(&self, accepted: &[&PendingPurge]) {
        let deadline = Instant::now() + PURGE_ACK_TIMEOUT;
        let keys: Vec<CacheKey> = accepted
            .iter()
            .filter_map(|purge| if let PurgeScope::Url(key) = &purge.scope { Some(*key) } else { None })
            .collect();
        let names: Vec<_> = keys.iter().map(CacheKey::short).collect();
        let is_soft = accepted.iter().any(|purge| purge.strength == PurgeStrength::Soft);
        let strength = if is_soft { PurgeStrength::Soft } else { PurgeStrength::Hard };
        let synced = self.fleet.sync(&self.redis, &names, strength, PURGE_ACK_TIMEOUT).await;
        if !synced.is_ok_and(|outcome| outcome.nodes > 0 && outcome.confirmed >= outcome.nodes) {
            sleep_until(deadline).await;
        }
        let purges = &self.shared.purges;
        for purge in accepted {
            match &purge.scope {
                PurgeScope::Url(key) => self.shared.supersede(key.short()),
                // Without tracking, this process has the previous state for a while.
                PurgeScope::Tag(_) | PurgeScope::Group(_) | PurgeScope::Prefix(_) | PurgeScope::All => {
                    purge
                        .scope
                        .half_hash(&self.shared.options.name_key)
                        .into_iter()
                        .for_each(|tag| purges.invalidate_tag(tag));
                    purges.invalidate();
                }
            }
            purges.local().accepted(purge);
        }
    }
}

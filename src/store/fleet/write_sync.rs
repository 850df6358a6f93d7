//! The syncs by which a worker confirms its writes: one in flight, and one waiting that covers
//! every write since (`waiting_writes.rs`).
//!
//! A sync confirms the purges that were written before it was published. A write whose purge is
//! written during a sync therefore joins the next one, so a worker sends no more syncs than the
//! fleet can answer, however many writes it has.

use std::rc::Rc;

use tokio::time::{sleep, timeout};

use crate::limits::WRITE_WAIT_MAX;
use crate::redis::{Client, CommandError, FleetChannel, Replication, TopologyEpoch};
use crate::store::fleet::listener::FleetListener;
use crate::store::fleet::round::SyncProgress;
use crate::store::fleet::waiting_writes::{WriteBatch, WriteConfirmation};
use crate::store::purge::names::PurgeStrength;
use crate::time;

impl FleetListener {
    /// Waits until a sync that begins from now on has confirmed a write.
    ///
    /// Cancel safe: the sync serves the other writes.
    pub(in crate::store) async fn confirm_write(
        &self,
        epoch: TopologyEpoch,
        written: Vec<Vec<u8>>,
    ) -> WriteConfirmation {
        let mut outcome = self.writes.join(epoch, written);
        let outcome = outcome.wait_for(Option::is_some).await;
        outcome.ok().and_then(|outcome| *outcome).unwrap_or(WriteConfirmation::Unconfirmed)
    }

    /// Confirms writes, for the life of the worker.
    pub(in crate::store) async fn confirm_writes(self: Rc<Self>, redis: Client) {
        loop {
            let WriteBatch { epoch, written, outcome } = self.writes.next().await;
            let confirmation = timeout(WRITE_WAIT_MAX, self.confirm_batch(&redis, epoch, &written)).await;
            let confirmation = confirmation.map_or(None, Result::ok);
            outcome.send_replace(Some(confirmation.unwrap_or(WriteConfirmation::Unconfirmed)));
        }
    }

    /// Syncs once. A node that is silent for this short time is not reported as silent.
    async fn confirm_batch(
        &self,
        redis: &Client,
        epoch: TopologyEpoch,
        written: &[Vec<u8>],
    ) -> Result<WriteConfirmation, CommandError> {
        let deadline = time::instant() + WRITE_WAIT_MAX;
        sleep(redis.failover_grace()).await;
        let replication = redis.wait_replicated(epoch, written).await?;
        let (round, tally) = self.sync_once(redis, &[], PurgeStrength::Hard, deadline).await?;
        let is_confirmed = replication == Replication::All
            && round.progress(&tally, time::instant()) == SyncProgress::Confirmed
            && redis.fleet_channels().iter().all(FleetChannel::is_tracking);
        Ok(if is_confirmed { WriteConfirmation::Confirmed } else { WriteConfirmation::Unconfirmed })
    }
}

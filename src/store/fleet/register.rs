//! The registration of this node in Redis.
//!
//! The first worker of a process registers the node as soon as a worker is subscribed, renews the
//! registration at an interval and after each reconnect, and ends it when the node leaves in order.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use crate::limits::REGISTRATION_RETRY;
use crate::redis::{Client, CommandError};
use crate::store::fleet::listener::FleetListener;
use crate::store::fleet::registry::RegistryChange;
use crate::store::scripts::is_refused;
use crate::time;

impl FleetListener {
    /// Keeps this node registered, for the life of the worker.
    pub(in crate::store) async fn keep_registered(self: Rc<Self>, redis: Client) {
        let fleet = &self.shared.fleet;
        loop {
            if fleet.workers() == 0 {
                fleet.due.notified().await;
            }
            let pause = self.renew(&redis).await;
            tokio::select! {
                biased;
                () = fleet.due.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Registers this node, or renews its registration; returns the pause before the next renewal.
    async fn renew(&self, redis: &Client) -> Duration {
        let fleet = &self.shared.fleet;
        let _turn = self.registering.lock().await;
        if fleet.has_left() {
            return fleet.lifetime();
        }
        // A restart of the server is noticed before a request needs the purge log.
        if let Err(why) = self.shared.renew_run(redis).await {
            tracing::debug!(%why, "the run of the Redis server is not known");
        }
        let (sent, version) = (time::instant(), fleet.version());
        let renewal = RegistryChange::Renew {
            id: fleet.id,
            lifetime: fleet.lifetime(),
            workers: fleet.workers(),
            name: &fleet.name,
        };
        match renewal.run(redis, &self.shared.registry_name()).await {
            Ok(registry) => {
                fleet.renewed(sent);
                fleet.record(registry, version, time::instant());
                // A fleet does not renew in step.
                time::jittered(fleet.renewal_interval())
            }
            Err(why) => {
                if is_refused(why) && fleet.refuse() {
                    tracing::warn!(
                        %why,
                        "Redis refuses the registration of this node; a purge does not wait for it if it is cut off"
                    );
                }
                fleet.renewal_interval().min(REGISTRATION_RETRY)
            }
        }
    }

    /// Ends the registration: this node leaves in order. It serves nothing without Redis from now
    /// on.
    pub(in crate::store) async fn leave(&self, redis: &Client) {
        let fleet = &self.shared.fleet;
        if !self.registers || fleet.workers() == 0 {
            return;
        }
        fleet.leave();
        // A renewal under way ends first: it would register the node again.
        let _turn = self.registering.lock().await;
        let left: Result<_, CommandError> =
            RegistryChange::Leave { id: fleet.id }.run(redis, &self.shared.registry_name()).await;
        if let Err(why) = left {
            tracing::debug!(%why, "the registration of this node ends at its expiry");
        }
    }
}

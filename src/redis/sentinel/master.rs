//! The current master: its address, its pool, and its lease.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use super::lease::MasterLease;
use crate::redis::connection::ControlConnections;
use crate::redis::health::PoolMetrics;
use crate::redis::options::Options;
use crate::redis::pool::{DrainingPools, RedisPool};
use crate::redis::topology::{RefreshResult, RefreshTrigger};
use crate::redis::tracking::TrackingOptions;
use crate::resp::topology::Endpoint;
use crate::time::instant;

/// The current master and its pool.
pub(super) struct MasterState {
    pub(super) current: RefCell<Option<CurrentMaster>>,
    /// The options of its pool, except for the address.
    pub(super) options: Options,
    /// The tracking options of its pool.
    pub(super) tracking: Option<TrackingOptions>,
    pub(super) lease: MasterLease,
    /// The number of fail-overs that sentinels have announced.
    pub(super) switches: Cell<u64>,
    /// The time at which the master was adopted.
    pub(super) adopted: Cell<Option<Instant>>,
    pub(super) server_control: Rc<ControlConnections>,
    pub(super) metrics: PoolMetrics,
    pub(super) refresh: RefreshTrigger,
    pub(super) draining: DrainingPools,
}

pub(super) struct CurrentMaster {
    pub(super) endpoint: Endpoint,
    pub(super) pool: RedisPool,
    /// The number of masters before this one.
    pub(super) number: u64,
}

impl MasterState {
    pub(super) fn pool(&self) -> Option<RedisPool> {
        self.current.borrow().as_ref().map(|current| current.pool.clone())
    }

    /// Returns the number of the current master; each has another.
    pub(super) fn number(&self) -> Option<u64> {
        self.current.borrow().as_ref().map(|current| current.number)
    }

    /// Handles a fail-over announced by a sentinel. Counts it even if the master is already known,
    /// so that earlier answers of sentinels are ignored.
    pub(super) fn switched(&self, endpoint: &Endpoint) {
        self.switches.set(self.switches.get() + 1);
        self.adopt(endpoint);
    }

    /// Makes this the current master. The pool of the old one refuses commands and drains.
    pub(super) fn adopt(&self, endpoint: &Endpoint) -> RefreshResult {
        if self.current.borrow().as_ref().is_some_and(|current| current.endpoint == *endpoint) {
            return RefreshResult::Unchanged;
        }
        let options = Options { address: self.server_control.address(endpoint), ..self.options.clone() };
        let pool =
            RedisPool::with(options, self.server_control.tls(), self.tracking.clone(), self.metrics.clone());
        let number = self.number().map_or(0, |number| number + 1);
        self.adopted.set(Some(instant()));
        let old = self.current.replace(Some(CurrentMaster {
            endpoint: endpoint.clone(),
            pool: pool.clone(),
            number,
        }));
        match old {
            Some(old) => {
                tracing::warn!(master = %endpoint, old = %old.endpoint, "Redis fail-over: using the new master");
                old.pool.distrust();
                pool.set_disconnected_for(old.pool.disconnected_for());
                self.draining.add(old.pool);
            }
            None => tracing::info!(master = %endpoint, "resolved the Redis master"),
        }
        self.apply_lease();
        RefreshResult::Changed
    }

    /// Trusts or distrusts the master's pool, as the lease says.
    pub(super) fn apply_lease(&self) {
        if let Some(pool) = self.pool() {
            if self.lease.is_valid() { pool.trust() } else { pool.distrust() }
        }
    }
}

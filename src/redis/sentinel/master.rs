//! The master: its address, its pool, and how long what it said may be trusted.

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

/// Who the master is, and the way to it.
pub(super) struct MasterState {
    pub(super) current: RefCell<Option<CurrentMaster>>,
    /// What its pool is told, but for the address.
    pub(super) options: Options,
    /// What it is told so that it tracks.
    pub(super) tracking: Option<TrackingOptions>,
    pub(super) lease: MasterLease,
    /// How often a sentinel has told of a fail-over.
    pub(super) switches: Cell<u64>,
    /// When the master was adopted.
    pub(super) adopted: Cell<Option<Instant>>,
    pub(super) server_control: Rc<ControlConnections>,
    pub(super) metrics: PoolMetrics,
    pub(super) refresh: RefreshTrigger,
    pub(super) draining: DrainingPools,
}

pub(super) struct CurrentMaster {
    pub(super) endpoint: Endpoint,
    pub(super) pool: RedisPool,
    /// How many there were before.
    pub(super) number: u64,
}

impl MasterState {
    pub(super) fn pool(&self) -> Option<RedisPool> {
        self.current.borrow().as_ref().map(|current| current.pool.clone())
    }

    /// Which of all masters this is: another one has another number.
    pub(super) fn number(&self) -> Option<u64> {
        self.current.borrow().as_ref().map(|current| current.number)
    }

    /// A sentinel tells of a fail-over. What it, or another one, was asked before has been said before, also where the new
    /// master is known already.
    pub(super) fn switched(&self, endpoint: &Endpoint) {
        self.switches.set(self.switches.get() + 1);
        self.adopt(endpoint);
    }

    /// From now on this is the master. The connections to another one take no more commands and are closed.
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
                tracing::warn!(master = %endpoint, old = %old.endpoint, "Redis has another master");
                old.pool.distrust();
                pool.set_disconnected_for(old.pool.disconnected_for());
                self.draining.add(old.pool);
            }
            None => tracing::info!(master = %endpoint, "found Redis' master"),
        }
        self.renew_lease();
        RefreshResult::Changed
    }

    /// What is read from the master counts while the sentinels renew_lease for it.
    pub(super) fn renew_lease(&self) {
        if let Some(pool) = self.pool() {
            if self.lease.is_valid() { pool.trust() } else { pool.distrust() }
        }
    }
}

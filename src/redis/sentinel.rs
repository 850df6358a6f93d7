//! The master that sentinels watch.
//!
//! ```text
//! MasterResolver ─ asks one sentinel after the other who it is, asks it itself (ROLE) ──► adopt ─► RedisPool
//! SentinelSubscriber, one for each sentinel ─ hears +switch-master ────────────────────────────►
//! ```
//!
//! Whoever hears of a fail-over first has it adopted: commands go to the new master from then on, and the connections
//! to the old one are closed. So any one sentinel may be away, silent or late. Where nobody says anything (all ears
//! were deaf just then), the old master's `READONLY` or its end raises a refresh, and the resolver asks.
//!
//! What was read from a master is not known any more when there is another one, and while too few sentinels are heard to tell
//! of it (`lease.rs`).
//!
//! What always holds: there is one master at a time, and what the resolver found out before a fail-over that was heard
//! of meanwhile is not adopted after it.

mod lease;
mod resolver;
mod subscriber;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_local};

use self::lease::MasterLease;
use self::resolver::MasterResolver;
use self::subscriber::SentinelSubscriber;
use super::control::ControlConnections;
use super::draining::DrainingPools;
use super::encryption::TlsSource;
use super::error::CommandError;
use super::invalidations::TrackedVersion;
use super::metrics;
use super::options::{Options, Sentinels};
use super::pool::RedisPool;
use super::topology::{
    RefreshResult, RefreshTrigger, TopologyEpoch, TopologyMetrics, at_once, failover_grace,
};
use super::tracking::TrackingOptions;
use crate::resp::topology::{Endpoint, master_address};
use crate::resp::{Command, Reply};
use crate::telemetry::Registry;
use crate::time::instant;

/// One worker's way to the master. Clones are the same; when the last is dropped the connections end.
#[derive(Clone)]
pub(super) struct SentinelClient(Rc<SentinelInner>);

struct SentinelInner {
    master: Rc<MasterState>,
    sentinel_control: Rc<ControlConnections>,
    /// Where the sentinels are.
    sentinels: Vec<Endpoint>,
    /// What they call the master.
    name: String,
    /// The resolver and the ears.
    tasks: RefCell<Vec<JoinHandle<()>>>,
}

/// Who the master is, and the way to it.
struct MasterState {
    current: RefCell<Option<CurrentMaster>>,
    /// What its pool is told, but for the address.
    options: Options,
    /// What it is told so that it tracks.
    tracking: Option<TrackingOptions>,
    lease: MasterLease,
    /// How often a sentinel has told of a fail-over.
    switches: Cell<u64>,
    /// When the master was adopted.
    adopted: Cell<Option<Instant>>,
    server_control: Rc<ControlConnections>,
    metrics: metrics::PoolMetrics,
    refresh: RefreshTrigger,
    draining: DrainingPools,
}

struct CurrentMaster {
    endpoint: Endpoint,
    pool: RedisPool,
    /// How many there were before.
    number: u64,
}

impl SentinelClient {
    pub(super) fn open(
        sentinels: Sentinels,
        options: Options,
        tracking: Option<TrackingOptions>,
        registry: &Registry,
        metrics: TopologyMetrics,
    ) -> Self {
        let tls = TlsSource::to(&options.address, &options.tls);
        let own = Options {
            credentials: sentinels.credentials.clone(),
            password_file: None,
            database: 0,
            ..options.clone()
        };
        let sentinel_control = ControlConnections::of(&own, tls.clone());
        let master = Rc::new(MasterState {
            current: RefCell::new(None),
            tracking,
            lease: MasterLease::new(sentinels.seeds.len()),
            switches: Cell::new(0),
            adopted: Cell::new(None),
            server_control: ControlConnections::of(&options, tls),
            options,
            metrics: metrics::PoolMetrics::new(registry),
            refresh: RefreshTrigger::new(metrics),
            draining: DrainingPools::default(),
        });
        let subscriber = |endpoint: &Endpoint| {
            let (sentinel_control, master) = (Rc::clone(&sentinel_control), Rc::clone(&master));
            spawn_local(
                SentinelSubscriber::new(endpoint.clone(), sentinels.master.clone(), sentinel_control, master)
                    .run(),
            )
        };
        let mut tasks: Vec<_> = sentinels.seeds.iter().map(subscriber).collect();
        let Sentinels { seeds: sentinels, master: name, .. } = sentinels;
        let resolver = MasterResolver::new(
            sentinels.clone(),
            name.clone(),
            Rc::clone(&sentinel_control),
            Rc::clone(&master),
        );
        tasks.push(spawn_local(resolver.run()));
        Self(Rc::new(SentinelInner { master, sentinel_control, sentinels, name, tasks: RefCell::new(tasks) }))
    }

    /// The reply of the master.
    pub(super) async fn command(&self, command: &Command<'_>) -> Result<Reply, CommandError> {
        let master = &self.0.master;
        let result = match master.pool() {
            Some(pool) => pool.command(command).await,
            None => Err(master.refresh.metrics.unrouted()),
        };
        result.inspect_err(|why| master.refresh.fire_on(*why))
    }

    /// The same, and what is needed to remember it.
    pub(super) async fn read(&self, command: &Command<'_>) -> Result<(Reply, TrackedVersion), CommandError> {
        let master = &self.0.master;
        let result = match master.pool() {
            Some(pool) => pool.read(command).await,
            None => Err(master.refresh.metrics.unrouted()),
        };
        result.inspect_err(|why| master.refresh.fire_on(*why))
    }

    /// A change, and a look at what it made, over the same connection to the master.
    pub(super) async fn change_and_read(
        &self,
        change: &Command<'_>,
        read: &Command<'_>,
    ) -> (Result<Reply, CommandError>, Result<(Reply, TrackedVersion), CommandError>) {
        let master = &self.0.master;
        let Some(pool) = master.pool() else {
            let refusal = master.refresh.metrics.unrouted();
            master.refresh.fire();
            return (Err(refusal), Err(refusal));
        };
        let (changed, read) = pool.change_and_read(change, read).await;
        (changed.inspect_err(|why| master.refresh.fire_on(*why)), read)
    }

    /// The pool of the master, if it is known.
    pub(super) fn pool(&self) -> Option<RedisPool> {
        self.0.master.pool()
    }

    /// How many masters there were.
    pub(super) fn topology_epoch(&self) -> TopologyEpoch {
        TopologyEpoch(self.0.master.number().map_or(0, |number| number + 1))
    }

    /// Until what has been written in this topology_epoch is in a replica too, and most sentinels have said since that it was written to
    /// the master.
    pub(super) async fn wait_replicated(&self, topology_epoch: TopologyEpoch) -> Result<(), CommandError> {
        let SentinelInner { master, sentinel_control, sentinels, name, .. } = &*self.0;
        let Some(endpoint) = master.current.borrow().as_ref().map(|current| current.endpoint.clone()) else {
            return Err(master.refresh.metrics.unrouted());
        };
        if let Err(why) = master.server_control.wait_replicated(&endpoint).await {
            master.refresh.fire();
            return Err(why.into());
        }
        let agrees = async |sentinel: &Endpoint| {
            let named = sentinel_control.ask(sentinel, &Command::MasterAddress { name }).await;
            named.is_ok_and(|named| master_address(&named).is_ok_and(|named| named == endpoint))
        };
        let agreeing =
            at_once(sentinels.iter().map(agrees)).await.into_iter().filter(|agrees| *agrees).count();
        if agreeing < sentinels.len() {
            master.refresh.fire();
        }
        if master.lease.is_majority(agreeing) && self.topology_epoch() == topology_epoch {
            Ok(())
        } else {
            Err(CommandError::Closed)
        }
    }

    /// How long it takes until everybody else has heard of the master as well.
    pub(super) fn failover_grace(&self) -> Duration {
        failover_grace(self.0.master.adopted.get())
    }

    /// Whether the master is known and a connection to it is up.
    pub(super) fn is_connected(&self) -> bool {
        self.0.master.pool().is_some_and(|pool| pool.is_connected())
    }

    pub(super) async fn close(&self) {
        self.0.tasks.take().iter().for_each(JoinHandle::abort);
        let current = self.0.master.current.take();
        if let Some(CurrentMaster { pool, .. }) = current {
            pool.close().await;
        }
        self.0.master.draining.finished().await;
    }
}

impl Drop for SentinelInner {
    fn drop(&mut self) {
        self.tasks.take().iter().for_each(JoinHandle::abort);
    }
}

impl MasterState {
    fn pool(&self) -> Option<RedisPool> {
        self.current.borrow().as_ref().map(|current| current.pool.clone())
    }

    /// Which of all masters this is: another one has another number.
    fn number(&self) -> Option<u64> {
        self.current.borrow().as_ref().map(|current| current.number)
    }

    /// A sentinel tells of a fail-over. What it, or another one, was asked before has been said before, also where the new
    /// master is known already.
    fn switched(&self, endpoint: &Endpoint) {
        self.switches.set(self.switches.get() + 1);
        self.adopt(endpoint);
    }

    /// From now on this is the master. The connections to another one take no more commands and are closed.
    fn adopt(&self, endpoint: &Endpoint) -> RefreshResult {
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
    fn renew_lease(&self) {
        if let Some(pool) = self.pool() {
            if self.lease.is_valid() { pool.trust() } else { pool.distrust() }
        }
    }
}

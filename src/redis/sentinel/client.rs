//! The client of a master that sentinels watch.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_local};

use super::lease::MasterLease;
use super::master::{CurrentMaster, MasterState};
use super::resolver::MasterResolver;
use super::subscriber::SentinelSubscriber;
use crate::redis::connection::{ControlConnections, Replication, TlsSource};
use crate::redis::error::CommandError;
use crate::redis::health::PoolMetrics;
use crate::redis::options::{Options, Sentinels};
use crate::redis::pool::{DrainingPools, RedisPool};
use crate::redis::topology::{RefreshTrigger, TopologyEpoch, TopologyMetrics, at_once, failover_grace};
use crate::redis::tracking::{TrackedVersion, TrackingOptions};
use crate::resp::topology::{Endpoint, master_address};
use crate::resp::{Command, Reply};
use crate::telemetry::Registry;

/// One worker's client of the master. Clones are the same; when the last is dropped the connections
/// end.
#[derive(Clone)]
pub(in crate::redis) struct SentinelClient(Rc<SentinelInner>);

struct SentinelInner {
    master: Rc<MasterState>,
    sentinel_control: Rc<ControlConnections>,
    /// The sentinels' endpoints.
    sentinels: Vec<Endpoint>,
    /// The master's name.
    name: String,
    /// The resolver and the subscribers.
    tasks: RefCell<Vec<JoinHandle<()>>>,
}

impl SentinelClient {
    pub(in crate::redis) fn open(
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
            metrics: PoolMetrics::new(registry),
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

    /// Sends a command to the master.
    pub(in crate::redis) async fn command(&self, command: &Command<'_>) -> Result<Reply, CommandError> {
        let master = &self.0.master;
        let result = match master.pool() {
            Some(pool) => pool.command(command).await,
            None => Err(master.refresh.metrics.unrouted()),
        };
        result.inspect_err(|why| master.refresh.fire_on(*why))
    }

    /// Sends a command to the master. Returns the reply and the version needed to cache it.
    pub(in crate::redis) async fn read(
        &self,
        command: &Command<'_>,
    ) -> Result<(Reply, TrackedVersion), CommandError> {
        let master = &self.0.master;
        let result = match master.pool() {
            Some(pool) => pool.read(command).await,
            None => Err(master.refresh.metrics.unrouted()),
        };
        result.inspect_err(|why| master.refresh.fire_on(*why))
    }

    /// Sends a change, then a read of its result, on one connection to the master.
    pub(in crate::redis) async fn change_and_read(
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

    /// Returns the pool of the master, if it is known.
    pub(in crate::redis) fn pool(&self) -> Option<RedisPool> {
        self.0.master.pool()
    }

    /// Returns the number of masters so far.
    pub(in crate::redis) fn topology_epoch(&self) -> TopologyEpoch {
        TopologyEpoch(self.0.master.number().map_or(0, |number| number + 1))
    }

    /// Waits until the replicas have the writes of this epoch, and a majority of the sentinels has
    /// confirmed since that they went to the master.
    pub(in crate::redis) async fn wait_replicated(
        &self,
        topology_epoch: TopologyEpoch,
    ) -> Result<Replication, CommandError> {
        let SentinelInner { master, sentinel_control, sentinels, name, .. } = &*self.0;
        let Some(endpoint) = master.current.borrow().as_ref().map(|current| current.endpoint.clone()) else {
            return Err(master.refresh.metrics.unrouted());
        };
        let replication = master.server_control.wait_replicated(&endpoint).await;
        if replication.as_ref().map_or(true, |replication| *replication == Replication::Some) {
            master.refresh.fire();
        }
        let replication = replication?;
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
            Ok(replication)
        } else {
            Err(CommandError::Closed)
        }
    }

    /// Returns how long other clients may still need to notice the current master.
    pub(in crate::redis) fn failover_grace(&self) -> Duration {
        failover_grace(self.0.master.adopted.get())
    }

    /// Asks the sentinels again soon, if this error hints at a fail-over.
    pub(in crate::redis) fn suspect(&self, why: CommandError) {
        self.0.master.refresh.fire_on(why);
    }

    /// Returns whether the master is known and a connection to it is up.
    pub(in crate::redis) fn is_connected(&self) -> bool {
        self.0.master.pool().is_some_and(|pool| pool.is_connected())
    }

    pub(in crate::redis) async fn close(&self) {
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

//! The connections to one server, as one client.
//!
//! The pool owns the slots, from which [`lanes`](super::lanes) chooses, and the tasks that keep
//! them connected.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_local};

use super::hedge::{HedgeBudget, HedgeContext, HedgedReply};
use super::lanes::Lanes;
use super::probe;
use super::server::{DialRole, PoolServer};
use super::supervisor::SlotSupervisor;
use super::tracking_supervisor::TrackingSupervisor;
use crate::redis::connection::{BlockingConnection, BlockingError, Dialer, PendingReply, TlsSource};
use crate::redis::contact::ServerContact;
use crate::redis::error::CommandError;
use crate::redis::health::{LateReporting, PoolMetrics, ServerHealth};
use crate::redis::options::Options;
use crate::redis::submission::{QueueDepth, Submission};
use crate::redis::tracking::{TrackedVersion, TrackingOptions};
use crate::resp::{Command, Reply};
use crate::telemetry::Registry;

/// One worker's connections to a Redis server. Clones are the same pool; when the last is dropped
/// the connections end.
#[derive(Clone)]
pub struct RedisPool(Rc<PoolInner>);

struct PoolInner {
    lanes: Rc<Lanes>,
    server: Rc<PoolServer>,
    health: Rc<ServerHealth>,
    budget: HedgeBudget,
    /// The supervisors and the prober, until the pool is closed.
    tasks: RefCell<Vec<JoinHandle<()>>>,
}

impl RedisPool {
    /// Starts connecting and returns at once, reachable server or not.
    ///
    /// Must be called on a [`LocalSet`](tokio::task::LocalSet), which runs the pool's tasks.
    pub fn open(options: Options, registry: &Registry) -> Self {
        let tls = TlsSource::to(&options.address, &options.tls);
        Self::with(options, tls, None, PoolMetrics::new(registry))
    }

    /// Opens a pool that also tracks the keys it reads, if the server supports tracking.
    pub fn open_tracking(options: Options, tracking: TrackingOptions, registry: &Registry) -> Self {
        let tls = TlsSource::to(&options.address, &options.tls);
        Self::with(options, tls, Some(tracking), PoolMetrics::new(registry))
    }

    /// Opens the pool of one of several servers, which share TLS settings and metrics.
    pub(in crate::redis) fn with(
        options: Options,
        tls: Option<Rc<TlsSource>>,
        tracking: Option<TrackingOptions>,
        metrics: PoolMetrics,
    ) -> Self {
        Self::over(Dialer::new(options.address.clone(), tls), options, tracking, metrics)
    }

    /// Opens a pool over this dialler.
    pub(in crate::redis) fn over(
        dialler: Dialer,
        options: Options,
        tracking: Option<TrackingOptions>,
        metrics: PoolMetrics,
    ) -> Self {
        let register = |lane| options.board.register(options.address.to_string(), lane);
        let lanes = Rc::new(Lanes::new(options.connections, register));
        let budget = HedgeBudget::new(options.hedge_share);
        let health = Rc::new(ServerHealth::new(
            options.board.clone(),
            options.address.to_string(),
            options.command_timeout,
            if options.hedge_share > 0.0 { LateReporting::On } else { LateReporting::Off },
            options.redirections,
            metrics,
        ));
        let server = Rc::new(PoolServer::new(dialler, options, tracking, Rc::clone(&health)));
        let roles = std::iter::once(DialRole::First).chain(std::iter::repeat(DialRole::Rest));
        let supervise =
            |(slot, role)| spawn_local(SlotSupervisor::new(Rc::clone(slot), Rc::clone(&server), role).run());
        let mut tasks: Vec<_> = lanes.slots().zip(roles).map(supervise).collect();
        tasks.push(spawn_local(probe::run(Rc::clone(&lanes), Rc::clone(&server))));
        Self(Rc::new(PoolInner { lanes, server, health, budget, tasks: RefCell::new(tasks) }))
    }

    /// Returns the value of a key, if it exists. The value is a slice of a read buffer: copy it to
    /// keep it for longer than a request.
    ///
    /// Cancel safe, as all commands are: a dropped command stays in the queue and its reply is
    /// dropped in order.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, CommandError> {
        let reply = self.command(&Command::Get { key }).await?;
        // The pipeline admits a bulk string or nil.
        Ok(if let Reply::Bulk(value) = reply { Some(value) } else { None })
    }

    /// Sets a key for `ttl`, in whole milliseconds and at least one.
    ///
    /// After an error other than `NotConnected`, `BreakerOpen`, `Full` and `PoolServer` the write
    /// may have happened, or may still happen.
    pub async fn set(&self, key: &[u8], value: Bytes, ttl: Duration) -> Result<(), CommandError> {
        self.command(&Command::Set { key, value: &value, ttl }).await.map(drop)
    }

    /// Opens a connection outside the pool.
    pub(in crate::redis) async fn connect_blocking(&self) -> Result<BlockingConnection, BlockingError> {
        self.0.server.connect_blocking().await
    }

    /// Returns whether any connection is up.
    pub fn is_connected(&self) -> bool {
        self.0.health.is_up()
    }

    /// Returns the time at which the caller of a command that begins now stops waiting.
    pub(in crate::redis) fn deadline(&self, now: Instant) -> Instant {
        self.0.health.deadline(now)
    }

    /// Returns whether the server refuses any command about keys or channels.
    pub(in crate::redis) fn is_refusing(&self) -> bool {
        self.0.health.is_refusing()
    }

    /// Refuses new commands, waits for the callers of the pending ones (at most the command
    /// timeout), and closes the connections.
    ///
    /// Cancel safe: the connections close in the same way if the future is dropped.
    pub async fn close(&self) {
        self.0.server.close();
        for slot in self.0.lanes.slots() {
            slot.with(|link| link.drain());
        }
        let tasks = self.0.tasks.take();
        for task in tasks {
            // A supervisor that panicked has closed its connection as well.
            let _ = task.await;
        }
    }

    /// Sends a command. Returns a reply of the command's kind.
    pub async fn command(&self, command: &Command<'_>) -> Result<Reply, CommandError> {
        self.reply(command).await.and_then(unless_refused)
    }

    /// Sends a command. An error reply is returned as a reply, for callers that need its text.
    async fn reply(&self, command: &Command<'_>) -> Result<Reply, CommandError> {
        self.reply_and_version(command).await.map(|(reply, _)| reply)
    }

    /// Sends a command. Returns the reply, error or not, and the version needed to cache it.
    pub(in crate::redis) async fn reply_and_version(
        &self,
        command: &Command<'_>,
    ) -> Result<(Reply, TrackedVersion), CommandError> {
        let result = self.send(command).await;
        self.0.health.finished(command, &error_reply_as_error(result.as_ref().map(|(reply, _)| reply)));
        result
    }

    /// Sends a command that reads one key. Returns the reply and the version needed to cache it.
    ///
    /// Cancel safe, as all commands are.
    pub async fn read(&self, command: &Command<'_>) -> Result<(Reply, TrackedVersion), CommandError> {
        let result = self.send(command).await.and_then(unless_refused_version);
        self.0.health.finished(command, &result);
        result
    }

    /// Sends a command on any connection, and hedges it.
    async fn send(&self, command: &Command<'_>) -> Result<(Reply, TrackedVersion), CommandError> {
        let PoolInner { lanes, health, budget, .. } = &*self.0;
        let submission = health.submission(command);
        let first = self.submit(&submission)?;
        HedgedReply::new(HedgeContext { lanes, budget, metrics: &health.metrics }, &submission, first).await
    }

    /// Submits a command to the first connection that takes it.
    fn submit(&self, submission: &Submission<'_>) -> Result<PendingReply, CommandError> {
        let PoolInner { lanes, health, .. } = &*self.0;
        if health.admits() { lanes.submit(submission) } else { Err(CommandError::BreakerOpen) }
    }

    /// Sends two commands in a row on one connection: a change, then a read of its result.
    ///
    /// Cancel safe, as all commands are: both stay in the queue.
    pub async fn change_and_read(
        &self,
        change: &Command<'_>,
        read: &Command<'_>,
    ) -> (Result<Reply, CommandError>, Result<(Reply, TrackedVersion), CommandError>) {
        let health = &self.0.health;
        let changing = health.submission(change);
        let version = Submission { command: read, ..changing };
        let changing = match self.submit(&changing) {
            Ok(pending) => pending,
            Err(refusal) => {
                let refused = Err(refusal);
                health.finished(change, &refused);
                return (refused, Err(refusal));
            }
        };
        let version = changing.link().submit(&version, QueueDepth::ANY);
        let changed = changing.await.and_then(unless_refused);
        health.finished(change, &changed);
        let read_result = match version {
            Ok(pending) => pending.version().await.and_then(unless_refused_version),
            Err(refusal) => Err(refusal),
        };
        health.finished(read, &read_result);
        (changed, read_result)
    }

    /// Waits until every tracked connection has received all invalidations that the server sent
    /// before this call, or no longer counts as tracked. Takes at most the command timeout.
    pub async fn flush_invalidations(&self) {
        if let Some(tracker) = &self.0.server.tracker {
            tracker.flush_invalidations().await;
        }
    }

    /// Returns how long no connection has been up; zero while one is, and before the first of a
    /// server that replaced no other.
    pub fn disconnected_for(&self) -> Duration {
        self.0.server.disconnected_for()
    }

    /// Returns the contact with the server.
    pub fn contact(&self) -> ServerContact {
        self.0.server.contact()
    }

    /// Sets how long the replaced server has been unreachable.
    pub(in crate::redis) fn set_disconnected_for(&self, elapsed: Duration) {
        self.0.server.set_disconnected_for(elapsed);
    }

    /// Returns whether reads are tracked, or will be once the subscription is active; `false` if
    /// the server refuses.
    pub fn is_tracking(&self) -> bool {
        self.tracker().is_some_and(|tracker| tracker.is_tracking())
    }

    /// Trusts the server as the current master.
    pub(in crate::redis) fn trust(&self) {
        self.tracker().into_iter().for_each(TrackingSupervisor::trust);
    }

    /// Forgets all earlier reads: the server has other keys than before.
    pub(in crate::redis) fn reset(&self) {
        self.tracker().into_iter().for_each(|tracker| tracker.reset());
    }

    /// Distrusts the server, which may not be the master any more: no read counts as tracked.
    pub(in crate::redis) fn distrust(&self) {
        self.tracker().into_iter().for_each(|tracker| tracker.distrust());
    }

    /// Returns the supervisor of the tracked connections, if the pool tracks.
    pub(in crate::redis) fn tracker(&self) -> Option<&Rc<TrackingSupervisor>> {
        self.0.server.tracker.as_ref()
    }

    /// Sends a command behind `ASKING`, on the same connection and with nothing between them.
    pub(in crate::redis) async fn asking(&self, command: &Command<'_>) -> Result<Reply, CommandError> {
        let PoolInner { lanes, health, .. } = &*self.0;
        let submission = health.submission(command);
        let asking = Submission { command: &Command::Asking, ..submission };
        let submitted = if health.admits() {
            lanes.submit_both(&asking, &submission)
        } else {
            Err(CommandError::BreakerOpen)
        };
        let result = match submitted {
            Ok((asking, pending)) => match asking.await {
                Ok(_) => pending.await,
                Err(why) => Err(why),
            },
            Err(refusal) => Err(refusal),
        };
        health.finished(command, &error_reply_as_error(result.as_ref()));
        result.and_then(unless_refused)
    }
}

impl std::fmt::Debug for RedisPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisPool").finish_non_exhaustive()
    }
}

impl Drop for PoolInner {
    fn drop(&mut self) {
        self.tasks.take().iter().for_each(JoinHandle::abort);
    }
}

/// Turns an error reply into an error.
fn unless_refused(reply: Reply) -> Result<Reply, CommandError> {
    if let Reply::Error(error) = reply { Err(CommandError::Server(error.kind)) } else { Ok(reply) }
}

/// Returns the result without the reply; an error reply is an error.
fn error_reply_as_error(result: Result<&Reply, &CommandError>) -> Result<(), CommandError> {
    match result {
        Ok(Reply::Error(error)) => Err(CommandError::Server(error.kind)),
        Ok(_) => Ok(()),
        Err(why) => Err(*why),
    }
}

/// Turns an error reply into an error, and keeps the version otherwise.
fn unless_refused_version(
    (reply, version): (Reply, TrackedVersion),
) -> Result<(Reply, TrackedVersion), CommandError> {
    unless_refused(reply).map(|reply| (reply, version))
}

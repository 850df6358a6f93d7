//! The connections to one server, as one client.
//!
//! It owns the seats, which [`lanes`](super::lanes) chooses among, and the tasks that keep them filled.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_local};

use super::ask::{Ask, Depth};
use super::board::ConnectionState;
use super::dial::Dialler;
use super::encryption::Tls;
use super::error::Unavailable;
use super::hedge::{Around, Budget, Hedged};
use super::lanes::Lanes;
use super::link::Pending;
use super::metrics::Metrics;
use super::news::Reading;
use super::options::Options;
use super::probe;
use super::server::{Role, Server};
use super::supervise::Supervisor;
use super::tracking::{Tracker, Tracking};
use super::vitals::Vitals;
use crate::resp::{Command, Reply};
use crate::telemetry::Registry;
use crate::time::instant;

/// One worker's connections to a Redis server. Clones are the same pool; when the last is dropped the
/// connections end.
#[derive(Clone)]
pub struct Pool(Rc<Inner>);

struct Inner {
    lanes: Rc<Lanes>,
    server: Rc<Server>,
    vitals: Rc<Vitals>,
    budget: Budget,
    /// The supervisors and the prober, until the pool is closed.
    tasks: RefCell<Vec<JoinHandle<()>>>,
}

impl Pool {
    /// Begins to connect and returns at once, whether the server is there or not.
    ///
    /// Has to be called on a [`LocalSet`](tokio::task::LocalSet), where the pool's tasks will live.
    pub fn open(options: Options, registry: &Registry) -> Self {
        let tls = Tls::to(&options.address, &options.tls);
        Self::with(options, tls, None, Metrics::new(registry))
    }

    /// The same, and tracks what is read where the server can tell what changes.
    pub fn open_tracking(options: Options, tracking: Tracking, registry: &Registry) -> Self {
        let tls = Tls::to(&options.address, &options.tls);
        Self::with(options, tls, Some(tracking), Metrics::new(registry))
    }

    /// One of several servers, which have their TLS and their metrics in common.
    pub(super) fn with(
        options: Options,
        tls: Option<Rc<Tls>>,
        tracking: Option<Tracking>,
        metrics: Metrics,
    ) -> Self {
        Self::over(Dialler::new(options.address.clone(), tls), options, tracking, metrics)
    }

    /// The same, by a way to the server that is known already.
    pub(super) fn over(
        dialler: Dialler,
        options: Options,
        tracking: Option<Tracking>,
        metrics: Metrics,
    ) -> Self {
        let pin = |lane| options.board.pin(options.address.to_string(), lane);
        let lanes = Rc::new(Lanes::new(options.connections, pin));
        let budget = Budget::new(options.hedge_share);
        let vitals = Rc::new(Vitals::new(&options, metrics));
        let server = Rc::new(Server::new(dialler, options, tracking, Rc::clone(&vitals)));
        let roles = std::iter::once(Role::Scout).chain(std::iter::repeat(Role::Follower));
        let supervise =
            |(seat, role)| spawn_local(Supervisor::new(Rc::clone(seat), Rc::clone(&server), role).run());
        let mut tasks: Vec<_> = lanes.seats().zip(roles).map(supervise).collect();
        tasks.push(spawn_local(probe::run(Rc::clone(&lanes), Rc::clone(&server))));
        Self(Rc::new(Inner { lanes, server, vitals, budget, tasks: RefCell::new(tasks) }))
    }

    /// The value of a key, or `None` if there is none. The value is a slice of a read buffer: whoever keeps
    /// it for longer than a request should copy it.
    ///
    /// Cancel safe, as all commands are: one that is dropped stays in line and its reply is dropped in order.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Unavailable> {
        let reply = self.command(&Command::Get { key }).await?;
        // The pipeline admits a value or nothing.
        Ok(if let Reply::Bulk(value) = reply { Some(value) } else { None })
    }

    /// Sets a key for `ttl`, which counts in whole milliseconds and is one at least.
    ///
    /// After an error other than `NotConnected`, `BreakerOpen`, `Full` and `Server` the key may be set, or be set later.
    pub async fn set(&self, key: &[u8], value: Bytes, ttl: Duration) -> Result<(), Unavailable> {
        self.command(&Command::Set { key, value: &value, ttl }).await.map(drop)
    }

    /// Removes a key, if it is there.
    ///
    /// After an error other than `NotConnected`, `BreakerOpen`, `Full` and `Server` the key may be removed, or be removed
    /// later.
    pub async fn delete(&self, key: &[u8]) -> Result<(), Unavailable> {
        self.command(&Command::Unlink { key }).await.map(drop)
    }

    /// Asks whether the server answers.
    pub async fn ping(&self) -> Result<(), Unavailable> {
        self.command(&Command::Ping).await.map(drop)
    }

    /// Whether any connection is up.
    pub fn is_connected(&self) -> bool {
        self.0.vitals.is_up()
    }

    /// Every connection of the process to any Redis, as its own worker last wrote it down.
    pub fn snapshot(&self) -> Vec<ConnectionState> {
        self.0.vitals.board().snapshot(instant())
    }

    /// Takes no more commands, waits until every command that somebody waits for has ended, which takes as
    /// long as the command time-out at most, and closes the connections.
    ///
    /// Cancel safe: the connections are closed in the same way when nobody waits for it.
    pub async fn close(&self) {
        self.0.server.close();
        for seat in self.0.lanes.seats() {
            seat.with(|link| link.drain());
        }
        let tasks = self.0.tasks.take();
        for task in tasks {
            // A supervisor that panicked has closed its connection as well.
            let _ = task.await;
        }
    }

    /// The reply to a command, of the kind that the command has.
    pub async fn command(&self, command: &Command<'_>) -> Result<Reply, Unavailable> {
        self.reply(command).await.and_then(unless_refused)
    }

    /// The same; an error reply is a reply, for whoever needs its words.
    async fn reply(&self, command: &Command<'_>) -> Result<Reply, Unavailable> {
        self.reply_and_reading(command).await.map(|(reply, _)| reply)
    }

    /// The same, and what is needed to remember it.
    pub(super) async fn reply_and_reading(
        &self,
        command: &Command<'_>,
    ) -> Result<(Reply, Reading), Unavailable> {
        let result = self.ask(command).await;
        self.0.vitals.metrics.reply(result.as_ref().map(|(reply, _)| reply).map_err(|why| *why));
        result
    }

    /// The reply to a command that reads one key, and what is needed to remember it.
    ///
    /// Cancel safe, as all commands are.
    pub async fn read(&self, command: &Command<'_>) -> Result<(Reply, Reading), Unavailable> {
        let result = self.ask(command).await.and_then(unless_refused_reading);
        self.0.vitals.metrics.command(&result);
        result
    }

    /// Whatever comes, on whichever connection.
    async fn ask(&self, command: &Command<'_>) -> Result<(Reply, Reading), Unavailable> {
        let Inner { lanes, vitals, budget, .. } = &*self.0;
        let ask = Ask::of(command, instant(), vitals.ceiling());
        let first = self.submit(&ask)?;
        Hedged::new(Around { lanes, budget, metrics: &vitals.metrics }, &ask, first).await
    }

    /// Gives the command to the first connection that takes it.
    fn submit(&self, ask: &Ask<'_>) -> Result<Pending, Unavailable> {
        let Inner { lanes, vitals, .. } = &*self.0;
        if vitals.admits() { lanes.submit(ask) } else { Err(Unavailable::BreakerOpen) }
    }

    /// Two commands, the second right behind the first on the same connection: a change, and a look at what it made.
    ///
    /// Cancel safe, as all commands are: both stay in line.
    pub async fn change_and_read(
        &self,
        change: &Command<'_>,
        read: &Command<'_>,
    ) -> (Result<Reply, Unavailable>, Result<(Reply, Reading), Unavailable>) {
        let Vitals { metrics, .. } = &*self.0.vitals;
        let changing = Ask::of(change, instant(), self.0.vitals.ceiling());
        let reading = Ask { command: read, ..changing };
        let changing = match self.submit(&changing) {
            Ok(pending) => pending,
            Err(refusal) => {
                let refused = Err(refusal);
                metrics.command(&refused);
                return (refused, Err(refusal));
            }
        };
        let reading = changing.link().submit(&reading, Depth::ANY);
        let changed = changing.await.and_then(unless_refused);
        metrics.command(&changed);
        let read = match reading {
            Ok(pending) => pending.reading().await.and_then(unless_refused_reading),
            Err(refusal) => Err(refusal),
        };
        metrics.command(&read);
        (changed, read)
    }

    /// Until everything that the server has changed before this was called has been heard on every connection that tracks,
    /// or what was read over it does not count any more. Takes as long as the command time-out at most.
    pub async fn settle(&self) {
        if let Some(tracker) = &self.0.server.tracker {
            tracker.settle().await;
        }
    }

    /// For how long no connection has been up; zero while one is, and before the first of a server that took nobody's place.
    pub fn away_for(&self) -> Duration {
        self.0.server.away_for()
    }

    /// It takes the place of a server that has been away for so long.
    pub(super) fn has_been_away(&self, elapsed: Duration) {
        self.0.server.has_been_away(elapsed);
    }

    /// Whether what is read here is tracked, or will be as soon as the pool hears; if not, the server does not.
    pub fn is_tracking(&self) -> bool {
        self.tracker().is_some_and(|tracker| tracker.is_tracking())
    }

    /// This is the server to ask.
    pub(super) fn trust(&self) {
        self.tracker().into_iter().for_each(Tracker::trust);
    }

    /// The server has other keys than before: what was read here before does not count.
    pub(super) fn begin_anew(&self) {
        self.tracker().into_iter().for_each(|tracker| tracker.begin_anew());
    }

    /// Nobody knows whether this is still the server to ask: nothing that was read here counts.
    pub(super) fn distrust(&self) {
        self.tracker().into_iter().for_each(|tracker| tracker.distrust());
    }

    /// Where what is read is tracked, if it is.
    pub(super) fn tracker(&self) -> Option<&Rc<Tracker>> {
        self.0.server.tracker.as_ref()
    }

    /// The reply to a command that this server will answer only behind `ASKING`, on the same connection and with nothing
    /// between them.
    pub(super) async fn asking(&self, command: &Command<'_>) -> Result<Reply, Unavailable> {
        let Inner { lanes, vitals, .. } = &*self.0;
        let ask = Ask::of(command, instant(), vitals.ceiling());
        let asking = Ask { command: &Command::Asking, ..ask };
        let submitted =
            if vitals.admits() { lanes.submit_both(&asking, &ask) } else { Err(Unavailable::BreakerOpen) };
        let result = match submitted {
            Ok((asking, pending)) => match asking.await {
                Ok(_) => pending.await,
                Err(why) => Err(why),
            },
            Err(refusal) => Err(refusal),
        };
        vitals.metrics.reply(result.as_ref().map_err(|why| *why));
        result.and_then(unless_refused)
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.take().iter().for_each(JoinHandle::abort);
    }
}

/// An error reply is an error.
fn unless_refused(reply: Reply) -> Result<Reply, Unavailable> {
    if let Reply::Error(error) = reply { Err(Unavailable::Server(error.kind)) } else { Ok(reply) }
}

/// The same for a reply that is to be remembered.
fn unless_refused_reading((reply, reading): (Reply, Reading)) -> Result<(Reply, Reading), Unavailable> {
    unless_refused(reply).map(|reply| (reply, reading))
}

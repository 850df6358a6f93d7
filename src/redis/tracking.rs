//! Which of what was read is still as it was read (`CLIENT TRACKING`).
//!
//! A server tells a connection when something changes that was read over it, in order with the connection's replies. So
//! what was read stays true until that invalidations comes, or until the connection can bring none: it has ended, the server has
//! been emptied, the pool no longer subscribed when the fleet comes together ([`TrackingListener::message`]), or nobody vouches any more
//! that this is still the server to ask.
//!
//! ```text
//! TrackingTable      seat 0: 17   seat 1: –   seat 2: 9    which incarnation of each seat's connection brings invalidations; state
//! TrackingToken    (seat 2, incarnation 9)               kept beside what was read: true while the table says the same
//! TrackedVersion    a token, and how much invalidations there had been when the reply came
//! ```
//!
//! Nothing is scanned when a connection dies: its number in the table changes, and whoever holds a token of it finds that
//! out by one load. **Always:** no incarnation is given twice, and invalidations are processed before any reply that came after
//! them is given away.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::error::CommandError;
use super::handshake::{Subscription, TrackingSetup};
use super::invalidations::Invalidations;
use super::link::{Link, PendingReply};
use super::submission::{QueueDepth, Submission};
use super::tracking_table::{TrackingSlot, TrackingTable};
use crate::limits::REDIS_HEARTBEAT;
use crate::resp::Command;
use crate::time::instant;

/// What a pool is told so that it tracks.
#[derive(Clone)]
pub struct TrackingOptions {
    /// One table for all pools of the process.
    pub(super) table: Arc<TrackingTable>,
    /// Who is told.
    pub(super) listener: Rc<dyn TrackingListener>,
    /// What the first connection subscribes to. Without it nothing that was read counts as tracked.
    channels: Vec<Bytes>,
    /// Where a message is heard that is publish_scope at one server.
    publish_scope: PublishScope,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PublishScope {
    /// At that server.
    Server,
    /// At every server of its cluster: so each has channels of its own, which end with its name.
    Cluster,
}

impl TrackingOptions {
    /// `table` is one table for all pools of the process, `listener` is told what there is to tell, and `channels` is what is
    /// heard beside what changes.
    pub fn new(table: Arc<TrackingTable>, listener: Rc<dyn TrackingListener>, channels: Vec<Bytes>) -> Self {
        Self { table, listener, channels, publish_scope: PublishScope::Server }
    }

    /// The same at servers of a cluster.
    pub(super) fn in_cluster(self) -> Self {
        Self { publish_scope: PublishScope::Cluster, ..self }
    }
}

impl std::fmt::Debug for TrackingOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrackingOptions").field("channels", &self.channels).finish_non_exhaustive()
    }
}

/// Who is told what the server has to say. Called in the middle of a connection's turn: nothing here may wait, or come
/// back to the pool.
pub trait TrackingListener {
    /// What stands under this key has changed, for whoever has read it.
    fn invalidated(&self, key: &[u8]);

    /// Some witnesses have ceased to be true.
    fn tracking_lost(&self);

    /// Somebody has publish_scope this to one of the channels that were asked for; in a cluster the channel's name ends with
    /// that of the [herald](super::FleetChannel).
    fn message(&self, channel: &[u8], message: &Bytes);
}

/// What the connections of one pool have in common.
pub(super) struct TrackingSupervisor {
    pub(super) tracking: TrackingOptions,
    /// How long a connection may take to answer.
    command_timeout: Duration,
    /// Whether the first connection is subscribed.
    pub(super) subscribed: Cell<bool>,
    /// Whether this is known to be the server to ask.
    trusted: Cell<bool>,
    /// Whether the server has said that it tells nothing.
    refused: Cell<bool>,
    /// What its channels end with.
    suffix: RefCell<Bytes>,
    links: RefCell<Vec<Weak<Link>>>,
    /// Connections that are to count again; as many as there are connections at most, and they end with the pool.
    tasks: RefCell<JoinSet<()>>,
}

/// While this lives, what is publish_scope is heard.
pub(super) struct SubscriptionGuard(Rc<TrackingSupervisor>);

impl Drop for SubscriptionGuard {
    fn drop(&mut self) {
        self.0.unsubscribed();
    }
}

impl TrackingSupervisor {
    pub(super) fn new(tracking: TrackingOptions, command_timeout: Duration) -> Rc<Self> {
        Rc::new(Self {
            tracking,
            command_timeout,
            subscribed: Cell::new(false),
            trusted: Cell::new(true),
            refused: Cell::new(false),
            suffix: RefCell::default(),
            links: RefCell::default(),
            tasks: RefCell::default(),
        })
    }

    /// A connection has come connection_up. For as long as the answer lives, the pool subscribed by it.
    pub(super) fn connection_up(
        self: &Rc<Self>,
        link: &Rc<Link>,
        setup: TrackingSetup,
    ) -> Option<SubscriptionGuard> {
        let TrackingSetup { tracked, subscription, early } = setup;
        match &subscription {
            Subscription::NotRequested => {}
            Subscription::Refused => self.refused.set(true),
            Subscription::Active(suffix) => {
                self.refused.set(false);
                self.suffix.replace(suffix.clone());
            }
        }
        if !tracked {
            return None;
        }
        let invalidations = self.register(link);
        link.with(|state| state.invalidations = invalidations);
        let subscription_guard = matches!(subscription, Subscription::Active(_)).then(|| {
            self.subscribed.set(true);
            self.resume_all();
            SubscriptionGuard(Rc::clone(self))
        });
        link.with(|state| {
            for invalidations in early {
                let heard = state.invalidations.as_mut().map_or(0, |heard| heard.receive(&invalidations));
                state.pipeline.mark(heard);
            }
        });
        subscription_guard
    }

    /// A connection that tracks has come connection_up. `None` if there is no seat for it.
    pub(super) fn register(self: &Rc<Self>, link: &Rc<Link>) -> Option<Invalidations> {
        let slot = TrackingSlot::claim(Arc::clone(&self.tracking.table))?;
        if self.is_active() {
            slot.activate();
        }
        let mut links = self.links.borrow_mut();
        links.retain(|link| link.strong_count() > 0);
        links.push(Rc::downgrade(link));
        Some(Invalidations::new(Rc::clone(self), slot))
    }

    /// The connections that track.
    pub(super) fn links(&self) -> Vec<Rc<Link>> {
        self.links.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    /// Until each connection has brought the invalidations that were on their way, or does not count. None are where nothing was read:
    /// most are spared the question, since a command goes to the first connection that has room.
    pub(super) async fn flush_invalidations(self: &Rc<Self>) {
        let flushes: Vec<_> = self
            .links()
            .into_iter()
            .filter(|link| link.with(|state| state.has_read))
            .map(|link| {
                let flush = self.ping(&link);
                (link, flush)
            })
            .collect();
        for (link, flush) in flushes {
            let passed = match flush {
                Ok(pending) => pending.await.map(drop),
                Err(refusal) => Err(refusal),
            };
            match passed {
                Ok(()) => {}
                // It is there, and has no time for us: until it has, what was read over it is not known.
                Err(CommandError::Full | CommandError::Timeout | CommandError::Server(_)) => {
                    link.with(|state| state.invalidations.iter_mut().for_each(Invalidations::suspend));
                    self.tracking.listener.tracking_lost();
                    self.resume_later(link, REDIS_HEARTBEAT);
                }
                Err(
                    CommandError::NotConnected
                    | CommandError::BreakerOpen
                    | CommandError::Closed
                    | CommandError::Desynchronised
                    | CommandError::Malformed,
                ) => {}
            }
        }
    }

    /// Asks one connection for a sign of life.
    fn ping(&self, link: &Rc<Link>) -> Result<PendingReply, CommandError> {
        link.submit(&Submission::of(&Command::Ping, instant(), self.command_timeout), QueueDepth::ANY)
    }

    /// Has all connections count again, once they have answered.
    fn resume_all(self: &Rc<Self>) {
        for link in self.links() {
            self.resume_later(link, Duration::ZERO);
        }
    }

    /// Has a connection count again, after a rest, once it has answered.
    fn resume_later(self: &Rc<Self>, link: Rc<Link>, rest: Duration) {
        let mut tasks = self.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        let command_timeout = self.command_timeout;
        tasks.spawn_local(async move {
            tokio::time::sleep(rest).await;
            loop {
                let submission = Submission::of(&Command::Ping, instant(), command_timeout);
                let answered = match link.submit(&submission, QueueDepth::ANY) {
                    Ok(pending) => pending.await.map(drop),
                    Err(refusal) => Err(refusal),
                };
                match answered {
                    Ok(()) => {
                        return link
                            .with(|state| state.invalidations.iter_mut().for_each(Invalidations::resume));
                    }
                    Err(CommandError::Full | CommandError::Timeout) => {
                        tokio::time::sleep(REDIS_HEARTBEAT).await;
                    }
                    Err(_) => return,
                }
            }
        });
    }

    /// It subscribed nothing any more: what is read now, or was read before, may change without anybody waiting for us.
    pub(super) fn unsubscribed(&self) {
        self.subscribed.set(false);
        self.suspend_all();
    }

    fn suspend_all(&self) {
        for link in self.links() {
            link.with(|state| state.invalidations.iter_mut().for_each(Invalidations::suspend));
        }
        self.tracking.listener.tracking_lost();
    }

    /// Nobody knows whether this is still the server to ask: what is read now, or was read before, does not count.
    pub(super) fn distrust(&self) {
        if self.trusted.replace(false) {
            self.suspend_all();
        }
    }

    /// It is the server to ask.
    pub(super) fn trust(self: &Rc<Self>) {
        if !self.trusted.replace(true) && self.is_active() {
            self.resume_all();
        }
    }

    /// The server has another part of the keys: what was read before does not count.
    pub(super) fn reset(&self) {
        for link in self.links() {
            link.with(|state| {
                if let Some(invalidations) = &mut state.invalidations {
                    invalidations.suspend();
                    invalidations.resume();
                }
            });
        }
        self.tracking.listener.tracking_lost();
    }

    /// Whether the pool subscribed what is publish_scope, at a server that is known to be the right one.
    pub(super) fn is_active(&self) -> bool {
        self.subscribed.get() && self.trusted.get()
    }

    /// Whether what is read here is tracked, or will be.
    pub(super) fn is_tracking(&self) -> bool {
        !self.refused.get()
    }

    /// What the names of its channels end with.
    pub(super) fn suffix(&self) -> Bytes {
        self.suffix.borrow().clone()
    }

    /// What the first connection is to subscribe to, at a server that says that this is its name.
    pub(super) fn channels(&self, name: Option<&Bytes>) -> (Bytes, Vec<Bytes>) {
        let suffix = name.map_or(Bytes::new(), |name| [&b":"[..], name].concat().into());
        let channels = self.tracking.channels.iter();
        (suffix.clone(), channels.map(|channel| [&channel[..], &suffix[..]].concat().into()).collect())
    }

    /// Whether a server has to say its name first.
    pub(super) fn needs_node_id(&self) -> bool {
        self.tracking.publish_scope == PublishScope::Cluster
    }
}

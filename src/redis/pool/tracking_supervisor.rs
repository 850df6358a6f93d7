//! Supervises the tracked connections of one pool: the subscription, the trust in the server, and
//! when reads count as tracked.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::limits::REDIS_HEARTBEAT;
use crate::redis::connection::{Link, PendingReply, Subscription, TrackingSetup};
use crate::redis::error::CommandError;
use crate::redis::options::RedisAddress;
use crate::redis::submission::{QueueDepth, Submission};
use crate::redis::tracking::{
    ConnectedServer, Invalidations, KeyShare, PublishScope, TrackingOptions, TrackingState,
};
use crate::resp::Command;
use crate::time::instant;

/// The tracked connections of one pool.
pub(in crate::redis) struct TrackingSupervisor {
    state: Rc<TrackingState>,
    /// The longest wait for a reply.
    command_timeout: Duration,
    /// Whether the server refused tracking or the subscription.
    refused: Cell<bool>,
    /// The end of its channels' names.
    suffix: RefCell<Bytes>,
    links: RefCell<Vec<Weak<Link>>>,
    /// Connections that will count as tracked again; at most one task each, ended with the pool.
    tasks: RefCell<JoinSet<()>>,
}

/// The pool is subscribed while this lives.
pub(in crate::redis) struct SubscriptionGuard(Rc<TrackingSupervisor>);

impl Drop for SubscriptionGuard {
    fn drop(&mut self) {
        self.0.unsubscribed();
    }
}

impl TrackingSupervisor {
    pub(in crate::redis) fn new(tracking: TrackingOptions, command_timeout: Duration) -> Rc<Self> {
        Rc::new(Self {
            state: TrackingState::new(tracking),
            command_timeout,
            refused: Cell::new(false),
            suffix: RefCell::default(),
            links: RefCell::default(),
            tasks: RefCell::default(),
        })
    }

    /// Registers a new connection. The pool is subscribed while the returned guard lives.
    pub(in crate::redis) fn connection_up(
        self: &Rc<Self>,
        link: &Rc<Link>,
        setup: TrackingSetup,
        address: &RedisAddress,
    ) -> Option<SubscriptionGuard> {
        let TrackingSetup { tracked, subscription, early, run, missing: _ } = setup;
        if let Some(run) = run {
            let share = if self.needs_node_id() { KeyShare::Part } else { KeyShare::All };
            let address = address.to_string().into();
            self.state.options.listener.connected(&ConnectedServer { address, run, share });
        }
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
        self.register(link);
        let subscription_guard = matches!(subscription, Subscription::Active(_)).then(|| {
            self.state.subscribed.set(true);
            link.with(|state| state.is_subscribed = true);
            self.resume_all();
            self.state.options.listener.subscribed();
            SubscriptionGuard(Rc::clone(self))
        });
        link.with(|state| {
            for push in early {
                state.pipeline.mark(link.invalidations.receive(&push));
            }
        });
        subscription_guard
    }

    /// Registers a connection that tracks, if the table has a free slot.
    pub(in crate::redis) fn register(&self, link: &Rc<Link>) {
        let Some(invalidations) = Invalidations::claim(&self.state) else { return };
        link.invalidations.set(invalidations);
        let mut links = self.links.borrow_mut();
        links.retain(|link| link.strong_count() > 0);
        links.push(Rc::downgrade(link));
    }

    /// Returns the tracked connections.
    pub(in crate::redis) fn links(&self) -> Vec<Rc<Link>> {
        self.links.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    /// Waits until each connection has received the invalidations that Redis has already sent to
    /// it. A connection that does not answer stops counting as tracked. Connections that have
    /// carried no read are skipped, which are most, because a command takes the first connection
    /// with room.
    pub(in crate::redis) async fn flush_invalidations(self: &Rc<Self>) {
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
                // The connection is up but too busy to answer: its reads do not count until it
                // does.
                Err(CommandError::Full | CommandError::Timeout | CommandError::Server(_)) => {
                    link.invalidations.suspend();
                    self.state.options.listener.tracking_lost();
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

    /// Sends a `PING` on one connection.
    fn ping(&self, link: &Rc<Link>) -> Result<PendingReply, CommandError> {
        link.submit(&Submission::of(&Command::Ping, instant(), self.command_timeout), QueueDepth::ANY)
    }

    /// Makes every connection count as tracked again, once it has answered.
    fn resume_all(self: &Rc<Self>) {
        for link in self.links() {
            self.resume_later(link, Duration::ZERO);
        }
    }

    /// Makes a connection count as tracked again, after a delay and once it has answered.
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
                        return link.invalidations.resume();
                    }
                    Err(CommandError::Full | CommandError::Timeout) => {
                        tokio::time::sleep(REDIS_HEARTBEAT).await;
                    }
                    Err(_) => return,
                }
            }
        });
    }

    /// Ends the subscription: keys that were read, or are read now, may change without this node
    /// being waited for.
    pub(in crate::redis) fn unsubscribed(&self) {
        self.state.subscribed.set(false);
        self.suspend_all();
    }

    fn suspend_all(&self) {
        for link in self.links() {
            link.invalidations.suspend();
        }
        self.state.options.listener.tracking_lost();
    }

    /// Distrusts the server, which may not be the master any more: no read counts as tracked.
    pub(in crate::redis) fn distrust(&self) {
        if self.state.trusted.replace(false) {
            self.suspend_all();
        }
    }

    /// Trusts the server as the current master.
    pub(in crate::redis) fn trust(self: &Rc<Self>) {
        if !self.state.trusted.replace(true) && self.state.is_active() {
            self.resume_all();
        }
    }

    /// Forgets all earlier reads: the server has another part of the keys.
    pub(in crate::redis) fn reset(&self) {
        for link in self.links() {
            link.invalidations.suspend();
            link.invalidations.resume();
        }
        self.state.options.listener.tracking_lost();
    }

    /// Returns whether reads are tracked, or will be.
    pub(in crate::redis) fn is_tracking(&self) -> bool {
        !self.refused.get()
    }

    /// Returns the end of the channels' names.
    pub(in crate::redis) fn suffix(&self) -> Bytes {
        self.suffix.borrow().clone()
    }

    /// Returns the suffix and the channels that the first connection subscribes to, for a server
    /// with this node id.
    pub(in crate::redis) fn channels(&self, name: Option<&Bytes>) -> (Bytes, Vec<Bytes>) {
        let suffix = name.map_or(Bytes::new(), |name| [&b":"[..], name].concat().into());
        let channels = self.state.options.channels.iter();
        (suffix.clone(), channels.map(|channel| [&channel[..], &suffix[..]].concat().into()).collect())
    }

    /// Returns the name under which the user's rights are tried, if they are.
    pub(in crate::redis) fn rights_name(&self) -> Option<&[u8]> {
        self.state.options.rights_name.as_deref()
    }

    /// Returns whether the channels need the server's node id.
    pub(in crate::redis) fn needs_node_id(&self) -> bool {
        self.state.options.publish_scope == PublishScope::Cluster
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Waker};

    use super::*;
    use crate::redis::TrackingTable;
    use crate::redis::tracking::TrackedVersion;
    use crate::redis::tracking::recording::{RecordingListener, bulk, changed};
    use crate::resp::{Frame, Reply, ReplyFailure, Window};

    fn supervisor() -> (Rc<TrackingSupervisor>, Rc<RecordingListener>) {
        let listener = Rc::<RecordingListener>::default();
        let received = Rc::clone(&listener);
        let options = TrackingOptions::new(TrackingTable::new(), listener, Vec::new());
        (TrackingSupervisor::new(options, Duration::from_millis(50)), received)
    }

    #[test]
    fn a_flush_a_lost_connection_and_a_lost_subscription_void_tokens() {
        let (supervisor, received) = supervisor();
        let table = Arc::clone(&supervisor.state.options.table);
        let mut invalidations = Invalidations::claim(&supervisor.state).unwrap();
        assert_eq!(invalidations.token(b"a", 0), None, "not subscribed yet");
        supervisor.state.subscribed.set(true);
        invalidations.resume();
        let first = invalidations.token(b"a", 0).unwrap();
        assert!(table.is_valid(first));
        invalidations.receive(&[bulk("invalidate"), Reply::Nil]);
        assert!(!table.is_valid(first));
        assert_eq!(invalidations.token(b"a", 0), None, "read before");
        let second = invalidations.token(b"a", invalidations.count).unwrap();
        supervisor.unsubscribed();
        invalidations.suspend();
        invalidations.resume();
        assert_eq!((table.is_valid(second), invalidations.token(b"a", invalidations.count)), (false, None));
        assert_eq!(*received.0.borrow(), ["tracking_lost", "tracking_lost"]);
        received.0.borrow_mut().clear();
        supervisor.state.subscribed.set(true);
        invalidations.resume();
        let third = invalidations.token(b"a", invalidations.count).unwrap();
        drop(invalidations);
        assert!(!table.is_valid(third));
        assert_eq!(*received.0.borrow(), ["tracking_lost"]);
        let next = Invalidations::claim(&supervisor.state).unwrap();
        let fourth = next.token(b"a", 0).unwrap();
        assert_eq!(fourth.slot, third.slot, "the seat is taken again");
        assert!(table.is_valid(fourth) && !table.is_valid(third));
    }

    /// A connection with room for `commands`.
    fn connect(supervisor: &TrackingSupervisor, commands: usize) -> Rc<Link> {
        let link = Link::new(Window { commands, bytes: 1024 });
        supervisor.register(&link);
        link.with(|state| state.has_read = true);
        link
    }

    fn is_known(link: &Rc<Link>, key: &[u8], received: u64) -> bool {
        TrackedVersion::new(link.invalidations.clone(), received).token(key).is_some()
    }

    #[tokio::test]
    async fn a_flush_waits_for_replies_and_suspends_busy_connections() {
        let (supervisor, received) = supervisor();
        supervisor.state.subscribed.set(true);
        let (quick, busy, ended) =
            (connect(&supervisor, 4), connect(&supervisor, 0), connect(&supervisor, 4));
        ended.end(ReplyFailure::Closed);
        // Without reads the connection gets no PING.
        let unused = connect(&supervisor, 0);
        unused.with(|state| state.has_read = false);
        received.0.borrow_mut().clear();
        tokio::task::LocalSet::new()
            .run_until(async {
                let mut settling = std::pin::pin!(supervisor.flush_invalidations());
                let mut poll = || settling.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(poll().is_pending());
                quick.with(|state| {
                    // The invalidation arrives before the reply.
                    let received = quick.invalidations.receive(&changed("a"));
                    state.pipeline.mark(received);
                    state.pipeline.accept(Frame::Reply(Reply::Simple(Bytes::from_static(b"PONG")))).unwrap();
                });
                assert!(poll().is_ready());
            })
            .await;
        assert!(!is_known(&quick, b"a", 0) && is_known(&quick, b"b", 0));
        assert!(!is_known(&busy, b"b", 0), "it had no time for the question");
        assert!(is_known(&unused, b"b", 0));
        assert_eq!(*received.0.borrow(), ["changed a", "tracking_lost"]);
    }
}

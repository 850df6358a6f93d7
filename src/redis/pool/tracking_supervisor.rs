//! Supervises the tracked connections of one pool.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::limits::REDIS_HEARTBEAT;
use crate::redis::connection::{Link, PendingReply, Subscription, TrackingSetup};
use crate::redis::error::CommandError;
use crate::redis::submission::{QueueDepth, Submission};
use crate::redis::tracking::{Invalidations, PublishScope, TrackingOptions, TrackingState};
use crate::resp::Command;
use crate::time::instant;

/// What the connections of one pool have in common.
pub(in crate::redis) struct TrackingSupervisor {
    state: Rc<TrackingState>,
    /// How long a connection may take to answer.
    command_timeout: Duration,
    /// Whether the server has said that it tells nothing.
    refused: Cell<bool>,
    /// What its channels end with.
    suffix: RefCell<Bytes>,
    links: RefCell<Vec<Weak<Link>>>,
    /// Connections that are to count again; as many as there are connections at most, and they end with the pool.
    tasks: RefCell<JoinSet<()>>,
}

/// While this lives, what is publish_scope is heard.
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

    /// A connection has come connection_up. For as long as the answer lives, the pool subscribed by it.
    pub(in crate::redis) fn connection_up(
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
        self.register(link);
        let subscription_guard = matches!(subscription, Subscription::Active(_)).then(|| {
            self.state.subscribed.set(true);
            self.resume_all();
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

    /// The connections that track.
    pub(in crate::redis) fn links(&self) -> Vec<Rc<Link>> {
        self.links.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    /// Until each connection has brought the invalidations that were on their way, or does not count. None are where nothing was read:
    /// most are spared the question, since a command goes to the first connection that has room.
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
                // It is there, and has no time for us: until it has, what was read over it is not known.
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

    /// It subscribed nothing any more: what is read now, or was read before, may change without anybody waiting for us.
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

    /// Nobody knows whether this is still the server to ask: what is read now, or was read before, does not count.
    pub(in crate::redis) fn distrust(&self) {
        if self.state.trusted.replace(false) {
            self.suspend_all();
        }
    }

    /// It is the server to ask.
    pub(in crate::redis) fn trust(self: &Rc<Self>) {
        if !self.state.trusted.replace(true) && self.state.is_active() {
            self.resume_all();
        }
    }

    /// The server has another part of the keys: what was read before does not count.
    pub(in crate::redis) fn reset(&self) {
        for link in self.links() {
            link.invalidations.suspend();
            link.invalidations.resume();
        }
        self.state.options.listener.tracking_lost();
    }

    /// Whether what is read here is tracked, or will be.
    pub(in crate::redis) fn is_tracking(&self) -> bool {
        !self.refused.get()
    }

    /// What the names of its channels end with.
    pub(in crate::redis) fn suffix(&self) -> Bytes {
        self.suffix.borrow().clone()
    }

    /// What the first connection is to subscribe to, at a server that says that this is its name.
    pub(in crate::redis) fn channels(&self, name: Option<&Bytes>) -> (Bytes, Vec<Bytes>) {
        let suffix = name.map_or(Bytes::new(), |name| [&b":"[..], name].concat().into());
        let channels = self.state.options.channels.iter();
        (suffix.clone(), channels.map(|channel| [&channel[..], &suffix[..]].concat().into()).collect())
    }

    /// Whether a server has to say its name first.
    pub(in crate::redis) fn needs_node_id(&self) -> bool {
        self.state.options.publish_scope == PublishScope::Cluster
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Waker};

    use super::*;
    use crate::redis::tracking::TrackedVersion;
    use crate::redis::{TrackingListener, TrackingTable};
    use crate::resp::{Frame, Reply, ReplyFailure, Window};

    #[derive(Default)]
    struct RecordingListener(RefCell<Vec<String>>);

    impl TrackingListener for RecordingListener {
        fn invalidated(&self, key: &[u8]) {
            self.0.borrow_mut().push(format!("changed {}", String::from_utf8_lossy(key)));
        }

        fn tracking_lost(&self) {
            self.0.borrow_mut().push("tracking_lost".into());
        }

        fn message(&self, channel: &[u8], message: &Bytes) {
            let words = [channel, message].map(|word| String::from_utf8_lossy(word).into_owned());
            self.0.borrow_mut().push(words.join(": "));
        }
    }

    fn bulk(text: &'static str) -> Reply {
        Reply::Bulk(Bytes::from_static(text.as_bytes()))
    }

    fn changed(key: &'static str) -> Vec<Reply> {
        vec![bulk("invalidate"), Reply::Array(vec![bulk(key)])]
    }

    fn supervisor() -> (Rc<TrackingSupervisor>, Rc<RecordingListener>) {
        let listener = Rc::<RecordingListener>::default();
        let received = Rc::clone(&listener);
        let options = TrackingOptions::new(TrackingTable::new(), listener, Vec::new());
        (TrackingSupervisor::new(options, Duration::from_millis(50)), received)
    }

    #[test]
    fn an_emptied_server_a_lost_connection_and_a_deaf_pool_are_seen_by_one_load() {
        let (supervisor, received) = supervisor();
        let table = Arc::clone(&supervisor.state.options.table);
        let mut invalidations = Invalidations::claim(&supervisor.state).unwrap();
        assert_eq!(invalidations.token(b"a", 0), None, "nobody subscribed yet");
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

    /// A connection with room for so many commands.
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
    async fn settled_is_what_has_answered_and_what_cannot_is_not_known() {
        let (supervisor, received) = supervisor();
        supervisor.state.subscribed.set(true);
        let (quick, busy, ended) =
            (connect(&supervisor, 4), connect(&supervisor, 0), connect(&supervisor, 4));
        ended.end(ReplyFailure::Closed);
        // Nothing was read here: it is not asked.
        let unused = connect(&supervisor, 0);
        unused.with(|state| state.has_read = false);
        received.0.borrow_mut().clear();
        tokio::task::LocalSet::new()
            .run_until(async {
                let mut settling = std::pin::pin!(supervisor.flush_invalidations());
                let mut poll = || settling.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(poll().is_pending());
                quick.with(|state| {
                    // What was on its way comes before the answer.
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

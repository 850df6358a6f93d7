//! What one connection has received, and what of what was read over it is still so.
//!
//! A reply is remembered with how much invalidations there had been when it came. Whoever wants to keep it asks whether any of the invalidations
//! valid_from was of the same key: the last [`REDIS_NEWS_REMEMBERED`] are known by a digest, and more than that are of everything.
//!
//! **Always:** invalidations are processed before any reply that came after them is given away.

use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_64;

use super::link::Link;
use super::tracking::TrackingSupervisor;
use super::tracking_table::{TrackingSlot, TrackingToken};
use crate::limits::REDIS_NEWS_REMEMBERED;
use crate::resp::Reply;

/// What one connection has received.
pub(super) struct Invalidations {
    tracker: Rc<TrackingSupervisor>,
    slot: TrackingSlot,
    /// Digests of the last keys that changed, each at its number, counted round.
    recent: Vec<u64>,
    /// How many changes there have been.
    count: u64,
    /// What was read before this many is not to be trusted.
    valid_from: u64,
}

impl Invalidations {
    /// None yet.
    pub(super) fn new(tracker: Rc<TrackingSupervisor>, slot: TrackingSlot) -> Self {
        Self { tracker, slot, recent: Vec::new(), count: 0, valid_from: 0 }
    }

    /// Takes invalidations. Tells how many changes there have been.
    pub(super) fn receive(&mut self, invalidations: &[Reply]) -> u64 {
        let listener = Rc::clone(&self.tracker.tracking.listener);
        match invalidations {
            [Reply::Bulk(kind) | Reply::Simple(kind), Reply::Array(keys)] if kind == "invalidate" => {
                for key in keys {
                    if let Reply::Bulk(key) | Reply::Simple(key) = key {
                        self.changed(xxh3_64(key));
                        listener.invalidated(key);
                    }
                }
            }
            // The server has been emptied.
            [Reply::Bulk(kind) | Reply::Simple(kind), ..] if kind == "invalidate" => {
                self.suspend();
                self.resume();
                listener.tracking_lost();
            }
            [
                Reply::Bulk(kind) | Reply::Simple(kind),
                Reply::Bulk(channel) | Reply::Simple(channel),
                Reply::Bulk(message) | Reply::Simple(message),
            ] if kind == "message" => listener.message(channel, message),
            _ => {}
        }
        self.count
    }

    /// What was read before is not known any more; and nothing that is read, until it [begins](Self::resume) anew.
    pub(super) fn suspend(&mut self) {
        self.slot.deactivate();
        self.count += 1;
        self.valid_from = self.count;
        self.recent.clear();
    }

    /// What is read from now on is tracked, if the pool subscribed.
    pub(super) fn resume(&mut self) {
        if self.tracker.is_active() && self.slot.token().is_none() {
            self.slot.activate();
        }
    }

    /// The token for a reply that came after so many changes, if what it says of `key` is still so.
    fn token(&self, key: &[u8], received: u64) -> Option<TrackingToken> {
        let unseen = usize::try_from(self.count.checked_sub(received)?).ok()?;
        if received < self.valid_from || unseen > REDIS_NEWS_REMEMBERED.min(self.recent.len()) {
            return None;
        }
        let digest = xxh3_64(key);
        let changed =
            (received..self.count).any(|number| self.recent.get(ring_index(number)) == Some(&digest));
        if changed { None } else { self.slot.token() }
    }

    fn changed(&mut self, digest: u64) {
        // As long as the ring is not full, the places are counted from the last time that it was emptied.
        if self.recent.len() < REDIS_NEWS_REMEMBERED {
            self.recent.resize(REDIS_NEWS_REMEMBERED, 0);
        }
        if let Some(ring_index) = self.recent.get_mut(ring_index(self.count)) {
            *ring_index = digest;
        }
        self.count += 1;
    }
}

impl Drop for Invalidations {
    fn drop(&mut self) {
        self.slot.deactivate();
        self.tracker.tracking.listener.tracking_lost();
    }
}

/// Where the change with this number is remembered.
fn ring_index(number: u64) -> usize {
    usize::try_from(number % REDIS_NEWS_REMEMBERED as u64).unwrap_or_default()
}

/// What is known of a value that was read: how much invalidations the connection had brought when the reply came.
#[derive(Clone)]
pub struct TrackedVersion {
    /// Where it was read, if that connection may bring invalidations.
    link: Option<Rc<Link>>,
    received: u64,
}

impl TrackedVersion {
    pub(super) fn new(link: Rc<Link>, received: u64) -> Self {
        Self { link: Some(link), received }
    }

    /// Of a value of which nobody brings invalidations.
    pub(super) fn untracked() -> Self {
        Self { link: None, received: 0 }
    }

    /// The token for what was read of `key`, unless invalidations of it have come meanwhile. To be asked at the moment at which
    /// the value is remembered, with nothing awaited between: later invalidations find what they are about.
    pub fn token(&self, key: &[u8]) -> Option<TrackingToken> {
        self.link.as_ref()?.with(|state| state.invalidations.as_ref()?.token(key, self.received))
    }
}

impl std::fmt::Debug for TrackedVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrackedVersion").field("received", &self.received).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::redis::{TrackingListener, TrackingOptions, TrackingTable};
    use crate::resp::{Frame, ReplyFailure, Window};

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

    fn tracker() -> (Rc<TrackingSupervisor>, Rc<RecordingListener>) {
        let listener = Rc::<RecordingListener>::default();
        let received = Rc::clone(&listener);
        let tracking = TrackingOptions::new(TrackingTable::new(), listener, Vec::new());
        (TrackingSupervisor::new(tracking, Duration::from_millis(50)), received)
    }

    fn up(tracker: &Rc<TrackingSupervisor>) -> Invalidations {
        tracker.register(&Link::new(Window { commands: 4, bytes: 1024 })).unwrap()
    }

    #[test]
    fn what_was_read_is_true_until_there_is_news_of_it() {
        let (tracker, received) = tracker();
        tracker.subscribed.set(true);
        let mut invalidations = up(&tracker);
        let before = invalidations.count;
        let token = invalidations.token(b"a", before).unwrap();
        invalidations.receive(&changed("b"));
        assert_eq!(invalidations.token(b"a", before), Some(token), "of something else");
        invalidations.receive(&changed("a"));
        assert_eq!(invalidations.token(b"a", before), None);
        assert_eq!(invalidations.token(b"a", invalidations.count), Some(token), "read again");
        invalidations.receive(&[bulk("message"), bulk("c"), bulk("hello")]);
        assert_eq!(*received.0.borrow(), ["changed b", "changed a", "c: hello"]);
    }

    #[test]
    fn more_news_than_are_remembered_are_news_of_everything() {
        let (tracker, _) = tracker();
        tracker.subscribed.set(true);
        let mut invalidations = up(&tracker);
        for _ in 0..REDIS_NEWS_REMEMBERED {
            invalidations.receive(&changed("b"));
        }
        assert!(invalidations.token(b"a", 0).is_some());
        invalidations.receive(&changed("b"));
        assert_eq!(invalidations.token(b"a", 0), None);
        assert!(invalidations.token(b"a", 1).is_some());
    }

    #[test]
    fn an_emptied_server_a_lost_connection_and_a_deaf_pool_are_seen_by_one_load() {
        let (tracker, received) = tracker();
        let table = Arc::clone(&tracker.tracking.table);
        let mut invalidations = up(&tracker);
        assert_eq!(invalidations.token(b"a", 0), None, "nobody subscribed yet");
        tracker.subscribed.set(true);
        invalidations.resume();
        let first = invalidations.token(b"a", 0).unwrap();
        assert!(table.is_valid(first));
        invalidations.receive(&[bulk("invalidate"), Reply::Nil]);
        assert!(!table.is_valid(first));
        assert_eq!(invalidations.token(b"a", 0), None, "read before");
        let second = invalidations.token(b"a", invalidations.count).unwrap();
        tracker.unsubscribed();
        invalidations.suspend();
        invalidations.resume();
        assert_eq!((table.is_valid(second), invalidations.token(b"a", invalidations.count)), (false, None));
        assert_eq!(*received.0.borrow(), ["tracking_lost", "tracking_lost"]);
        received.0.borrow_mut().clear();
        tracker.subscribed.set(true);
        invalidations.resume();
        let third = invalidations.token(b"a", invalidations.count).unwrap();
        drop(invalidations);
        assert!(!table.is_valid(third));
        assert_eq!(*received.0.borrow(), ["tracking_lost"]);
        let next = up(&tracker);
        let fourth = next.token(b"a", 0).unwrap();
        assert_eq!(fourth.slot, third.slot, "the seat is taken again");
        assert!(table.is_valid(fourth) && !table.is_valid(third));
    }

    /// A connection with room for so many commands.
    fn connect(tracker: &Rc<TrackingSupervisor>, commands: usize) -> Rc<Link> {
        let link = Link::new(Window { commands, bytes: 1024 });
        let invalidations = tracker.register(&link);
        link.with(|state| (state.invalidations, state.has_read) = (invalidations, true));
        link
    }

    fn is_known(link: &Rc<Link>, key: &[u8], received: u64) -> bool {
        TrackedVersion::new(Rc::clone(link), received).token(key).is_some()
    }

    #[tokio::test]
    async fn settled_is_what_has_answered_and_what_cannot_is_not_known() {
        let (tracker, received) = tracker();
        tracker.subscribed.set(true);
        let (quick, busy, ended) = (connect(&tracker, 4), connect(&tracker, 0), connect(&tracker, 4));
        ended.end(ReplyFailure::Closed);
        // Nothing was read here: it is not asked.
        let unused = connect(&tracker, 0);
        unused.with(|state| state.has_read = false);
        received.0.borrow_mut().clear();
        tokio::task::LocalSet::new()
            .run_until(async {
                let mut settling = std::pin::pin!(tracker.flush_invalidations());
                let mut poll = || settling.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(poll().is_pending());
                quick.with(|state| {
                    // What was on its way comes before the answer.
                    let received = state.invalidations.as_mut().unwrap().receive(&changed("a"));
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

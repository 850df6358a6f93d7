//! What one connection has received, and what of what was read over it is still so.
//!
//! A reply is remembered with how much invalidations there had been when it came. Whoever wants to keep it asks whether any of the invalidations
//! valid_from was of the same key: the last [`REDIS_NEWS_REMEMBERED`] are known by a digest, and more than that are of everything.
//!
//! **Always:** invalidations are processed before any reply that came after them is given away.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::state::TrackingState;
use super::table::{TrackingSlot, TrackingToken};
use crate::limits::REDIS_NEWS_REMEMBERED;
use crate::resp::Reply;

/// What one connection has received.
pub(in crate::redis) struct Invalidations {
    state: Rc<TrackingState>,
    slot: TrackingSlot,
    /// Digests of the last keys that changed, each at its number, counted round.
    recent: Vec<u64>,
    /// How many changes there have been.
    pub(in crate::redis) count: u64,
    /// What was read before this many is not to be trusted.
    valid_from: u64,
}

impl Invalidations {
    /// Claims a slot of the table; `None` if none is free.
    pub(in crate::redis) fn claim(state: &Rc<TrackingState>) -> Option<Self> {
        let slot = TrackingSlot::claim(Arc::clone(&state.options.table))?;
        if state.is_active() {
            slot.activate();
        }
        Some(Self { state: Rc::clone(state), slot, recent: Vec::new(), count: 0, valid_from: 0 })
    }

    /// Takes invalidations. Tells how many changes there have been.
    pub(in crate::redis) fn receive(&mut self, invalidations: &[Reply]) -> u64 {
        let listener = Rc::clone(&self.state.options.listener);
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
    pub(in crate::redis) fn suspend(&mut self) {
        self.slot.deactivate();
        self.count += 1;
        self.valid_from = self.count;
        self.recent.clear();
    }

    /// What is read from now on is tracked, if the pool subscribed.
    pub(in crate::redis) fn resume(&mut self) {
        if self.state.is_active() && self.slot.token().is_none() {
            self.slot.activate();
        }
    }

    /// The token for a reply that came after so many changes, if what it says of `key` is still so.
    pub(in crate::redis) fn token(&self, key: &[u8], received: u64) -> Option<TrackingToken> {
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
        self.state.options.listener.tracking_lost();
    }
}

/// The invalidations of one connection, if it tracks. Clones are the same; the borrow lasts for one call.
#[derive(Clone, Default)]
pub(in crate::redis) struct ConnectionInvalidations(Rc<RefCell<Option<Invalidations>>>);

impl ConnectionInvalidations {
    pub(in crate::redis) fn set(&self, invalidations: Invalidations) {
        self.0.replace(Some(invalidations));
    }

    pub(in crate::redis) fn clear(&self) {
        drop(self.0.take());
    }

    /// Returns whether the connection does not track.
    pub(in crate::redis) fn is_empty(&self) -> bool {
        self.0.borrow().is_none()
    }

    /// Handles a push. Returns how many invalidations the connection has received; 0 if it does not track.
    pub(in crate::redis) fn receive(&self, push: &[Reply]) -> u64 {
        self.0.borrow_mut().as_mut().map_or(0, |invalidations| invalidations.receive(push))
    }

    pub(in crate::redis) fn suspend(&self) {
        self.0.borrow_mut().iter_mut().for_each(Invalidations::suspend);
    }

    pub(in crate::redis) fn resume(&self) {
        self.0.borrow_mut().iter_mut().for_each(Invalidations::resume);
    }
}

/// Where the change with this number is remembered.
fn ring_index(number: u64) -> usize {
    usize::try_from(number % REDIS_NEWS_REMEMBERED as u64).unwrap_or_default()
}

/// What is known of a value that was read: how much invalidations the connection had brought when the reply came.
#[derive(Clone)]
pub struct TrackedVersion {
    /// The connection's invalidations, if it may track.
    invalidations: Option<ConnectionInvalidations>,
    received: u64,
}

impl TrackedVersion {
    pub(in crate::redis) fn new(invalidations: ConnectionInvalidations, received: u64) -> Self {
        Self { invalidations: Some(invalidations), received }
    }

    /// Of a value of which nobody brings invalidations.
    pub(in crate::redis) fn untracked() -> Self {
        Self { invalidations: None, received: 0 }
    }

    /// The token for what was read of `key`, unless invalidations of it have come meanwhile. To be asked at the moment at which
    /// the value is remembered, with nothing awaited between: later invalidations find what they are about.
    pub fn token(&self, key: &[u8]) -> Option<TrackingToken> {
        self.invalidations.as_ref()?.0.borrow().as_ref()?.token(key, self.received)
    }
}

impl std::fmt::Debug for TrackedVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrackedVersion").field("received", &self.received).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::redis::{TrackingListener, TrackingOptions, TrackingTable};

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

    /// A pool that is subscribed.
    fn subscribed() -> (Rc<TrackingState>, Rc<RecordingListener>) {
        let listener = Rc::<RecordingListener>::default();
        let received = Rc::clone(&listener);
        let state = TrackingState::new(TrackingOptions::new(TrackingTable::new(), listener, Vec::new()));
        state.subscribed.set(true);
        (state, received)
    }

    #[test]
    fn what_was_read_is_true_until_there_is_news_of_it() {
        let (state, received) = subscribed();
        let mut invalidations = Invalidations::claim(&state).unwrap();
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
        let (state, _) = subscribed();
        let mut invalidations = Invalidations::claim(&state).unwrap();
        for _ in 0..REDIS_NEWS_REMEMBERED {
            invalidations.receive(&changed("b"));
        }
        assert!(invalidations.token(b"a", 0).is_some());
        invalidations.receive(&changed("b"));
        assert_eq!(invalidations.token(b"a", 0), None);
        assert!(invalidations.token(b"a", 1).is_some());
    }
}

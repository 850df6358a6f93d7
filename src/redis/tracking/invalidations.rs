//! The invalidations that one connection has received, and which earlier replies are still valid.
//!
//! A reply is kept with the number of invalidations that had arrived before it. To cache it, the
//! caller checks that none of the later ones named its key: the last
//! [`REDIS_INVALIDATIONS_REMEMBERED`] are known by a digest, and if there were more the reply
//! counts as invalidated.
//!
//! **Always:** invalidations are processed before any reply that arrived after them is delivered.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::options::TrackingState;
use super::table::{TrackingSlot, TrackingToken};
use crate::limits::REDIS_INVALIDATIONS_REMEMBERED;
use crate::resp::Reply;

/// The invalidations of one connection.
pub(in crate::redis) struct Invalidations {
    state: Rc<TrackingState>,
    slot: TrackingSlot,
    /// A ring of the digests of the last invalidated keys, each at its number.
    recent: Vec<u64>,
    /// The number of invalidations so far.
    pub(in crate::redis) count: u64,
    /// Replies before this number no longer count as tracked.
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

    /// Handles a push. Returns the number of invalidations so far.
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
            // `FLUSHALL` or `FLUSHDB`.
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

    /// Invalidates all earlier replies, and later ones until it [resumes](Self::resume).
    pub(in crate::redis) fn suspend(&mut self) {
        self.slot.deactivate();
        self.count += 1;
        self.valid_from = self.count;
        self.recent.clear();
    }

    /// Counts later replies as tracked, if the pool is subscribed to a trusted server.
    pub(in crate::redis) fn resume(&mut self) {
        if self.state.is_active() && self.slot.token().is_none() {
            self.slot.activate();
        }
    }

    /// Returns the token for a reply that arrived after `received` invalidations, if `key` was not
    /// invalidated since.
    pub(in crate::redis) fn token(&self, key: &[u8], received: u64) -> Option<TrackingToken> {
        let unseen = usize::try_from(self.count.checked_sub(received)?).ok()?;
        if received < self.valid_from || unseen > REDIS_INVALIDATIONS_REMEMBERED.min(self.recent.len()) {
            return None;
        }
        let digest = xxh3_64(key);
        let changed =
            (received..self.count).any(|number| self.recent.get(ring_index(number)) == Some(&digest));
        if changed { None } else { self.slot.token() }
    }

    fn changed(&mut self, digest: u64) {
        // The ring is allocated with the first invalidation.
        if self.recent.len() < REDIS_INVALIDATIONS_REMEMBERED {
            self.recent.resize(REDIS_INVALIDATIONS_REMEMBERED, 0);
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

/// The invalidations of one connection, if it tracks. Clones are the same; a borrow lasts for one
/// call.
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

    /// Handles a push. Returns the number of invalidations so far; 0 if the connection does not
    /// track.
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

/// Returns the index of an invalidation in the ring.
fn ring_index(number: u64) -> usize {
    usize::try_from(number % REDIS_INVALIDATIONS_REMEMBERED as u64).unwrap_or_default()
}

/// The version of a reply: the number of invalidations that had arrived before it.
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

    /// The version of a reply that is not tracked.
    pub(in crate::redis) fn untracked() -> Self {
        Self { invalidations: None, received: 0 }
    }

    /// Returns the token for a reply about `key`, unless `key` was invalidated meanwhile. Call it
    /// when the value is cached, with no await in between: later invalidations then find the cached
    /// value.
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
    use super::*;
    use crate::redis::tracking::recording::{RecordingListener, bulk, changed};
    use crate::redis::{TrackingOptions, TrackingTable};

    /// A pool that is subscribed.
    fn subscribed() -> (Rc<TrackingState>, Rc<RecordingListener>) {
        let listener = Rc::<RecordingListener>::default();
        let received = Rc::clone(&listener);
        let state = TrackingState::new(TrackingOptions::new(TrackingTable::new(), listener, Vec::new()));
        state.subscribed.set(true);
        (state, received)
    }

    #[test]
    fn a_reply_is_valid_until_its_key_is_invalidated() {
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
    fn too_many_invalidations_invalidate_every_earlier_reply() {
        let (state, _) = subscribed();
        let mut invalidations = Invalidations::claim(&state).unwrap();
        for _ in 0..REDIS_INVALIDATIONS_REMEMBERED {
            invalidations.receive(&changed("b"));
        }
        assert!(invalidations.token(b"a", 0).is_some());
        invalidations.receive(&changed("b"));
        assert_eq!(invalidations.token(b"a", 0), None);
        assert!(invalidations.token(b"a", 1).is_some());
    }
}

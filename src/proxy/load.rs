//! How much this process has taken on: requests that wait for an answer, and bytes of bodies on their way.
//!
//! A bound on each keeps memory flat and the admitted requests' tail short, however many ask: what is beyond is refused at
//! once, or answered with something stale where the policy lets it, and a body streams through without being kept. An
//! answer from memory takes no place here and pays nothing; everything else pays for two additions to a counter that all
//! workers share.
//!
//! **Always:** what was counted is counted back, when the place or the body is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What all workers have taken on. Clones are the same.
///
/// The counters order nothing: what they bound is memory that each thread has for itself, so relaxed accesses do.
#[derive(Clone, Debug)]
pub(super) struct Load(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    requests: AtomicUsize,
    requests_max: usize,
    body_bytes: AtomicUsize,
    body_bytes_max: usize,
}

/// One request's place. It ends with the head of the answer.
#[derive(Debug)]
pub(super) struct Place(Load);

/// The bytes that one body holds.
#[derive(Debug)]
pub(super) struct Held {
    load: Load,
    bytes: usize,
}

impl Load {
    /// Nothing yet.
    pub(super) fn new(requests_max: usize, body_bytes_max: usize) -> Self {
        Self(Arc::new(Counts {
            requests: AtomicUsize::new(0),
            requests_max,
            body_bytes: AtomicUsize::new(0),
            body_bytes_max,
        }))
    }

    /// A place for one more request, if there is one.
    pub(super) fn enter(&self) -> Option<Place> {
        let before = self.0.requests.fetch_add(1, Ordering::Relaxed);
        // Made in any case, so that what was added is taken off again.
        let place = Place(self.clone());
        (before < self.0.requests_max).then_some(place)
    }

    /// Requests that have a place.
    pub(super) fn requests(&self) -> usize {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Bytes that bodies hold.
    pub(super) fn body_bytes(&self) -> usize {
        self.0.body_bytes.load(Ordering::Relaxed)
    }

    /// Whether bodies hold as much as they may.
    pub(super) fn is_full_of_bodies(&self) -> bool {
        self.body_bytes() > self.0.body_bytes_max
    }

    /// A body that holds nothing yet.
    pub(super) fn hold(&self) -> Held {
        Held { load: self.clone(), bytes: 0 }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Held {
    /// It holds so many now.
    pub(super) fn set(&mut self, bytes: usize) {
        let counter = &self.load.0.body_bytes;
        if bytes >= self.bytes {
            counter.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            counter.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let load = Load::new(2, 0);
        let (first, second) = (load.enter().unwrap(), load.enter().unwrap());
        assert!(load.enter().is_none() && load.enter().is_none());
        assert_eq!(load.requests(), 2, "those that were refused are not counted");
        drop(first);
        assert!(load.enter().is_some());
        drop(second);
        assert_eq!(load.requests(), 0);
    }

    #[test]
    fn bytes_are_counted_up_and_down_and_back() {
        let load = Load::new(0, 10);
        let (mut one, mut two) = (load.hold(), load.hold());
        one.set(8);
        two.set(2);
        assert!(!load.is_full_of_bodies());
        two.set(3);
        assert!(load.is_full_of_bodies());
        one.set(1);
        assert_eq!(load.body_bytes(), 4);
        drop((one, two));
        assert_eq!(load.body_bytes(), 0);
    }
}

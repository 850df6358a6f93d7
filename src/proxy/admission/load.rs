//! How much this process has taken on: requests that wait for an answer, and bytes of bodies on
//! their way.
//!
//! A bound on each keeps memory flat and the admitted requests' tail short, however many ask: what
//! is beyond is refused at once, or answered with something stale where the policy lets it, and a
//! body streams through without being kept. An answer from memory takes no place here and pays
//! nothing; everything else pays for two additions to a counter that all workers share.
//!
//! **Always:** what was counted is counted back, when the place or the body is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::client_address::{AddressLimiter, AddressPermit, ClientNetwork};

/// What all workers have taken on. Clones are the same.
///
/// The counters order nothing: what they bound is memory that each thread has for itself, so
/// relaxed accesses do.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct LoadLimiter {
    counts: Arc<LoadCounts>,
    addresses: AddressLimiter,
}

#[derive(Debug)]
struct LoadCounts {
    requests: AtomicUsize,
    requests_max: usize,
    body_bytes: AtomicUsize,
    body_bytes_max: usize,
}

/// The place and the permit of an admitted request.
#[derive(Debug)]
pub(in crate::proxy) struct AdmittedRequest {
    /// Until the head of its answer.
    pub(in crate::proxy) place: RequestPermit,
    /// Until the end of its answer.
    pub(in crate::proxy) of_address: AddressPermit,
}

crate::labels! {
    /// The reason for which a request is not admitted.
    pub(in crate::proxy) enum OverloadReason {
        /// As many requests wait as may: `max_requests`.
        Full => "max-requests",
        /// Its client address has as many as it may: `max_requests_per_address`.
        PerAddress => "per-address-limit",
    }
}

/// One request's place. It ends with the head of the answer.
#[derive(Debug)]
pub(in crate::proxy) struct RequestPermit(Arc<LoadCounts>);

/// The bytes that one body holds.
#[derive(Debug)]
pub(in crate::proxy) struct HeldBytes {
    counts: Arc<LoadCounts>,
    bytes: usize,
}

impl LoadLimiter {
    /// Nothing yet.
    pub(in crate::proxy) fn new(
        requests_max: usize,
        requests_per_address_max: Option<usize>,
        body_bytes_max: usize,
    ) -> Self {
        let counts = Arc::new(LoadCounts {
            requests: AtomicUsize::new(0),
            requests_max,
            body_bytes: AtomicUsize::new(0),
            body_bytes_max,
        });
        Self { counts, addresses: AddressLimiter::new(requests_per_address_max) }
    }

    /// Admits one more request of this client, if there is room.
    pub(in crate::proxy) fn admit(&self, client: ClientNetwork) -> Result<AdmittedRequest, OverloadReason> {
        let of_address = self.admit_of_address(client)?;
        let before = self.counts.requests.fetch_add(1, Ordering::Relaxed);
        // Made in any case, so that what was added is taken off again.
        let place = RequestPermit(Arc::clone(&self.counts));
        if before < self.counts.requests_max {
            Ok(AdmittedRequest { place, of_address })
        } else {
            Err(OverloadReason::Full)
        }
    }

    /// Admits an answer or a tunnel, which waits for nothing and yet holds something.
    pub(in crate::proxy) fn admit_of_address(
        &self,
        client: ClientNetwork,
    ) -> Result<AddressPermit, OverloadReason> {
        self.addresses.enter(client).ok_or(OverloadReason::PerAddress)
    }

    /// Requests that have a place.
    pub(in crate::proxy) fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// Bytes that bodies hold.
    pub(in crate::proxy) fn body_bytes(&self) -> usize {
        self.counts.body_bytes.load(Ordering::Relaxed)
    }

    /// Whether bodies hold as much as they may.
    pub(in crate::proxy) fn is_full_of_bodies(&self) -> bool {
        self.body_bytes() > self.counts.body_bytes_max
    }

    /// A body that holds nothing yet.
    pub(in crate::proxy) fn hold(&self) -> HeldBytes {
        HeldBytes { counts: Arc::clone(&self.counts), bytes: 0 }
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HeldBytes {
    /// It holds so many now.
    pub(in crate::proxy) fn set(&mut self, bytes: usize) {
        let counter = &self.counts.body_bytes;
        if bytes >= self.bytes {
            counter.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            counter.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let load = LoadLimiter::new(2, None, 0);
        let admit = || load.admit(client(1));
        let (first, second) = (admit().unwrap(), admit().unwrap());
        assert!(admit().is_err() && admit().is_err());
        assert_eq!(load.requests(), 2, "those that were refused are not counted");
        drop(first);
        assert!(admit().is_ok());
        drop(second);
        assert_eq!(load.requests(), 0);
    }

    fn client(last: u8) -> ClientNetwork {
        IpAddr::from([192, 0, 2, last]).into()
    }

    #[test]
    fn an_address_that_has_its_permits_takes_no_place_of_others() {
        let load = LoadLimiter::new(3, Some(2), 0);
        let held = [load.admit(client(1)).unwrap(), load.admit(client(1)).unwrap()];
        assert_eq!(load.admit(client(1)).unwrap_err(), OverloadReason::PerAddress);
        let other = load.admit(client(2)).unwrap();
        assert_eq!(load.admit(client(2)).unwrap_err(), OverloadReason::Full);
        let [AdmittedRequest { place, of_address }, _] = held;
        drop(place);
        assert_eq!(load.admit(client(1)).unwrap_err(), OverloadReason::PerAddress, "its answer is not read");
        drop(of_address);
        assert!(load.admit(client(1)).is_ok());
        drop(other);
    }

    #[test]
    fn bytes_are_counted_up_and_down_and_back() {
        let load = LoadLimiter::new(0, None, 10);
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

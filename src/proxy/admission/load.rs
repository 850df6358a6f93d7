//! Load limits of this process: requests that wait for an answer, and body bytes of fetches in
//! progress.
//!
//! A limit on each bounds memory and keeps the latency of admitted requests short under overload. A
//! request above its limit is refused at once, or answered stale where the policy allows it. A body
//! above its limit is relayed without being kept. An answer from memory takes no permit and pays
//! nothing. Every other request costs two additions to a counter that all workers share.
//!
//! **Always:** dropping a permit or a body subtracts everything that it added.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::client_address::{AddressLimiter, AddressPermit, ClientNetwork};

/// The load counters of all workers. Clones share the counters.
///
/// The counters order no other memory access, so relaxed accesses suffice.
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

/// The permits of an admitted request.
#[derive(Debug)]
pub(in crate::proxy) struct AdmittedRequest {
    /// Held until the response head.
    pub(in crate::proxy) permit: RequestPermit,
    /// Held until the end of the response.
    pub(in crate::proxy) address_permit: AddressPermit,
}

crate::labels! {
    /// The reason for which a request is not admitted.
    pub(in crate::proxy) enum OverloadReason {
        /// `max_pending_requests` requests are waiting.
        Full => "max-requests",
        /// The client address has `max_requests_per_address` requests in progress.
        PerAddress => "per-address-limit",
    }
}

/// A permit of one waiting request. It ends with the response head.
#[derive(Debug)]
pub(in crate::proxy) struct RequestPermit(Arc<LoadCounts>);

/// The bytes that one body holds.
#[derive(Debug)]
pub(in crate::proxy) struct HeldBytes {
    counts: Arc<LoadCounts>,
    bytes: usize,
}

impl LoadLimiter {
    /// Creates counters at zero.
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

    /// Admits one more request of this client, if both limits allow it.
    pub(in crate::proxy) fn admit(&self, client: ClientNetwork) -> Result<AdmittedRequest, OverloadReason> {
        let address_permit = self.admit_address(client)?;
        let before = self.counts.requests.fetch_add(1, Ordering::Relaxed);
        // The permit is created in either case, so that a drop reverses the addition.
        let permit = RequestPermit(Arc::clone(&self.counts));
        if before < self.counts.requests_max {
            Ok(AdmittedRequest { permit, address_permit })
        } else {
            Err(OverloadReason::Full)
        }
    }

    /// Admits a response or a tunnel: it waits for nothing, but it holds memory or a connection.
    pub(in crate::proxy) fn admit_address(
        &self,
        client: ClientNetwork,
    ) -> Result<AddressPermit, OverloadReason> {
        self.addresses.enter(client).ok_or(OverloadReason::PerAddress)
    }

    /// Returns the number of requests that hold a permit.
    pub(in crate::proxy) fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// Returns the number of bytes that bodies hold.
    pub(in crate::proxy) fn body_bytes(&self) -> usize {
        self.counts.body_bytes.load(Ordering::Relaxed)
    }

    /// Returns whether bodies hold more bytes than the limit.
    pub(in crate::proxy) fn is_full_of_bodies(&self) -> bool {
        self.body_bytes() > self.counts.body_bytes_max
    }

    /// Creates the count of a body that holds no bytes yet.
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
    /// Sets the number of bytes that the body holds now.
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
    fn request_permits_are_limited_and_returned() {
        let load = LoadLimiter::new(2, None, 0);
        let admit = || load.admit(client(1));
        let (first, second) = (admit().unwrap(), admit().unwrap());
        assert!(admit().is_err() && admit().is_err());
        assert_eq!(load.requests(), 2, "refused requests are not counted");
        drop(first);
        assert!(admit().is_ok());
        drop(second);
        assert_eq!(load.requests(), 0);
    }

    fn client(last: u8) -> ClientNetwork {
        IpAddr::from([192, 0, 2, last]).into()
    }

    #[test]
    fn the_address_limit_leaves_permits_to_other_addresses() {
        let load = LoadLimiter::new(3, Some(2), 0);
        let held = [load.admit(client(1)).unwrap(), load.admit(client(1)).unwrap()];
        assert_eq!(load.admit(client(1)).unwrap_err(), OverloadReason::PerAddress);
        let other = load.admit(client(2)).unwrap();
        assert_eq!(load.admit(client(2)).unwrap_err(), OverloadReason::Full);
        let [AdmittedRequest { permit, address_permit }, _] = held;
        drop(permit);
        assert_eq!(
            load.admit(client(1)).unwrap_err(),
            OverloadReason::PerAddress,
            "its response is not read yet"
        );
        drop(address_permit);
        assert!(load.admit(client(1)).is_ok());
        drop(other);
    }

    #[test]
    fn body_bytes_follow_every_change_and_drop() {
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

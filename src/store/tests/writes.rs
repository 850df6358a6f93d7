//! A write at a node, as `proxy/pass.rs` invalidates what an unsafe request has changed: by a
//! tombstone, without a sync (RFC 9111 §4.4).

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::origin::{Origin, Shown, key, response, tags};
use crate::entry::KeyGeneration;
use crate::store::{PurgeScope, Store};
use crate::time::{self, instant};

/// An unsafe request for a resource.
#[derive(Clone)]
pub(super) struct SimulatedWrite {
    pub(super) node: usize,
    pub(super) resource: usize,
    pub(super) origin: Rc<Origin>,
    pub(super) begin: std::time::Instant,
    /// The time until the origin changes its state, and the time until its answer arrives.
    pub(super) origin_takes: [Duration; 2],
    /// The lifetime of the answer, if the cache may store it for later requests.
    pub(super) stored_for: Option<Duration>,
}

impl SimulatedWrite {
    /// Writes, and invalidates; returns the version that the write has made.
    pub(super) async fn answer(self, store: Rc<Store>) -> u64 {
        let key = key(self.resource);
        let before = store.permit(&key, KeyGeneration::NONE);
        sleep(self.origin_takes[0]).await;
        let received = time::now();
        let version = self.origin.write(&[PurgeScope::Url(key)]).first().map_or(0, |(_, version)| *version);
        sleep(self.origin_takes[1]).await;
        let stored_for = self.stored_for.filter(|_| !before.is_superseded());
        store.supersede(&key);
        let Some(lifetime) = stored_for else {
            store.write_tombstone(&key, KeyGeneration::new()).await;
            return version;
        };
        let permit = store.renew(before);
        if let Some(permit) = store.replace_by_own(permit, received).await {
            let shown = Shown { version, node: self.node, fetched: time::millis(instant() - self.begin) };
            let stored = response(shown, lifetime, time::now());
            let _ = store.put(&key, &stored, &tags(self.resource), lifetime, &permit).await;
        }
        version
    }
}

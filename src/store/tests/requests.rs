//! The path of a request above the store, as `proxy/fetch/` has it, without HTTP: a lookup, a
//! shared fetch, a lease, a put.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use super::origin::{Origin, Shown, fresh, key, response, tags, target};
use super::planted::PlantedFault;
use crate::store::{Completeness, FetchStart, LeaseTurn, Lookup, MemoryUse, Store};
use crate::time::{self, instant};

/// The longest wait for another node's lease.
const LEASE_WAIT_MAX: Duration = Duration::from_millis(2500);

/// A request for a resource.
#[derive(Clone)]
pub(super) struct SimulatedRequest {
    pub(super) node: usize,
    pub(super) resource: usize,
    pub(super) origin: Rc<Origin>,
    /// The shared fetches of its node.
    pub(super) fetches: SharedFetches,
    pub(super) begin: std::time::Instant,
    /// The time until the origin reads its state, and the time until its answer arrives.
    pub(super) origin_takes: [Duration; 2],
    pub(super) lifetime: Duration,
    pub(super) leases: FleetLeases,
    pub(super) planted: Option<PlantedFault>,
}

/// Whether fetches take the fleet's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FleetLeases {
    Taken,
    Off,
}

/// The fetches under way of one node, by resource.
pub(super) type SharedFetches = Rc<RefCell<BTreeMap<usize, SharedFetch>>>;

#[derive(Clone)]
pub(super) struct SharedFetch {
    start: FetchStart,
    outcome: Rc<SharedOutcome>,
}

/// The outcome of a fetch, for its followers.
#[derive(Default)]
struct SharedOutcome {
    shown: Cell<Option<Shown>>,
    has_ended: Cell<bool>,
    changed: Notify,
}

impl SharedOutcome {
    fn publish(&self, shown: Shown) {
        self.shown.set(Some(shown));
        self.changed.notify_waiters();
    }
}

/// The source of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerSource {
    Stored,
    /// The request's own fetch.
    Origin,
    /// A fetch of another request of the node.
    Shared,
}

impl SimulatedRequest {
    /// Answers the request.
    pub(super) async fn answer(self, store: Rc<Store>) -> (Shown, AnswerSource) {
        if let Some(found) =
            store.find_in_memory(&key(self.resource), &target(self.resource), MemoryUse::Usual)
            && let Some(shown) = fresh(&found.stored)
        {
            return (shown, AnswerSource::Stored);
        }
        let lookup = self.find(&store).await;
        if let Some(shown) = found(&lookup) {
            return (shown, AnswerSource::Stored);
        }
        if let Some(shared) = self.joined(&lookup)
            && let Some(shown) = shared.shown().await
        {
            return (shown, AnswerSource::Shared);
        }
        self.fetch(store, lookup).await
    }

    async fn find(&self, store: &Store) -> Lookup {
        store.find(&key(self.resource), &target(self.resource), MemoryUse::Usual).await
    }

    /// Returns the fetch under way that this request may share.
    fn joined(&self, lookup: &Lookup) -> Option<SharedFetch> {
        let shared = self.fetches.borrow().get(&self.resource).cloned()?;
        let seen = (lookup.completeness == Completeness::Complete).then_some(lookup.key_generation);
        shared.start.answers(seen).then_some(shared)
    }

    async fn fetch(self, store: Rc<Store>, lookup: Lookup) -> (Shown, AnswerSource) {
        let mut permit = store.permit(&key(self.resource), lookup.key_generation);
        let outcome = Rc::<SharedOutcome>::default();
        let shared = SharedFetch { start: permit.fetch_start(), outcome: Rc::clone(&outcome) };
        self.fetches.borrow_mut().insert(self.resource, shared.clone());
        // Dropped before the permit: without it, nothing notes a purge.
        let _listed = ListedFetch { fetches: Rc::clone(&self.fetches), resource: self.resource, shared };
        let mut held = None;
        if self.leases == FleetLeases::Taken {
            match store.request_lease(&key(self.resource), "all", &permit, LEASE_WAIT_MAX).await {
                LeaseTurn::Held(lease) => held = Some(lease),
                LeaseTurn::StillHeld(_) | LeaseTurn::Unavailable => {}
                LeaseTurn::Ended => {}
            }
            // Another node may have stored a response meanwhile.
            if let Some(shown) = found(&self.find(&store).await) {
                outcome.publish(shown);
                return (shown, AnswerSource::Stored);
            }
        }
        self.origin.fetches.set(self.origin.fetches.get() + 1);
        sleep(self.origin_takes[0]).await;
        let version = self.origin.version(self.resource);
        sleep(self.origin_takes[1]).await;
        let fetched = time::millis(instant() - self.begin);
        let shown = Shown { version, node: self.node, fetched };
        outcome.publish(shown);
        if held.is_some() && self.planted == Some(PlantedFault::StoredWithoutPermit) {
            permit = store.permit(&key(self.resource), self.find(&store).await.key_generation);
        }
        let stored = response(shown, self.lifetime, time::now());
        let _ = store.put(&key(self.resource), &stored, &tags(self.resource), self.lifetime, &permit).await;
        drop(held);
        (shown, AnswerSource::Origin)
    }
}

/// The entry of a fetch in the table; it ends with the fetch.
struct ListedFetch {
    fetches: SharedFetches,
    resource: usize,
    shared: SharedFetch,
}

impl Drop for ListedFetch {
    fn drop(&mut self) {
        let mut fetches = self.fetches.borrow_mut();
        let is_listed = |listed: &SharedFetch| Rc::ptr_eq(&listed.outcome, &self.shared.outcome);
        if fetches.get(&self.resource).is_some_and(is_listed) {
            fetches.remove(&self.resource);
        }
        self.shared.outcome.has_ended.set(true);
        self.shared.outcome.changed.notify_waiters();
    }
}

impl SharedFetch {
    /// Returns the outcome; `None` if the fetch ended without one.
    async fn shown(self) -> Option<Shown> {
        let SharedOutcome { shown, has_ended, changed } = &*self.outcome;
        loop {
            let changed = changed.notified();
            if shown.get().is_some() || has_ended.get() {
                return shown.get();
            }
            changed.await;
        }
    }
}

fn found(lookup: &Lookup) -> Option<Shown> {
    lookup.found.as_ref().and_then(|found| fresh(&found.stored))
}

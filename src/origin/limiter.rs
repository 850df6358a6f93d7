//! Whose turn it is at the origin: the bound ([`ConcurrencyLimit`]), a queue in front of it, and
//! the [`OriginBreaker`].
//!
//! A request takes a turn before it looks for a connection and keeps it until its answer is whole.
//! If all turns are taken it waits, first come first served, for as long as [`QueueTimeout`] says
//! and behind no more than [`ORIGIN_QUEUE_MAX`] others: what would wait longer is refused at once,
//! while somebody still waits for the refusal. All of it belongs to one worker: no lock, and with a
//! turn free, no wait and no allocation.
//!
//! One client address takes all but one in [`ORIGIN_RESERVED_SHARE`] of the turns and of the queue.
//! A turn that ends goes to the address that holds the least of those that wait, and there to the
//! first.
//!
//! **Always:** a turn that ends, in whatever way, is given to the next or is free again; while one
//! is free, all who wait are of addresses that have their share.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use http::StatusCode;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::breaker::{BreakerOpened, BreakerVerdict, FailedPart, OriginBreaker};
use super::limit::{ConcurrencyLimit, LimitLowered};
use super::metrics::Metrics;
use super::queue_timeout::QueueTimeout;
use super::signs::{Resource, Signs};
use super::{AddressShare, FaultParty, FetchError, FetchPhase, Options};
use crate::client_address::ClientNetwork;
use crate::limits::{ORIGIN_QUEUE_MAX, ORIGIN_RESERVED_SHARE};

/// The turns of one worker. Clones are the same.
#[derive(Clone)]
pub(super) struct OriginLimiter(Rc<LimiterState>);

struct LimiterState {
    limit: Cell<ConcurrencyLimit>,
    signs: RefCell<Signs>,
    breaker: Cell<OriginBreaker>,
    under_way: Cell<usize>,
    /// Who waits, the first first; those who gave up are passed over.
    waiting: RefCell<VecDeque<WaitingRequest>>,
    /// The places of each client address that has any.
    held: RefCell<HashMap<ClientNetwork, usize>>,
    address_share: AddressShare,
    patience: Cell<QueueTimeout>,
    metrics: Rc<Metrics>,
}

/// A place among those that are under way; dropping it gives it to the next.
struct PermitSlot {
    inner: Rc<LimiterState>,
    asker: ClientNetwork,
}

/// A request that waits for a place.
struct WaitingRequest {
    asker: ClientNetwork,
    place: oneshot::Sender<PermitSlot>,
}

/// The right to ask the origin once. To be told what came of it.
pub(super) struct OriginPermit {
    place: PermitSlot,
    verdict: BreakerVerdict,
    began: Instant,
    resource: Resource,
    /// Whether what came of it has been told.
    told: Reported,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reported {
    Yes,
    No,
}

impl OriginLimiter {
    /// All are free.
    pub(super) fn new(options: &Options, metrics: Rc<Metrics>) -> Self {
        let limit = ConcurrencyLimit::new(options.connections_max);
        metrics.limited(limit.allows());
        Self(Rc::new(LimiterState {
            limit: Cell::new(limit),
            signs: RefCell::new(Signs::new(Instant::now())),
            breaker: Cell::new(OriginBreaker::new()),
            under_way: Cell::new(0),
            waiting: RefCell::default(),
            held: RefCell::default(),
            address_share: options.address_share,
            patience: Cell::new(QueueTimeout::new(options.queue_timeout)),
            metrics,
        }))
    }

    /// Waits for a turn of this client, if that can be.
    ///
    /// Cancel safe: dropping it gives up the place in the queue.
    pub(super) async fn take(&self, asker: ClientNetwork, now: Instant) -> Result<OriginPermit, FetchError> {
        if self.0.breaker.get().refuses(now) {
            return Err(FetchError::BreakerOpen);
        }
        let (place, began) = match self.0.enter(asker) {
            Some(place) => (place, now),
            None => (Box::pin(self.wait(asker, now)).await?, Instant::now()),
        };
        let mut breaker = self.0.breaker.get();
        let verdict = breaker.admit(began);
        self.0.breaker.set(breaker);
        match verdict {
            BreakerVerdict::Pass | BreakerVerdict::Probe => {
                Ok(OriginPermit { place, verdict, began, resource: Resource::default(), told: Reported::No })
            }
            BreakerVerdict::Refuse => Err(FetchError::BreakerOpen),
        }
    }

    async fn wait(&self, asker: ClientNetwork, now: Instant) -> Result<PermitSlot, FetchError> {
        let (turn, granted) = oneshot::channel();
        {
            let mut waiting = self.0.waiting.borrow_mut();
            if waiting.len() >= ORIGIN_QUEUE_MAX {
                waiting.retain(|waiter| !waiter.place.is_closed());
            }
            let is_of_asker = |waiter: &&WaitingRequest| waiter.asker == asker && !waiter.place.is_closed();
            if waiting.len() >= ORIGIN_QUEUE_MAX
                || waiting.iter().filter(is_of_asker).count() >= self.0.share_of(ORIGIN_QUEUE_MAX)
                || !self.0.patience.get().is_any()
            {
                return Err(FetchError::QueueFull);
            }
            waiting.push_back(WaitingRequest { asker, place: turn });
            self.0.metrics.waiting(waiting.len());
        }
        let places = self.0.limit.get().allows();
        let longest = self.0.change_patience(|patience| patience.of_another(places, now));
        match timeout(longest, granted).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => {
                self.0.change_patience(|patience| patience.exhausted(Instant::now()));
                Err(FetchError::QueueTimeout)
            }
        }
    }
}

impl LimiterState {
    /// A place, if one is free and the client has not its share. All who wait while one is free
    /// have theirs.
    fn enter(self: &Rc<Self>, asker: ClientNetwork) -> Option<PermitSlot> {
        let allowed = self.limit.get().allows();
        let free = self.under_way.get() < allowed;
        (free && self.held_by(asker) < self.share_of(allowed)).then(|| self.place(asker))
    }

    fn place(self: &Rc<Self>, asker: ClientNetwork) -> PermitSlot {
        self.under_way.set(self.under_way.get() + 1);
        *self.held.borrow_mut().entry(asker).or_insert(0) += 1;
        PermitSlot { inner: Rc::clone(self), asker }
    }

    fn held_by(&self, asker: ClientNetwork) -> usize {
        self.held.borrow().get(&asker).copied().unwrap_or_default()
    }

    /// The share of one client address in these places.
    fn share_of(&self, places: usize) -> usize {
        match self.address_share {
            AddressShare::Bounded => places - places / ORIGIN_RESERVED_SHARE,
            AddressShare::Whole => places,
        }
    }

    /// Gives free places to those who wait.
    fn call_next(self: &Rc<Self>) {
        while self.under_way.get() < self.limit.get().allows() {
            let Some(next) = self.next_waiter() else { break };
            // One who gave up has no use for it.
            if !next.place.is_closed() {
                drop(next.place.send(self.place(next.asker)));
            }
        }
        let waiting = self.waiting.borrow().len();
        if waiting == 0 {
            self.change_patience(QueueTimeout::all_gone);
        }
        self.metrics.waiting(waiting);
    }

    /// The first of those whose address holds the least, unless that is its share.
    fn next_waiter(&self) -> Option<WaitingRequest> {
        let mut waiting = self.waiting.borrow_mut();
        let share = self.share_of(self.limit.get().allows());
        let mut next: Option<(usize, usize)> = None;
        // Neighbours are mostly of one address.
        let mut last: Option<(ClientNetwork, usize)> = None;
        for (number, waiter) in waiting.iter().enumerate() {
            let held = match last {
                _ if waiter.place.is_closed() => 0,
                Some((asker, held)) if asker == waiter.asker => held,
                Some(_) | None => self.held_by(waiter.asker),
            };
            last = Some((waiter.asker, held)).filter(|_| !waiter.place.is_closed());
            if held < share && next.is_none_or(|(_, least)| held < least) {
                next = Some((number, held));
            }
            if next.is_some_and(|(_, least)| least == 0) {
                break;
            }
        }
        waiting.remove(next?.0)
    }

    fn change_patience<T>(&self, change: impl FnOnce(&mut QueueTimeout) -> T) -> T {
        let mut patience = self.patience.get();
        let said = change(&mut patience);
        self.patience.set(patience);
        said
    }
}

impl Drop for PermitSlot {
    fn drop(&mut self) {
        self.inner.under_way.set(self.inner.under_way.get().saturating_sub(1));
        if let Entry::Occupied(mut held) = self.inner.held.borrow_mut().entry(self.asker) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
        self.inner.call_next();
    }
}

impl OriginPermit {
    /// Since when it is.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// The request is for this path.
    pub(super) fn asks_for(&mut self, path: &str) {
        self.resource = self.place.inner.signs.borrow().resource(path);
    }

    /// The head of an answer came.
    pub(super) fn answered(&mut self, status: StatusCode, now: Instant) {
        self.told = Reported::Yes;
        let inner = &self.place.inner;
        inner.change_patience(|patience| patience.took(now.saturating_duration_since(self.began)));
        let mut breaker = inner.breaker.get();
        breaker.answered();
        inner.breaker.set(breaker);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            inner.gave_sign(self, now);
        } else {
            inner.signs.borrow_mut().answered(self.resource, now);
            inner.change_limit(|limit, under_way| limit.answered(under_way, now));
        }
    }

    /// None came.
    pub(super) fn failed(&mut self, error: &FetchError) {
        let inner = &self.place.inner;
        if error.fault() != FaultParty::Origin {
            return;
        }
        self.told = Reported::Yes;
        let failed = match error.phase() {
            FetchPhase::Resolve | FetchPhase::Connect | FetchPhase::Tls => Some(FailedPart::Connect),
            FetchPhase::Admission | FetchPhase::Request | FetchPhase::Head | FetchPhase::Body => {
                error.is_timeout().then_some(FailedPart::Answer(self.resource))
            }
        };
        let mut breaker = inner.breaker.get();
        if let Some(failed) = failed {
            let opened = breaker.failed(failed, self.verdict, Instant::now(), fastrand::f64());
            if opened == BreakerOpened::Yes {
                inner.metrics.breaker_opened();
            }
        } else {
            breaker.answered();
        }
        inner.breaker.set(breaker);
        if error.is_timeout() {
            inner.gave_sign(self, Instant::now());
        }
    }
}

impl LimiterState {
    /// Weighs a sign of overload that the request of `turn` met.
    fn gave_sign(self: &Rc<Self>, turn: &OriginPermit, now: Instant) {
        if !self.limit.get().is_of_this_round(turn.began) {
            return;
        }
        let evidence = self.signs.borrow_mut().sign(turn.resource, now);
        let lowered = self.change_limit(|limit, under_way| limit.overloaded(evidence, under_way, now));
        if lowered == LimitLowered::Yes {
            self.signs.borrow_mut().begin_round(now);
        }
    }

    fn change_limit<T>(self: &Rc<Self>, change: impl FnOnce(&mut ConcurrencyLimit, usize) -> T) -> T {
        let mut limit = self.limit.get();
        let allowed = limit.allows();
        let outcome = change(&mut limit, self.under_way.get());
        self.limit.set(limit);
        if limit.allows() != allowed {
            self.metrics.limited(limit.allows());
        }
        if limit.allows() > allowed {
            self.call_next();
        }
        outcome
    }
}

impl Drop for OriginPermit {
    fn drop(&mut self) {
        if self.told == Reported::No && self.verdict == BreakerVerdict::Probe {
            let mut breaker = self.place.inner.breaker.get();
            breaker.abandoned(Instant::now());
            self.place.inner.breaker.set(breaker);
        }
    }
}

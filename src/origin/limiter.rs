//! Concurrency limiter of the origin client: the limit ([`ConcurrencyLimit`]), a queue in front of
//! it, and the [`OriginBreaker`].
//!
//! A request acquires a permit before it takes a connection and keeps it until its response is
//! complete. If no permit is free, the request waits in a first-in, first-out queue of at most
//! [`ORIGIN_QUEUE_MAX`] requests, at most for the time that [`QueueTimeout`] returns. If the queue
//! is full, the limiter refuses the request at once. Each worker has its own limiter: no lock, and
//! neither a wait nor an allocation while a permit is free.
//!
//! One client address gets at most all but one in [`ORIGIN_RESERVED_SHARE`] of the permits and of
//! the queue. A permit that is released goes to the waiting address with the fewest permits, and
//! within that address to its first request.
//!
//! A tunnel leaves the requests in flight and takes a connection away from them; `tunnel_counts.rs`
//! bounds the tunnels.
//!
//! **Always:** each permit that ends, for whatever reason, passes to a waiting request or becomes
//! free. While one is free, every waiting request belongs to an address that has its full share.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::rc::Rc;

use http::StatusCode;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::breaker::{BreakerOpened, BreakerVerdict, FailedPart, OriginBreaker};
use super::limit::{ConcurrencyLimit, LimitLowered};
use super::metrics::Metrics;
use super::queue_timeout::QueueTimeout;
use super::signs::{OverloadSigns, Resource};
use super::tunnel_counts::TunnelCounts;
use crate::client_address::{ClientNetwork, NetworkCounts};
use crate::limits::{ORIGIN_QUEUE_MAX, ORIGIN_RESERVED_SHARE};
use crate::origin::error::{FaultParty, FetchError, FetchPhase};
use crate::origin::options::{AddressShare, Options};

/// Concurrency limiter of one worker. Clones share its state.
#[derive(Clone)]
pub(super) struct OriginLimiter(Rc<LimiterState>);

struct LimiterState {
    limit: Cell<ConcurrencyLimit>,
    signs: RefCell<OverloadSigns>,
    breaker: Cell<OriginBreaker>,
    in_flight: Cell<usize>,
    /// Waiting requests, oldest first; the limiter skips those whose receiver is gone.
    waiting: RefCell<VecDeque<WaitingRequest>>,
    /// Permits held per client address, without zero entries.
    held: RefCell<NetworkCounts>,
    address_share: AddressShare,
    tunnels: RefCell<TunnelCounts>,
    connections_max: usize,
    queue_timeout: Cell<QueueTimeout>,
    metrics: Rc<Metrics>,
}

/// Occupied permit of the limiter. Dropping it passes the permit to the next waiting request.
struct PermitSlot {
    state: Rc<LimiterState>,
    client: ClientNetwork,
}

/// Permit of an open tunnel. Its connection is not available to requests.
pub(super) struct TunnelPermit {
    state: Rc<LimiterState>,
    client: ClientNetwork,
}

/// Request that waits in the queue for a permit.
struct WaitingRequest {
    client: ClientNetwork,
    sender: oneshot::Sender<PermitSlot>,
}

/// Permit to send one request to the origin. Its owner reports the outcome.
pub(super) struct OriginPermit {
    slot: PermitSlot,
    verdict: BreakerVerdict,
    began: Instant,
    resource: Resource,
    /// Whether the owner has reported the outcome.
    reported: Reported,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reported {
    Yes,
    No,
}

impl OriginLimiter {
    /// Creates a limiter with all permits free.
    pub(super) fn new(options: &Options, metrics: Rc<Metrics>) -> Self {
        let limit = ConcurrencyLimit::new(options.connections_max);
        metrics.set_limit(limit.allows());
        Self(Rc::new(LimiterState {
            limit: Cell::new(limit),
            signs: RefCell::new(OverloadSigns::new(Instant::now())),
            breaker: Cell::new(OriginBreaker::new()),
            in_flight: Cell::new(0),
            waiting: RefCell::default(),
            held: RefCell::default(),
            address_share: options.address_share,
            tunnels: RefCell::new(TunnelCounts::new(options.connections_max, options.address_share)),
            connections_max: options.connections_max,
            queue_timeout: Cell::new(QueueTimeout::new(options.queue_timeout)),
            metrics,
        }))
    }

    /// Acquires a permit for this client, waiting in the queue if none is free.
    ///
    /// Cancel safe: dropping the future leaves the queue.
    pub(super) async fn acquire(
        &self,
        client: ClientNetwork,
        now: Instant,
    ) -> Result<OriginPermit, FetchError> {
        if self.0.breaker.get().refuses(now) {
            return Err(FetchError::BreakerOpen);
        }
        let (slot, began) = match self.0.try_acquire(client) {
            Some(slot) => (slot, now),
            None => (Box::pin(self.enqueue(client, now)).await?, Instant::now()),
        };
        let mut breaker = self.0.breaker.get();
        let verdict = breaker.admit(began);
        self.0.breaker.set(breaker);
        match verdict {
            BreakerVerdict::Pass | BreakerVerdict::Probe => Ok(OriginPermit {
                slot,
                verdict,
                began,
                resource: Resource::default(),
                reported: Reported::No,
            }),
            BreakerVerdict::Refuse => Err(FetchError::BreakerOpen),
        }
    }

    async fn enqueue(&self, client: ClientNetwork, now: Instant) -> Result<PermitSlot, FetchError> {
        let (sender, granted) = oneshot::channel();
        {
            let mut waiting = self.0.waiting.borrow_mut();
            if waiting.len() >= ORIGIN_QUEUE_MAX {
                waiting.retain(|request| !request.sender.is_closed());
            }
            let is_of_client =
                |request: &&WaitingRequest| request.client == client && !request.sender.is_closed();
            if waiting.len() >= ORIGIN_QUEUE_MAX
                || waiting.iter().filter(is_of_client).count() >= self.0.share_of(ORIGIN_QUEUE_MAX)
                || !self.0.queue_timeout.get().allows_waiting()
            {
                return Err(FetchError::QueueFull);
            }
            waiting.push_back(WaitingRequest { client, sender });
            self.0.metrics.set_waiting(waiting.len());
        }
        let permits = self.0.allows();
        let longest = self.0.update_queue_timeout(|timeout| timeout.for_next(permits, now));
        match timeout(longest, granted).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => {
                self.0.update_queue_timeout(|timeout| timeout.record_timeout(Instant::now()));
                Err(FetchError::QueueTimeout)
            }
        }
    }
}

impl LimiterState {
    /// Returns the number of requests that may be in flight beside the tunnels.
    fn allows(&self) -> usize {
        let connections = self.connections_max.saturating_sub(self.tunnels.borrow().open());
        self.limit.get().allows().min(connections)
    }

    /// Returns a permit if one is free and the client has less than its share. While one is free,
    /// every client in the queue has its full share.
    fn try_acquire(self: &Rc<Self>, client: ClientNetwork) -> Option<PermitSlot> {
        let allowed = self.allows();
        let free = self.in_flight.get() < allowed;
        (free && self.permits_of(client) < self.share_of(allowed)).then(|| self.grant(client))
    }

    fn grant(self: &Rc<Self>, client: ClientNetwork) -> PermitSlot {
        self.in_flight.set(self.in_flight.get() + 1);
        *self.held.borrow_mut().entry(client).or_insert(0) += 1;
        PermitSlot { state: Rc::clone(self), client }
    }

    fn permits_of(&self, client: ClientNetwork) -> usize {
        self.held.borrow().get(&client).copied().unwrap_or_default()
    }

    /// Returns the share of one client address in this many permits.
    fn share_of(&self, permits: usize) -> usize {
        match self.address_share {
            AddressShare::Bounded => permits - permits / ORIGIN_RESERVED_SHARE,
            AddressShare::Whole => permits,
        }
    }

    /// Grants free permits to waiting requests.
    fn grant_waiting(self: &Rc<Self>) {
        while self.in_flight.get() < self.allows() {
            let Some(next) = self.take_next_waiting() else { break };
            // A request that gave up needs no permit.
            if !next.sender.is_closed() {
                drop(next.sender.send(self.grant(next.client)));
            }
        }
        let waiting = self.waiting.borrow().len();
        if waiting == 0 {
            self.update_queue_timeout(QueueTimeout::record_empty);
        }
        self.metrics.set_waiting(waiting);
    }

    /// Removes the first waiting request of the address with the fewest permits, unless that
    /// address has its full share.
    fn take_next_waiting(&self) -> Option<WaitingRequest> {
        let mut waiting = self.waiting.borrow_mut();
        let share = self.share_of(self.allows());
        let mut next: Option<(usize, usize)> = None;
        // Neighbours in the queue mostly have one address, so the count is kept.
        let mut last: Option<(ClientNetwork, usize)> = None;
        for (number, request) in waiting.iter().enumerate() {
            let held = match last {
                _ if request.sender.is_closed() => 0,
                Some((client, held)) if client == request.client => held,
                Some(_) | None => self.permits_of(request.client),
            };
            last = Some((request.client, held)).filter(|_| !request.sender.is_closed());
            if held < share && next.is_none_or(|(_, least)| held < least) {
                next = Some((number, held));
            }
            if next.is_some_and(|(_, least)| least == 0) {
                break;
            }
        }
        waiting.remove(next?.0)
    }

    fn update_queue_timeout<T>(&self, change: impl FnOnce(&mut QueueTimeout) -> T) -> T {
        let mut timeout = self.queue_timeout.get();
        let outcome = change(&mut timeout);
        self.queue_timeout.set(timeout);
        outcome
    }
}

impl Drop for PermitSlot {
    fn drop(&mut self) {
        self.state.in_flight.set(self.state.in_flight.get().saturating_sub(1));
        if let Entry::Occupied(mut held) = self.state.held.borrow_mut().entry(self.client) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
        self.state.grant_waiting();
    }
}

impl Drop for TunnelPermit {
    fn drop(&mut self) {
        self.state.tunnels.borrow_mut().remove(self.client);
        self.state.metrics.add_tunnels(-1);
        self.state.grant_waiting();
    }
}

impl OriginPermit {
    /// Returns whether the client may open another tunnel.
    pub(super) fn admits_tunnel(&self) -> bool {
        self.slot.state.tunnels.borrow().admits(self.slot.client)
    }

    /// Turns the permit into that of a tunnel, if the client may open another one.
    pub(super) fn into_tunnel(self) -> Result<TunnelPermit, FetchError> {
        let (state, client) = (Rc::clone(&self.slot.state), self.slot.client);
        if !self.admits_tunnel() {
            return Err(FetchError::Busy);
        }
        state.tunnels.borrow_mut().add(client);
        state.metrics.add_tunnels(1);
        Ok(TunnelPermit { state, client })
    }

    /// Returns the time at which the permit was granted.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Sets the path of the request, which names its resource.
    pub(super) fn set_path(&mut self, path: &str) {
        self.resource = self.slot.state.signs.borrow().resource(path);
    }

    /// Returns the resource of the request.
    pub(super) fn resource(&self) -> Resource {
        self.resource
    }

    /// Records the response head.
    pub(super) fn record_response(&mut self, status: StatusCode, now: Instant) {
        self.reported = Reported::Yes;
        let state = &self.slot.state;
        state.update_queue_timeout(|timeout| {
            timeout.record_latency(now.saturating_duration_since(self.began))
        });
        let mut breaker = state.breaker.get();
        breaker.record_response();
        state.breaker.set(breaker);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            state.record_sign(self, now);
        } else {
            state.signs.borrow_mut().record_response(self.resource, now);
            state.update_limit(|limit, in_flight| limit.record_response(in_flight, now));
        }
    }

    /// Records that the exchange failed.
    pub(super) fn record_failure(&mut self, error: &FetchError) {
        let state = &self.slot.state;
        if error.fault() != FaultParty::Origin {
            return;
        }
        self.reported = Reported::Yes;
        let failed = match error.phase() {
            FetchPhase::Resolve | FetchPhase::Connect | FetchPhase::Tls => Some(FailedPart::Connect),
            FetchPhase::Admission | FetchPhase::Request | FetchPhase::Head | FetchPhase::Body => {
                error.is_timeout().then_some(FailedPart::Response(self.resource))
            }
        };
        let mut breaker = state.breaker.get();
        if let Some(failed) = failed {
            let opened = breaker.record_failure(failed, self.verdict, Instant::now(), fastrand::f64());
            if opened == BreakerOpened::Yes {
                state.metrics.breaker_opened();
            }
        } else {
            breaker.record_response();
        }
        state.breaker.set(breaker);
        if error.is_timeout() {
            state.record_sign(self, Instant::now());
        }
    }
}

impl LimiterState {
    /// Weighs a sign of overload that the request with this `permit` met.
    fn record_sign(self: &Rc<Self>, permit: &OriginPermit, now: Instant) {
        if !self.limit.get().is_current_round(permit.began) {
            return;
        }
        let evidence = self.signs.borrow_mut().record_sign(permit.resource, now);
        let lowered = self.update_limit(|limit, in_flight| limit.record_overload(evidence, in_flight, now));
        if lowered == LimitLowered::Yes {
            self.signs.borrow_mut().begin_round(now);
        }
    }

    fn update_limit<T>(self: &Rc<Self>, change: impl FnOnce(&mut ConcurrencyLimit, usize) -> T) -> T {
        let mut limit = self.limit.get();
        let allowed = limit.allows();
        let outcome = change(&mut limit, self.in_flight.get());
        self.limit.set(limit);
        if limit.allows() != allowed {
            self.metrics.set_limit(limit.allows());
        }
        if limit.allows() > allowed {
            self.grant_waiting();
        }
        outcome
    }
}

impl Drop for OriginPermit {
    fn drop(&mut self) {
        if self.reported == Reported::No && self.verdict == BreakerVerdict::Probe {
            let mut breaker = self.slot.state.breaker.get();
            breaker.record_abandoned(Instant::now());
            self.slot.state.breaker.set(breaker);
        }
    }
}

//! Whose turn it is at the origin: the bound ([`Limit`]), a queue in front of it, and the [`Breaker`].
//!
//! A request takes a turn before it looks for a connection and keeps it until its answer is whole. If all turns are taken
//! it waits, first come first served, for as long as [`Patience`] says and behind no more than [`ORIGIN_QUEUE_MAX`] others: what
//! would wait longer is refused at once, while somebody still waits for the refusal. All of it belongs to one worker: no
//! lock, and with a turn free, no wait and no allocation.
//!
//! **Always:** a turn that ends, in whatever way, goes to the one who has waited longest or is free again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::breaker::{Breaker, Failed, Opened, Verdict};
use super::limit::{Limit, Lowered};
use super::metrics::Metrics;
use super::patience::Patience;
use super::signs::{Resource, Signs};
use super::{Fault, FetchError, Phase};
use crate::limits::ORIGIN_QUEUE_MAX;

/// The turns of one worker. Clones are the same.
#[derive(Clone)]
pub(super) struct Turns(Rc<Inner>);

struct Inner {
    limit: Cell<Limit>,
    signs: RefCell<Signs>,
    breaker: Cell<Breaker>,
    under_way: Cell<usize>,
    /// Who waits, the first first; those who gave up are passed over.
    waiting: RefCell<VecDeque<oneshot::Sender<Place>>>,
    patience: Cell<Patience>,
    metrics: Rc<Metrics>,
}

/// A place among those that are under way; dropping it gives it to the next.
struct Place(Rc<Inner>);

/// The right to ask the origin once. To be told what came of it.
pub(super) struct Turn {
    place: Place,
    verdict: Verdict,
    began: Instant,
    resource: Resource,
    /// Whether what came of it has been told.
    told: Told,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Yes,
    No,
}

impl Turns {
    /// All are free.
    pub(super) fn new(most: usize, patience: Duration, metrics: Rc<Metrics>) -> Self {
        let limit = Limit::new(most);
        metrics.limited(limit.allows());
        Self(Rc::new(Inner {
            limit: Cell::new(limit),
            signs: RefCell::new(Signs::new(Instant::now())),
            breaker: Cell::new(Breaker::new()),
            under_way: Cell::new(0),
            waiting: RefCell::default(),
            patience: Cell::new(Patience::new(patience)),
            metrics,
        }))
    }

    /// Waits for a turn, if that can be.
    ///
    /// Cancel safe: dropping it gives up the place in the queue.
    pub(super) async fn take(&self, now: Instant) -> Result<Turn, FetchError> {
        if self.0.breaker.get().refuses(now) {
            return Err(FetchError::BreakerOpen);
        }
        let (place, began) = match self.0.enter() {
            Some(place) => (place, now),
            None => (Box::pin(self.wait(now)).await?, Instant::now()),
        };
        let mut breaker = self.0.breaker.get();
        let verdict = breaker.admit(began);
        self.0.breaker.set(breaker);
        match verdict {
            Verdict::Pass | Verdict::Probe => {
                Ok(Turn { place, verdict, began, resource: Resource::default(), told: Told::No })
            }
            Verdict::Refuse => Err(FetchError::BreakerOpen),
        }
    }

    async fn wait(&self, now: Instant) -> Result<Place, FetchError> {
        let (turn, granted) = oneshot::channel();
        {
            let mut waiting = self.0.waiting.borrow_mut();
            if waiting.len() >= ORIGIN_QUEUE_MAX {
                waiting.retain(|place| !place.is_closed());
            }
            if waiting.len() >= ORIGIN_QUEUE_MAX || !self.0.patience.get().is_any() {
                return Err(FetchError::QueueFull);
            }
            waiting.push_back(turn);
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

impl Inner {
    /// A place, if one is free and nobody waits for it.
    fn enter(self: &Rc<Self>) -> Option<Place> {
        let free = self.under_way.get() < self.limit.get().allows();
        (free && self.waiting.borrow().is_empty()).then(|| self.place())
    }

    fn place(self: &Rc<Self>) -> Place {
        self.under_way.set(self.under_way.get() + 1);
        Place(Rc::clone(self))
    }

    /// Gives free places to those who wait.
    fn call_next(self: &Rc<Self>) {
        while self.under_way.get() < self.limit.get().allows() {
            let next = self.waiting.borrow_mut().pop_front();
            let Some(next) = next else { break };
            // One who gave up has no use for it.
            if !next.is_closed() {
                drop(next.send(self.place()));
            }
        }
        let waiting = self.waiting.borrow().len();
        if waiting == 0 {
            self.change_patience(Patience::all_gone);
        }
        self.metrics.waiting(waiting);
    }

    fn change_patience<T>(&self, change: impl FnOnce(&mut Patience) -> T) -> T {
        let mut patience = self.patience.get();
        let said = change(&mut patience);
        self.patience.set(patience);
        said
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get().saturating_sub(1));
        self.0.call_next();
    }
}

impl Turn {
    /// Since when it is.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// The request is for this path.
    pub(super) fn asks_for(&mut self, path: &str) {
        self.resource = self.place.0.signs.borrow().resource(path);
    }

    /// The head of an answer came.
    pub(super) fn answered(&mut self, status: StatusCode, now: Instant) {
        self.told = Told::Yes;
        let inner = &self.place.0;
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
        let inner = &self.place.0;
        if error.fault() != Fault::Origin {
            return;
        }
        self.told = Told::Yes;
        let failed = match error.phase() {
            Phase::Resolve | Phase::Connect | Phase::Tls => Some(Failed::Connect),
            Phase::Admission | Phase::Request | Phase::Head | Phase::Body => {
                error.is_timeout().then_some(Failed::Answer(self.resource))
            }
        };
        let mut breaker = inner.breaker.get();
        if let Some(failed) = failed {
            let opened = breaker.failed(failed, self.verdict, Instant::now(), fastrand::f64());
            if opened == Opened::Yes {
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

impl Inner {
    /// Weighs a sign of overload that the request of `turn` met.
    fn gave_sign(&self, turn: &Turn, now: Instant) {
        if !self.limit.get().is_of_this_round(turn.began) {
            return;
        }
        let evidence = self.signs.borrow_mut().sign(turn.resource, now);
        let lowered = self.change_limit(|limit, under_way| limit.overloaded(evidence, under_way, now));
        if lowered == Lowered::Yes {
            self.signs.borrow_mut().begin_round(now);
        }
    }

    fn change_limit<T>(&self, change: impl FnOnce(&mut Limit, usize) -> T) -> T {
        let mut limit = self.limit.get();
        let allowed = limit.allows();
        let outcome = change(&mut limit, self.under_way.get());
        self.limit.set(limit);
        if limit.allows() != allowed {
            self.metrics.limited(limit.allows());
        }
        outcome
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.told == Told::No && self.verdict == Verdict::Probe {
            let mut breaker = self.place.0.breaker.get();
            breaker.abandoned(Instant::now());
            self.place.0.breaker.set(breaker);
        }
    }
}

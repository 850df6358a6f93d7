//! Connection pool of one worker.
//!
//! A request takes the most recently used connection: it is the least likely to be closed, and
//! surplus connections expire. A connection returns only after a complete exchange, and leaves the
//! pool only if nothing is outstanding on it. So a request never gets bytes of
//! another's response (CVE-2025-31699, and every response-splitting attack). If the origin has
//! stated when it closes an idle connection, the pool stops using it shortly before
//! (`keep_alive.rs`). A connection also ends at its greatest age, which is shorter by a random part
//! for each, so that they do not end together. The caller holds a permit of the limiter
//! (`limiter.rs`), so there is an idle connection, or the pool may dial one.
//!
//! Each address of the origin has its own idle connections. The selector (`selector.rs`) chooses
//! the address before the pool looks for a connection.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::address::OriginAddress;
use super::connection::{OriginConnection, OwnedTask};
use super::dial::{DialledStream, OriginDialer};
use super::metrics::Metrics;
use super::selector::AddressSelector;
use super::socket::{OriginSlot, OriginSlots, OriginSocket};
use crate::limits::{ORIGIN_CONNECTION_AGE_JITTER, ORIGIN_IDLE_LOOK};
use crate::origin::error::{FetchError, OriginOptionsError};
use crate::origin::options::Options;

/// Pool of connections. Clones share its state.
#[derive(Clone)]
pub(super) struct OriginPool(Rc<PoolState>);

struct PoolState {
    dialer: OriginDialer,
    slots: OriginSlots,
    idle_timeout: Duration,
    connection_max_age: Option<Duration>,
    queue_timeout: Duration,
    /// Idle connections of each address; never more together than there are slots.
    idle: RefCell<Vec<IdleStack>>,
    /// Task that closes expired connections; it runs while any connection is idle.
    expiry_task: RefCell<Option<OwnedTask>>,
    /// Task that resolves the name.
    refresh_task: RefCell<Option<OwnedTask>>,
    /// Task that tries an ejected address.
    probe_task: RefCell<Option<OwnedTask>>,
    metrics: Rc<Metrics>,
}

/// Idle connections of one address, longest unused first.
struct IdleStack {
    address: Arc<OriginAddress>,
    connections: VecDeque<IdleConnection>,
}

struct IdleConnection {
    connection: OriginConnection,
    /// Time from which the connection must not be used.
    usable_until: Instant,
}

impl OriginPool {
    pub(super) fn new(options: &Options, metrics: Rc<Metrics>) -> Result<Self, OriginOptionsError> {
        Ok(Self(Rc::new(PoolState {
            dialer: OriginDialer::new(options, Rc::clone(&metrics))?,
            slots: OriginSlots::new(options.connections_max, metrics.open_gauge()),
            idle_timeout: options.idle_timeout,
            connection_max_age: options.connection_max_age,
            queue_timeout: options.queue_timeout,
            idle: RefCell::default(),
            expiry_task: RefCell::default(),
            refresh_task: RefCell::default(),
            probe_task: RefCell::default(),
            metrics,
        })))
    }

    /// Chooses an address for a request, if any is known; another one than `avoided`, if there is
    /// one.
    pub(super) fn choose(&self, avoided: Option<&Arc<OriginAddress>>) -> Option<Arc<OriginAddress>> {
        if is_free(&self.0.probe_task)
            && let Some(address) = self.selector().take_probe()
        {
            let pool = self.clone();
            *self.0.probe_task.borrow_mut() =
                Some(OwnedTask::spawn(async move { pool.probe(address).await }));
        }
        self.selector().choose(avoided, |address| {
            self.0
                .idle
                .borrow()
                .iter()
                .any(|stack| Arc::ptr_eq(&stack.address, address) && !stack.connections.is_empty())
        })
    }

    /// Returns the choice between the addresses.
    pub(super) fn selector(&self) -> &AddressSelector {
        self.0.dialer.selector()
    }

    /// Returns the most recently used connection to this address that is not known to be unusable.
    /// If it has closed or received unsolicited bytes since, the exchange notices before it writes.
    pub(super) fn reuse(&self, address: &Arc<OriginAddress>, now: Instant) -> Option<OriginConnection> {
        let mut idle = self.0.idle.borrow_mut();
        let stack = idle.iter_mut().find(|stack| Arc::ptr_eq(&stack.address, address))?;
        let found = loop {
            let Some(IdleConnection { connection, usable_until }) = stack.connections.pop_back() else {
                break None;
            };
            if now < usable_until && connection.is_idle() && connection.usage.is_current() {
                connection.usage.set_in_use();
                break Some(connection);
            }
        };
        self.0.metrics.set_idle(count(&idle));
        drop(idle);
        self.refresh();
        found
    }

    /// Opens a new connection, to the chosen address if it accepts one.
    ///
    /// Cancel safe: dropping the future closes any attempt.
    pub(super) async fn open(
        &self,
        chosen: Option<&Arc<OriginAddress>>,
    ) -> Result<OriginConnection, FetchError> {
        if self.0.slots.is_exhausted() {
            // The idle connections of other addresses hold slots.
            self.0.close_longest_idle();
        }
        let slot = self.0.slots.acquire(self.0.queue_timeout).await?;
        let began = Instant::now();
        let dialled = self.0.dialer.dial(chosen).await?;
        self.0.metrics.record_connect(began.elapsed());
        self.refresh();
        Ok(self.0.establish(dialled, slot))
    }

    /// Resolves the name in the background if that is due.
    fn refresh(&self) {
        if self.selector().begin_refresh() && is_free(&self.0.refresh_task) {
            let pool = self.clone();
            *self.0.refresh_task.borrow_mut() =
                Some(OwnedTask::spawn(async move { pool.0.dialer.refresh().await }));
        }
    }

    /// Tries an ejected address, and keeps the connection for a request.
    async fn probe(&self, address: Arc<OriginAddress>) {
        if self.0.slots.is_exhausted() {
            self.0.close_longest_idle();
        }
        let Ok(slot) = self.0.slots.acquire(self.0.queue_timeout).await else { return };
        let Some(dialled) = self.0.dialer.probe(address).await else { return };
        self.put_back(self.0.establish(dialled, slot));
    }

    /// Returns a connection to the pool after a complete exchange.
    pub(super) fn put_back(&self, mut connection: OriginConnection) {
        if !connection.is_idle() || !connection.usage.is_current() {
            return;
        }
        let now = Instant::now();
        let rest = connection.expires.map_or(Duration::MAX, |at| at.saturating_duration_since(now));
        let usable_for = connection.usable_for.unwrap_or(Duration::MAX).min(self.0.idle_timeout).min(rest);
        if usable_for.is_zero() {
            return;
        }
        connection.rest();
        connection.usage.set_idle();
        let mut idle = self.0.idle.borrow_mut();
        let address = connection.usage.address();
        let at = idle.iter().position(|stack| Arc::ptr_eq(&stack.address, address)).unwrap_or_else(|| {
            idle.push(IdleStack { address: Arc::clone(address), connections: VecDeque::new() });
            idle.len() - 1
        });
        if let Some(stack) = idle.get_mut(at) {
            stack.connections.push_back(IdleConnection { connection, usable_until: now + usable_for });
        }
        self.0.metrics.set_idle(count(&idle));
        let mut expiry_task = self.0.expiry_task.borrow_mut();
        if expiry_task.as_ref().is_none_or(OwnedTask::is_finished) {
            *expiry_task =
                Some(OwnedTask::spawn(close_expired(Rc::downgrade(&self.0), next_check(&idle, now))));
        }
    }
}

impl PoolState {
    fn establish(&self, dialled: DialledStream, slot: OriginSlot) -> OriginConnection {
        let DialledStream { stream, usage } = dialled;
        let mut connection = OriginConnection::new(OriginSocket::new(stream, slot, usage));
        connection.expires = self.connection_max_age.map(|age| {
            let share = 1.0 - fastrand::f64() * ORIGIN_CONNECTION_AGE_JITTER;
            Instant::now() + age.mul_f64(share)
        });
        connection
    }

    /// Closes the connection that has been idle for the longest time.
    fn close_longest_idle(&self) {
        let mut idle = self.idle.borrow_mut();
        let longest = idle
            .iter_mut()
            .filter_map(|stack| stack.connections.front().map(|idle| idle.usable_until).zip(Some(stack)))
            .min_by_key(|(usable_until, _)| *usable_until);
        if let Some((_, stack)) = longest {
            stack.connections.pop_front();
        }
        self.metrics.set_idle(count(&idle));
    }

    /// Closes connections that expired or that the origin closed. Returns the time of the next
    /// check, if any is left.
    fn close_unusable(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        for stack in &mut *idle {
            stack.connections.retain_mut(|idle| {
                idle.connection.check();
                now < idle.usable_until && idle.connection.is_idle() && idle.connection.usage.is_current()
            });
        }
        idle.retain(|stack| !stack.connections.is_empty());
        self.metrics.set_idle(count(&idle));
        next_check(&idle, now)
    }
}

/// Returns whether no task runs there.
fn is_free(task: &RefCell<Option<OwnedTask>>) -> bool {
    task.borrow().as_ref().is_none_or(OwnedTask::is_finished)
}

/// Returns the number of idle connections.
fn count(idle: &[IdleStack]) -> usize {
    idle.iter().map(|stack| stack.connections.len()).sum()
}

/// Returns when the first connection expires, or an earlier time if that is far away: only a check
/// notices that the origin has closed one.
fn next_check(idle: &[IdleStack], now: Instant) -> Option<Instant> {
    let oldest =
        idle.iter().filter_map(|stack| stack.connections.front()).map(|idle| idle.usable_until).min();
    oldest.map(|usable_until| usable_until.min(now + ORIGIN_IDLE_LOOK))
}

/// Sleeps between checks, and ends when no connection is idle.
async fn close_expired(pool: Weak<PoolState>, mut next: Option<Instant>) {
    while let Some(due) = next {
        sleep_until(due).await;
        next = pool.upgrade().and_then(|pool| pool.close_unusable());
    }
}

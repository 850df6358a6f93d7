//! Connection pool of one worker.
//!
//! A request takes the most recently used connection: it is the least likely to be closed, and
//! surplus connections expire. A connection returns only after a complete exchange, and leaves the
//! pool only if hyper reports that nothing is outstanding on it. So a request never gets bytes of
//! another's response (CVE-2025-31699, and every response-splitting attack). If the origin has
//! stated when it closes an idle connection, the pool stops using it shortly before
//! (`keep_alive.rs`). The caller holds a permit of the limiter (`limiter.rs`), so there is an idle
//! connection, or the pool may dial one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::connection::{OriginConnection, OwnedTask};
use super::dial::OriginDialer;
use super::metrics::Metrics;
use super::socket::{OriginSlots, OriginSocket};
use crate::limits::ORIGIN_IDLE_LOOK;
use crate::origin::error::{FetchError, OriginOptionsError};
use crate::origin::options::Options;

/// Pool of connections. Clones share its state.
#[derive(Clone)]
pub(super) struct OriginPool(Rc<PoolState>);

struct PoolState {
    dialer: OriginDialer,
    slots: OriginSlots,
    idle_timeout: Duration,
    queue_timeout: Duration,
    /// Idle connections, longest unused first; never more than there are slots.
    idle: RefCell<VecDeque<IdleConnection>>,
    /// Task that closes expired connections; it runs while any connection is idle.
    expiry_task: RefCell<Option<OwnedTask>>,
    metrics: Rc<Metrics>,
}

struct IdleConnection {
    connection: OriginConnection,
    /// Time from which the connection must not be used.
    usable_until: Instant,
}

impl OriginPool {
    pub(super) fn new(options: &Options, metrics: Rc<Metrics>) -> Result<Self, OriginOptionsError> {
        Ok(Self(Rc::new(PoolState {
            dialer: OriginDialer::new(options)?,
            slots: OriginSlots::new(options.connections_max, metrics.open_gauge()),
            idle_timeout: options.idle_timeout,
            queue_timeout: options.queue_timeout,
            idle: RefCell::default(),
            expiry_task: RefCell::default(),
            metrics,
        })))
    }

    /// Returns the most recently used connection that is not known to be unusable. If it has closed
    /// or received unsolicited bytes since, [`OriginConnection::send`] notices before it writes.
    pub(super) fn reuse(&self, now: Instant) -> Option<OriginConnection> {
        let mut idle = self.0.idle.borrow_mut();
        let found = loop {
            let Some(IdleConnection { mut connection, usable_until }) = idle.pop_back() else { break None };
            if !connection.is_ready() {
                connection.check();
            }
            if now < usable_until && connection.is_ready() {
                break Some(connection);
            }
        };
        self.0.metrics.set_idle(idle.len());
        found
    }

    /// Opens a new connection.
    ///
    /// Cancel safe: dropping the future closes any attempt.
    pub(super) async fn open(&self) -> Result<OriginConnection, FetchError> {
        let slot = self.0.slots.acquire(self.0.queue_timeout).await?;
        let began = Instant::now();
        let stream = self.0.dialer.dial().await?;
        self.0.metrics.record_connect(began.elapsed());
        OriginConnection::establish(OriginSocket::new(stream, slot)).await
    }

    /// Returns a connection to the pool after a complete exchange.
    pub(super) fn put_back(&self, connection: OriginConnection) {
        if connection.is_closed() {
            return;
        }
        let usable_for = connection.usable_for.unwrap_or(Duration::MAX).min(self.0.idle_timeout);
        if usable_for.is_zero() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.0.idle.borrow_mut();
        idle.push_back(IdleConnection { connection, usable_until: now + usable_for });
        self.0.metrics.set_idle(idle.len());
        let mut expiry_task = self.0.expiry_task.borrow_mut();
        if expiry_task.as_ref().is_none_or(OwnedTask::is_finished) {
            *expiry_task =
                Some(OwnedTask::spawn(close_expired(Rc::downgrade(&self.0), next_check(&idle, now))));
        }
    }
}

impl PoolState {
    /// Closes connections that expired or that the origin closed. Returns the time of the next
    /// check, if any is left.
    fn close_unusable(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        idle.retain_mut(|idle| {
            idle.connection.check();
            now < idle.usable_until && !idle.connection.is_closed()
        });
        self.metrics.set_idle(idle.len());
        next_check(&idle, now)
    }
}

/// Returns when the longest unused connection expires, or an earlier time if that is far away: only
/// a check notices that the origin has closed one.
fn next_check(idle: &VecDeque<IdleConnection>, now: Instant) -> Option<Instant> {
    idle.front().map(|oldest| oldest.usable_until.min(now + ORIGIN_IDLE_LOOK))
}

/// Sleeps between checks, and ends when no connection is idle.
async fn close_expired(pool: Weak<PoolState>, mut next: Option<Instant>) {
    while let Some(due) = next {
        sleep_until(due).await;
        next = pool.upgrade().and_then(|pool| pool.close_unusable());
    }
}

//! One worker's connections to the origin.
//!
//! A request takes the connection that was used last: it is the least likely to be closed, and
//! those that are not needed grow old and go. A connection comes back only after a whole exchange
//! and is handed out only if hyper says that nothing is outstanding on it, so no request is ever
//! answered with bytes of another's (CVE-2025-31699, and every response-splitting attack). It is
//! not used any more shortly before the origin closes it, if that has said when (`keep_alive.rs`).
//! Whoever comes here has had its turn (`limiter.rs`): there is a connection, or one is dialled.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::connection::{OriginConnection, OwnedTask};
use super::dial::OriginDialer;
use super::metrics::Metrics;
use super::socket::{OriginSlots, OriginSocket};
use super::{FetchError, Options, OriginOptionsError};
use crate::limits::ORIGIN_IDLE_LOOK;

/// Clones are the same pool.
#[derive(Clone)]
pub(super) struct OriginPool(Rc<PoolState>);

struct PoolState {
    dialer: OriginDialer,
    slots: OriginSlots,
    idle_timeout: Duration,
    queue_timeout: Duration,
    /// The longest unused first; never more than there are slots.
    idle: RefCell<VecDeque<IdleConnection>>,
    /// Closes what is idle for too long; there is one while anything is idle.
    sweeper: RefCell<Option<OwnedTask>>,
    metrics: Rc<Metrics>,
}

struct IdleConnection {
    connection: OriginConnection,
    /// It must not be used at this time or later.
    until: Instant,
}

impl OriginPool {
    pub(super) fn new(options: &Options, metrics: Rc<Metrics>) -> Result<Self, OriginOptionsError> {
        Ok(Self(Rc::new(PoolState {
            dialer: OriginDialer::new(options)?,
            slots: OriginSlots::new(options.connections_max, metrics.open()),
            idle_timeout: options.idle_timeout,
            queue_timeout: options.queue_timeout,
            idle: RefCell::default(),
            sweeper: RefCell::default(),
            metrics,
        })))
    }

    /// The connection that was used last, if there is one that can be used again as far as is
    /// known. Whether it has closed since, or something has come that nobody asked for, is seen
    /// before it is written to ([`OriginConnection::send`]).
    pub(super) fn reuse(&self, now: Instant) -> Option<OriginConnection> {
        let mut idle = self.0.idle.borrow_mut();
        let found = loop {
            let Some(IdleConnection { mut connection, until }) = idle.pop_back() else { break None };
            if !connection.is_ready() {
                connection.look();
            }
            if now < until && connection.is_ready() {
                break Some(connection);
            }
        };
        self.0.metrics.idle(idle.len());
        found
    }

    /// A new connection.
    ///
    /// Cancel safe: dropping it closes whatever was begun.
    pub(super) async fn open(&self) -> Result<OriginConnection, FetchError> {
        let slot = self.0.slots.take(self.0.queue_timeout).await?;
        let began = Instant::now();
        let stream = self.0.dialer.dial().await?;
        self.0.metrics.connected(began.elapsed());
        OriginConnection::over(OriginSocket::new(stream, slot)).await
    }

    /// Takes a connection back after a whole exchange.
    pub(super) fn give_back(&self, connection: OriginConnection) {
        if connection.is_closed() {
            return;
        }
        let usable_for = connection.usable_for.unwrap_or(Duration::MAX).min(self.0.idle_timeout);
        if usable_for.is_zero() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.0.idle.borrow_mut();
        idle.push_back(IdleConnection { connection, until: now + usable_for });
        self.0.metrics.idle(idle.len());
        let mut sweeper = self.0.sweeper.borrow_mut();
        if sweeper.as_ref().is_none_or(OwnedTask::is_finished) {
            *sweeper = Some(OwnedTask::spawn(sweep(Rc::downgrade(&self.0), next_look(&idle, now))));
        }
    }
}

impl PoolState {
    /// Closes what has been idle for too long or was closed by the origin; says when to look again,
    /// if anything is left.
    fn expire(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        idle.retain_mut(|idle| {
            idle.connection.look();
            now < idle.until && !idle.connection.is_closed()
        });
        self.metrics.idle(idle.len());
        next_look(&idle, now)
    }
}

/// When the connection that is unused for the longest time must not be used any more; sooner, if
/// that is far away, since nobody but us sees that the origin has closed one.
fn next_look(idle: &VecDeque<IdleConnection>, now: Instant) -> Option<Instant> {
    idle.front().map(|oldest| oldest.until.min(now + ORIGIN_IDLE_LOOK))
}

/// Sleeps from one look to the next, and ends when nothing is idle.
async fn sweep(pool: Weak<PoolState>, mut next: Option<Instant>) {
    while let Some(due) = next {
        sleep_until(due).await;
        next = pool.upgrade().and_then(|pool| pool.expire());
    }
}

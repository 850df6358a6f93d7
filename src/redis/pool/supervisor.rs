//! The supervisor of one connection slot.
//!
//! ```text
//!            ┌──────── back off (jittered, doubling) ◄─────────┐
//!            ▼                                                 │ failed
//! (wait) ─► connect ── dial, handshake ──► up ── lost ─────────┘
//! ```
//!
//! Each slot has a supervisor, which connects, serves, and reconnects while the pool is open. While
//! no connection is up only the first slot dials; the others wait until it is connected. So an
//! unreachable server gets one attempt at a time, and a server that comes back is used at once.
//!
//! **Always:** a slot has a link only while its connection takes commands, and a connection that
//! has ended is never used again, since each has a link of its own.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::catch_panic::{PanicError, catch_panic};
use super::lanes::ConnectionSlot;
use super::server::{DialRole, NewConnection, PoolServer};
use super::tracking_supervisor::SubscriptionGuard;
use crate::limits::{REDIS_BACKOFF_MAX, REDIS_BACKOFF_MIN};
use crate::redis::connection::{Link, TrackingSetup};
use crate::redis::error::DisconnectReason;
use crate::redis::health::{ConnectionStatus, StatusGuard};
use crate::time::{instant, jittered};

/// Keeps one slot connected.
pub(in crate::redis) struct SlotSupervisor {
    slot: Rc<ConnectionSlot>,
    server: Rc<PoolServer>,
    role: DialRole,
    backoff: Backoff,
    /// The number of connections that this slot has had.
    connections: u64,
}

impl SlotSupervisor {
    pub(in crate::redis) fn new(slot: Rc<ConnectionSlot>, server: Rc<PoolServer>, role: DialRole) -> Self {
        Self { slot, server, role, backoff: Backoff::default(), connections: 0 }
    }

    /// Runs until the pool is closed and the connection, if any, has drained.
    ///
    /// A panic costs the connection and not the slot.
    pub(in crate::redis) async fn run(mut self) {
        loop {
            match catch_panic(self.connect_and_serve()).await {
                Ok(Some(())) => {}
                Ok(None) => return,
                Err(PanicError) => {
                    self.server.panicked();
                    if self.back_off().await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// Connects, serves until the connection ends, and backs off. `None` if the pool is closed.
    async fn connect_and_serve(&mut self) -> Option<()> {
        let server = Rc::clone(&self.server);
        if self.role == DialRole::Rest {
            let _resting = self.set_status(ConnectionStatus::Disconnected);
            server.unless_closing(server.health.reachable()).await?;
        }
        let connecting = self.set_status(ConnectionStatus::Connecting);
        let attempt = server.unless_closing(server.connect(self.role, &self.slot.stats)).await?;
        drop(connecting);
        match attempt {
            Ok(connected) => self.serve(connected).await,
            Err(why) => server.unreachable(&why),
        }
        self.back_off().await
    }

    /// Sets the status of this slot until the guard is dropped.
    fn set_status(&self, status: ConnectionStatus) -> StatusGuard {
        self.slot.stats.set_status(status);
        self.server.health.metrics.set_status(status)
    }

    /// Waits before the next attempt. `None` if the pool is closed.
    async fn back_off(&mut self) -> Option<()> {
        let _resting = self.set_status(ConnectionStatus::Disconnected);
        self.server.unless_closing(sleep(self.backoff.next())).await
    }

    /// Runs a connection to its end.
    async fn serve(&mut self, connected: NewConnection) {
        let NewConnection { connection, protocol, setup } = connected;
        let _up = self.set_status(ConnectionStatus::Up);
        if self.connections > 0 {
            self.server.health.metrics.reconnected();
        }
        self.connections += 1;
        let since = instant();
        if self.role == DialRole::First {
            self.server.tried_rights(&setup.missing);
        }
        self.server.negotiated(self.role, &connection.link(), protocol);
        let mut occupied = OccupiedSlot::new(&self.slot, &self.server, connection.link(), setup);
        self.server.connected(protocol);
        occupied.end = connection.run().await;
        drop(occupied);
        // A server that accepts connections and closes them at once counts as unreachable.
        if instant().saturating_duration_since(since) >= REDIS_BACKOFF_MAX {
            self.backoff = Backoff::default();
        }
    }
}

/// A slot with a connection, until this is dropped.
struct OccupiedSlot<'a> {
    slot: &'a ConnectionSlot,
    server: &'a PoolServer,
    /// Present while this connection is subscribed to the channels.
    subscription: Option<SubscriptionGuard>,
    /// The reason that the connection ended; a panic leaves this default.
    end: DisconnectReason,
}

impl<'a> OccupiedSlot<'a> {
    /// Followed by [`PoolServer::connected`], as its end is by [`PoolServer::lost`].
    fn new(slot: &'a ConnectionSlot, server: &'a PoolServer, link: Rc<Link>, setup: TrackingSetup) -> Self {
        let subscription =
            server.tracker.as_ref().and_then(|tracker| tracker.connection_up(&link, setup, server.address()));
        slot.link.replace(Some(link));
        Self { slot, server, subscription, end: DisconnectReason::PanicError }
    }
}

impl Drop for OccupiedSlot<'_> {
    fn drop(&mut self) {
        self.slot.link.replace(None);
        drop(self.subscription.take());
        self.server.lost(self.end);
    }
}

/// The back-off before the next attempt: doubling, with jitter.
#[derive(Default)]
pub(in crate::redis) struct Backoff {
    /// Attempts since the last success.
    attempts: u32,
}

impl Backoff {
    /// Returns the next back-off, between half of its maximum and all of it.
    pub(in crate::redis) fn next(&mut self) -> Duration {
        let longest =
            REDIS_BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(self.attempts)).min(REDIS_BACKOFF_MAX);
        self.attempts = self.attempts.saturating_add(1);
        jittered(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_offs_grow_to_their_limit_and_differ() {
        let rests = || {
            let mut backoff = Backoff::default();
            [(); 100].map(|()| backoff.next())
        };
        let (some, others) = (rests(), rests());
        assert_ne!(some, others);
        for (attempt, back_off) in (0_u32..).zip(some) {
            let longest = REDIS_BACKOFF_MAX.min(REDIS_BACKOFF_MIN * 2_u32.pow(attempt.min(20)));
            assert!(back_off <= longest && back_off >= longest / 2, "{back_off:?} at attempt {attempt}");
        }
    }
}

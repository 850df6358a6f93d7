//! One place in the pool, and who fills it.
//!
//! ```text
//!            ┌──────────── back_off (jittered, doubling) ◄──────────┐
//!            ▼                                                  │ failed
//! (wait) ─► connect ── dial, handshake ──► up ── lost ──────────┘
//! ```
//!
//! Each slot has a supervisor, which connects, serves, and connects again for as long as the pool is open.
//! While no connection is up only the scout, the first slot, tries; the others wait until somebody has come
//! through. So a server that is away is asked once in a while and not by everybody at once, and one that
//! comes back is used at once.
//!
//! What always holds: a slot has a link only while its connection takes commands, and a connection that has
//! ended is never used again, since its link is its own.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::catch_panic::{PanicError, catch_panic};
use super::lanes::ConnectionSlot;
use super::server::{DialRole, NewConnection, Server};
use super::tracking_supervisor::SubscriptionGuard;
use crate::limits::{REDIS_BACKOFF_MAX, REDIS_BACKOFF_MIN};
use crate::redis::connection::{Link, TrackingSetup};
use crate::redis::error::DisconnectReason;
use crate::redis::health::{ConnectionStatus, StatusGuard};
use crate::time::instant;

/// Keeps one slot filled.
pub(in crate::redis) struct SlotSupervisor {
    slot: Rc<ConnectionSlot>,
    server: Rc<Server>,
    role: DialRole,
    backoff: Backoff,
    /// Connections that this slot has had.
    connections: u64,
}

impl SlotSupervisor {
    pub(in crate::redis) fn new(slot: Rc<ConnectionSlot>, server: Rc<Server>, role: DialRole) -> Self {
        Self { slot, server, role, backoff: Backoff::default(), connections: 0 }
    }

    /// Ends when the pool is closed and the connection, if there is one, is drained.
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

    /// From nothing to a connection, to its end, and a back_off after it. `None` if the pool is closed.
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

    /// What this slot does, for whoever looks, until the answer is dropped.
    fn set_status(&self, status: ConnectionStatus) -> StatusGuard {
        self.slot.stats.set_status(status);
        self.server.health.metrics.set_status(status)
    }

    /// Before the next attempt. `None` if the pool is closed.
    async fn back_off(&mut self) -> Option<()> {
        let _resting = self.set_status(ConnectionStatus::Disconnected);
        self.server.unless_closing(sleep(self.backoff.next())).await
    }

    /// From a connection's beginning to its end.
    async fn serve(&mut self, connected: NewConnection) {
        let NewConnection { connection, protocol, setup } = connected;
        let _up = self.set_status(ConnectionStatus::Up);
        if self.connections > 0 {
            self.server.health.metrics.reconnected();
        }
        self.connections += 1;
        let since = instant();
        let mut occupied = OccupiedSlot::new(&self.slot, &self.server, connection.link(), setup);
        self.server.connected(protocol);
        occupied.end = connection.run().await;
        drop(occupied);
        // A server that accepts us and ends at once is as good as one that is away.
        if instant().saturating_duration_since(since) >= REDIS_BACKOFF_MAX {
            self.backoff = Backoff::default();
        }
    }
}

/// A slot that has a connection, until this is dropped.
struct OccupiedSlot<'a> {
    slot: &'a ConnectionSlot,
    server: &'a Server,
    /// Present while what is published is heard on it.
    subscription: Option<SubscriptionGuard>,
    /// Why the connection has ended: nobody says so if its task panics.
    end: DisconnectReason,
}

impl<'a> OccupiedSlot<'a> {
    /// To be followed by [`Server::connected`], as its end is by [`Server::lost`].
    fn new(slot: &'a ConnectionSlot, server: &'a Server, link: Rc<Link>, setup: TrackingSetup) -> Self {
        let subscription = server.tracker.as_ref().and_then(|tracker| tracker.connection_up(&link, setup));
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

/// How long to back_off before the next attempt: twice as long each time, and never the same for all.
#[derive(Default)]
pub(in crate::redis) struct Backoff {
    /// Attempts since it last went well.
    attempts: u32,
}

impl Backoff {
    /// Between the half of what it could be and all of it.
    pub(in crate::redis) fn next(&mut self) -> Duration {
        let longest =
            REDIS_BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(self.attempts)).min(REDIS_BACKOFF_MAX);
        self.attempts = self.attempts.saturating_add(1);
        longest.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_to_their_limit_and_differ() {
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

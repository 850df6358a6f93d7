//! One place in the pool, and who fills it.
//!
//! ```text
//!            ┌──────────── rest (jittered, doubling) ◄──────────┐
//!            ▼                                                  │ failed
//! (wait) ─► connect ── dial, handshake ──► up ── lost ──────────┘
//! ```
//!
//! Each seat has a supervisor, which connects, serves, and connects again for as long as the pool is open.
//! While no connection is up only the scout, the first seat, tries; the others wait until somebody has come
//! through. So a server that is away is asked once in a while and not by everybody at once, and one that
//! comes back is used at once.
//!
//! What always holds: a seat has a link only while its connection takes commands, and a connection that has
//! ended is never used again, since its link is its own.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::error::Lost;
use super::greet::Listening;
use super::lanes::Seat;
use super::link::Link;
use super::metrics::{Standing, Stands};
use super::server::{Connected, Role, Server};
use super::survive::{Panicked, survive};
use super::tracking::Hearing;
use crate::limits::{REDIS_BACKOFF_MAX, REDIS_BACKOFF_MIN};
use crate::time::instant;

/// Keeps one seat filled.
pub(super) struct Supervisor {
    seat: Rc<Seat>,
    server: Rc<Server>,
    role: Role,
    backoff: Backoff,
    /// Connections that this seat has had.
    connections: u64,
}

impl Supervisor {
    pub(super) fn new(seat: Rc<Seat>, server: Rc<Server>, role: Role) -> Self {
        Self { seat, server, role, backoff: Backoff::default(), connections: 0 }
    }

    /// Ends when the pool is closed and the connection, if there is one, is drained.
    ///
    /// A panic costs the connection and not the seat.
    pub(super) async fn run(mut self) {
        loop {
            match survive(self.fill()).await {
                Ok(Some(())) => {}
                Ok(None) => return,
                Err(Panicked) => {
                    self.server.panicked();
                    if self.rest().await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// From nothing to a connection, to its end, and a rest after it. `None` if the pool is closed.
    async fn fill(&mut self) -> Option<()> {
        let server = Rc::clone(&self.server);
        if self.role == Role::Follower {
            let _resting = self.stands(Standing::Resting);
            server.unless_closing(server.vitals.reachable()).await?;
        }
        let connecting = self.stands(Standing::Connecting);
        let attempt = server.unless_closing(server.connect(self.role, &self.seat.card)).await?;
        drop(connecting);
        match attempt {
            Ok(connected) => self.serve(connected).await,
            Err(why) => server.unreachable(&why),
        }
        self.rest().await
    }

    /// What this seat does, for whoever looks, until the answer is dropped.
    fn stands(&self, standing: Standing) -> Stands {
        self.seat.card.stands(standing);
        self.server.vitals.metrics.stands(standing)
    }

    /// Before the next attempt. `None` if the pool is closed.
    async fn rest(&mut self) -> Option<()> {
        let _resting = self.stands(Standing::Resting);
        self.server.unless_closing(sleep(self.backoff.next())).await
    }

    /// From a connection's beginning to its end.
    async fn serve(&mut self, connected: Connected) {
        let Connected { connection, protocol, listening } = connected;
        let _up = self.stands(Standing::Up);
        if self.connections > 0 {
            self.server.vitals.metrics.reconnected();
        }
        self.connections += 1;
        let since = instant();
        let mut taken = Taken::new(&self.seat, &self.server, connection.link(), listening);
        self.server.arrived(protocol);
        taken.end = connection.run().await;
        drop(taken);
        // A server that accepts us and ends at once is as good as one that is away.
        if instant().saturating_duration_since(since) >= REDIS_BACKOFF_MAX {
            self.backoff = Backoff::default();
        }
    }
}

/// A seat that has a connection, until this is dropped.
struct Taken<'a> {
    seat: &'a Seat,
    server: &'a Server,
    /// Present while what is published is heard on it.
    hearing: Option<Hearing>,
    /// Why the connection has ended: nobody says so if its task panics.
    end: Lost,
}

impl<'a> Taken<'a> {
    /// To be followed by [`Server::arrived`], as its end is by [`Server::lost`].
    fn new(seat: &'a Seat, server: &'a Server, link: Rc<Link>, listening: Listening) -> Self {
        let hearing = server.tracker.as_ref().and_then(|tracker| tracker.up(&link, listening));
        seat.link.replace(Some(link));
        Self { seat, server, hearing, end: Lost::Panicked }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.seat.link.replace(None);
        drop(self.hearing.take());
        self.server.lost(self.end);
    }
}

/// How long to rest before the next attempt: twice as long each time, and never the same for all.
#[derive(Default)]
pub(super) struct Backoff {
    /// Attempts since it last went well.
    attempts: u32,
}

impl Backoff {
    /// Between the half of what it could be and all of it.
    pub(super) fn next(&mut self) -> Duration {
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
        for (attempt, rest) in (0_u32..).zip(some) {
            let longest = REDIS_BACKOFF_MAX.min(REDIS_BACKOFF_MIN * 2_u32.pow(attempt.min(20)));
            assert!(rest <= longest && rest >= longest / 2, "{rest:?} at attempt {attempt}");
        }
    }
}

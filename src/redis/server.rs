//! What all seats of a pool share: the way to the server, whether it is there, and what the log was told.
//!
//! Seats come and go one by one, and an operator wants to know of the server: it is logged when the first
//! connection of the process is up, when the last is lost, and when the reason changes for which there is none. The
//! rest is for debugging.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::timeout;

use super::board::{News, Pinned};
use super::connection::Connection;
use super::dial::Dialler;
use super::error::{Lost, Unreachable};
use super::greet::{Listening, Subscription, greet, listen, name};
use super::identity::Identity;
use super::lanes::window;
use super::options::Options;
use super::tracking::{Tracker, Tracking};
use super::vitals::Vitals;
use crate::resp::{Inbox, Protocol, Window};
use crate::time::instant;

/// A connection that has been greeted, and what was said.
pub(super) struct Connected {
    pub(super) connection: Connection,
    pub(super) protocol: Protocol,
    pub(super) listening: Listening,
}

/// Who tries while nothing is known to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Tries.
    Scout,
    /// Waits until a connection is up.
    Follower,
}

/// One server, as the pool knows it.
pub(super) struct Server {
    dialler: Dialler,
    identity: Identity,
    window: Window,
    connect_timeout: Duration,
    pub(super) vitals: Rc<Vitals>,
    /// Where what is read is tracked, if it is.
    pub(super) tracker: Option<Rc<Tracker>>,
    /// Since when no connection is up, if there was one.
    away: Cell<Option<Instant>>,
    closing: watch::Sender<bool>,
}

impl Server {
    pub(super) fn new(
        dialler: Dialler,
        options: Options,
        tracking: Option<Tracking>,
        vitals: Rc<Vitals>,
    ) -> Self {
        Self {
            tracker: tracking.map(|tracking| Tracker::new(tracking, vitals.ceiling())),
            identity: Identity::of(&options),
            dialler,
            window: window(options.connections, options.value_bytes_max),
            connect_timeout: options.connect_timeout,
            away: Cell::new(None),
            vitals,
            closing: watch::Sender::new(false),
        }
    }

    /// For how long no connection has been up; zero while one is, and before the first of a server that took nobody's place.
    pub(super) fn away_for(&self) -> Duration {
        self.away.get().map_or(Duration::ZERO, |since| instant().saturating_duration_since(since))
    }

    /// It takes the place of one that has been away for so long.
    pub(super) fn has_been_away(&self, elapsed: Duration) {
        if !self.vitals.is_up() {
            self.away.set(instant().checked_sub(elapsed));
        }
    }

    /// Has every supervisor end when its connection is drained.
    pub(super) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// What `work` comes to, or `None` if the pool is closed first.
    pub(super) async fn unless_closing<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut closing = self.closing.subscribe();
        tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => None,
            result = work => Some(result),
        }
    }

    /// A connection that has been greeted, within the connect time-out.
    pub(super) async fn connect(&self, role: Role, card: &Rc<Pinned>) -> Result<Connected, Unreachable> {
        let attempt = async {
            let login = self.identity.login().await?;
            let mut socket = self.dialler.dial().await?;
            let mut inbox = Inbox::new();
            let protocol = greet(&mut socket, &mut inbox, login).await?;
            let listening = match (&self.tracker, protocol, role) {
                (None, _, _) | (_, Protocol::Resp2, Role::Follower) => Listening::not(Subscription::Unasked),
                (Some(_), Protocol::Resp2, Role::Scout) => Listening::not(Subscription::Refused),
                (Some(_), Protocol::Resp3, Role::Follower) => {
                    listen(&mut socket, &mut inbox, (Bytes::new(), Vec::new())).await?
                }
                (Some(tracker), Protocol::Resp3, Role::Scout) if tracker.needs_name() => {
                    match name(&mut socket, &mut inbox).await? {
                        Some(name) => listen(&mut socket, &mut inbox, tracker.channels(Some(&name))).await?,
                        None => Listening::not(Subscription::Refused),
                    }
                }
                (Some(tracker), Protocol::Resp3, Role::Scout) => {
                    listen(&mut socket, &mut inbox, tracker.channels(None)).await?
                }
            };
            let (vitals, card) = (Rc::clone(&self.vitals), Rc::clone(card));
            let connection = Connection::new(socket, inbox, self.window, vitals, card);
            Ok(Connected { connection, protocol, listening })
        };
        timeout(self.connect_timeout, attempt).await.unwrap_or(Err(Unreachable::Timeout))
    }

    /// One line for the first connection of the process that is up, not one for each.
    pub(super) fn arrived(&self, protocol: Protocol) {
        self.away.set(None);
        if self.vitals.arrived() == News::Fresh {
            tracing::info!(server = %self.dialler.address(), %protocol, "connected to Redis");
        }
    }

    /// One line for the last.
    pub(super) fn lost(&self, why: Lost) {
        self.vitals.metrics.lost(why);
        let news = self.vitals.parted();
        if !self.vitals.is_up() {
            self.away.set(Some(instant()));
        }
        if news == News::Known {
            tracing::debug!(server = %self.dialler.address(), %why, "lost a connection to Redis");
        } else if why != Lost::Closed {
            tracing::warn!(server = %self.dialler.address(), %why, "lost Redis; trying to reach it again");
        }
    }

    /// One line, beside the one of the panic itself.
    pub(super) fn panicked(&self) {
        self.vitals.metrics.panicked();
        tracing::error!(server = %self.dialler.address(), "a task of the Redis pool panicked; it begins anew");
    }

    /// One line when it begins, and when the reason changes.
    pub(super) fn unreachable(&self, why: &Unreachable) {
        let why = why.to_string();
        match self.vitals.unreachable(&why) {
            News::Known => tracing::debug!(server = %self.dialler.address(), why, "cannot connect to Redis"),
            News::Fresh => {
                tracing::warn!(server = %self.dialler.address(), why, "cannot reach Redis; going on without");
            }
        }
    }
}

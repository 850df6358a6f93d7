//! The state that all slots of a pool share: the dialler, the server's health, and its log lines.
//!
//! Operators care about servers, not connections: the log has a line for the first connection of
//! the process, for the loss of the last, and for every new reason for a failure. Everything else
//! is debug output.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::timeout;

use super::lanes::window;
use super::tracking_supervisor::TrackingSupervisor;
use crate::redis::connection::{
    BlockingConnection, BlockingError, Connection, Dialer, GreetedSocket, Link, LoginSource, Subscription,
    TrackingSetup, enable_tracking, greet, node_id, try_rights,
};
use crate::redis::contact::ServerContact;
use crate::redis::error::{ConnectError, DisconnectReason};
use crate::redis::health::{LogNovelty, ServerHealth, StatsWriter};
use crate::redis::options::{Options, RedisAddress};
use crate::redis::tracking::TrackingOptions;
use crate::resp::{MissingRights, RespVersion, Window};
use crate::time::instant;

/// A connection after its handshake, and the results of it.
pub(in crate::redis) struct NewConnection {
    pub(in crate::redis) connection: Connection,
    pub(in crate::redis) protocol: RespVersion,
    pub(in crate::redis) setup: TrackingSetup,
}

/// The slots that dial while no connection is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) enum DialRole {
    /// Dials, and subscribes to the channels.
    First,
    /// Waits until a connection is up.
    Rest,
}

/// The server of one pool.
pub(in crate::redis) struct PoolServer {
    dialler: Dialer,
    login_source: LoginSource,
    window: Window,
    connect_timeout: Duration,
    pub(in crate::redis) health: Rc<ServerHealth>,
    /// Present if the pool tracks.
    pub(in crate::redis) tracker: Option<Rc<TrackingSupervisor>>,
    /// The connection of the first slot, if it speaks RESP2.
    first_in_resp2: RefCell<Weak<Link>>,
    /// Since when no connection is up, if one was.
    disconnected_since: Cell<Option<Instant>>,
    closing: watch::Sender<bool>,
}

impl PoolServer {
    pub(in crate::redis) fn new(
        dialler: Dialer,
        options: Options,
        tracking: Option<TrackingOptions>,
        health: Rc<ServerHealth>,
    ) -> Self {
        Self {
            tracker: tracking.map(|tracking| TrackingSupervisor::new(tracking, health.command_timeout())),
            login_source: LoginSource::of(&options),
            dialler,
            window: window(options.connections, options.value_bytes_max),
            connect_timeout: options.connect_timeout,
            first_in_resp2: RefCell::default(),
            disconnected_since: Cell::new(None),
            health,
            closing: watch::Sender::new(false),
        }
    }

    /// Returns how long no connection has been up; zero while one is, and before the first of a
    /// server that replaced no other.
    pub(in crate::redis) fn disconnected_for(&self) -> Duration {
        self.disconnected_since
            .get()
            .map_or(Duration::ZERO, |since| instant().saturating_duration_since(since))
    }

    /// Returns the contact with the server.
    pub(in crate::redis) fn contact(&self) -> ServerContact {
        if self.health.is_up() {
            return if self.health.refuses_all() {
                ServerContact::Refusing
            } else {
                ServerContact::Connected
            };
        }
        let since = self.disconnected_since.get();
        since.map_or(ServerContact::NeverConnected, |since| {
            ServerContact::Disconnected(instant().saturating_duration_since(since))
        })
    }

    /// Returns the address of the server.
    pub(in crate::redis) fn address(&self) -> &RedisAddress {
        self.dialler.address()
    }

    /// Opens a connection outside the pool.
    pub(in crate::redis) async fn connect_blocking(&self) -> Result<BlockingConnection, BlockingError> {
        let attempt = async {
            let login = self.login_source.login().await?;
            Ok::<_, ConnectError>(BlockingConnection::new(greet(&self.dialler, login).await?))
        };
        Ok(timeout(self.connect_timeout, attempt).await.unwrap_or(Err(ConnectError::Timeout))?)
    }

    /// Sets how long the replaced server has been unreachable.
    pub(in crate::redis) fn set_disconnected_for(&self, elapsed: Duration) {
        if !self.health.is_up() {
            self.disconnected_since.set(instant().checked_sub(elapsed));
        }
    }

    /// Ends every supervisor once its connection has drained.
    pub(in crate::redis) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Returns the result of `work`, or `None` if the pool is closed first.
    pub(in crate::redis) async fn unless_closing<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut closing = self.closing.subscribe();
        tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => None,
            result = work => Some(result),
        }
    }

    /// Connects and completes the handshake, within the connect timeout.
    pub(in crate::redis) async fn connect(
        &self,
        role: DialRole,
        stats: &Rc<StatsWriter>,
    ) -> Result<NewConnection, ConnectError> {
        let attempt = async {
            let login = self.login_source.login().await?;
            let is_authenticated = login.credentials.is_some();
            let GreetedSocket { mut socket, mut inbox, protocol } = greet(&self.dialler, login).await?;
            let rights = self.tracker.as_ref().and_then(|tracker| tracker.rights_name());
            let missing = match (rights, role) {
                (Some(name), DialRole::First) if is_authenticated => {
                    try_rights(&mut socket, &mut inbox, name).await?
                }
                _ => MissingRights::default(),
            };
            let mut setup = match (&self.tracker, protocol, role) {
                (None, _, _) | (_, RespVersion::Resp2, DialRole::Rest) => {
                    TrackingSetup::none(Subscription::NotRequested)
                }
                (Some(_), RespVersion::Resp2, DialRole::First) => TrackingSetup::none(Subscription::Refused),
                (Some(_), RespVersion::Resp3, DialRole::Rest) => {
                    enable_tracking(&mut socket, &mut inbox, (Bytes::new(), Vec::new())).await?
                }
                (Some(tracker), RespVersion::Resp3, DialRole::First) if tracker.needs_node_id() => {
                    match node_id(&mut socket, &mut inbox).await? {
                        Some(name) => {
                            enable_tracking(&mut socket, &mut inbox, tracker.channels(Some(&name))).await?
                        }
                        None => TrackingSetup::none(Subscription::Refused),
                    }
                }
                (Some(tracker), RespVersion::Resp3, DialRole::First) => {
                    enable_tracking(&mut socket, &mut inbox, tracker.channels(None)).await?
                }
            };
            setup.missing.add(missing);
            let (health, stats) = (Rc::clone(&self.health), Rc::clone(stats));
            let connection = Connection::new(socket, inbox, self.window, health, stats);
            Ok(NewConnection { connection, protocol, setup })
        };
        timeout(self.connect_timeout, attempt).await.unwrap_or(Err(ConnectError::Timeout))
    }

    /// Records the protocol of a new connection. A server may end a connection at `HELLO` because
    /// it restarts; once another connection speaks RESP3, the first slot dials again, to subscribe.
    pub(in crate::redis) fn negotiated(&self, role: DialRole, link: &Rc<Link>, protocol: RespVersion) {
        match (protocol, role) {
            (RespVersion::Resp2, DialRole::First) => {
                self.first_in_resp2.replace(Rc::downgrade(link));
            }
            (RespVersion::Resp3, _) => {
                if let Some(first) = self.first_in_resp2.take().upgrade() {
                    first.drain();
                }
            }
            (RespVersion::Resp2, DialRole::Rest) => {}
        }
    }

    /// Logs the rights that the user of Redis lacks, if they are other ones than before.
    pub(in crate::redis) fn tried_rights(&self, missing: &MissingRights) {
        let text = missing.to_string();
        if self.health.lacks_rights(&text) == LogNovelty::Known {
            return;
        }
        if missing.is_empty() {
            tracing::info!(server = %self.dialler.address(), "the Redis user has all rights that it needs");
        } else {
            tracing::warn!(
                server = %self.dialler.address(),
                missing = text,
                "the Redis user lacks rights; SECURITY.md, Rights in Redis, has the ACL line"
            );
        }
    }

    /// Logs the first connection of the process.
    pub(in crate::redis) fn connected(&self, protocol: RespVersion) {
        self.disconnected_since.set(None);
        if self.health.connected() == LogNovelty::New {
            tracing::info!(server = %self.dialler.address(), %protocol, "connected to Redis");
        }
    }

    /// Logs the loss of the last connection of the process.
    pub(in crate::redis) fn lost(&self, why: DisconnectReason) {
        self.health.metrics.lost(why);
        let novelty = self.health.lost();
        if !self.health.is_up() {
            self.disconnected_since.set(Some(instant()));
        }
        if novelty == LogNovelty::Known {
            tracing::debug!(server = %self.dialler.address(), %why, "lost a connection to Redis");
        } else if why != DisconnectReason::Closed {
            tracing::warn!(server = %self.dialler.address(), %why, "lost the last connection to Redis; reconnecting");
        }
    }

    /// Logs a panic, beside the line of the panic hook.
    pub(in crate::redis) fn panicked(&self) {
        self.health.metrics.panicked();
        tracing::error!(server = %self.dialler.address(), "a task of the Redis pool panicked; restarting it");
    }

    /// Logs a failed attempt to connect, if its reason is new.
    pub(in crate::redis) fn unreachable(&self, why: &ConnectError) {
        let why = why.to_string();
        match self.health.unreachable(&why) {
            LogNovelty::Known => {
                tracing::debug!(server = %self.dialler.address(), why, "cannot connect to Redis")
            }
            LogNovelty::New => {
                tracing::warn!(server = %self.dialler.address(), why, "cannot connect to Redis; continuing without it");
            }
        }
    }
}

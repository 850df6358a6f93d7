//! Client-side caching: which replies are still valid (`CLIENT TRACKING`).
//!
//! Redis notifies a connection when a key that it read changes, in order with the connection's
//! replies. So a reply stays valid until its invalidation arrives, or until the connection can
//! receive none: it has ended, Redis was flushed, the pool is no longer subscribed to the fleet's
//! messages ([`TrackingListener::message`]), or the server may not be the master any more.
//!
//! ```text
//! TrackingTable   slot 0: 17   slot 1: –   slot 2: 9   the incarnation of each tracked connection
//! TrackingToken   (slot 2, incarnation 9)              cached; valid while the table agrees
//! TrackedVersion  invalidations before the reply       exchanged for a token to cache the reply
//! ```
//!
//! Nothing is scanned when a connection dies: its entry in the table changes, and the holder of a
//! token sees it with one load. **Always:** no incarnation is used twice, and invalidations are
//! processed before any reply that arrived after them is delivered.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::table::TrackingTable;
use crate::resp::ServerRun;

/// The tracking options of a pool.
#[derive(Clone)]
pub struct TrackingOptions {
    /// One table for all pools of the process.
    pub(in crate::redis) table: Arc<TrackingTable>,
    /// Receives invalidations and messages.
    pub(in crate::redis) listener: Rc<dyn TrackingListener>,
    /// The channels that the first connection subscribes to. Without the subscription no read
    /// counts as tracked.
    pub(in crate::redis) channels: Vec<Bytes>,
    /// The key and channel with which the first connection tries the rights of its user; `None` if
    /// it does not.
    pub(in crate::redis) rights_name: Option<Bytes>,
    /// The reach of a message that is published at one server.
    pub(in crate::redis) publish_scope: PublishScope,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) enum PublishScope {
    /// Subscribers at that server.
    Server,
    /// Subscribers at every server of the cluster; so each has channels of its own, which end with
    /// its node id.
    Cluster,
}

impl TrackingOptions {
    /// Creates options: `table` is shared by all pools of the process, `listener` receives
    /// invalidations and messages, and `channels` are subscribed to.
    pub fn new(table: Arc<TrackingTable>, listener: Rc<dyn TrackingListener>, channels: Vec<Bytes>) -> Self {
        Self { table, listener, channels, rights_name: None, publish_scope: PublishScope::Server }
    }

    /// Returns the options with a name for the trial of the user's rights: a key that nothing
    /// stores, and a channel without subscribers, which both begin like every other name.
    pub fn trying_rights(self, name: Bytes) -> Self {
        Self { rights_name: Some(name), ..self }
    }

    /// Returns the options for the servers of a cluster.
    pub(in crate::redis) fn in_cluster(self) -> Self {
        Self { publish_scope: PublishScope::Cluster, ..self }
    }
}

impl std::fmt::Debug for TrackingOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrackingOptions").field("channels", &self.channels).finish_non_exhaustive()
    }
}

/// A server to which a connection is up.
#[derive(Clone, Debug)]
pub struct ConnectedServer {
    /// The host and port, or path.
    pub address: Box<str>,
    /// The run of the server.
    pub run: ServerRun,
    /// The part of the keys that it stores.
    pub share: KeyShare,
}

/// The part of the keys that a server stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyShare {
    /// All keys.
    All,
    /// The keys of some hash slots of a cluster.
    Part,
}

/// Receives invalidations and messages, in the middle of a connection's turn: it must neither wait
/// nor call the pool.
pub trait TrackingListener {
    /// Handles a change of this key.
    fn invalidated(&self, key: &[u8]);

    /// Handles a new connection to a server that names its run, before the connection carries a
    /// command.
    fn connected(&self, server: &ConnectedServer);

    /// Handles a new subscription to the channels at a server.
    fn subscribed(&self);

    /// Handles the loss of some tokens.
    fn tracking_lost(&self);

    /// Handles a message on one of the channels; in a cluster the channel's name ends with the
    /// suffix of the [fleet channel](crate::redis::FleetChannel).
    fn message(&self, channel: &[u8], message: &Bytes);
}

/// The tracking state that all connections of one pool share.
pub(in crate::redis) struct TrackingState {
    pub(in crate::redis) options: TrackingOptions,
    /// Whether the first connection is subscribed to the channels.
    pub(in crate::redis) subscribed: Cell<bool>,
    /// Whether this server is known to be the master.
    pub(in crate::redis) trusted: Cell<bool>,
}

impl TrackingState {
    pub(in crate::redis) fn new(options: TrackingOptions) -> Rc<Self> {
        Rc::new(Self { options, subscribed: Cell::new(false), trusted: Cell::new(true) })
    }

    /// Returns whether the pool is subscribed, to a trusted server.
    pub(in crate::redis) fn is_active(&self) -> bool {
        self.subscribed.get() && self.trusted.get()
    }
}

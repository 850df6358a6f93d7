//! Which of what was read is still as it was read (`CLIENT TRACKING`).
//!
//! A server tells a connection when something changes that was read over it, in order with the connection's replies. So
//! what was read stays true until that invalidations comes, or until the connection can bring none: it has ended, the server has
//! been emptied, the pool no longer subscribed when the fleet comes together ([`TrackingListener::message`]), or nobody vouches any more
//! that this is still the server to ask.
//!
//! ```text
//! TrackingTable      seat 0: 17   seat 1: –   seat 2: 9    which incarnation of each seat's connection brings invalidations; state
//! TrackingToken    (seat 2, incarnation 9)               kept beside what was read: true while the table says the same
//! TrackedVersion    a token, and how much invalidations there had been when the reply came
//! ```
//!
//! Nothing is scanned when a connection dies: its number in the table changes, and whoever holds a token of it finds that
//! out by one load. **Always:** no incarnation is given twice, and invalidations are processed before any reply that came after
//! them is given away.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::table::TrackingTable;

/// What a pool is told so that it tracks.
#[derive(Clone)]
pub struct TrackingOptions {
    /// One table for all pools of the process.
    pub(in crate::redis) table: Arc<TrackingTable>,
    /// Who is told.
    pub(in crate::redis) listener: Rc<dyn TrackingListener>,
    /// What the first connection subscribes to. Without it nothing that was read counts as tracked.
    pub(in crate::redis) channels: Vec<Bytes>,
    /// Where a message is heard that is published at one server.
    pub(in crate::redis) publish_scope: PublishScope,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) enum PublishScope {
    /// At that server.
    Server,
    /// At every server of its cluster: so each has channels of its own, which end with its name.
    Cluster,
}

impl TrackingOptions {
    /// `table` is one table for all pools of the process, `listener` is told what there is to tell, and `channels` is what is
    /// heard beside what changes.
    pub fn new(table: Arc<TrackingTable>, listener: Rc<dyn TrackingListener>, channels: Vec<Bytes>) -> Self {
        Self { table, listener, channels, publish_scope: PublishScope::Server }
    }

    /// The same at servers of a cluster.
    pub(in crate::redis) fn in_cluster(self) -> Self {
        Self { publish_scope: PublishScope::Cluster, ..self }
    }
}

impl std::fmt::Debug for TrackingOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrackingOptions").field("channels", &self.channels).finish_non_exhaustive()
    }
}

/// Who is told what the server has to say. Called in the middle of a connection's turn: nothing here may wait, or come
/// back to the pool.
pub trait TrackingListener {
    /// What stands under this key has changed, for whoever has read it.
    fn invalidated(&self, key: &[u8]);

    /// Some witnesses have ceased to be true.
    fn tracking_lost(&self);

    /// Somebody has published this to one of the channels that were asked for; in a cluster the channel's name ends with
    /// that of the [herald](super::FleetChannel).
    fn message(&self, channel: &[u8], message: &Bytes);
}

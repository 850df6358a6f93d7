//! The pub/sub channels of the fleet at one server.
//!
//! A message published at one server of a cluster reaches the subscribers at every server, but
//! `PUBLISH` counts only those at that server. So each server has channels of its own, whose names
//! end with its id, and a sync goes to the channels of each. **Always:** a node that trusts its
//! reads from a server is subscribed to that server's channels there.

use bytes::Bytes;

use super::redis_pool::RedisPool;
use crate::redis::error::CommandError;
use crate::resp::{Command, Reply};

/// The fleet's channels at one server.
#[derive(Clone, Debug)]
pub struct FleetChannel {
    pool: RedisPool,
    suffix: Bytes,
}

impl FleetChannel {
    /// Returns the channel of a pool, or `None` if it does not track.
    pub(in crate::redis) fn at(pool: RedisPool) -> Option<Self> {
        let suffix = pool.tracker()?.suffix();
        Some(Self { pool, suffix })
    }

    /// Returns the end of its channels' names; empty with a single server.
    pub fn suffix(&self) -> &Bytes {
        &self.suffix
    }

    /// Returns whether reads from this server are tracked; the server may refuse tracking.
    pub fn is_tracking(&self) -> bool {
        self.pool.is_tracking()
    }

    /// Publishes a message. Returns the number of receivers.
    pub async fn publish(&self, channel: &[u8], message: &[u8]) -> Result<u32, CommandError> {
        let channel = [channel, &self.suffix].concat();
        let reply = self.pool.command(&Command::Publish { channel: &channel, message }).await?;
        Ok(if let Reply::Integer(receivers) = reply { u32::try_from(receivers).unwrap_or(0) } else { 0 })
    }

    /// Waits until every tracked connection of this worker has received all invalidations that the
    /// server sent before this call, or no longer counts as tracked.
    pub async fn flush_invalidations(&self) {
        self.pool.flush_invalidations().await;
    }
}

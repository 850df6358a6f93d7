//! A server that says what changes, and all who listen to it.
//!
//! What is published at a server of a cluster is heard at all of them, and yet only those that listen to that very server
//! are counted. So each has channels of its own, whose names end with the server's, and the fleet comes together at each of
//! them. **Always:** whoever trusts anything that it has read from a server listens there.

use bytes::Bytes;

use super::redis_pool::RedisPool;
use crate::redis::error::CommandError;
use crate::resp::{Command, Reply};

/// One server, as the fleet comes together there.
#[derive(Clone, Debug)]
pub struct FleetChannel {
    pool: RedisPool,
    suffix: Bytes,
}

impl FleetChannel {
    /// `None` where nothing is tracked.
    pub(in crate::redis) fn at(pool: RedisPool) -> Option<Self> {
        let suffix = pool.tracker()?.suffix();
        Some(Self { pool, suffix })
    }

    /// What the names of its channels end with; nothing where there is one server.
    pub fn suffix(&self) -> &Bytes {
        &self.suffix
    }

    /// Whether what is read there is tracked; the server may refuse.
    pub fn is_tracking(&self) -> bool {
        self.pool.is_tracking()
    }

    /// Publishes on the channel of this name: how many have heard it.
    pub async fn publish(&self, channel: &[u8], message: &[u8]) -> Result<u32, CommandError> {
        let channel = [channel, &self.suffix].concat();
        let heard = self.pool.command(&Command::Publish { channel: &channel, message }).await?;
        Ok(if let Reply::Integer(heard) = heard { u32::try_from(heard).unwrap_or(0) } else { 0 })
    }

    /// Until everything that the server has changed before this was called has been heard on every connection of this
    /// worker that tracks, or what was read over it does not count any more.
    pub async fn flush_invalidations(&self) {
        self.pool.flush_invalidations().await;
    }
}

//! Reads of the purge log and of tag generations from Redis, and the use of their results.
//!
//! A result serves two purposes. It is valid for the request that sent the read, because the read
//! began after the request (`PurgeSnapshot`). It is valid for other requests while Redis would push
//! its invalidation; if that push arrives before the result is cached, the result is not cached.

use bytes::Bytes;

use crate::entry::TagDigest;
use crate::limits::PURGE_LOG_KEPT;
use crate::redis::{Client, Command, CommandError, Reply};
use crate::store::purge::log::{PurgeLog, TagGeneration, new_epoch};
use crate::store::scripts::{self, PURGE_LOG, decimal};
use crate::store::shared::StoreShared;
use crate::time::millis;

impl StoreShared {
    /// Reads the purge log, and creates it if there is none.
    pub(in crate::store) async fn read_log(&self, redis: &Client) -> Result<PurgeLog, CommandError> {
        let name = self.log_name();
        let get = Command::Get { key: &name };
        let (mut reply, mut version) = redis.read(&get).await?;
        if parse_log(&reply).is_none() {
            let created = [new_epoch(), decimal(millis(PURGE_LOG_KEPT)), Bytes::from_static(b"look")];
            let (created, read) = match PURGE_LOG.run_and_read(redis, &name, &created, &get).await {
                // The server refuses scripts. Reading and setting are two steps, so of two new
                // epochs the later one counts; and purges by tag are not possible.
                (Err(error), _) if scripts::is_refused(error) => {
                    let value = PurgeLog::new().to_string().into();
                    redis
                        .change_and_read(
                            &Command::Set { key: &name, value: &value, ttl: PURGE_LOG_KEPT },
                            &get,
                        )
                        .await
                }
                known => known,
            };
            created?;
            (reply, version) = read?;
        }
        let log = parse_log(&reply).ok_or(CommandError::Malformed)?;
        if let Some(trust) = self.trust_of(redis, &name, &version) {
            self.purges.set_log(log.clone(), trust);
        }
        Ok(log)
    }

    /// Reads the generation of a tag; `None` if Redis has none.
    pub(in crate::store) async fn read_tag(
        &self,
        redis: &Client,
        tag: TagDigest,
    ) -> Result<Option<TagGeneration>, CommandError> {
        let name = self.tag_name(tag);
        let (reply, version) = redis.read(&Command::Get { key: &name }).await?;
        let generation = if let Reply::Bulk(bytes) = &reply { TagGeneration::parse(bytes) } else { None };
        if let Some(trust) = self.trust_of(redis, &name, &version) {
            self.purges.set_tag(tag, generation, trust, None);
        }
        Ok(generation)
    }
}

fn parse_log(reply: &Reply) -> Option<PurgeLog> {
    if let Reply::Bulk(bytes) = reply { PurgeLog::parse(bytes) } else { None }
}

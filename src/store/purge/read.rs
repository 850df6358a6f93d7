//! Reads of the purge log and of tag generations from Redis, and the use of their results.
//!
//! A result serves two purposes. It is valid for the request that sent the read, because the read
//! began after the request ([`PurgeSnapshot`]). It is valid for other requests while Redis would
//! push its invalidation; if that push arrives before the result is cached, the result is not
//! cached.

use bytes::Bytes;

use crate::entry::TagDigest;
use crate::limits::PURGE_LOG_KEPT;
use crate::redis::{Client, Command, CommandError, Reply, TrackedVersion};
use crate::store::purge::log::{PurgeLog, TagGeneration};
use crate::store::scripts::{self, PURGE_LOG};
use crate::store::tiers::find::new_epoch;
use crate::store::tiers::trust::EntryTrust;
use crate::store::{LOG_NAME, StoreShared, TAG_PREFIX, decimal};
use crate::time::{self, millis};

/// The purge state read for one request.
#[derive(Debug, Default)]
pub(in crate::store) struct PurgeSnapshot {
    pub(in crate::store) log: Option<PurgeLog>,
    /// The tag generations read, at most one for each tag of the request's entry.
    tags: Vec<(TagDigest, Option<TagGeneration>)>,
}

impl PurgeSnapshot {
    /// Returns the generation read for a tag: `None` if it was not read, `Some(None)` if Redis has
    /// none.
    pub(in crate::store) fn tag_generation(&self, tag: TagDigest) -> Option<Option<TagGeneration>> {
        self.tags.iter().find(|(of, _)| *of == tag).map(|(_, generation)| *generation)
    }

    pub(in crate::store) fn record(&mut self, tag: TagDigest, generation: Option<TagGeneration>) {
        self.tags.push((tag, generation));
    }
}

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

    /// Returns the trust with which other requests may use a value that was just read; `None` if
    /// they may not.
    pub(in crate::store) fn trust_of(
        &self,
        redis: &Client,
        name: &[u8],
        version: &TrackedVersion,
    ) -> Option<EntryTrust> {
        match version.token(name) {
            Some(token) => Some(EntryTrust::Tracked(token)),
            None if redis.is_tracking(name) => None,
            None => Some(EntryTrust::Until(time::instant() + self.options.memory_ttl)),
        }
    }

    /// Returns the name of the purge log in Redis.
    pub(in crate::store) fn log_name(&self) -> Vec<u8> {
        self.options.namespace.name(&[LOG_NAME.as_bytes()])
    }

    /// Returns the name of a tag's generation in Redis.
    pub(in crate::store) fn tag_name(&self, tag: TagDigest) -> Vec<u8> {
        let digits = format!("{tag:?}");
        self.options.namespace.name(&[TAG_PREFIX.as_bytes(), digits.as_bytes()])
    }
}

fn parse_log(reply: &Reply) -> Option<PurgeLog> {
    if let Reply::Bulk(bytes) = reply { PurgeLog::parse(bytes) } else { None }
}

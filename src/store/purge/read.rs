//! Reads of the purge log and of tag generations from Redis, and the use of their results.
//!
//! A result serves two purposes. It is valid for the request that sent the read, because the read
//! began after the request (`PurgeSnapshot`). It is valid for other requests while Redis would push
//! its invalidation; if that push arrives before the result is cached, the result is not cached.

use bytes::Bytes;

use crate::entry::TagDigest;
use crate::limits::{PREFIXES_MAX, PURGE_LOG_KEPT};
use crate::redis::{Client, Command, CommandError, Reply, TrackedVersion};
use crate::store::purge::log::{PurgeLog, TagGeneration, new_epoch};
use crate::store::purge::names::PurgeStrength;
use crate::store::purge::runs::UnsettledRun;
use crate::store::scripts::{self, PURGE_LOG, decimal};
use crate::store::shared::StoreShared;
use crate::time::{self, millis};

impl StoreShared {
    /// Reads the purge log, and creates it if there is none. A log that is older than the known one
    /// begins a new epoch: Redis has lost purges.
    pub(in crate::store) async fn read_log(&self, redis: &Client) -> Result<PurgeLog, CommandError> {
        self.settle_run(redis).await?;
        let known = self.purges.history();
        let mut sent = time::instant();
        let (mut log, mut version) = self.request_log(redis).await?;
        if known.is_after(log.generation) {
            tracing::warn!("Redis has lost purges; every entry that was stored before is a miss");
            self.begin_epoch(redis).await?;
            sent = time::instant();
            (log, version) = self.request_log(redis).await?;
        }
        let log = self.purges.with_known(log, time::now());
        if let Some(trust) = self.trust_of(redis, &self.log_name(), &version, sent) {
            self.purges.set_log_if(log.clone(), trust, || self.runs.unsettled().is_none());
        }
        Ok(log)
    }

    /// Requests the purge log, and creates it if there is none.
    async fn request_log(&self, redis: &Client) -> Result<(PurgeLog, TrackedVersion), CommandError> {
        let name = self.log_name();
        let get = Command::Get { key: &name };
        let (mut reply, mut version) = redis.read(&get).await?;
        if parse_log(self, &reply).is_none() {
            if reply != Reply::Nil {
                tracing::warn!(
                    key = %name.escape_ascii(),
                    "another client has overwritten the purge log; a new one replaces it, and every entry that \
                     was stored before is a miss"
                );
            }
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
        let log = parse_log(self, &reply).ok_or(CommandError::Malformed)?;
        Ok((log, version))
    }

    /// Settles the run of a server that this process does not know, before the purge log is read: a
    /// server that has started again may have lost purges, so a new epoch begins.
    async fn settle_run(&self, redis: &Client) -> Result<(), CommandError> {
        while let Some(unsettled) = self.runs.unsettled() {
            match &unsettled {
                UnsettledRun::Unknown(run) => {
                    let name = self.run_name();
                    if let Some(ended) = run.compare(redis, &name, &Bytes::new()).await? {
                        self.begin_epoch_after_restart(redis).await?;
                        run.compare(redis, &name, &ended).await?;
                    }
                }
                UnsettledRun::Restarted(..) => self.begin_epoch_after_restart(redis).await?,
            }
            if self.runs.settle(&unsettled) && unsettled.is_after_fail_over() {
                // The node applies and repeats them, as removals that Redis has not accepted.
                let removals = self.recent_removals.take();
                removals.iter().for_each(|(key, at)| self.purges.remove_locally(key, *at));
            }
        }
        Ok(())
    }

    /// Settles the run of the server, and keeps the stored one from expiring.
    pub(in crate::store) async fn renew_run(&self, redis: &Client) -> Result<(), CommandError> {
        self.settle_run(redis).await?;
        if let Some(run) = self.runs.settled()
            && run.compare(redis, &self.run_name(), &Bytes::new()).await?.is_some()
        {
            self.runs.doubt(run);
            self.purges.invalidate();
        }
        Ok(())
    }

    async fn begin_epoch_after_restart(&self, redis: &Client) -> Result<(), CommandError> {
        tracing::warn!(
            "Redis has started again and may have lost purges; every entry that was stored before is a miss"
        );
        self.begin_epoch(redis).await
    }

    /// Begins a new epoch in Redis, to which no stored entry belongs.
    async fn begin_epoch(&self, redis: &Client) -> Result<(), CommandError> {
        let arguments = [
            new_epoch(),
            decimal(millis(PURGE_LOG_KEPT)),
            Bytes::from_static(b"all"),
            PurgeStrength::Hard.letter().into(),
            decimal(time::now().as_millis()),
            Bytes::new(),
            decimal(0),
            decimal(PREFIXES_MAX as u64),
        ];
        PURGE_LOG.run(redis, &self.log_name(), &arguments).await.map(drop)
    }

    /// Reads the generation of a tag; `None` if Redis has none.
    pub(in crate::store) async fn read_tag(
        &self,
        redis: &Client,
        tag: TagDigest,
    ) -> Result<Option<TagGeneration>, CommandError> {
        let (name, sent) = (self.tag_name(tag), time::instant());
        let (reply, version) = redis.read(&Command::Get { key: &name }).await?;
        let generation = if let Reply::Bulk(bytes) = &reply { TagGeneration::parse(bytes) } else { None };
        if let Some(trust) = self.trust_of(redis, &name, &version, sent) {
            self.purges.set_tag(tag, generation, trust, None);
        }
        Ok(self.purges.not_before(tag, generation))
    }
}

fn parse_log(shared: &StoreShared, reply: &Reply) -> Option<PurgeLog> {
    if let Reply::Bulk(bytes) = reply { shared.parse_log(bytes) } else { None }
}

//! Warm restart: a node stores its hottest keys in Redis, and reads their entries into memory when
//! it starts.
//!
//! Redis stores only digests, under one key per node, with an expiry; with keys, the list is
//! sealed. The node reads the entries like a request does: missing or damaged entries are skipped,
//! and the first lookup checks purges.
//!
//! A start waits at most [`WARM_CONNECT_TIMEOUT`] and [`WARM_TIMEOUT`] for this and ignores every
//! failure: a node that starts cold is slower for a while, and a node that does not start is
//! missing.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::key::CacheKey;
use crate::limits::{WARM_AT_ONCE, WARM_CONNECT_RETRY, WARM_CONNECT_TIMEOUT, WARM_KEPT, WARM_TIMEOUT};
use crate::redis::{Client, Command, Reply};
use crate::sealing::SealNonce;
use crate::store::handle::Store;
use crate::store::tiers::hot_keys::warm_list;
use crate::time;

/// The magic number and version of a sealed list.
const SEALED_MAGIC: &[u8] = b"CWK\x01";
/// The domain of the seal.
const SEAL_DOMAIN: &[u8] = b"cw-warm-1";

impl Store {
    /// Returns whether this node stores a list.
    pub fn keeps_warm(&self) -> bool {
        self.shared.hot.is_some() && self.redis.is_some()
    }

    /// Writes the list of the hottest keys. A failure is ignored: the next write comes soon.
    pub async fn write_warm_list(&self) {
        if let (Some(redis), Some(hot)) = (&self.redis, &self.shared.hot)
            && let Some(list) = hot.list()
            && let Some(list) = self.sealed_list(list)
        {
            // The pool counts failures.
            let _ = redis.set(&self.warm_name(), list, WARM_KEPT).await;
        }
    }

    /// Reads the entries of this node's last list into memory, within the time limit; returns the
    /// number of entries read.
    ///
    /// Cancel safe: entries read so far are in memory.
    pub async fn warm(self: &Rc<Self>) -> usize {
        let (Some(redis), Some(hot)) = (&self.redis, &self.shared.hot) else { return 0 };
        let Ok(Some(list)) = timeout(WARM_CONNECT_TIMEOUT, self.read_warm_list(redis)).await else {
            return 0;
        };
        let mut keys = self.opened_list(list).and_then(|list| warm_list(&list)).unwrap_or_default();
        keys.truncate(hot.wanted);
        hot.remember(&keys);
        let mut found = 0;
        // The reads still under way are dropped with the set.
        let _ = timeout(WARM_TIMEOUT, self.read_all_into_memory(&keys, &mut found)).await;
        found
    }

    async fn read_all_into_memory(self: &Rc<Self>, keys: &[CacheKey], found: &mut usize) {
        let mut reads = JoinSet::new();
        // The hottest keys come last: if memory is too small for all, they stay.
        for key in keys.iter().rev() {
            if reads.len() >= WARM_AT_ONCE {
                *found += count(reads.join_next().await);
            }
            let (store, key) = (Rc::clone(self), *key);
            reads.spawn_local(async move { store.read_into_memory(&key).await });
        }
        while let Some(end) = reads.join_next().await {
            *found += count(Some(end));
        }
    }

    /// Reads the list once its connection is up and tracks invalidations: at a start it does not
    /// yet, and memory keeps no entry that is read before.
    async fn read_warm_list(&self, redis: &Client) -> Option<Bytes> {
        let name = self.warm_name();
        loop {
            let sent = time::instant();
            if let Ok((reply, version)) = redis.read(&Command::Get { key: &name }).await
                && self.shared.trust_of(redis, &name, &version, sent).is_some()
            {
                return if let Reply::Bulk(list) = reply { Some(list) } else { None };
            }
            sleep(WARM_CONNECT_RETRY).await;
        }
    }

    /// Seals the list if this node has keys; `None` if a seal is not possible.
    fn sealed_list(&self, list: Bytes) -> Option<Bytes> {
        let Some(keys) = self.shared.options.entry_keys.get() else { return Some(list) };
        let sealed = keys.seal_value(&SealNonce::draw()?, &self.warm_context(), &list);
        Some([SEALED_MAGIC, &sealed.ok()?].concat().into())
    }

    /// Opens a sealed list, if this node has keys; `None` if the seal does not fit.
    fn opened_list(&self, list: Bytes) -> Option<Bytes> {
        let Some(keys) = self.shared.options.entry_keys.get() else { return Some(list) };
        let opened = keys.open_value(&self.warm_context(), list.strip_prefix(SEALED_MAGIC)?);
        Some(opened.ok()?.into())
    }

    /// Returns the bytes that the seal of a list covers.
    fn warm_context(&self) -> Vec<u8> {
        let namespace = self.shared.namespace_digest;
        [SEAL_DOMAIN, namespace.as_bytes(), self.shared.options.node_name.as_bytes()].concat()
    }

    fn warm_name(&self) -> Vec<u8> {
        self.namespace().name(&[b"warm:", self.shared.options.node_name.as_bytes()])
    }
}

fn count(end: Option<Result<bool, tokio::task::JoinError>>) -> usize {
    usize::from(matches!(end, Some(Ok(true))))
}

/// The longest duration of [`Store::warm`].
pub const WARM_TAKES_MAX: Duration = WARM_CONNECT_TIMEOUT.saturating_add(WARM_TIMEOUT);

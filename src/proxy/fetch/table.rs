//! Who is fetching what: one fetch for each key in this process.
//!
//! The first to ask for a key [leads](Lead): it owns the fetch. Whoever asks while that goes on
//! follows, and is woken by the event that concerns it, never by a timer. The table is in shards,
//! so that workers seldom meet; it is bounded, and when it is full a request goes alone.
//!
//! Requests with a credential and requests without never share a place: what one may see decides
//! nothing for the other.
//!
//! **Always:** a `LeaderGuard` that ends, in whatever way, takes its key out of the table and
//! leaves no follower waiting.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::hash::SeededBuildHasher;
use crate::limits::{FILL_SHARDS, FILLS_MAX};
use crate::proxy::answer::failure::Failure;
use crate::proxy::fetch::response::SharedResponse;
use crate::proxy::request::FetchKey;
use crate::store::{FetchStart, Lease, StorePermit};

/// What followers are told.
#[derive(Clone)]
pub(in crate::proxy) enum FetchState {
    /// The origin has not answered yet.
    Fetching,
    /// The answer may be shared; the gate has still to be asked for each follower.
    Shared(Arc<SharedResponse>),
    /// Another node has fetched meanwhile: it is stored.
    Stored,
    /// The answer is an error: what is stored may stand in, or everybody fetches for himself.
    Errored,
    /// The answer is for the leader alone: everybody fetches for himself.
    Alone,
    /// There is no answer, and asking again at once would find none either.
    Failed(Failure),
}

/// The fetches under way.
pub(in crate::proxy) struct FetchTable {
    /// Those that others may join: where their followers get news.
    shards: Box<[FetchShard]>,
}

type FollowedFetch = HashMap<FetchKey, JoinableFetch, SeededBuildHasher>;

type FetchShard = Mutex<FollowedFetch>;

/// A fetch that may be joined.
struct JoinableFetch {
    news: watch::Sender<FetchState>,
    /// Nobody joins it any more once something has been purged that its answer might be of.
    begun: FetchStart,
}

/// What a request is to a fetch.
pub(in crate::proxy) enum FetchRole {
    /// It makes the fetch.
    Leader(LeaderGuard, StorePermit),
    /// Another does; news come here.
    Follower(watch::Receiver<FetchState>),
    /// Too many fetches are shared already: it fetches for itself.
    Alone,
}

impl FetchTable {
    /// An empty table.
    pub(in crate::proxy) fn new() -> Arc<Self> {
        let shards = (0..FILL_SHARDS).map(|_| FetchShard::default()).collect();
        Arc::new(Self { shards })
    }

    /// Joins the fetch of `key`, or begins it, with the right to store what it brings.
    pub(in crate::proxy) fn join(
        self: &Arc<Self>,
        key: FetchKey,
        claim: impl FnOnce() -> StorePermit,
    ) -> FetchRole {
        let Some(mut shard) = self.shard(&key) else { return FetchRole::Alone };
        if shard.len() >= FILLS_MAX / FILL_SHARDS && !shard.contains_key(&key) {
            return FetchRole::Alone;
        }
        let place = shard.entry(key);
        if let Entry::Occupied(place) = &place
            && place.get().begun.is_current()
        {
            return FetchRole::Follower(place.get().news.subscribe());
        }
        let claim = claim();
        let news = watch::Sender::new(FetchState::Fetching);
        place.insert_entry(JoinableFetch { news: news.clone(), begun: claim.beginning() });
        FetchRole::Leader(LeaderGuard { fills: Arc::clone(self), key, news, lease: None }, claim)
    }

    /// Fetches that are shared now.
    pub(in crate::proxy) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    fn shard(&self, key: &FetchKey) -> Option<MutexGuard<'_, FollowedFetch>> {
        let index = usize::try_from(key.key.short() % self.shards.len() as u128).ok()?;
        // One insertion or removal at a time: a panic between leaves nothing half done.
        Some(self.shards.get(index)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The right and the duty to fetch for everybody who asks for a key.
pub(in crate::proxy) struct LeaderGuard {
    fills: Arc<FetchTable>,
    key: FetchKey,
    news: watch::Sender<FetchState>,
    /// While the other nodes wait for it as well.
    lease: Option<Lease>,
}

impl LeaderGuard {
    /// The fetch is one for all nodes.
    pub(in crate::proxy) fn hold(&mut self, lease: Lease) {
        self.lease = Some(lease);
    }

    /// Tells the followers, present and coming.
    pub(in crate::proxy) fn tell(&self, news: FetchState) {
        self.news.send_replace(news);
    }

    /// Ends the fetch, and then tells its followers: a request that joins from now on makes a fetch
    /// of its own.
    pub(in crate::proxy) fn end(self, news: FetchState) {
        self.leave();
        self.tell(news);
    }

    fn leave(&self) {
        if let Some(mut shard) = self.fills.shard(&self.key)
            && let Entry::Occupied(place) = shard.entry(self.key)
            // Outdated, its place may be another's by now.
            && place.get().news.same_channel(&self.news)
        {
            place.remove();
        }
    }
}

impl Drop for LeaderGuard {
    fn drop(&mut self) {
        self.leave();
        // Still fetching, and yet at its end: the task was stopped. The followers help themselves.
        self.news.send_if_modified(|news| {
            let silent = matches!(news, FetchState::Fetching);
            if silent {
                *news = FetchState::Alone;
            }
            silent
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::KeyGeneration;
    use crate::key::{CacheKey, Scheme, Target};
    use crate::proxy::request::RequesterClass;
    use crate::store::{self, Store};
    use crate::telemetry::Registry;

    fn key(path: &'static str, asker: RequesterClass) -> FetchKey {
        let target = Target::parse(Scheme::Http, &path.parse().unwrap(), [&b"a"[..]].into_iter()).unwrap();
        FetchKey { key: CacheKey::of(&target), asker }
    }

    fn store() -> Store {
        let options = store::Options {
            memory_bytes: 0,
            body_bytes_max: 1,
            memory_ttl: std::time::Duration::ZERO,
            namespace: store::Namespace::named("", "test"),
            warm_keys: 0,
            node_name: String::new(),
        };
        let registry = Registry::new();
        Store::open(store::StoreShared::new(options, &registry), None, &registry)
    }

    /// Joins as a request does.
    fn join(fills: &Arc<FetchTable>, store: &Store, key: FetchKey) -> FetchRole {
        fills.join(key, || store.claim(&key.key, KeyGeneration::NONE))
    }

    #[test]
    fn the_first_leads_and_the_rest_follow() {
        let (fills, store) = (FetchTable::new(), store());
        let FetchRole::Leader(lead, _claim) = join(&fills, &store, key("/a", RequesterClass::Anonymous))
        else {
            panic!("first")
        };
        let FetchRole::Follower(news) = join(&fills, &store, key("/a", RequesterClass::Anonymous)) else {
            panic!("second")
        };
        assert!(matches!(*news.borrow(), FetchState::Fetching));
        assert!(matches!(join(&fills, &store, key("/b", RequesterClass::Anonymous)), FetchRole::Leader(..)));
        assert!(matches!(
            join(&fills, &store, key("/a", RequesterClass::Credentialed)),
            FetchRole::Leader(..)
        ));
        lead.tell(FetchState::Alone);
        assert!(matches!(*news.borrow(), FetchState::Alone));
    }

    #[test]
    fn a_lead_that_ends_in_silence_leaves_nobody_waiting() {
        let (fills, store) = (FetchTable::new(), store());
        let FetchRole::Leader(lead, _claim) = join(&fills, &store, key("/a", RequesterClass::Anonymous))
        else {
            panic!("first")
        };
        let FetchRole::Follower(news) = join(&fills, &store, key("/a", RequesterClass::Anonymous)) else {
            panic!("second")
        };
        drop(lead);
        assert!(matches!(*news.borrow(), FetchState::Alone));
        assert_eq!(fills.len(), 0);
        assert!(matches!(join(&fills, &store, key("/a", RequesterClass::Anonymous)), FetchRole::Leader(..)));
    }

    #[test]
    fn an_outdated_fetch_is_nobodys_to_join() {
        let (fills, store) = (FetchTable::new(), store());
        let FetchRole::Leader(old, claim) = join(&fills, &store, key("/a", RequesterClass::Anonymous)) else {
            panic!("first")
        };
        store.outdate(&key("/a", RequesterClass::Anonymous).key);
        assert!(claim.is_overtaken());
        let FetchRole::Leader(new, _claim) = join(&fills, &store, key("/a", RequesterClass::Anonymous))
        else {
            panic!("anew")
        };
        drop(old);
        let FetchRole::Follower(news) = join(&fills, &store, key("/a", RequesterClass::Anonymous)) else {
            panic!("still there")
        };
        drop(new);
        assert!(matches!(*news.borrow(), FetchState::Alone), "it follows the new one");
    }

    #[test]
    fn news_outlive_their_lead() {
        let (fills, store) = (FetchTable::new(), store());
        let FetchRole::Leader(lead, _claim) = join(&fills, &store, key("/a", RequesterClass::Anonymous))
        else {
            panic!("first")
        };
        let FetchRole::Follower(news) = join(&fills, &store, key("/a", RequesterClass::Anonymous)) else {
            panic!("second")
        };
        lead.tell(FetchState::Failed(Failure::Refused));
        drop(lead);
        assert!(matches!(*news.borrow(), FetchState::Failed(Failure::Refused)));
    }

    #[test]
    fn a_fetch_that_has_ended_is_not_joined() {
        let (fills, store) = (FetchTable::new(), store());
        let FetchRole::Leader(lead, _claim) = join(&fills, &store, key("/a", RequesterClass::Anonymous))
        else {
            panic!("first")
        };
        let FetchRole::Follower(news) = join(&fills, &store, key("/a", RequesterClass::Anonymous)) else {
            panic!("second")
        };
        lead.end(FetchState::Failed(Failure::Closed));
        assert!(matches!(*news.borrow(), FetchState::Failed(Failure::Closed)));
        assert!(matches!(join(&fills, &store, key("/a", RequesterClass::Anonymous)), FetchRole::Leader(..)));
    }

    #[test]
    fn a_full_table_sends_requests_on_their_own() {
        let store = store();
        let fills = Arc::new(FetchTable { shards: [FetchShard::default()].into() });
        let leads: Vec<_> = (0..FILLS_MAX / FILL_SHARDS)
            .map(|n| join(&fills, &store, key(format!("/{n}").leak(), RequesterClass::Anonymous)))
            .collect();
        assert!(matches!(join(&fills, &store, key("/more", RequesterClass::Anonymous)), FetchRole::Alone));
        assert!(matches!(join(&fills, &store, key("/0", RequesterClass::Anonymous)), FetchRole::Follower(_)));
        drop(leads);
        assert!(matches!(
            join(&fills, &store, key("/more", RequesterClass::Anonymous)),
            FetchRole::Leader(..)
        ));
    }
}

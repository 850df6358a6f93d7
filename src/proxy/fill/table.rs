//! Who is fetching what: one fetch for each key in this process.
//!
//! The first to ask for a key [leads](Lead): it owns the fetch. Whoever asks while that goes on follows, and is woken
//! by the event that concerns it, never by a timer. The table is in shards, so that workers seldom meet; it is
//! bounded, and when it is full a request goes alone.
//!
//! Requests with a credential and requests without never share a place: what one may see decides nothing for the other.
//!
//! **Always:** a `Lead` that ends, in whatever way, takes its key out of the table and leaves no follower waiting.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::response::SharedResponse;
use crate::hash::Seeded;
use crate::limits::{FILL_SHARDS, FILLS_MAX};
use crate::proxy::ask::FillKey;
use crate::proxy::failure::Failure;
use crate::store::{Beginning, Claim, Lease};

/// What followers are told.
#[derive(Clone)]
pub(in crate::proxy) enum News {
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
pub(in crate::proxy) struct Fills {
    /// Those that others may join: where their followers get news.
    shards: Box<[Shard]>,
}

type Followed = HashMap<FillKey, Shared, Seeded>;

type Shard = Mutex<Followed>;

/// A fetch that may be joined.
struct Shared {
    news: watch::Sender<News>,
    /// Nobody joins it any more once something has been purged that its answer might be of.
    begun: Beginning,
}

/// What a request is to a fetch.
pub(in crate::proxy) enum Role {
    /// It makes the fetch.
    Leader(Lead, Claim),
    /// Another does; news come here.
    Follower(watch::Receiver<News>),
    /// Too many fetches are shared already: it fetches for itself.
    Alone,
}

impl Fills {
    /// An empty table.
    pub(in crate::proxy) fn new() -> Arc<Self> {
        let shards = (0..FILL_SHARDS).map(|_| Shard::default()).collect();
        Arc::new(Self { shards })
    }

    /// Joins the fetch of `key`, or begins it, with the right to store what it brings.
    pub(in crate::proxy) fn join(self: &Arc<Self>, key: FillKey, claim: impl FnOnce() -> Claim) -> Role {
        let Some(mut shard) = self.shard(&key) else { return Role::Alone };
        if shard.len() >= FILLS_MAX / FILL_SHARDS && !shard.contains_key(&key) {
            return Role::Alone;
        }
        let place = shard.entry(key);
        if let Entry::Occupied(place) = &place
            && place.get().begun.is_current()
        {
            return Role::Follower(place.get().news.subscribe());
        }
        let claim = claim();
        let news = watch::Sender::new(News::Fetching);
        place.insert_entry(Shared { news: news.clone(), begun: claim.beginning() });
        Role::Leader(Lead { fills: Arc::clone(self), key, news, lease: None }, claim)
    }

    /// Fetches that are shared now.
    pub(in crate::proxy) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    fn shard(&self, key: &FillKey) -> Option<MutexGuard<'_, Followed>> {
        let index = usize::try_from(key.key.short() % self.shards.len() as u128).ok()?;
        // One insertion or removal at a time: a panic between leaves nothing half done.
        Some(self.shards.get(index)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The right and the duty to fetch for everybody who asks for a key.
pub(in crate::proxy) struct Lead {
    fills: Arc<Fills>,
    key: FillKey,
    news: watch::Sender<News>,
    /// While the other nodes wait for it as well.
    lease: Option<Lease>,
}

impl Lead {
    /// The fetch is one for all nodes.
    pub(in crate::proxy) fn hold(&mut self, lease: Lease) {
        self.lease = Some(lease);
    }

    /// Tells the followers, present and coming.
    pub(in crate::proxy) fn tell(&self, news: News) {
        self.news.send_replace(news);
    }

    /// Ends the fetch, and then tells its followers: a request that joins from now on makes a fetch
    /// of its own.
    pub(in crate::proxy) fn end(self, news: News) {
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

impl Drop for Lead {
    fn drop(&mut self) {
        self.leave();
        // Still fetching, and yet at its end: the task was stopped. The followers help themselves.
        self.news.send_if_modified(|news| {
            let silent = matches!(news, News::Fetching);
            if silent {
                *news = News::Alone;
            }
            silent
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Lineage;
    use crate::key::CacheKey;
    use crate::key::{Scheme, Target};
    use crate::proxy::ask::Asker;
    use crate::store::{self, Store};
    use crate::telemetry::Registry;

    fn key(path: &'static str, asker: Asker) -> FillKey {
        let target = Target::parse(Scheme::Http, &path.parse().unwrap(), [&b"a"[..]].into_iter()).unwrap();
        FillKey { key: CacheKey::of(&target), asker }
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
        Store::open(store::Shared::new(options, &registry), None, &registry)
    }

    /// Joins as a request does.
    fn join(fills: &Arc<Fills>, store: &Store, key: FillKey) -> Role {
        fills.join(key, || store.claim(&key.key, Lineage::NONE))
    }

    #[test]
    fn the_first_leads_and_the_rest_follow() {
        let (fills, store) = (Fills::new(), store());
        let Role::Leader(lead, _claim) = join(&fills, &store, key("/a", Asker::Anonymous)) else {
            panic!("first")
        };
        let Role::Follower(news) = join(&fills, &store, key("/a", Asker::Anonymous)) else {
            panic!("second")
        };
        assert!(matches!(*news.borrow(), News::Fetching));
        assert!(matches!(join(&fills, &store, key("/b", Asker::Anonymous)), Role::Leader(..)));
        assert!(matches!(join(&fills, &store, key("/a", Asker::Credentialed)), Role::Leader(..)));
        lead.tell(News::Alone);
        assert!(matches!(*news.borrow(), News::Alone));
    }

    #[test]
    fn a_lead_that_ends_in_silence_leaves_nobody_waiting() {
        let (fills, store) = (Fills::new(), store());
        let Role::Leader(lead, _claim) = join(&fills, &store, key("/a", Asker::Anonymous)) else {
            panic!("first")
        };
        let Role::Follower(news) = join(&fills, &store, key("/a", Asker::Anonymous)) else {
            panic!("second")
        };
        drop(lead);
        assert!(matches!(*news.borrow(), News::Alone));
        assert_eq!(fills.len(), 0);
        assert!(matches!(join(&fills, &store, key("/a", Asker::Anonymous)), Role::Leader(..)));
    }

    #[test]
    fn an_outdated_fetch_is_nobodys_to_join() {
        let (fills, store) = (Fills::new(), store());
        let Role::Leader(old, claim) = join(&fills, &store, key("/a", Asker::Anonymous)) else {
            panic!("first")
        };
        store.outdate(&key("/a", Asker::Anonymous).key);
        assert!(claim.is_overtaken());
        let Role::Leader(new, _claim) = join(&fills, &store, key("/a", Asker::Anonymous)) else {
            panic!("anew")
        };
        drop(old);
        let Role::Follower(news) = join(&fills, &store, key("/a", Asker::Anonymous)) else {
            panic!("still there")
        };
        drop(new);
        assert!(matches!(*news.borrow(), News::Alone), "it follows the new one");
    }

    #[test]
    fn news_outlive_their_lead() {
        let (fills, store) = (Fills::new(), store());
        let Role::Leader(lead, _claim) = join(&fills, &store, key("/a", Asker::Anonymous)) else {
            panic!("first")
        };
        let Role::Follower(news) = join(&fills, &store, key("/a", Asker::Anonymous)) else {
            panic!("second")
        };
        lead.tell(News::Failed(Failure::Refused));
        drop(lead);
        assert!(matches!(*news.borrow(), News::Failed(Failure::Refused)));
    }

    #[test]
    fn a_fetch_that_has_ended_is_not_joined() {
        let (fills, store) = (Fills::new(), store());
        let Role::Leader(lead, _claim) = join(&fills, &store, key("/a", Asker::Anonymous)) else {
            panic!("first")
        };
        let Role::Follower(news) = join(&fills, &store, key("/a", Asker::Anonymous)) else {
            panic!("second")
        };
        lead.end(News::Failed(Failure::Closed));
        assert!(matches!(*news.borrow(), News::Failed(Failure::Closed)));
        assert!(matches!(join(&fills, &store, key("/a", Asker::Anonymous)), Role::Leader(..)));
    }

    #[test]
    fn a_full_table_sends_requests_on_their_own() {
        let store = store();
        let fills = Arc::new(Fills { shards: [Shard::default()].into() });
        let leads: Vec<_> = (0..FILLS_MAX / FILL_SHARDS)
            .map(|n| join(&fills, &store, key(format!("/{n}").leak(), Asker::Anonymous)))
            .collect();
        assert!(matches!(join(&fills, &store, key("/more", Asker::Anonymous)), Role::Alone));
        assert!(matches!(join(&fills, &store, key("/0", Asker::Anonymous)), Role::Follower(_)));
        drop(leads);
        assert!(matches!(join(&fills, &store, key("/more", Asker::Anonymous)), Role::Leader(..)));
    }
}

//! The table of shared fetches: at most one fetch of each key in this process.
//!
//! The first request for a key [leads](FetchRole::Leader): it owns the fetch. Requests that arrive
//! during the fetch follow it: each change of its state wakes them, and no timer. The table is
//! sharded, so that workers seldom contend. If it is full, a request fetches alone.
//!
//! Requests with and without a credential never share a fetch: access of one proves nothing for the
//! other.
//!
//! A fetch that is shared, alone, of its leader or failed stays so. The body of a shared one is
//! *gathered* (every piece is kept, and a request may join at the beginning) until it ends or
//! outgrows `cache_max_body`; then it is *relayed* through a window, and no request joins.
//!
//! A fetch may take longer than its followers wait (`collapse_timeout`). Then one of them leads a
//! further fetch of the key, and the others follow both: the response that comes first answers them
//! all.
//!
//! **Always:** the end of a `LeaderGuard`, for any reason, removes its key from the table and
//! leaves no follower waiting.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::entry::KeyGeneration;
use crate::hash::SeededBuildHasher;
use crate::limits::{EARLIER_FETCHES_MAX, SHARED_FETCH_SHARDS, SHARED_FETCHES_MAX};
use crate::policy::OriginFailure;
use crate::proxy::answer::failure::Failure;
use crate::proxy::fetch::head_digest::HeadDigest;
use crate::proxy::fetch::response::SharedResponse;
use crate::proxy::request::{FetchKey, FetchScope};
use crate::store::{FetchStart, Lease, StorePermit};

/// The state of a shared fetch, as its followers see it.
#[derive(Clone)]
pub(in crate::proxy) enum FetchState {
    /// Another node fetches the response, and this node waits for its lease.
    Waiting,
    /// The origin has not responded yet.
    Fetching,
    /// The response may be shared. The policy still checks each follower.
    Shared(Arc<SharedResponse>),
    /// Another node has fetched and stored the response.
    Stored,
    /// The response is an error: each follower gets a stale answer, or fetches for itself.
    Errored,
    /// The leader's own request may have caused the response, an error: each follower gets a stale
    /// answer if the failure allows one. Otherwise one follower fetches again, and the others
    /// follow it.
    OfLeader(Option<OriginFailure>),
    /// The response is for the leader alone: each follower fetches for itself.
    Alone,
    /// The fetch failed, and an immediate retry would fail as well. If the head for the origin may
    /// have caused the failure, the digest of the head is stated.
    Failed(Failure, Option<HeadDigest>),
}

impl FetchState {
    /// Returns whether there is no response yet.
    pub(in crate::proxy) fn is_pending(&self) -> bool {
        matches!(self, Self::Waiting | Self::Fetching)
    }
}

/// The shared fetches in progress.
pub(in crate::proxy) struct FetchTable {
    scope: FetchScope,
    /// The joinable fetches, by key.
    shards: Box<[FetchShard]>,
}

type FollowedFetch = HashMap<FetchKey, JoinableFetch, SeededBuildHasher>;

type FetchShard = Mutex<FollowedFetch>;

/// A fetch that may be joined.
struct JoinableFetch {
    state: watch::Sender<FetchState>,
    /// The start of the fetch. After a later purge that concerns its key, no request joins it.
    begun: FetchStart,
    /// The fetches in progress that began before, and whose followers have waited too long. Their
    /// responses also answer the followers of this one.
    earlier: Vec<watch::Sender<FetchState>>,
}

/// The role of a request in a fetch.
pub(in crate::proxy) enum FetchRole {
    /// The request makes the fetch.
    Leader(LeaderGuard, Box<StorePermit>),
    /// The request waits for another's fetch, and receives its state here.
    Follower(watch::Receiver<FetchState>),
    /// The table is full: the request fetches for itself.
    Alone,
}

impl FetchTable {
    /// Creates an empty table.
    pub(in crate::proxy) fn new(scope: FetchScope) -> Arc<Self> {
        let shards = (0..SHARED_FETCH_SHARDS).map(|_| FetchShard::default()).collect();
        Arc::new(Self { scope, shards })
    }

    /// Joins the fetch of `key`, or starts it with a permit to store its response. Starts a further
    /// fetch if the fetch in progress is the one for which the request has `waited` too long, or
    /// that is too old for it, whose complete lookup has `seen` this key generation.
    pub(in crate::proxy) fn join(
        self: &Arc<Self>,
        key: FetchKey,
        seen: Option<KeyGeneration>,
        waited: Option<&watch::Receiver<FetchState>>,
        permit: impl FnOnce() -> StorePermit,
    ) -> FetchRole {
        let Some(mut shard) = self.shard(&key) else { return FetchRole::Alone };
        if shard.len() >= SHARED_FETCHES_MAX / SHARED_FETCH_SHARDS && !shard.contains_key(&key) {
            return FetchRole::Alone;
        }
        let slot = shard.entry(key);
        let (mut earlier, mut oldest) = (Vec::new(), None);
        if let Entry::Occupied(slot) = &slot
            && slot.get().begun.answers(seen)
        {
            let JoinableFetch { state, earlier: before, .. } = slot.get();
            let follower = state.subscribe();
            if waited.is_none_or(|waited| !waited.same_channel(&follower)) {
                return FetchRole::Follower(follower);
            }
            if self.scope == FetchScope::Any {
                let before = before.iter().rev().filter(|earlier| is_pending(earlier));
                earlier.extend(before.take(EARLIER_FETCHES_MAX - 1).cloned());
                earlier.push(state.clone());
                oldest = Some(slot.get().begun.clone());
            }
        }
        let permit = permit();
        let is_further = !earlier.is_empty();
        let state = watch::Sender::new(FetchState::Fetching);
        let begun = permit.fetch_start();
        let begun = match &oldest {
            Some(oldest) => begun.with_earlier(oldest),
            None => begun,
        };
        slot.insert_entry(JoinableFetch { state: state.clone(), begun, earlier });
        let lead = LeaderGuard { fetches: Arc::clone(self), key, state, is_further, lease: None };
        FetchRole::Leader(lead, Box::new(permit))
    }

    /// Returns the number of shared fetches.
    pub(in crate::proxy) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    fn shard(&self, key: &FetchKey) -> Option<MutexGuard<'_, FollowedFetch>> {
        let index = usize::try_from(key.key.short() % self.shards.len() as u128).ok()?;
        // The lock guards single insertions and removals, so a panic leaves nothing half done.
        Some(self.shards.get(index)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn is_pending(fetch: &watch::Sender<FetchState>) -> bool {
    fetch.borrow().is_pending()
}

/// Replaces the state of a fetch without a response.
fn replace_pending(fetch: &watch::Sender<FetchState>, by: &FetchState) {
    fetch.send_if_modified(|state| {
        let is_pending = state.is_pending();
        if is_pending {
            state.clone_from(by);
        }
        is_pending
    });
}

/// The duty to fetch a key for all concurrent requests. Dropping it wakes the followers.
pub(in crate::proxy) struct LeaderGuard {
    fetches: Arc<FetchTable>,
    key: FetchKey,
    state: watch::Sender<FetchState>,
    /// Whether this process has an earlier fetch of the key in progress.
    is_further: bool,
    /// The lease that makes other nodes wait for this fetch.
    lease: Option<Lease>,
}

impl LeaderGuard {
    /// Holds the lease of a fetch for all nodes.
    pub(in crate::proxy) fn hold(&mut self, lease: Lease) {
        self.lease = Some(lease);
    }

    /// Returns whether another node's fetch may answer the followers. They have waited long enough
    /// if this process has an earlier fetch in progress, which may even hold the lease.
    pub(in crate::proxy) fn may_wait_for_other_nodes(&self) -> bool {
        self.fetches.scope == FetchScope::Any && !self.is_further
    }

    /// Publishes a state, unless there is a response already.
    pub(in crate::proxy) fn publish_pending(&self, state: &FetchState) {
        replace_pending(&self.state, state);
    }

    /// Returns the publisher of a response that another node stores during this fetch.
    pub(in crate::proxy) fn stored_elsewhere(&self) -> StoredElsewhere {
        StoredElsewhere(self.state.clone())
    }

    /// Returns the state of the fetch, as a follower sees it.
    pub(in crate::proxy) fn state(&self) -> watch::Receiver<FetchState> {
        self.state.subscribe()
    }

    /// Publishes a state to present and future followers.
    pub(in crate::proxy) fn publish(&self, state: FetchState) {
        if matches!(state, FetchState::Shared(_) | FetchState::Alone) {
            self.publish_to_others(&state);
        }
        self.state.send_replace(state);
    }

    /// Publishes the state to the followers of the other fetches of the key that began before or
    /// after this one and have no response yet, unless a purge came between.
    fn publish_to_others(&self, state_of_this: &FetchState) {
        let Some(shard) = self.fetches.shard(&self.key) else { return };
        let Some(JoinableFetch { state, begun, earlier }) = shard.get(&self.key) else { return };
        let is_one_of_them = earlier.iter().chain([state]).any(|one| one.same_channel(&self.state));
        if earlier.is_empty() || !is_one_of_them || !begun.is_current() {
            return;
        }
        for other in earlier.iter().chain([state]).filter(|other| !other.same_channel(&self.state)) {
            replace_pending(other, state_of_this);
        }
    }

    /// Ends the fetch, and then publishes its state. A request that joins later starts a new fetch.
    pub(in crate::proxy) fn end(self, state: FetchState) {
        self.leave();
        self.publish(state);
    }

    fn leave(&self) {
        if let Some(mut shard) = self.fetches.shard(&self.key)
            && let Entry::Occupied(slot) = shard.entry(self.key)
            // After an invalidation, the entry may belong to a newer fetch.
            && slot.get().state.same_channel(&self.state)
        {
            slot.remove();
        }
    }
}

impl Drop for LeaderGuard {
    fn drop(&mut self) {
        self.leave();
        // A leader that ends without a response was aborted. Its followers fetch for themselves.
        replace_pending(&self.state, &FetchState::Alone);
    }
}

/// The publisher of a response that another node stores during a fetch of this process.
pub(in crate::proxy) struct StoredElsewhere(watch::Sender<FetchState>);

impl StoredElsewhere {
    /// Publishes that the response is stored, unless the fetch has a response.
    pub(in crate::proxy) fn publish(&self) {
        replace_pending(&self.0, &FetchState::Stored);
    }

    /// Waits until the fetch has a response.
    pub(in crate::proxy) async fn response(&self) {
        // This sender keeps the channel open.
        drop(self.0.subscribe().wait_for(|state| !state.is_pending()).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{CacheKey, Scheme, Target};
    use crate::policy::RulesDigest;
    use crate::proxy::request::RequesterClass;
    use crate::store::{self, Store};
    use crate::telemetry::Registry;

    fn key(path: &'static str, requester: RequesterClass) -> FetchKey {
        let target = Target::parse(Scheme::Http, &path.parse().unwrap(), [&b"a"[..]].into_iter()).unwrap();
        FetchKey { key: CacheKey::of(&target), requester, rules: RulesDigest::NONE, generation: 0 }
    }

    fn store() -> Store {
        let options = store::Options {
            memory_bytes: 0,
            body_bytes_max: 1,
            memory_ttl: std::time::Duration::ZERO,
            memory_alone_max: std::time::Duration::ZERO,
            namespace: store::Namespace::named("", "test"),
            warm_keys: 0,
            node_name: String::new(),
            entry_keys: crate::sealing::SharedSealKeys::default(),
            name_key: crate::key::NameKey::default(),
            compression: crate::entry::CompressionPolicy::Off,
            registered_name: String::new(),
        };
        let registry = Registry::new();
        Store::open(store::StoreShared::new(options, &registry), None, &registry)
    }

    /// Joins the way a request does.
    fn join(fetches: &Arc<FetchTable>, store: &Store, key: FetchKey) -> FetchRole {
        fetches.join(key, Some(KeyGeneration::NONE), None, || store.permit(&key.key, KeyGeneration::NONE))
    }

    /// Joins as the leader.
    fn lead(fetches: &Arc<FetchTable>, store: &Store, key: FetchKey) -> (LeaderGuard, StorePermit) {
        let FetchRole::Leader(leader, permit) = join(fetches, store, key) else {
            panic!("a fetch is in progress")
        };
        (leader, *permit)
    }

    /// Joins as a follower.
    fn follow(fetches: &Arc<FetchTable>, store: &Store, key: FetchKey) -> watch::Receiver<FetchState> {
        let FetchRole::Follower(state) = join(fetches, store, key) else { panic!("no fetch is in progress") };
        state
    }

    #[test]
    fn the_first_leads_and_the_rest_follow() {
        let (fetches, store) = (FetchTable::new(FetchScope::Any), store());
        let (lead, _permit) = lead(&fetches, &store, key("/a", RequesterClass::Anonymous));
        let state = follow(&fetches, &store, key("/a", RequesterClass::Anonymous));
        assert!(matches!(*state.borrow(), FetchState::Fetching));
        assert!(matches!(
            join(&fetches, &store, key("/b", RequesterClass::Anonymous)),
            FetchRole::Leader(..)
        ));
        assert!(matches!(
            join(&fetches, &store, key("/a", RequesterClass::Credentialed)),
            FetchRole::Leader(..)
        ));
        lead.publish(FetchState::Alone);
        assert!(matches!(*state.borrow(), FetchState::Alone));
    }

    #[test]
    fn a_dropped_leader_releases_its_followers() {
        let (fetches, store) = (FetchTable::new(FetchScope::Any), store());
        let (lead, _permit) = lead(&fetches, &store, key("/a", RequesterClass::Anonymous));
        let state = follow(&fetches, &store, key("/a", RequesterClass::Anonymous));
        drop(lead);
        assert!(matches!(*state.borrow(), FetchState::Alone));
        assert_eq!(fetches.len(), 0);
        assert!(matches!(
            join(&fetches, &store, key("/a", RequesterClass::Anonymous)),
            FetchRole::Leader(..)
        ));
    }

    #[test]
    fn an_invalidated_fetch_is_not_joined() {
        let (fetches, store) = (FetchTable::new(FetchScope::Any), store());
        let (old, permit) = lead(&fetches, &store, key("/a", RequesterClass::Anonymous));
        store.supersede(&key("/a", RequesterClass::Anonymous).key);
        assert!(permit.is_superseded());
        let (new, _permit) = lead(&fetches, &store, key("/a", RequesterClass::Anonymous));
        drop(old);
        let state = follow(&fetches, &store, key("/a", RequesterClass::Anonymous));
        drop(new);
        assert!(matches!(*state.borrow(), FetchState::Alone), "it follows the new fetch");
    }

    #[test]
    fn the_final_state_outlives_the_leader() {
        let (fetches, store) = (FetchTable::new(FetchScope::Any), store());
        let (lead, _permit) = lead(&fetches, &store, key("/a", RequesterClass::Anonymous));
        let state = follow(&fetches, &store, key("/a", RequesterClass::Anonymous));
        lead.publish(FetchState::Failed(Failure::Refused, None));
        drop(lead);
        assert!(matches!(*state.borrow(), FetchState::Failed(Failure::Refused, None)));
    }

    #[test]
    fn an_ended_fetch_is_not_joined() {
        let (fetches, store) = (FetchTable::new(FetchScope::Any), store());
        let (lead, _permit) = lead(&fetches, &store, key("/a", RequesterClass::Anonymous));
        let state = follow(&fetches, &store, key("/a", RequesterClass::Anonymous));
        lead.end(FetchState::Failed(Failure::Closed, None));
        assert!(matches!(*state.borrow(), FetchState::Failed(Failure::Closed, None)));
        assert!(matches!(
            join(&fetches, &store, key("/a", RequesterClass::Anonymous)),
            FetchRole::Leader(..)
        ));
    }

    #[test]
    fn a_full_table_makes_requests_fetch_alone() {
        let store = store();
        let fetches = Arc::new(FetchTable { scope: FetchScope::Any, shards: [FetchShard::default()].into() });
        let leads: Vec<_> = (0..SHARED_FETCHES_MAX / SHARED_FETCH_SHARDS)
            .map(|n| join(&fetches, &store, key(format!("/{n}").leak(), RequesterClass::Anonymous)))
            .collect();
        assert!(matches!(join(&fetches, &store, key("/more", RequesterClass::Anonymous)), FetchRole::Alone));
        assert!(matches!(
            join(&fetches, &store, key("/0", RequesterClass::Anonymous)),
            FetchRole::Follower(_)
        ));
        drop(leads);
        assert!(matches!(
            join(&fetches, &store, key("/more", RequesterClass::Anonymous)),
            FetchRole::Leader(..)
        ));
    }

    #[test]
    fn one_follower_that_waited_too_long_leads_anew_and_the_others_follow_it() {
        let (fetches, store) = (FetchTable::new(FetchScope::Any), store());
        let key = key("/a", RequesterClass::Anonymous);
        let (first, _permit) = lead(&fetches, &store, key);
        let FetchRole::Follower(waited) = join(&fetches, &store, key) else { panic!("follows the first") };
        let join_anew = |waited: &watch::Receiver<FetchState>| {
            fetches.join(key, Some(KeyGeneration::NONE), Some(waited), || {
                store.permit(&key.key, KeyGeneration::NONE)
            })
        };
        let FetchRole::Leader(second, _permit) = join_anew(&waited) else { panic!("leads") };
        let FetchRole::Follower(other) = join_anew(&waited) else { panic!("follows the second") };
        let FetchRole::Follower(new) = join(&fetches, &store, key) else { panic!("follows the second") };
        assert!(other.same_channel(&second.state()) && new.same_channel(&other));
        // The end of the first fetch leaves the second in the table.
        first.publish(FetchState::Errored);
        drop(first);
        assert!(matches!(*other.borrow(), FetchState::Fetching), "only a response answers them");
        assert!(matches!(join(&fetches, &store, key), FetchRole::Follower(_)));
        drop(second);
        assert!(matches!(*other.borrow(), FetchState::Alone));
        assert_eq!(fetches.len(), 0);
    }

    #[test]
    fn the_first_response_answers_the_followers_of_all_fetches_of_a_key() {
        let key = key("/a", RequesterClass::Anonymous);
        for (purged, is_published) in [(false, true), (true, false)] {
            let (fetches, store) = (FetchTable::new(FetchScope::Any), store());
            let (first, _permit) = lead(&fetches, &store, key);
            let waited = first.state();
            let permit = || store.permit(&key.key, KeyGeneration::NONE);
            let FetchRole::Leader(second, _permit) = fetches.join(key, None, Some(&waited), permit) else {
                panic!("leads")
            };
            let FetchRole::Leader(third, _permit) = fetches.join(key, None, Some(&second.state()), permit)
            else {
                panic!("leads")
            };
            if purged {
                store.supersede(&key.key);
            }
            // `Alone` stands for a response here: it is published alike.
            second.publish(FetchState::Alone);
            for state in [first.state(), third.state()] {
                assert_eq!(matches!(*state.borrow(), FetchState::Alone), is_published, "{purged}");
            }
        }
    }
}

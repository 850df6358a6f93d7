//! The fleet's purges as this process knows them, and their effect on entries.
//!
//! In the steady state, a hit makes one comparison: is the *revision* of the purge state still the
//! one at which its entry was checked? The revision is a number of this process. It changes
//! whenever the known purges change, or cease to be known. Only then are entries checked again,
//! each at its next lookup: against the purge log first, and against the generations of its tags if
//! the log has moved since the entry was fetched.
//!
//! When Redis pushes that the log has changed, a worker reads it again at once
//! (`fleet/listener.rs: follow_log`), and hits meanwhile use the last state. A purge is confirmed
//! only when every worker has acknowledged it, and no worker acknowledges while it serves from the
//! last state ([`PurgeState::end_revalidation`]).
//!
//! **Always:** unknown state is read from Redis, and a missing tag generation means that the tag's
//! entries are purged. An invalidated value is kept for one use: while Redis is unreachable, an
//! entry purged before stays purged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use quick_cache::sync::{Cache, EntryAction};

use crate::entry::{self, PurgeGeneration, TagDigest};
use crate::key::{CacheKey, Target};
use crate::limits::{CLOCK_OUTRUN_MAX, COUNTERS_MAX};
use crate::redis::TrackingTable;
use crate::store::purge::local::LocalPurges;
use crate::store::purge::log::{BulkPurge, PurgeLog, PurgeStatus, TagGeneration};
use crate::store::purge::names::{PrefixesFullError, PurgeScope, PurgeStrength};
use crate::store::purge::snapshot::PurgeSnapshot;
use crate::store::tiers::trust::EntryTrust;
use crate::time::Timestamp;

/// The purge state of this process.
pub(in crate::store) struct PurgeState {
    /// The revision, which changes with every field below; zero while the log is unknown. With
    /// [`EXPIRES`] set, it holds only as long as the log's trust. Written with the log's lock held.
    view: AtomicU64,
    /// The last revision that was issued.
    views: AtomicU64,
    /// The number of changes of the log, certain or possible.
    moves: AtomicU64,
    ledger: RwLock<Cached<PurgeLog>>,
    counters: Cache<u128, Cached<TagGeneration>>,
    /// The purges that Redis has not confirmed.
    local: LocalPurges,
    seats: Arc<TrackingTable>,
}

/// A flag in the revision: the reader must check whether the log is still trusted.
const PASSING: u64 = 1 << 63;

/// A value read from Redis, and its validity.
#[derive(Clone)]
struct Cached<T> {
    /// The value; `None` if Redis has none.
    value: Option<T>,
    trust: Option<EntryTrust>,
    /// The time until which Redis is known to keep the value.
    kept: Option<Instant>,
}

/// The required consistency of a check.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Consistency<'a> {
    /// Only trusted state counts, and the state read for this request.
    Firm(&'a PurgeSnapshot),
    /// Redis is unreachable: the last known state counts.
    LastKnown,
}

/// The result of a check of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum PurgeVerdict {
    /// The effect of the purges, at this revision.
    Fate(PurgeStatus, u64),
    /// The purge log must be read first.
    NoClock,
    /// The generations of these tags must be read first.
    NoCounters(Vec<TagDigest>),
}

impl PurgeState {
    /// Returns the state before the first read.
    pub(in crate::store) fn new(seats: Arc<TrackingTable>) -> Arc<Self> {
        Arc::new(Self {
            view: AtomicU64::new(0),
            views: AtomicU64::new(0),
            moves: AtomicU64::new(0),
            ledger: RwLock::new(Cached { value: None, trust: None, kept: None }),
            counters: Cache::new(COUNTERS_MAX),
            local: LocalPurges::default(),
            seats,
        })
    }

    /// Starts a log of this process, without Redis: no other node purges.
    pub(in crate::store) fn run_alone(&self) {
        if !self.is_known() {
            self.learn(PurgeLog::new(), EntryTrust::Always);
        }
    }

    /// Returns the revision, or zero if purges may have happened that are unknown here.
    pub(in crate::store) fn view(&self) -> u64 {
        let view = self.view.load(Ordering::Acquire);
        if view & PASSING == 0 {
            return view;
        }
        // The lock makes both reads one: the trust may already belong to a later revision.
        let known = self.ledger();
        let holds = known.trust.is_some_and(|trust| trust.holds(&self.seats));
        if holds { self.view.load(Ordering::Acquire) & !PASSING } else { 0 }
    }

    /// Returns the number of changes of the log.
    pub(in crate::store) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    /// Returns the purge generation at the last read of the log.
    pub(in crate::store) fn tick(&self) -> PurgeGeneration {
        self.ledger().value.as_ref().map(|ledger| ledger.tick).unwrap_or_default()
    }

    pub(in crate::store) fn is_known(&self) -> bool {
        self.ledger().trust.is_some_and(|trust| trust.holds(&self.seats))
    }

    /// Returns the effect of the purges on an entry of this target.
    pub(in crate::store) fn judge(
        &self,
        bytes: &[u8],
        target: &Target,
        footing: Consistency<'_>,
    ) -> PurgeVerdict {
        // The revision is read first: a change during the check makes another one.
        let view = self.view();
        let local = self.local.judge(bytes, target);
        if local == PurgeStatus::Gone {
            return PurgeVerdict::Fate(PurgeStatus::Gone, view);
        }
        match self.judge_by_the_count(bytes, target, footing, view) {
            PurgeVerdict::Fate(fate, view) => PurgeVerdict::Fate(fate.and(local), view),
            unknown @ (PurgeVerdict::NoClock | PurgeVerdict::NoCounters(_)) => unknown,
        }
    }

    fn judge_by_the_count(
        &self,
        bytes: &[u8],
        target: &Target,
        footing: Consistency<'_>,
        mut view: u64,
    ) -> PurgeVerdict {
        let Some((tick, tags)) = entry::history(bytes) else {
            return PurgeVerdict::Fate(PurgeStatus::Stands, view);
        };
        let ledger = self.ledger();
        let known = match footing {
            Consistency::Firm(told) if view == 0 => told.ledger.as_ref(),
            Consistency::Firm(_) | Consistency::LastKnown => ledger.value.as_ref(),
        };
        let known = match (footing, known) {
            (_, Some(known)) => known,
            (Consistency::LastKnown, None) => return PurgeVerdict::Fate(PurgeStatus::Stands, 0),
            (Consistency::Firm(_), None) => return PurgeVerdict::NoClock,
        };
        // The entry was stored while the purge generation was unknown.
        if matches!(footing, Consistency::LastKnown) && tick == PurgeGeneration::default() {
            return PurgeVerdict::Fate(PurgeStatus::Stands, 0);
        }
        let mut fate = known.judge(tick, target);
        // No purge was recorded since the entry was fetched, so none of its tags either.
        if fate == PurgeStatus::Gone || tick.count >= known.tick.count {
            return PurgeVerdict::Fate(fate, view);
        }
        let mut unknown = Vec::new();
        for tag in tags {
            let counter = match footing {
                Consistency::LastKnown => self.last_counter(tag),
                Consistency::Firm(told) => self.counter(tag).or_else(|| {
                    // A generation read for this request alone makes no revision for others.
                    view = 0;
                    told.counter(tag)
                }),
            };
            match counter {
                Some(counter) => {
                    fate = fate.and(counter.map_or(PurgeStatus::Gone, |counter| counter.judge(tick)))
                }
                None if matches!(footing, Consistency::LastKnown) => {}
                None => unknown.push(tag),
            }
        }
        if fate != PurgeStatus::Gone && !unknown.is_empty() {
            return PurgeVerdict::NoCounters(unknown);
        }
        PurgeVerdict::Fate(fate, view)
    }

    /// Returns the generation of a tag: `None` if it is unknown, `Some(None)` if Redis has none.
    pub(in crate::store) fn counter(&self, tag: TagDigest) -> Option<Option<TagGeneration>> {
        let known = self.counters.get(&tag.0)?;
        known.trust.is_some_and(|trust| trust.holds(&self.seats)).then_some(known.value)
    }

    /// Returns the last known generation of a tag.
    fn last_counter(&self, tag: TagDigest) -> Option<Option<TagGeneration>> {
        self.counters.get(&tag.0).map(|known| known.value)
    }

    /// Stores the log read from Redis.
    pub(in crate::store) fn learn(&self, ledger: PurgeLog, trust: EntryTrust) {
        let mut known = self.ledger_mut();
        let before = known.value.as_ref().map(|known| known.tick);
        let is_older = before
            .is_some_and(|before| before.epoch == ledger.tick.epoch && before.count > ledger.tick.count);
        if is_older && known.trust.is_some_and(|trust| trust.holds(&self.seats)) {
            // Another worker read this log before the known one; Redis will push the change to it.
            return;
        }
        if before.is_some_and(|before| before != ledger.tick) {
            self.moves.fetch_add(1, Ordering::AcqRel);
        }
        *known = Cached { value: Some(ledger), trust: Some(trust), kept: None };
        let passing = if matches!(trust, EntryTrust::Until(_)) { PASSING } else { 0 };
        self.view.store(self.next_view() | passing, Ordering::Release);
    }

    /// Stores the generation of a tag read from Redis.
    pub(in crate::store) fn learn_counter(
        &self,
        tag: TagDigest,
        counter: Option<TagGeneration>,
        trust: EntryTrust,
        kept: Option<Instant>,
    ) {
        self.counters.insert(tag.0, Cached { value: counter, trust: Some(trust), kept });
    }

    /// Returns whether a tag is known to have a generation of this epoch that Redis keeps until
    /// `moment`.
    pub(in crate::store) fn has_counter_until(&self, tag: TagDigest, epoch: u64, moment: Instant) -> bool {
        self.counters.get(&tag.0).is_some_and(|known| {
            known.value.is_some_and(|counter| counter.epoch == epoch)
                && known.trust.is_some_and(|trust| trust.holds(&self.seats))
                && known.kept.is_some_and(|kept| kept >= moment)
        })
    }

    /// Records the purge of a tag at this purge generation, without Redis.
    pub(in crate::store) fn count_tag(
        &self,
        tag: TagDigest,
        tick: PurgeGeneration,
        strength: PurgeStrength,
        now: Timestamp,
    ) {
        let known = self.counter(tag).flatten().filter(|known| known.epoch == tick.epoch);
        let counter = match (known, strength) {
            // Earlier purges of the tag are unknown: it counts as purged.
            (None, _) => TagGeneration::at(tick),
            (Some(known), PurgeStrength::Hard) => TagGeneration { hard: tick.count, ..known },
            (Some(known), PurgeStrength::Soft) => TagGeneration { soft: (tick.count, now), ..known },
        };
        self.learn_counter(tag, Some(counter), EntryTrust::Always, None);
        self.renew();
    }

    /// Continues with the known log for a short time: Redis has pushed that the log has changed,
    /// and a worker reads it again.
    pub(in crate::store) fn outrun(&self, now: Instant) {
        let mut known = self.ledger_mut();
        match known.trust {
            Some(EntryTrust::Tracked(witness)) => {
                known.trust = Some(EntryTrust::Outrun(witness, now + CLOCK_OUTRUN_MAX));
                self.view.fetch_or(PASSING, Ordering::AcqRel);
                self.moves.fetch_add(1, Ordering::AcqRel);
            }
            // The limit counts from the first push.
            Some(EntryTrust::Outrun(..)) => drop(self.moves.fetch_add(1, Ordering::AcqRel)),
            Some(EntryTrust::Always | EntryTrust::Until(_) | EntryTrust::Arriving(_)) | None => {
                drop(known);
                self.forget();
            }
        }
    }

    /// Ends the use of a log that has not been read again. The caller is about to acknowledge a
    /// sync: every connection of its worker has processed its pending invalidations.
    pub(in crate::store) fn settled(&self) {
        let is_outrun = matches!(self.ledger().trust, Some(EntryTrust::Outrun(..)));
        if is_outrun {
            self.forget();
        }
    }

    /// Invalidates the log: it has changed, or may have.
    pub(in crate::store) fn forget(&self) {
        let mut known = self.ledger_mut();
        known.trust = None;
        self.view.store(0, Ordering::Release);
        self.moves.fetch_add(1, Ordering::AcqRel);
    }

    /// Invalidates the generation of a tag: every entry must be checked again.
    pub(in crate::store) fn forget_counter(&self, tag: u128) {
        // The last value stays, for use while Redis is unreachable. If there is none, the cache
        // frees the slot at once.
        drop(self.counters.entry(&tag, Some(Duration::ZERO), |_, known| {
            known.trust = None;
            EntryAction::Retain(())
        }));
        self.renew();
    }

    /// Invalidates the state that depended on a connection whose tracking was lost.
    pub(in crate::store) fn forsaken(&self) {
        if self.is_known() { self.renew() } else { self.forget() }
    }

    /// Counts a change: a node has purged, whether or not its invalidation arrives here.
    pub(in crate::store) fn moved(&self) {
        self.moves.fetch_add(1, Ordering::AcqRel);
    }

    /// Records a purge, without Redis.
    pub(in crate::store) fn count(
        &self,
        sweep: BulkPurge,
        now: Timestamp,
    ) -> Result<PurgeGeneration, PrefixesFullError> {
        let mut known = self.ledger_mut();
        let tick = known.value.get_or_insert_with(PurgeLog::new).count(sweep, now)?;
        self.moves.fetch_add(1, Ordering::AcqRel);
        self.view.store(self.next_view(), Ordering::Release);
        Ok(tick)
    }

    /// Returns whether no purge was recorded since the state had this number of changes and this
    /// generation. A push may arrive without a purge: starting a log also invalidates it for every
    /// connection that has read it.
    pub(in crate::store) fn stands_since(&self, moves: u64, tick: PurgeGeneration) -> bool {
        self.moves() == moves
            || (tick != PurgeGeneration::default() && self.view() != 0 && self.tick() == tick)
    }

    /// Records in this process a purge that Redis does not confirm: it holds for stored entries,
    /// for fetches under way, and for later reads from Redis.
    pub(in crate::store) fn purge_locally(
        &self,
        scopes: &[PurgeScope],
        strength: PurgeStrength,
        now: Timestamp,
    ) {
        self.local.add(scopes, strength, now);
        // Each entry is checked again at its next lookup.
        self.renew();
    }

    /// Records in this process the removal of one resource or variant.
    pub(in crate::store) fn remove_locally(&self, key: &CacheKey, now: Timestamp) {
        self.local.add_key(key, now);
        self.renew();
    }

    /// Removes the local marks of a purge that began then, because Redis has confirmed it.
    pub(in crate::store) fn taken(&self, scopes: &[PurgeScope], strength: PurgeStrength, begun: Timestamp) {
        self.local.taken(scopes, strength, begun);
    }

    /// Returns whether this process has marked a purge of more than single keys since then.
    pub(in crate::store) fn swept_since(&self, begun: Instant) -> bool {
        self.local.swept_since(begun)
    }

    /// Issues a new revision of the unchanged log.
    fn renew(&self) {
        let known = self.ledger_mut();
        let view = self.view.load(Ordering::Acquire);
        if view != 0 {
            self.view.store(self.next_view() | (view & PASSING), Ordering::Release);
        }
        drop(known);
    }

    fn next_view(&self) -> u64 {
        self.views.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn ledger(&self) -> RwLockReadGuard<'_, Cached<PurgeLog>> {
        // Each critical section makes one assignment: a panic leaves nothing half done.
        self.ledger.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger_mut(&self) -> RwLockWriteGuard<'_, Cached<PurgeLog>> {
        self.ledger.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::entry::{Entry, EntryVersion, KeyGeneration, StoredValue};
    use crate::key::{CacheKey, Scheme};
    use crate::policy::{Obligations, StoredFacts};
    use crate::store::purge::names::{CacheTag, UrlPrefix};
    use crate::time::instant;

    const HOUR: Duration = Duration::from_secs(3600);

    fn target() -> Target {
        Target::parse(Scheme::Http, &"/a".parse().unwrap(), [&b"api.test"[..]].into_iter()).unwrap()
    }

    fn tag() -> TagDigest {
        CacheTag::parse("x").unwrap().digest()
    }

    /// Encodes an entry with a tag, fetched at this generation.
    fn entry(tick: PurgeGeneration) -> Bytes {
        let facts = StoredFacts {
            received: Timestamp::EPOCH,
            initial_age: Duration::ZERO,
            lifetime: HOUR,
            obligations: Obligations::default(),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
        };
        let stored = StoredValue::Response(Entry {
            facts,
            status: StatusCode::OK,
            head: HeaderMap::new(),
            body: Bytes::new(),
        });
        let stamp = EntryVersion { lineage: KeyGeneration::NONE, tick, tags: vec![tag()] };
        entry::encode(&CacheKey::of(&target()), &stored, &stamp).unwrap()
    }

    fn judged(clock: &PurgeState, entry: &[u8], told: &PurgeSnapshot) -> PurgeVerdict {
        clock.judge(entry, &target(), Consistency::Firm(told))
    }

    /// Returns a state that has been read, its log, an entry fetched then, and the guard of the
    /// tracking slot.
    fn read() -> (Arc<PurgeState>, PurgeLog, Bytes, impl Sized) {
        let seats = TrackingTable::new();
        let (presence, witness) = seats.take();
        let (clock, ledger) = (PurgeState::new(seats), PurgeLog::new());
        clock.learn(ledger.clone(), EntryTrust::Tracked(witness.unwrap()));
        let entry = entry(ledger.tick);
        (clock, ledger, entry, presence)
    }

    /// Returns the log after one more purge, which covers the entry.
    fn swept(ledger: &PurgeLog) -> PurgeLog {
        let mut swept = ledger.clone();
        let prefix = UrlPrefix::parse("http://api.test/a").unwrap();
        swept.count(BulkPurge::Prefix(prefix, PurgeStrength::Hard), Timestamp::EPOCH).unwrap();
        swept
    }

    #[test]
    fn while_it_is_read_again_hits_go_on_by_what_was_known() {
        let (clock, ledger, entry, _presence) = read();
        let before = clock.view();
        assert_eq!(
            judged(&clock, &entry, &PurgeSnapshot::default()),
            PurgeVerdict::Fate(PurgeStatus::Stands, before)
        );
        clock.outrun(instant() + HOUR);
        assert_eq!(clock.view(), before, "whoever was looked at need not be again");
        assert_eq!(
            judged(&clock, &entry, &PurgeSnapshot::default()),
            PurgeVerdict::Fate(PurgeStatus::Stands, before)
        );
        let (_other, witness) = clock.seats.take();
        clock.learn(swept(&ledger), EntryTrust::Tracked(witness.unwrap()));
        assert_ne!(clock.view(), before);
        assert_eq!(
            judged(&clock, &entry, &PurgeSnapshot::default()),
            PurgeVerdict::Fate(PurgeStatus::Gone, clock.view())
        );
    }

    #[test]
    fn nobody_has_caught_up_who_goes_on_like_that() {
        let (clock, ledger, entry, _presence) = read();
        clock.settled();
        assert_ne!(clock.view(), 0, "nothing has moved");
        clock.outrun(instant() + HOUR);
        clock.settled();
        assert_eq!(judged(&clock, &entry, &PurgeSnapshot::default()), PurgeVerdict::NoClock);
        // A snapshot from before the purge serves its own request only.
        let mut told = PurgeSnapshot::default();
        told.ledger = Some(ledger);
        assert_eq!(judged(&clock, &entry, &told), PurgeVerdict::Fate(PurgeStatus::Stands, 0));
        assert_eq!(judged(&clock, &entry, &PurgeSnapshot::default()), PurgeVerdict::NoClock);
    }

    #[test]
    fn nobody_goes_on_like_that_for_long() {
        let (clock, _, entry, _presence) = read();
        clock.outrun(instant().checked_sub(2 * CLOCK_OUTRUN_MAX).unwrap());
        clock.outrun(instant());
        assert_eq!(
            judged(&clock, &entry, &PurgeSnapshot::default()),
            PurgeVerdict::NoClock,
            "more news are no reprieve"
        );
    }

    #[test]
    fn nobody_goes_on_like_that_without_whoever_brought_the_news() {
        let (clock, _, entry, presence) = read();
        clock.outrun(instant() + HOUR);
        drop(presence);
        assert_eq!(judged(&clock, &entry, &PurgeSnapshot::default()), PurgeVerdict::NoClock);
        clock.forsaken();
        assert_eq!(judged(&clock, &entry, &PurgeSnapshot::default()), PurgeVerdict::NoClock);
    }

    #[test]
    fn a_counter_that_only_one_was_told_makes_no_view() {
        let (clock, ledger, entry, _presence) = read();
        let (_other, witness) = clock.seats.take();
        let mut moved = ledger.clone();
        moved.count(BulkPurge::Counted, Timestamp::EPOCH).unwrap();
        clock.learn(moved, EntryTrust::Tracked(witness.unwrap()));
        let mut told = PurgeSnapshot::default();
        assert_eq!(judged(&clock, &entry, &told), PurgeVerdict::NoCounters(vec![tag()]));
        told.hear(tag(), Some(TagGeneration::at(ledger.tick)));
        assert_eq!(judged(&clock, &entry, &told), PurgeVerdict::Fate(PurgeStatus::Stands, 0));
        assert_eq!(judged(&clock, &entry, &PurgeSnapshot::default()), PurgeVerdict::NoCounters(vec![tag()]));
        clock.learn_counter(
            tag(),
            Some(TagGeneration::at(ledger.tick)),
            EntryTrust::Tracked(witness.unwrap()),
            None,
        );
        assert_eq!(judged(&clock, &entry, &told), PurgeVerdict::Fate(PurgeStatus::Stands, clock.view()));
    }
}

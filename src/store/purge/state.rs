//! What this process knows of the fleet's purges, and whether an entry has been one of their
//! victims.
//!
//! In the steady state a hit asks one thing: is the *view* still the one at which its entry was
//! looked at? The view is a number of this process, and changes whenever anything that is known of
//! purges changes, or ceases to be known. Only then are entries looked at again, each when it is
//! next asked for: the purge clock first, and, where that has moved since the entry was fetched,
//! the counters of its tags.
//!
//! When news come that the clock has moved, it is read again at once (`fleet.rs: follow_clock`),
//! and hits go on meanwhile by what was known: a purge is confirmed only when every worker has said
//! that it has caught up, and none says so while it goes on like that ([`PurgeState::settled`]).
//!
//! **Always:** what is not known is asked for, and a counter that is not there means that its
//! entries are gone. What is forgotten keeps its last value for one use: when Redis cannot be
//! reached, what was purged before stays purged.

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

/// The purges, as this process knows them.
pub(in crate::store) struct PurgeState {
    /// Changes with everything below; zero while the clock is not known. With [`PASSING`] in it, it
    /// does not hold for ever. Written with the ledger's lock held.
    view: AtomicU64,
    /// The last view that was given.
    views: AtomicU64,
    /// How often the clock has moved, or may have.
    moves: AtomicU64,
    ledger: RwLock<Cached<PurgeLog>>,
    counters: Cache<u128, Cached<TagGeneration>>,
    /// The purges that Redis has not taken.
    local: LocalPurges,
    seats: Arc<TrackingTable>,
}

/// In a view: whether the ledger is still trusted has to be asked.
const PASSING: u64 = 1 << 63;

/// What was last read, and whether it may be believed.
#[derive(Clone)]
struct Cached<T> {
    /// `None` if there is none.
    value: Option<T>,
    trust: Option<EntryTrust>,
    /// Until when it is known to be kept.
    kept: Option<Instant>,
}

/// On what ground it is judged.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Consistency<'a> {
    /// Only what holds counts, and what this request was told.
    Firm(&'a PurgeSnapshot),
    /// Nobody can be asked: what was last known has to do.
    LastKnown,
}

/// What is made of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum PurgeVerdict {
    /// This, at this view.
    Fate(PurgeStatus, u64),
    /// The clock has to be read first.
    NoClock,
    /// The counters of these tags have to be read first.
    NoCounters(Vec<TagDigest>),
}

impl PurgeState {
    /// Nothing is known.
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

    /// There is no Redis: nobody else purges.
    pub(in crate::store) fn run_alone(&self) {
        if !self.is_known() {
            self.learn(PurgeLog::new(), EntryTrust::Always);
        }
    }

    /// The view, or zero if it is not known whether anything has been purged.
    pub(in crate::store) fn view(&self) -> u64 {
        let view = self.view.load(Ordering::Acquire);
        if view & PASSING == 0 {
            return view;
        }
        // Both at one moment: what is trusted by now may be of another view.
        let known = self.ledger();
        let holds = known.trust.is_some_and(|trust| trust.holds(&self.seats));
        if holds { self.view.load(Ordering::Acquire) & !PASSING } else { 0 }
    }

    /// How often the clock has moved.
    pub(in crate::store) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    /// How many purges there had been when the clock was last read.
    pub(in crate::store) fn tick(&self) -> PurgeGeneration {
        self.ledger().value.as_ref().map(|ledger| ledger.tick).unwrap_or_default()
    }

    pub(in crate::store) fn is_known(&self) -> bool {
        self.ledger().trust.is_some_and(|trust| trust.holds(&self.seats))
    }

    /// What the purges mean for an entry of this target.
    pub(in crate::store) fn judge(
        &self,
        bytes: &[u8],
        target: &Target,
        footing: Consistency<'_>,
    ) -> PurgeVerdict {
        // Before anything is looked at: what changes meanwhile makes another view.
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
        // Stored while nobody could say how many purges there had been.
        if matches!(footing, Consistency::LastKnown) && tick == PurgeGeneration::default() {
            return PurgeVerdict::Fate(PurgeStatus::Stands, 0);
        }
        let mut fate = known.judge(tick, target);
        // No purge since it was fetched: then there was none of its tags either.
        if fate == PurgeStatus::Gone || tick.count >= known.tick.count {
            return PurgeVerdict::Fate(fate, view);
        }
        let mut unknown = Vec::new();
        for tag in tags {
            let counter = match footing {
                Consistency::LastKnown => self.last_counter(tag),
                Consistency::Firm(told) => self.counter(tag).or_else(|| {
                    // What only this request was told is no view of anybody else's.
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

    /// The counter of a tag: `None` if it is not known, `Some(None)` if there is none.
    pub(in crate::store) fn counter(&self, tag: TagDigest) -> Option<Option<TagGeneration>> {
        let known = self.counters.get(&tag.0)?;
        known.trust.is_some_and(|trust| trust.holds(&self.seats)).then_some(known.value)
    }

    /// The same, as it was when it was last known.
    fn last_counter(&self, tag: TagDigest) -> Option<Option<TagGeneration>> {
        self.counters.get(&tag.0).map(|known| known.value)
    }

    /// What stands in Redis.
    pub(in crate::store) fn learn(&self, ledger: PurgeLog, trust: EntryTrust) {
        let mut known = self.ledger_mut();
        let before = known.value.as_ref().map(|known| known.tick);
        let is_older = before
            .is_some_and(|before| before.epoch == ledger.tick.epoch && before.count > ledger.tick.count);
        if is_older && known.trust.is_some_and(|trust| trust.holds(&self.seats)) {
            // Read by somebody else, before what is known; Redis will tell him.
            return;
        }
        if before.is_some_and(|before| before != ledger.tick) {
            self.moves.fetch_add(1, Ordering::AcqRel);
        }
        *known = Cached { value: Some(ledger), trust: Some(trust), kept: None };
        let passing = if matches!(trust, EntryTrust::Until(_)) { PASSING } else { 0 };
        self.view.store(self.next_view() | passing, Ordering::Release);
    }

    /// What stands of a tag in Redis.
    pub(in crate::store) fn learn_counter(
        &self,
        tag: TagDigest,
        counter: Option<TagGeneration>,
        trust: EntryTrust,
        kept: Option<Instant>,
    ) {
        self.counters.insert(tag.0, Cached { value: counter, trust: Some(trust), kept });
    }

    /// Whether a tag is known to have a counter of this epoch that will be there until `moment`.
    pub(in crate::store) fn has_counter_until(&self, tag: TagDigest, epoch: u64, moment: Instant) -> bool {
        self.counters.get(&tag.0).is_some_and(|known| {
            known.value.is_some_and(|counter| counter.epoch == epoch)
                && known.trust.is_some_and(|trust| trust.holds(&self.seats))
                && known.kept.is_some_and(|kept| kept >= moment)
        })
    }

    /// Counts the purge of a tag at this tick, where there is no Redis.
    pub(in crate::store) fn count_tag(
        &self,
        tag: TagDigest,
        tick: PurgeGeneration,
        strength: PurgeStrength,
        now: Timestamp,
    ) {
        let known = self.counter(tag).flatten().filter(|known| known.epoch == tick.epoch);
        let counter = match (known, strength) {
            // What was purged before is not known any more: then everything was.
            (None, _) => TagGeneration::at(tick),
            (Some(known), PurgeStrength::Hard) => TagGeneration { hard: tick.count, ..known },
            (Some(known), PurgeStrength::Soft) => TagGeneration { soft: (tick.count, now), ..known },
        };
        self.learn_counter(tag, Some(counter), EntryTrust::Always, None);
        self.renew();
    }

    /// The clock has moved, says Redis, and it is being read: what is known goes on until then.
    pub(in crate::store) fn outrun(&self, now: Instant) {
        let mut known = self.ledger_mut();
        match known.trust {
            Some(EntryTrust::Tracked(witness)) => {
                known.trust = Some(EntryTrust::Outrun(witness, now + CLOCK_OUTRUN_MAX));
                self.view.fetch_or(PASSING, Ordering::AcqRel);
                self.moves.fetch_add(1, Ordering::AcqRel);
            }
            // For no longer than since the first news.
            Some(EntryTrust::Outrun(..)) => drop(self.moves.fetch_add(1, Ordering::AcqRel)),
            Some(EntryTrust::Always | EntryTrust::Until(_) | EntryTrust::Arriving(_)) | None => {
                drop(known);
                self.forget();
            }
        }
    }

    /// Every connection of a worker has brought the news that were on their way, and it is about to
    /// say so: by what is not read again by now, nobody goes on.
    pub(in crate::store) fn settled(&self) {
        let is_outrun = matches!(self.ledger().trust, Some(EntryTrust::Outrun(..)));
        if is_outrun {
            self.forget();
        }
    }

    /// The clock has moved, or may have.
    pub(in crate::store) fn forget(&self) {
        let mut known = self.ledger_mut();
        known.trust = None;
        self.view.store(0, Ordering::Release);
        self.moves.fetch_add(1, Ordering::AcqRel);
    }

    /// The counter of a tag has changed: what was looked at before has to be looked at again.
    pub(in crate::store) fn forget_counter(&self, tag: u128) {
        // Its last value stays, for when nobody can be asked. Where there is none, its place is
        // given back at once.
        drop(self.counters.entry(&tag, Some(Duration::ZERO), |_, known| {
            known.trust = None;
            EntryAction::Retain(())
        }));
        self.renew();
    }

    /// Some of what was read over a connection is not known any more.
    pub(in crate::store) fn forsaken(&self) {
        if self.is_known() { self.renew() } else { self.forget() }
    }

    /// Somebody has purged, whether that is seen here or not.
    pub(in crate::store) fn moved(&self) {
        self.moves.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts a purge where there is no Redis.
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

    /// Whether nothing has been purged since the clock had moved so often and stood there. It may
    /// have moved for all that was heard, and not have: one that is begun is news for all who have
    /// asked for it.
    pub(in crate::store) fn stands_since(&self, moves: u64, tick: PurgeGeneration) -> bool {
        self.moves() == moves
            || (tick != PurgeGeneration::default() && self.view() != 0 && self.tick() == tick)
    }

    /// Has a purge that Redis does not take hold in this process: for what is stored, for what is
    /// under way, and for what is read from Redis later.
    pub(in crate::store) fn purge_locally(
        &self,
        scopes: &[PurgeScope],
        strength: PurgeStrength,
        now: Timestamp,
    ) {
        self.local.add(scopes, strength, now);
        // Each entry is looked at again when it is next asked for.
        self.renew();
    }

    /// Has the removal of one resource or variant hold in this process.
    pub(in crate::store) fn remove_locally(&self, key: &CacheKey, now: Timestamp) {
        self.local.add_key(key, now);
        self.renew();
    }

    /// Redis has taken a purge that began then: it need not be remembered here.
    pub(in crate::store) fn taken(&self, scopes: &[PurgeScope], strength: PurgeStrength, begun: Timestamp) {
        self.local.taken(scopes, strength, begun);
    }

    /// Whether everything with something in common has been purged in this process since then.
    pub(in crate::store) fn swept_since(&self, begun: Instant) -> bool {
        self.local.swept_since(begun)
    }

    /// Another view of the same.
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
        // One assignment at a time: a panic between leaves nothing half done.
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

    /// An entry with a tag that was fetched then.
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

    /// A clock that has been read, the entry that was fetched then, and whoever would bring news.
    fn read() -> (Arc<PurgeState>, PurgeLog, Bytes, impl Sized) {
        let seats = TrackingTable::new();
        let (presence, witness) = seats.take();
        let (clock, ledger) = (PurgeState::new(seats), PurgeLog::new());
        clock.learn(ledger.clone(), EntryTrust::Tracked(witness.unwrap()));
        let entry = entry(ledger.tick);
        (clock, ledger, entry, presence)
    }

    /// The same clock after one more purge, of what the entry is part of.
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
        // Late, and of before the move: nobody takes it for more than what he was told.
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

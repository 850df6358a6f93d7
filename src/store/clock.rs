//! What this process knows of the fleet's purges, and whether an entry has been one of their victims.
//!
//! In the steady state a hit asks one thing: is the *view* still the one at which its entry was looked at? The view is a
//! number of this process, and changes whenever anything that is known of purges changes, or ceases to be known. Only then
//! are entries looked at again, each when it is next asked for: the purge clock first, and, where that has moved since the
//! entry was fetched, the counters of its tags.
//!
//! **Always:** what is not known is asked for, and a counter that is not there means that its entries are gone. What is
//! forgotten keeps its last value for one use: when Redis cannot be reached, what was purged before stays purged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use quick_cache::sync::{Cache, EntryAction};

use super::ledger::{Counter, Fate, Ledger, Sweep};
use super::purge::{Full, Strength};
use super::trust::Trust;
use crate::entry::{self, TagDigest, Tick};
use crate::key::Target;
use crate::limits::COUNTERS_MAX;
use crate::redis::Seats;
use crate::time::Timestamp;

/// The purges, as this process knows them.
pub(super) struct Clock {
    /// Changes with everything below; zero while the clock is not known.
    view: AtomicU64,
    /// The last view that was given.
    views: AtomicU64,
    /// How often the clock has moved, or may have.
    moves: AtomicU64,
    /// The view does not hold for ever.
    is_passing: AtomicBool,
    ledger: RwLock<Known<Ledger>>,
    counters: Cache<u128, Known<Counter>>,
    seats: Arc<Seats>,
}

/// What was last read, and whether it may be believed.
#[derive(Clone)]
struct Known<T> {
    /// `None` if there is none.
    value: Option<T>,
    trust: Option<Trust>,
    /// Until when it is known to be kept.
    kept: Option<Instant>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Footing {
    /// Only what holds counts.
    Firm,
    /// Nobody can be asked: what was last known has to do.
    LastKnown,
}

/// What is made of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This, at this view.
    Fate(Fate, u64),
    /// The clock has to be read first.
    NoClock,
    /// The counters of these tags have to be read first.
    NoCounters(Vec<TagDigest>),
}

impl Clock {
    /// Nothing is known.
    pub(super) fn new(seats: Arc<Seats>) -> Arc<Self> {
        Arc::new(Self {
            view: AtomicU64::new(0),
            views: AtomicU64::new(0),
            moves: AtomicU64::new(0),
            is_passing: AtomicBool::new(false),
            ledger: RwLock::new(Known { value: None, trust: None, kept: None }),
            counters: Cache::new(COUNTERS_MAX),
            seats,
        })
    }

    /// There is no Redis: nobody else purges.
    pub(super) fn run_alone(&self) {
        if !self.is_known() {
            self.learn(Ledger::new(), Trust::Always);
        }
    }

    /// The view, or zero if it is not known whether anything has been purged.
    pub(super) fn view(&self) -> u64 {
        let view = self.view.load(Ordering::Acquire);
        if self.is_passing.load(Ordering::Relaxed) && !self.is_known() { 0 } else { view }
    }

    /// How often the clock has moved.
    pub(super) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    /// How many purges there had been when the clock was last read.
    pub(super) fn tick(&self) -> Tick {
        self.ledger().value.as_ref().map(|ledger| ledger.tick).unwrap_or_default()
    }

    pub(super) fn is_known(&self) -> bool {
        self.ledger().trust.is_some_and(|trust| trust.holds(&self.seats))
    }

    /// What the purges mean for an entry of this target.
    pub(super) fn judge(&self, bytes: &[u8], target: &Target, footing: Footing) -> Verdict {
        // Before anything is looked at: what changes meanwhile makes another view.
        let view = self.view();
        let Some((tick, tags)) = entry::history(bytes) else { return Verdict::Fate(Fate::Stands, view) };
        let ledger = self.ledger();
        let known = match (footing, &ledger.value) {
            (Footing::Firm, _) if view == 0 => return Verdict::NoClock,
            (_, Some(known)) => known,
            (Footing::LastKnown, None) => return Verdict::Fate(Fate::Stands, 0),
            (Footing::Firm, None) => return Verdict::NoClock,
        };
        // Stored while nobody could say how many purges there had been.
        if footing == Footing::LastKnown && tick == Tick::default() {
            return Verdict::Fate(Fate::Stands, 0);
        }
        let mut fate = known.judge(tick, target);
        // No purge since it was fetched: then there was none of its tags either.
        if fate == Fate::Gone || tick.count >= known.tick.count {
            return Verdict::Fate(fate, view);
        }
        let mut unknown = Vec::new();
        for tag in tags {
            match self.counter(tag, footing) {
                Some(counter) => fate = fate.and(counter.map_or(Fate::Gone, |counter| counter.judge(tick))),
                None if footing == Footing::LastKnown => {}
                None => unknown.push(tag),
            }
        }
        if fate != Fate::Gone && !unknown.is_empty() {
            return Verdict::NoCounters(unknown);
        }
        Verdict::Fate(fate, view)
    }

    /// The counter of a tag: `None` if it is not known, `Some(None)` if there is none.
    pub(super) fn counter(&self, tag: TagDigest, footing: Footing) -> Option<Option<Counter>> {
        let known = self.counters.get(&tag.0)?;
        let holds = known.trust.is_some_and(|trust| trust.holds(&self.seats));
        (holds || footing == Footing::LastKnown).then_some(known.value)
    }

    /// What stands in Redis.
    pub(super) fn learn(&self, ledger: Ledger, trust: Trust) {
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
        self.is_passing.store(matches!(trust, Trust::Until(_)), Ordering::Relaxed);
        *known = Known { value: Some(ledger), trust: Some(trust), kept: None };
        self.view.store(self.next_view(), Ordering::Release);
    }

    /// What stands of a tag in Redis.
    pub(super) fn learn_counter(
        &self,
        tag: TagDigest,
        counter: Option<Counter>,
        trust: Trust,
        kept: Option<Instant>,
    ) {
        self.counters.insert(tag.0, Known { value: counter, trust: Some(trust), kept });
    }

    /// Whether a tag is known to have a counter of this epoch that will be there until `moment`.
    pub(super) fn has_counter_until(&self, tag: TagDigest, epoch: u64, moment: Instant) -> bool {
        self.counters.get(&tag.0).is_some_and(|known| {
            known.value.is_some_and(|counter| counter.epoch == epoch)
                && known.trust.is_some_and(|trust| trust.holds(&self.seats))
                && known.kept.is_some_and(|kept| kept >= moment)
        })
    }

    /// Counts the purge of a tag at this tick, where there is no Redis.
    pub(super) fn count_tag(&self, tag: TagDigest, tick: Tick, strength: Strength, now: Timestamp) {
        let known = self.counter(tag, Footing::Firm).flatten().filter(|known| known.epoch == tick.epoch);
        let counter = match (known, strength) {
            // What was purged before is not known any more: then everything was.
            (None, _) => Counter::at(tick),
            (Some(known), Strength::Hard) => Counter { hard: tick.count, ..known },
            (Some(known), Strength::Soft) => Counter { soft: (tick.count, now), ..known },
        };
        self.learn_counter(tag, Some(counter), Trust::Always, None);
        self.renew();
    }

    /// The clock has moved.
    pub(super) fn forget(&self) {
        let mut known = self.ledger_mut();
        known.trust = None;
        self.view.store(0, Ordering::Release);
        self.moves.fetch_add(1, Ordering::AcqRel);
    }

    /// The counter of a tag has changed: what was looked at before has to be looked at again.
    pub(super) fn forget_counter(&self, tag: u128) {
        // Its last value stays, for when nobody can be asked. Where there is none, its place is given back at once.
        drop(self.counters.entry(&tag, Some(Duration::ZERO), |_, known| {
            known.trust = None;
            EntryAction::Retain(())
        }));
        self.renew();
    }

    /// Some of what was read over a connection is not known any more.
    pub(super) fn forsaken(&self) {
        if self.is_known() { self.renew() } else { self.forget() }
    }

    /// Somebody has purged, whether that is seen here or not.
    pub(super) fn moved(&self) {
        self.moves.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts a purge where there is no Redis.
    pub(super) fn count(&self, sweep: Sweep, now: Timestamp) -> Result<Tick, Full> {
        let mut known = self.ledger_mut();
        let tick = known.value.get_or_insert_with(Ledger::new).count(sweep, now)?;
        self.moves.fetch_add(1, Ordering::AcqRel);
        self.view.store(self.next_view(), Ordering::Release);
        Ok(tick)
    }

    /// Whether the clock has not moved since it had moved so often.
    pub(super) fn began_since(&self, moves: u64) -> bool {
        self.moves() == moves
    }

    /// Another view of the same.
    fn renew(&self) {
        let known = self.ledger_mut();
        if self.view.load(Ordering::Acquire) != 0 {
            self.view.store(self.next_view(), Ordering::Release);
        }
        drop(known);
    }

    fn next_view(&self) -> u64 {
        self.views.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn ledger(&self) -> RwLockReadGuard<'_, Known<Ledger>> {
        // One assignment at a time: a panic between leaves nothing half done.
        self.ledger.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger_mut(&self) -> RwLockWriteGuard<'_, Known<Ledger>> {
        self.ledger.write().unwrap_or_else(PoisonError::into_inner)
    }
}

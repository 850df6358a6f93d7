//! Who may be stored at first sight: a flood of addresses that nobody asks for again must not fill
//! Redis, nor push what is asked for out of memory.
//!
//! In fair weather everything that may be stored is stored when it is first fetched. What is stored
//! at first sight is paid for, byte by byte, out of a budget. The budget fills up again in a
//! minute, and by as much as is stored of what had been asked for before: so beyond it, at most
//! half of what is stored is new. When it is used up, or Redis has said that it has no room, the
//! first miss of a key is only remembered, and its second one, a minute or two later at most, is
//! stored.
//!
//! A flood earns nothing, so it gets the budget a minute and no more. A cache that is cold earns as
//! it goes, since its keys do come again; the price is a second fetch of some.
//!
//! What has been asked for is remembered as bits of digests, in two generations of which the older
//! is let go. To be taken for another costs a place in the store (1 in 200 when both are full),
//! never a wrong answer.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::limits::{SIGHTS_BITS, SIGHTS_KEYS_MAX, SIGHTS_REMEMBERED};
use crate::policy::NotStorable;
use crate::store::StoreRoom;

/// For all workers: what one has seen for the first time, another has seen before.
pub(in crate::proxy) struct Doorkeeper(Mutex<DoorkeeperState>);

/// Whether what is fetched may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Admission {
    /// It has been asked for before.
    Again,
    /// It has not, and is paid for.
    Paid,
    /// Not this time.
    Refused,
}

impl Admission {
    /// Why it is not stored, if so.
    pub(in crate::proxy) fn refusal(self) -> Option<NotStorable> {
        match self {
            Self::Again | Self::Paid => None,
            Self::Refused => Some(NotStorable::FirstSight),
        }
    }
}

impl Doorkeeper {
    /// With a budget of so many bytes a minute, all of it unused.
    pub(in crate::proxy) fn new(budget: usize) -> Self {
        Self(Mutex::new(DoorkeeperState::new(budget)))
    }

    /// Whether what is fetched for `key` may be stored.
    pub(in crate::proxy) fn admit(&self, key: u128, room: StoreRoom, now: Instant) -> Admission {
        self.with(|door| door.admit(key, room, now))
    }

    /// So many bytes have been stored.
    pub(in crate::proxy) fn stored(&self, admission: Admission, bytes: usize) {
        self.with(|door| door.budget.stored(admission, bytes));
    }

    fn with<T>(&self, what: impl FnOnce(&mut DoorkeeperState) -> T) -> T {
        // A panic cannot leave bits and numbers in a state that means nothing.
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct DoorkeeperState {
    sights: SeenKeys,
    budget: AdmissionBudget,
}

impl DoorkeeperState {
    fn new(budget: usize) -> Self {
        Self { sights: SeenKeys::new(), budget: AdmissionBudget { most: budget, spent: 0, counted: None } }
    }

    fn admit(&mut self, key: u128, room: StoreRoom, now: Instant) -> Admission {
        self.budget.refill(now);
        match (self.sights.see(key, now), room) {
            (SeenBefore::Again, _) => Admission::Again,
            (SeenBefore::First, StoreRoom::Some) if self.budget.spent < self.budget.most => Admission::Paid,
            (SeenBefore::First, StoreRoom::Some | StoreRoom::None) => Admission::Refused,
        }
    }
}

/// What may be stored at first sight.
struct AdmissionBudget {
    most: usize,
    /// More than there is, by the last bodies that were paid for: how large they are is known when
    /// they are whole.
    spent: usize,
    /// Until when it has been refilled.
    counted: Option<Instant>,
}

impl AdmissionBudget {
    /// What has come since the last time: all of it in [`SIGHTS_REMEMBERED`].
    fn refill(&mut self, now: Instant) {
        let since = self.counted.map_or(SIGHTS_REMEMBERED, |counted| now.saturating_duration_since(counted));
        let share = since.as_millis().min(SIGHTS_REMEMBERED.as_millis());
        let earned = self.most as u128 * share / SIGHTS_REMEMBERED.as_millis();
        // Less than a byte is left for the next time.
        if earned > 0 || self.counted.is_none() {
            self.counted = Some(now);
            self.earn(usize::try_from(earned).unwrap_or(usize::MAX));
        }
    }

    fn stored(&mut self, admission: Admission, bytes: usize) {
        match admission {
            Admission::Again => self.earn(bytes),
            Admission::Paid => self.spent = self.spent.saturating_add(bytes),
            Admission::Refused => {}
        }
    }

    fn earn(&mut self, bytes: usize) {
        self.spent = self.spent.saturating_sub(bytes);
    }
}

/// How a key is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SeenBefore {
    First,
    Again,
}

/// What has been asked for of late.
struct SeenKeys {
    recent: BloomFilter,
    older: BloomFilter,
    /// How many are in `recent`.
    count: usize,
    /// When that was begun.
    begun: Option<Instant>,
}

impl SeenKeys {
    fn new() -> Self {
        Self { recent: BloomFilter::new(), older: BloomFilter::new(), count: 0, begun: None }
    }

    fn see(&mut self, key: u128, now: Instant) -> SeenBefore {
        let begun = *self.begun.get_or_insert(now);
        if self.count >= SIGHTS_KEYS_MAX || now.saturating_duration_since(begun) >= SIGHTS_REMEMBERED {
            std::mem::swap(&mut self.recent, &mut self.older);
            self.recent = BloomFilter::new();
            (self.count, self.begun) = (0, Some(now));
        }
        let known = self.older.has(key);
        if self.recent.add(key) == SeenBefore::Again || known {
            return SeenBefore::Again;
        }
        self.count += 1;
        SeenBefore::First
    }
}

/// A Bloom filter over digests: four bits a key.
struct BloomFilter(Box<[u64]>);

impl BloomFilter {
    /// Zeroes, which the system has at no cost until they are written.
    fn new() -> Self {
        Self(vec![0; SIGHTS_BITS / u64::BITS as usize].into())
    }

    /// The word and the bit of each quarter of the digest.
    fn places(key: u128) -> impl Iterator<Item = (usize, u64)> {
        (0..4).map(move |quarter| {
            let bits = (key >> (quarter * 32)) & (SIGHTS_BITS as u128 - 1);
            let bit = usize::try_from(bits).unwrap_or(0);
            (bit / u64::BITS as usize, 1 << (bit % u64::BITS as usize))
        })
    }

    fn has(&self, key: u128) -> bool {
        Self::places(key).all(|(word, bit)| self.0.get(word).is_some_and(|bits| bits & bit != 0))
    }

    fn add(&mut self, key: u128) -> SeenBefore {
        let mut sight = SeenBefore::Again;
        for (word, bit) in Self::places(key) {
            if let Some(bits) = self.0.get_mut(word) {
                if *bits & bit == 0 {
                    sight = SeenBefore::First;
                }
                *bits |= bit;
            }
        }
        sight
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::time;

    const KIB: usize = 1 << 10;

    /// A digest, as far as bits can tell.
    fn key(number: u64) -> u128 {
        let hash = blake3::hash(&number.to_le_bytes());
        u128::from_be_bytes(*hash.as_bytes().first_chunk().unwrap())
    }

    /// Asks for a key, and stores a KiB if it may be.
    fn ask(door: &Doorkeeper, number: u64, now: Instant) -> Admission {
        let admission = door.admit(key(number), StoreRoom::Some, now);
        door.stored(admission, KIB);
        admission
    }

    #[test]
    fn first_sights_are_stored_until_the_budget_is_used_up_and_then_at_the_second() {
        let (door, now) = (Doorkeeper::new(10 * KIB), time::instant());
        for number in 0..10 {
            assert_eq!(ask(&door, number, now), Admission::Paid);
        }
        assert_eq!(ask(&door, 10, now), Admission::Refused);
        assert_eq!(ask(&door, 11, now), Admission::Refused);
        assert_eq!(ask(&door, 10, now), Admission::Again);
        assert_eq!(
            ask(&door, 12, now),
            Admission::Paid,
            "one that came again has earned a place for a new one"
        );
        assert_eq!(ask(&door, 13, now), Admission::Refused);
    }

    #[test]
    fn the_budget_fills_up_in_a_minute_and_not_beyond() {
        let (door, now) = (Doorkeeper::new(10 * KIB), time::instant());
        (0..10).for_each(|number| assert_eq!(ask(&door, number, now), Admission::Paid));
        let half = now + SIGHTS_REMEMBERED / 2;
        let stored =
            |from: u64, now| (from..from + 100).filter(|n| ask(&door, *n, now) == Admission::Paid).count();
        assert_eq!(stored(100, half), 5);
        assert_eq!(stored(200, half + 5 * SIGHTS_REMEMBERED), 10);
        // However often it is asked: what is less than a byte is not lost.
        let later = half + 6 * SIGHTS_REMEMBERED;
        let steps = (0..600).map(|step| later + Duration::from_millis(100 * step));
        let before = stored(300, later);
        let paid = steps.zip(1_000..).filter(|(now, n)| ask(&door, *n, *now) == Admission::Paid).count();
        assert_eq!(before, 10);
        assert!((9..=11).contains(&paid), "{paid}");
    }

    #[test]
    fn without_room_only_what_comes_again_is_stored() {
        let (door, now) = (Doorkeeper::new(10 * KIB), time::instant());
        assert_eq!(door.admit(key(1), StoreRoom::None, now), Admission::Refused);
        assert_eq!(door.admit(key(1), StoreRoom::None, now), Admission::Again);
        let none = Doorkeeper::new(0);
        assert_eq!((ask(&none, 1, now), ask(&none, 1, now)), (Admission::Refused, Admission::Again));
        assert_eq!(ask(&none, 2, now), Admission::Refused, "there is nothing to earn");
    }

    #[test]
    fn what_was_seen_is_remembered_for_a_generation_at_least_and_two_at_most() {
        let (mut sights, now) = (SeenKeys::new(), time::instant());
        assert_eq!(sights.see(key(1), now), SeenBefore::First);
        assert_eq!(sights.see(key(2), now + SIGHTS_REMEMBERED), SeenBefore::First);
        assert_eq!(sights.see(key(1), now + SIGHTS_REMEMBERED), SeenBefore::Again);
        assert_eq!(sights.see(key(2), now + 3 * SIGHTS_REMEMBERED), SeenBefore::Again);
        assert_eq!(sights.see(key(1), now + 4 * SIGHTS_REMEMBERED), SeenBefore::First);
    }

    #[test]
    fn however_many_are_seen_few_are_taken_for_others() {
        let (mut sights, now) = (SeenKeys::new(), time::instant());
        let many = 3 * SIGHTS_KEYS_MAX as u64;
        let mistaken = (0..many).filter(|number| sights.see(key(*number), now) == SeenBefore::Again).count();
        assert!(mistaken < SIGHTS_KEYS_MAX / 50, "{mistaken} of {many}");
        assert_eq!(sights.see(key(many - 1), now), SeenBefore::Again);
    }
}

//! Admission to the store: requests for many URLs that are never requested again must not fill
//! Redis or evict useful responses from memory.
//!
//! Under normal load, a storable response is stored at its first fetch. A response of a new key
//! uses up a budget of bytes, which refills within a minute. A stored response of a key that was
//! requested before adds its size to the budget. So new keys get the refill, and beyond it at most
//! as many bytes as returning keys. While the budget is empty, or Redis has reported that it is
//! full, the first miss of a key is only remembered; a second miss within one to two minutes is
//! stored.
//!
//! A flood of new keys adds nothing, so it gets one budget per minute. A cold cache adds as its
//! keys repeat. The price: some keys are fetched twice.
//!
//! Requested keys are remembered as digest bits in two generations; the older generation is
//! dropped. A false positive (1 in 200 when both are full) costs storage, and never a wrong answer.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::limits::{ADMISSION_FILTER_BITS, ADMISSION_FILTER_KEYS_MAX, ADMISSION_PERIOD};
use crate::policy::NotStorable;
use crate::store::StoreRoom;

/// The admission state of all workers: a key that one worker has seen counts as seen for every
/// worker.
pub(in crate::proxy) struct Doorkeeper(Mutex<DoorkeeperState>);

/// The admission of a fetched response to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Admission {
    /// Admitted: the key has been requested before.
    Again,
    /// Admitted: the key is new, and the budget pays for it.
    Paid,
    /// Not admitted this time.
    Refused,
}

impl Admission {
    /// Returns the reason for a refusal, if it is one.
    pub(in crate::proxy) fn refusal(self) -> Option<NotStorable> {
        match self {
            Self::Again | Self::Paid => None,
            Self::Refused => Some(NotStorable::NotAdmitted),
        }
    }
}

impl Doorkeeper {
    /// Creates the state with an unspent budget of `budget` bytes per minute.
    pub(in crate::proxy) fn new(budget: usize) -> Self {
        Self(Mutex::new(DoorkeeperState::new(budget)))
    }

    /// Decides whether the response fetched for `key` may be stored.
    pub(in crate::proxy) fn admit(&self, key: u128, room: StoreRoom, now: Instant) -> Admission {
        self.with(|door| door.admit(key, room, now))
    }

    /// Records that `bytes` have been stored under an admission.
    pub(in crate::proxy) fn stored(&self, admission: Admission, bytes: usize) {
        self.with(|door| door.budget.stored(admission, bytes));
    }

    fn with<T>(&self, what: impl FnOnce(&mut DoorkeeperState) -> T) -> T {
        // A panic cannot leave the bits and counters in an invalid state.
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct DoorkeeperState {
    seen_keys: SeenKeys,
    budget: AdmissionBudget,
}

impl DoorkeeperState {
    fn new(budget: usize) -> Self {
        Self { seen_keys: SeenKeys::new(), budget: AdmissionBudget { most: budget, spent: 0, counted: None } }
    }

    fn admit(&mut self, key: u128, room: StoreRoom, now: Instant) -> Admission {
        self.budget.refill(now);
        match (self.seen_keys.see(key, now), room) {
            (SeenBefore::Again, _) => Admission::Again,
            (SeenBefore::First, StoreRoom::Some) if self.budget.spent < self.budget.most => Admission::Paid,
            (SeenBefore::First, StoreRoom::Some | StoreRoom::None) => Admission::Refused,
        }
    }
}

/// The byte budget for new keys.
struct AdmissionBudget {
    most: usize,
    /// The spent bytes. They can exceed `most` by the last admitted bodies, because a body's size
    /// is known only at its end.
    spent: usize,
    /// The time of the last refill.
    counted: Option<Instant>,
}

impl AdmissionBudget {
    /// Refills the budget for the time since the last refill; [`ADMISSION_PERIOD`] refills all of
    /// it.
    fn refill(&mut self, now: Instant) {
        let since = self.counted.map_or(ADMISSION_PERIOD, |counted| now.saturating_duration_since(counted));
        let share = since.as_millis().min(ADMISSION_PERIOD.as_millis());
        let earned = self.most as u128 * share / ADMISSION_PERIOD.as_millis();
        // A refill of less than one byte waits for the next call.
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

/// Whether a key has been seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SeenBefore {
    First,
    Again,
}

/// The recently requested keys.
struct SeenKeys {
    recent: BloomFilter,
    older: BloomFilter,
    /// The number of keys in `recent`.
    count: usize,
    /// The time at which `recent` was started.
    begun: Option<Instant>,
}

impl SeenKeys {
    fn new() -> Self {
        Self { recent: BloomFilter::new(), older: BloomFilter::new(), count: 0, begun: None }
    }

    fn see(&mut self, key: u128, now: Instant) -> SeenBefore {
        let begun = *self.begun.get_or_insert(now);
        if self.count >= ADMISSION_FILTER_KEYS_MAX || now.saturating_duration_since(begun) >= ADMISSION_PERIOD
        {
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

/// A Bloom filter over digests, with four bits per key.
struct BloomFilter(Box<[u64]>);

impl BloomFilter {
    /// Creates an empty filter. The operating system provides zeroed pages lazily, so unused pages
    /// cost nothing.
    fn new() -> Self {
        Self(vec![0; ADMISSION_FILTER_BITS / u64::BITS as usize].into())
    }

    /// Returns the word index and the bit for each quarter of the digest.
    fn word_bits(key: u128) -> impl Iterator<Item = (usize, u64)> {
        (0..4).map(move |quarter| {
            let bits = (key >> (quarter * 32)) & (ADMISSION_FILTER_BITS as u128 - 1);
            let bit = usize::try_from(bits).unwrap_or(0);
            (bit / u64::BITS as usize, 1 << (bit % u64::BITS as usize))
        })
    }

    fn has(&self, key: u128) -> bool {
        Self::word_bits(key).all(|(word, bit)| self.0.get(word).is_some_and(|bits| bits & bit != 0))
    }

    fn add(&mut self, key: u128) -> SeenBefore {
        let mut seen = SeenBefore::Again;
        for (word, bit) in Self::word_bits(key) {
            if let Some(bits) = self.0.get_mut(word) {
                if *bits & bit == 0 {
                    seen = SeenBefore::First;
                }
                *bits |= bit;
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::time;

    const KIB: usize = 1 << 10;

    /// Returns a digest of a number.
    fn key(number: u64) -> u128 {
        let hash = blake3::hash(&number.to_le_bytes());
        u128::from_be_bytes(*hash.as_bytes().first_chunk().unwrap())
    }

    /// Requests a key, and records a stored KiB if it is admitted.
    fn request(door: &Doorkeeper, number: u64, now: Instant) -> Admission {
        let admission = door.admit(key(number), StoreRoom::Some, now);
        door.stored(admission, KIB);
        admission
    }

    #[test]
    fn new_keys_are_stored_until_the_budget_is_spent_and_then_at_their_second_request() {
        let (door, now) = (Doorkeeper::new(10 * KIB), time::instant());
        for number in 0..10 {
            assert_eq!(request(&door, number, now), Admission::Paid);
        }
        assert_eq!(request(&door, 10, now), Admission::Refused);
        assert_eq!(request(&door, 11, now), Admission::Refused);
        assert_eq!(request(&door, 10, now), Admission::Again);
        assert_eq!(request(&door, 12, now), Admission::Paid, "a repeated key earns budget for a new one");
        assert_eq!(request(&door, 13, now), Admission::Refused);
    }

    #[test]
    fn the_budget_refills_in_a_minute_up_to_its_size() {
        let (door, now) = (Doorkeeper::new(10 * KIB), time::instant());
        (0..10).for_each(|number| assert_eq!(request(&door, number, now), Admission::Paid));
        let half = now + ADMISSION_PERIOD / 2;
        let stored = |from: u64, now| {
            (from..from + 100).filter(|n| request(&door, *n, now) == Admission::Paid).count()
        };
        assert_eq!(stored(100, half), 5);
        assert_eq!(stored(200, half + 5 * ADMISSION_PERIOD), 10);
        // Frequent refills do not lose fractions of a byte.
        let later = half + 6 * ADMISSION_PERIOD;
        let steps = (0..600).map(|step| later + Duration::from_millis(100 * step));
        let before = stored(300, later);
        let paid = steps.zip(1_000..).filter(|(now, n)| request(&door, *n, *now) == Admission::Paid).count();
        assert_eq!(before, 10);
        assert!((9..=11).contains(&paid), "{paid}");
    }

    #[test]
    fn a_full_store_admits_repeated_keys_only() {
        let (door, now) = (Doorkeeper::new(10 * KIB), time::instant());
        assert_eq!(door.admit(key(1), StoreRoom::None, now), Admission::Refused);
        assert_eq!(door.admit(key(1), StoreRoom::None, now), Admission::Again);
        let none = Doorkeeper::new(0);
        assert_eq!((request(&none, 1, now), request(&none, 1, now)), (Admission::Refused, Admission::Again));
        assert_eq!(request(&none, 2, now), Admission::Refused, "an empty budget earns nothing");
    }

    #[test]
    fn keys_are_remembered_for_one_to_two_generations() {
        let (mut seen_keys, now) = (SeenKeys::new(), time::instant());
        assert_eq!(seen_keys.see(key(1), now), SeenBefore::First);
        assert_eq!(seen_keys.see(key(2), now + ADMISSION_PERIOD), SeenBefore::First);
        assert_eq!(seen_keys.see(key(1), now + ADMISSION_PERIOD), SeenBefore::Again);
        assert_eq!(seen_keys.see(key(2), now + 3 * ADMISSION_PERIOD), SeenBefore::Again);
        assert_eq!(seen_keys.see(key(1), now + 4 * ADMISSION_PERIOD), SeenBefore::First);
    }

    #[test]
    fn many_keys_cause_few_false_positives() {
        let (mut seen_keys, now) = (SeenKeys::new(), time::instant());
        let many = 3 * ADMISSION_FILTER_KEYS_MAX as u64;
        let mistaken =
            (0..many).filter(|number| seen_keys.see(key(*number), now) == SeenBefore::Again).count();
        assert!(mistaken < ADMISSION_FILTER_KEYS_MAX / 50, "{mistaken} of {many}");
        assert_eq!(seen_keys.see(key(many - 1), now), SeenBefore::Again);
    }
}

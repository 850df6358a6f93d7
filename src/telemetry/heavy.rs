//! The most frequent keys of a large set, in a fixed amount of memory: Space-Saving (Metwally,
//! Agrawal and El Abbadi, 2005).
//!
//! There is room for `capacity` counts. A further key replaces the one with the smallest count and
//! continues from that count. So a count is never too low, and too high by the smallest count at
//! most. A key that makes up more than one part in `capacity` of all keys is always present.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Counts of the most frequent keys.
#[derive(Debug)]
pub struct HeavyHitters<K> {
    /// The rank of each key.
    places: HashMap<K, CountedKey>,
    /// The keys by rank, the smallest count first.
    order: BTreeMap<CountedKey, K>,
    capacity: usize,
    /// Distinguishes ranks of equal counts: the older one is replaced first.
    next: u64,
}

/// A count, and a unique number.
type CountedKey = (u64, u64);

impl<K: Clone + Eq + Hash> HeavyHitters<K> {
    /// Makes room for `capacity` keys, and for one at least.
    pub fn new(capacity: usize) -> Self {
        Self { places: HashMap::new(), order: BTreeMap::new(), capacity: capacity.max(1), next: 0 }
    }

    /// Counts `times` occurrences of a key.
    pub fn see<Q>(&mut self, one: &Q, times: u64)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let before = match self.places.get(one) {
            Some(place) => self.order.remove_entry(place),
            None if self.order.len() < self.capacity => None,
            None => self.order.pop_first().map(|(place, smallest)| {
                self.places.remove(smallest.borrow());
                (place, one.to_owned())
            }),
        };
        let ((count, _), one) = before.unwrap_or_else(|| ((0, 0), one.to_owned()));
        let place = (count.saturating_add(times), self.next);
        self.next += 1;
        self.places.insert(one.clone(), place);
        self.order.insert(place, one);
    }

    /// Returns the most frequent keys with their counts, `count` of them at most.
    pub fn top(&self, count: usize) -> impl Iterator<Item = (&K, u64)> {
        self.order.iter().rev().take(count).map(|((count, _), one)| (one, *count))
    }

    /// Halves every count, so that formerly frequent keys make room for current ones.
    pub fn fade(&mut self) {
        let all = std::mem::take(&mut self.order);
        self.order = all.into_iter().map(|((count, number), one)| ((count / 2, number), one)).collect();
        for (place, one) in &self.order {
            if let Some(known) = self.places.get_mut(one) {
                *known = *place;
            }
        }
    }

    /// Removes all keys.
    pub fn clear(&mut self) {
        self.places.clear();
        self.order.clear();
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Returns whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(capacity: usize, ones: impl IntoIterator<Item = u32>) -> HeavyHitters<u32> {
        let mut hitters = HeavyHitters::new(capacity);
        ones.into_iter().for_each(|one| hitters.see(&one, 1));
        hitters
    }

    fn top(hitters: &HeavyHitters<u32>) -> Vec<(u32, u64)> {
        hitters.top(usize::MAX).map(|(one, count)| (*one, count)).collect()
    }

    #[test]
    fn few_keys_are_counted_exactly() {
        let hitters = seen(4, [1, 2, 1, 3, 1, 2]);
        assert_eq!(top(&hitters), [(1, 3), (2, 2), (3, 1)]);
        assert_eq!(hitters.top(1).count(), 1);
    }

    #[test]
    fn a_new_key_replaces_the_smallest_and_continues_its_count() {
        let hitters = seen(2, [1, 1, 2, 3]);
        assert_eq!(top(&hitters), [(3, 2), (1, 2)]);
    }

    #[test]
    fn a_frequent_key_is_present_among_many_rare_ones() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut hitters = HeavyHitters::new(64);
        for _ in 0..100_000 {
            // Three keys are a tenth of all each; the rest are a million different ones.
            let one = match random.u32(0..10) {
                frequent @ 0..3 => frequent,
                _ => random.u32(100..1_000_000),
            };
            hitters.see(&one, 1);
            assert!(hitters.len() <= 64 && hitters.places.len() == hitters.order.len());
        }
        let mut first: Vec<_> = hitters.top(3).map(|(one, _)| *one).collect();
        first.sort_unstable();
        assert_eq!(first, [0, 1, 2]);
        for (_, count) in hitters.top(3) {
            assert!((9_000..9_000 + 100_000 / 64 + 2_000).contains(&count), "{count}");
        }
    }

    #[test]
    fn halved_counts_make_room_for_new_keys() {
        let mut hitters = seen(2, [1, 1, 1, 1, 2, 2, 2]);
        hitters.fade();
        assert_eq!(top(&hitters), [(1, 2), (2, 1)]);
        hitters.see(&3, 1);
        hitters.see(&3, 1);
        assert_eq!(top(&hitters), [(3, 3), (1, 2)]);
        hitters.see(&1, 5);
        assert_eq!(top(&hitters)[0], (1, 7));
        hitters.clear();
        assert!(hitters.is_empty() && top(&hitters).is_empty());
    }

    #[test]
    fn a_text_is_copied_only_when_it_is_new() {
        let mut hitters: HeavyHitters<String> = HeavyHitters::new(1);
        hitters.see("a", 3);
        hitters.see("a", 3);
        assert_eq!(hitters.top(9).collect::<Vec<_>>(), [(&"a".to_owned(), 6)]);
    }
}

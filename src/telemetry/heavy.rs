//! Which of very many are seen most: Space-Saving (Metwally, Agrawal and El Abbadi, 2005), in bounded memory.
//!
//! There is room for `capacity` counts. One more takes the place of the smallest and goes on from its count, so a count is
//! never too low, and too high by the smallest at most. Whatever makes up more than one part in `capacity` of everything
//! seen is certainly there.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Counts of those that were seen most.
#[derive(Debug)]
pub struct HeavyHitters<K> {
    /// Where each stands in the order.
    places: HashMap<K, Place>,
    /// By count, the smallest first; as many as there are places.
    order: BTreeMap<Place, K>,
    capacity: usize,
    /// Makes the places of equal counts differ; the older one goes first.
    next: u64,
}

/// A count, and a number of its own.
type Place = (u64, u64);

impl<K: Clone + Eq + Hash> HeavyHitters<K> {
    /// Room for so many, one at least.
    pub fn new(capacity: usize) -> Self {
        Self { places: HashMap::new(), order: BTreeMap::new(), capacity: capacity.max(1), next: 0 }
    }

    /// One was seen, and stands for `times`.
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

    /// Those seen most, with their counts, at most so many.
    pub fn top(&self, count: usize) -> impl Iterator<Item = (&K, u64)> {
        self.order.iter().rev().take(count).map(|((count, _), one)| (one, *count))
    }

    /// Halves every count, so that what was hot long ago makes room for what is.
    pub fn fade(&mut self) {
        let all = std::mem::take(&mut self.order);
        self.order = all.into_iter().map(|((count, number), one)| ((count / 2, number), one)).collect();
        for (place, one) in &self.order {
            if let Some(known) = self.places.get_mut(one) {
                *known = *place;
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.places.clear();
        self.order.clear();
    }

    /// How many are counted.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none is.
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
    fn few_are_counted_exactly() {
        let hitters = seen(4, [1, 2, 1, 3, 1, 2]);
        assert_eq!(top(&hitters), [(1, 3), (2, 2), (3, 1)]);
        assert_eq!(hitters.top(1).count(), 1);
    }

    #[test]
    fn the_smallest_makes_room_and_hands_on_its_count() {
        let hitters = seen(2, [1, 1, 2, 3]);
        assert_eq!(top(&hitters), [(3, 2), (1, 2)]);
    }

    #[test]
    fn what_is_frequent_is_there_whatever_comes_between() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut hitters = HeavyHitters::new(64);
        for _ in 0..100_000 {
            // Three of them are a tenth each; the rest is a million different ones.
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
    fn what_fades_makes_room() {
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
    fn text_is_only_copied_when_it_is_new() {
        let mut hitters: HeavyHitters<String> = HeavyHitters::new(1);
        hitters.see("a", 3);
        hitters.see("a", 3);
        assert_eq!(hitters.top(9).collect::<Vec<_>>(), [(&"a".to_owned(), 6)]);
    }
}

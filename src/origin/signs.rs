//! Which signs of overload the limit believes: those of several resources, while few others answer
//! well. Pure.
//!
//! A time-out or a `503` says something of one resource. An API has resources that are closed,
//! limited or always too slow, and any client may ask for them as often as it likes, under as many
//! names as it likes. So the evidence counts resources and not answers, and a resource counts once:
//!
//! - A *resource* is a path without its query, and its *collection* is the path up to the last
//!   slash.
//! - A resource is *proven* for [`ORIGIN_RESOURCE_PROVEN`] after it has answered well. A path that
//!   is new is as proven as its collection, because many APIs are asked for each path once. A path
//!   that has only ever given signs is not.
//! - The signs of proven resources show overload when they are [`ORIGIN_RESOURCES_SEVERAL`] at
//!   least and more than [`TOLERATED`] of all resources that were asked in the last two windows.
//! - Signs of resources that are not proven count only while nothing at all answers well. The limit
//!   takes such a verdict back when something does (`limit.rs`).
//!
//! **Always:** one path, with whatever queries, never shows overload; and what is remembered is
//! bounded.

use std::hash::BuildHasher;

use tokio::time::Instant;

use crate::hash::SeededBuildHasher;
use crate::limits::{
    ORIGIN_RESOURCE_PROVEN, ORIGIN_RESOURCES_KNOWN, ORIGIN_RESOURCES_SEVERAL, ORIGIN_SIGNS_WINDOW,
};

/// Resources with a sign, as a fraction of all that were asked, that the limit tolerates.
const TOLERATED: (u32, u32) = (1, 4);
/// Words of a [`DistinctCount`]. Beyond a quarter of its bits it would count too few, and a new
/// window begins.
const DISTINCT_WORDS: usize = 64;
const DISTINCT_MAX: u32 = 1_024;
const _: () = assert!(DISTINCT_MAX as usize * 4 == DISTINCT_WORDS * u64::BITS as usize);

/// What a request asks for, as far as signs of overload are concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Resource {
    path: u64,
    collection: u64,
}

/// The meaning of one sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OverloadEvidence {
    /// The origin is asked for too much: proven resources show it.
    Overload,
    /// Nothing answers well, and whether anything ever would is not known.
    Unproven,
    /// It is one resource's own.
    OfOneResource,
}

/// The evidence of one worker.
pub(super) struct Signs {
    seed: SeededBuildHasher,
    known: Box<[Option<KnownResource>]>,
    current: SignsWindow,
    previous: SignsWindow,
    begun: Instant,
    /// When anything answered well last.
    well: Option<Instant>,
}

/// A path or a collection that was asked lately.
#[derive(Clone, Copy)]
struct KnownResource {
    hash: u64,
    at: Instant,
    record: ResourceRecord,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ResourceRecord {
    /// It has answered well.
    Well,
    /// It has only given signs.
    Signs,
}

/// The resources of one window.
#[derive(Default)]
struct SignsWindow {
    signs: DistinctCount,
    unproven: DistinctCount,
    well: DistinctCount,
}

/// A set of hashes, each of which is one bit: its size is nearly right while few bits are set.
struct DistinctCount {
    words: [u64; DISTINCT_WORDS],
    count: u32,
}

impl Default for DistinctCount {
    fn default() -> Self {
        Self { words: [0; DISTINCT_WORDS], count: 0 }
    }
}

impl DistinctCount {
    fn add(&mut self, hash: u64) {
        let index = usize::try_from(hash / u64::from(u64::BITS) % DISTINCT_WORDS as u64).unwrap_or_default();
        let bit = 1 << (hash % u64::from(u64::BITS));
        if let Some(word) = self.words.get_mut(index)
            && *word & bit == 0
        {
            *word |= bit;
            self.count += 1;
        }
    }
}

/// How many are in one of two sets, and in neither of two others.
fn count(of: [&DistinctCount; 2], without: [&DistinctCount; 2]) -> u32 {
    let [a, b] = of.map(|set| set.words.iter());
    let [c, d] = without.map(|set| set.words.iter());
    a.zip(b).zip(c.zip(d)).map(|((a, b), (c, d))| ((a | b) & !(c | d)).count_ones()).sum()
}

impl Signs {
    /// No evidence.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            seed: SeededBuildHasher::default(),
            known: vec![None; ORIGIN_RESOURCES_KNOWN].into(),
            current: SignsWindow::default(),
            previous: SignsWindow::default(),
            begun: now,
            well: None,
        }
    }

    /// The resource that a request target names.
    pub(super) fn resource(&self, path: &str) -> Resource {
        let collection = path.rfind('/').and_then(|slash| path.get(..=slash)).unwrap_or_default();
        // A path that ends with a slash is no collection of itself.
        Resource { path: self.seed.hash_one(("path", path)), collection: self.seed.hash_one(collection) }
    }

    /// The resource answered in time, and not with a sign of overload.
    pub(super) fn answered(&mut self, resource: Resource, now: Instant) {
        self.turn_over(now);
        self.well = Some(now);
        for hash in [resource.path, resource.collection] {
            self.remember(KnownResource { hash, at: now, record: ResourceRecord::Well });
        }
        self.current.well.add(resource.path);
    }

    /// Weighs a sign that the resource gave.
    pub(super) fn sign(&mut self, resource: Resource, now: Instant) -> OverloadEvidence {
        self.turn_over(now);
        let is_proven = match self.recall(resource.path, now) {
            Some(record) => record == ResourceRecord::Well,
            None => self.recall(resource.collection, now) == Some(ResourceRecord::Well),
        };
        if self.recall(resource.path, now).is_none() {
            self.remember(KnownResource { hash: resource.path, at: now, record: ResourceRecord::Signs });
        }
        if is_proven {
            self.current.signs.add(resource.path);
        } else {
            self.current.unproven.add(resource.path);
        }
        self.weigh(now)
    }

    /// The limit was lowered: a new round begins, with evidence of its own.
    pub(super) fn begin_round(&mut self, now: Instant) {
        self.current = SignsWindow::default();
        self.previous = SignsWindow::default();
        self.begun = now;
    }

    fn weigh(&self, now: Instant) -> OverloadEvidence {
        let Self { current, previous, .. } = self;
        let signs =
            count([&current.signs, &previous.signs], [&DistinctCount::default(), &DistinctCount::default()]);
        let well = count([&current.well, &previous.well], [&current.signs, &previous.signs]);
        let (numerator, denominator) = TOLERATED;
        if signs >= ORIGIN_RESOURCES_SEVERAL
            && signs.saturating_mul(denominator) > (signs + well).saturating_mul(numerator)
        {
            return OverloadEvidence::Overload;
        }
        let answers_well = self.well.is_some_and(|at| is_recent(at, now));
        let unproven = count(
            [&current.unproven, &previous.unproven],
            [&DistinctCount::default(), &DistinctCount::default()],
        );
        if !answers_well && unproven + signs >= ORIGIN_RESOURCES_SEVERAL {
            OverloadEvidence::Unproven
        } else {
            OverloadEvidence::OfOneResource
        }
    }

    fn turn_over(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.begun);
        let SignsWindow { signs, unproven, well } = &self.current;
        let is_full = signs.count.max(unproven.count).max(well.count) >= DISTINCT_MAX;
        if age < ORIGIN_SIGNS_WINDOW && !is_full {
            return;
        }
        let ended = std::mem::take(&mut self.current);
        self.previous = if age < 2 * ORIGIN_SIGNS_WINDOW { ended } else { SignsWindow::default() };
        self.begun = now;
    }

    fn recall(&self, hash: u64, now: Instant) -> Option<ResourceRecord> {
        let known = (*self.known.get(self.slot(hash))?)?;
        (known.hash == hash && is_recent(known.at, now)).then_some(known.record)
    }

    /// A resource that answers well displaces any other; one that does not displaces none that has.
    fn remember(&mut self, new: KnownResource) {
        let slot = self.slot(new.hash);
        let Some(known) = self.known.get_mut(slot) else { return };
        let keeps =
            known.is_some_and(|known| known.record == ResourceRecord::Well && is_recent(known.at, new.at));
        if new.record == ResourceRecord::Well || !keeps {
            *known = Some(new);
        }
    }

    fn slot(&self, hash: u64) -> usize {
        usize::try_from(hash % self.known.len().max(1) as u64).unwrap_or_default()
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < ORIGIN_RESOURCE_PROVEN
}

#[cfg(test)]
mod tests {
    use super::OverloadEvidence::{OfOneResource, Overload, Unproven};
    use super::*;
    use std::time::Duration;

    struct SignStory {
        signs: Signs,
        now: Instant,
    }

    impl SignStory {
        fn begin() -> Self {
            let now = Instant::now();
            Self { signs: Signs::new(now), now }
        }

        fn well(&mut self, paths: &[&str]) {
            for path in paths {
                let resource = self.signs.resource(path);
                self.signs.answered(resource, self.now);
            }
        }

        fn sign(&mut self, path: &str) -> OverloadEvidence {
            let resource = self.signs.resource(path);
            self.signs.sign(resource, self.now)
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
        }
    }

    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn one_path_shows_nothing_however_often_it_gives_signs() {
        // Closed from the start, and limited by rate: good once in a while.
        for is_good_at_first in [false, true] {
            let mut story = SignStory::begin();
            if is_good_at_first {
                story.well(&["/v1/closed"]);
            }
            for _ in 0..10_000 {
                assert_eq!(story.sign("/v1/closed"), OfOneResource);
                story.pass(MOMENT);
            }
        }
    }

    #[test]
    fn made_up_paths_show_nothing_while_anything_answers_well() {
        let mut story = SignStory::begin();
        story.well(&["/v1/rates", "/v1/accounts"]);
        for number in 0..10_000 {
            assert_eq!(story.sign(&format!("/x/{number}")), OfOneResource, "{number}");
            assert_eq!(story.sign(&format!("/{number}/x")), OfOneResource, "{number}");
            if number % 1_000 == 0 {
                story.well(&["/v1/rates"]);
            }
            story.pass(MOMENT);
        }
    }

    #[test]
    fn several_closed_paths_of_a_collection_that_answers_show_nothing_after_a_while() {
        let mut story = SignStory::begin();
        let mut rounds = 0;
        for _ in 0..100 {
            story.well(&["/v1/a", "/v1/b", "/v1/c", "/v1/d"]);
            for path in ["/v1/x", "/v1/y", "/v1/z"] {
                if story.sign(path) != OfOneResource {
                    story.signs.begin_round(story.now);
                    rounds += 1;
                }
            }
            story.pass(100 * MOMENT);
        }
        assert!(rounds <= 1, "as new paths, once: {rounds}");
    }

    #[test]
    fn an_origin_all_of_whose_resources_give_signs_is_overloaded() {
        let mut story = SignStory::begin();
        let paths = ["/v1/a", "/v1/b", "/v1/c", "/v1/d"];
        story.well(&paths);
        assert_eq!((story.sign("/v1/a"), story.sign("/v1/b")), (OfOneResource, OfOneResource));
        assert_eq!(story.sign("/v1/c"), Overload);
        story.signs.begin_round(story.now);
        assert_eq!(story.sign("/v1/d"), OfOneResource, "a new round counts anew");
        assert_eq!((story.sign("/v1/a"), story.sign("/v1/b")), (OfOneResource, Overload));
    }

    #[test]
    fn paths_that_are_asked_once_show_overload_by_their_collection() {
        let mut story = SignStory::begin();
        let mut overloads = 0;
        for number in 0..300 {
            story.well(&[&format!("/accounts/{}", 2 * number)]);
            overloads += u32::from(story.sign(&format!("/accounts/{}", 2 * number + 1)) == Overload);
        }
        assert!(overloads > 290, "half of them refused: {overloads}");

        let mut story = SignStory::begin();
        for number in 0..300 {
            for good in 0..4 {
                story.well(&[&format!("/accounts/{number}-{good}")]);
            }
            assert_eq!(story.sign(&format!("/accounts/{number}-refused")), OfOneResource, "a fifth of them");
        }
    }

    #[test]
    fn where_nothing_ever_answered_signs_of_several_are_all_there_is() {
        let mut story = SignStory::begin();
        assert_eq!(
            (story.sign("/a"), story.sign("/b"), story.sign("/c")),
            (OfOneResource, OfOneResource, Unproven)
        );
        story.well(&["/d"]);
        assert_eq!(story.sign("/e/f"), OfOneResource);
        story.pass(ORIGIN_RESOURCE_PROVEN);
        assert_eq!(
            (story.sign("/a"), story.sign("/b"), story.sign("/c")),
            (OfOneResource, OfOneResource, Unproven)
        );
    }

    #[test]
    fn more_resources_than_a_window_holds_are_still_weighed_rightly() {
        let mut story = SignStory::begin();
        for number in 0..100_000 {
            story.well(&[&format!("/good/{number}")]);
            if number % 10 == 0 {
                assert_eq!(story.sign(&format!("/good/{number}-not")), OfOneResource, "{number}");
            }
        }
    }
}

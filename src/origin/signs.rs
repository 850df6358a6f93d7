//! Evidence of overload: signs count only if they come from several resources while few others
//! respond well. Pure.
//!
//! A time-out or a `503` concerns one resource. An API has resources that are closed, rate-limited
//! or always slow, and any client can request them as often as it likes, under arbitrary paths. So
//! the evidence counts resources, not responses, and each resource once:
//!
//! - A *resource* is a path without its query, in any spelling: any client can request one path
//!   under arbitrarily many. Its *collection* is the path up to the last slash.
//! - A resource is *proven* for [`ORIGIN_RESOURCE_PROVEN`] after a good response. A new path
//!   inherits this from its collection, because clients of many APIs request each path once. A path
//!   that has only given signs is not proven.
//! - Signs of proven resources show overload if they come from at least
//!   [`ORIGIN_RESOURCES_SEVERAL`] resources and from more than [`TOLERATED`] of all resources
//!   requested in the last two windows.
//! - Signs of unproven resources count only while no resource responds well. The limit reverts such
//!   a decrease at the next good response (`limit.rs`).
//!
//! **Always:** one path, with any queries and in any spelling, never shows overload, and the memory
//! is fixed.

use std::hash::BuildHasher;

use tokio::time::Instant;

use crate::hash::SeededBuildHasher;
use crate::limits::{
    ORIGIN_RESOURCE_PROVEN, ORIGIN_RESOURCES_KNOWN, ORIGIN_RESOURCES_SEVERAL, ORIGIN_SIGNS_WINDOW,
};
use crate::origin::normal_path::normal_path;

/// Fraction of the requested resources that may give signs without effect.
const TOLERATED: (u32, u32) = (1, 4);
/// Words of a [`DistinctCount`]. With more than a quarter of its bits set the count would be too
/// low, so a new window begins.
const DISTINCT_WORDS: usize = 64;
const DISTINCT_MAX: u32 = 1_024;
const _: () = assert!(DISTINCT_MAX as usize * 4 == DISTINCT_WORDS * u64::BITS as usize);

/// Identity of a requested resource, for the signs of overload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Resource {
    path: u64,
    collection: u64,
}

/// Meaning of one sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OverloadEvidence {
    /// Proven resources show that the origin is overloaded.
    Overload,
    /// No resource responds well, and none is known to have done so.
    Unproven,
    /// The sign concerns one resource.
    SingleResource,
}

/// Evidence collected by one worker.
pub(super) struct OverloadSigns {
    seed: SeededBuildHasher,
    known: Box<[Option<KnownResource>]>,
    current: SignsWindow,
    previous: SignsWindow,
    begun: Instant,
    /// Time of the last good response of any resource.
    last_good: Option<Instant>,
}

/// Path or collection that was requested recently.
#[derive(Clone, Copy)]
struct KnownResource {
    hash: u64,
    at: Instant,
    record: ResourceRecord,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ResourceRecord {
    /// It has responded well.
    Good,
    /// It has only given signs.
    OnlySigns,
}

/// Resources of one window.
#[derive(Default)]
struct SignsWindow {
    signs: DistinctCount,
    unproven: DistinctCount,
    good: DistinctCount,
}

/// Set of hashes with one bit each. Its size is nearly exact while few bits are set.
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

/// Counts the members of either of two sets that are in neither of two others.
fn count(of: [&DistinctCount; 2], without: [&DistinctCount; 2]) -> u32 {
    let [a, b] = of.map(|set| set.words.iter());
    let [c, d] = without.map(|set| set.words.iter());
    a.zip(b).zip(c.zip(d)).map(|((a, b), (c, d))| ((a | b) & !(c | d)).count_ones()).sum()
}

impl OverloadSigns {
    /// Creates a state without evidence.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            seed: SeededBuildHasher::default(),
            known: vec![None; ORIGIN_RESOURCES_KNOWN].into(),
            current: SignsWindow::default(),
            previous: SignsWindow::default(),
            begun: now,
            last_good: None,
        }
    }

    /// Returns the resource of a request path.
    pub(super) fn resource(&self, path: &str) -> Resource {
        let path = normal_path(path.as_bytes());
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let collection = slash.and_then(|slash| path.get(..=slash)).unwrap_or_default();
        let name = path.strip_suffix(b"/").unwrap_or(&path);
        // A path that ends with a slash must not equal its own collection.
        Resource { path: self.seed.hash_one(("path", name)), collection: self.seed.hash_one(collection) }
    }

    /// Records a response in time that is no sign of overload.
    pub(super) fn record_response(&mut self, resource: Resource, now: Instant) {
        self.rotate_windows(now);
        self.last_good = Some(now);
        for hash in [resource.path, resource.collection] {
            self.insert(KnownResource { hash, at: now, record: ResourceRecord::Good });
        }
        self.current.good.add(resource.path);
    }

    /// Records a sign of the resource and weighs the evidence.
    pub(super) fn record_sign(&mut self, resource: Resource, now: Instant) -> OverloadEvidence {
        self.rotate_windows(now);
        let is_proven = match self.find(resource.path, now) {
            Some(record) => record == ResourceRecord::Good,
            None => self.find(resource.collection, now) == Some(ResourceRecord::Good),
        };
        if self.find(resource.path, now).is_none() {
            self.insert(KnownResource { hash: resource.path, at: now, record: ResourceRecord::OnlySigns });
        }
        if is_proven {
            self.current.signs.add(resource.path);
        } else {
            self.current.unproven.add(resource.path);
        }
        self.weigh(now)
    }

    /// Begins a new round with evidence of its own, after a decrease of the limit.
    pub(super) fn begin_round(&mut self, now: Instant) {
        self.current = SignsWindow::default();
        self.previous = SignsWindow::default();
        self.begun = now;
    }

    fn weigh(&self, now: Instant) -> OverloadEvidence {
        let Self { current, previous, .. } = self;
        let signs =
            count([&current.signs, &previous.signs], [&DistinctCount::default(), &DistinctCount::default()]);
        let good = count([&current.good, &previous.good], [&current.signs, &previous.signs]);
        let (numerator, denominator) = TOLERATED;
        if signs >= ORIGIN_RESOURCES_SEVERAL
            && signs.saturating_mul(denominator) > (signs + good).saturating_mul(numerator)
        {
            return OverloadEvidence::Overload;
        }
        let responds_well = self.last_good.is_some_and(|at| is_recent(at, now));
        let unproven = count(
            [&current.unproven, &previous.unproven],
            [&DistinctCount::default(), &DistinctCount::default()],
        );
        if !responds_well && unproven + signs >= ORIGIN_RESOURCES_SEVERAL {
            OverloadEvidence::Unproven
        } else {
            OverloadEvidence::SingleResource
        }
    }

    fn rotate_windows(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.begun);
        let SignsWindow { signs, unproven, good } = &self.current;
        let is_full = signs.count.max(unproven.count).max(good.count) >= DISTINCT_MAX;
        if age < ORIGIN_SIGNS_WINDOW && !is_full {
            return;
        }
        let ended = std::mem::take(&mut self.current);
        self.previous = if age < 2 * ORIGIN_SIGNS_WINDOW { ended } else { SignsWindow::default() };
        self.begun = now;
    }

    fn find(&self, hash: u64, now: Instant) -> Option<ResourceRecord> {
        let known = (*self.known.get(self.slot(hash))?)?;
        (known.hash == hash && is_recent(known.at, now)).then_some(known.record)
    }

    /// Stores a record. One that responds well replaces any other; one with only signs replaces no
    /// recent good one.
    fn insert(&mut self, new: KnownResource) {
        let slot = self.slot(new.hash);
        let Some(known) = self.known.get_mut(slot) else { return };
        let keeps =
            known.is_some_and(|known| known.record == ResourceRecord::Good && is_recent(known.at, new.at));
        if new.record == ResourceRecord::Good || !keeps {
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
    use super::OverloadEvidence::{Overload, SingleResource, Unproven};
    use super::*;
    use std::time::Duration;

    struct SignStory {
        signs: OverloadSigns,
        now: Instant,
    }

    impl SignStory {
        fn begin() -> Self {
            let now = Instant::now();
            Self { signs: OverloadSigns::new(now), now }
        }

        fn good(&mut self, paths: &[&str]) {
            for path in paths {
                let resource = self.signs.resource(path);
                self.signs.record_response(resource, self.now);
            }
        }

        fn sign(&mut self, path: &str) -> OverloadEvidence {
            let resource = self.signs.resource(path);
            self.signs.record_sign(resource, self.now)
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
        }
    }

    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn one_path_never_shows_overload() {
        // The path is closed from the start, or limited by rate: it responds well once in a while.
        for responds_well_first in [false, true] {
            let mut story = SignStory::begin();
            if responds_well_first {
                story.good(&["/v1/closed"]);
            }
            for _ in 0..10_000 {
                assert_eq!(story.sign("/v1/closed"), SingleResource);
                story.pass(MOMENT);
            }
        }
    }

    #[test]
    fn spellings_of_one_path_never_show_overload() {
        let spellings: [fn(u32) -> String; 6] = [
            |number| format!("/v1/closed;p={number}"),
            |number| {
                let letters = "closed".bytes().enumerate();
                let spelled = letters.map(|(at, letter)| match number >> at & 1 {
                    0 => char::from(letter).to_string(),
                    _ => format!("%{letter:02x}"),
                });
                format!("/v1/{}", spelled.collect::<String>())
            },
            |number| format!("/v1{}closed", "/".repeat(number as usize % 100 + 1)),
            |number| format!("/v1/{}closed", "./".repeat(number as usize % 100)),
            |number| format!("/v1/{number}/../closed"),
            |number| format!("/v1/closed{}", "/".repeat(number as usize % 100)),
        ];
        for is_good_before in [false, true] {
            let mut story = SignStory::begin();
            if is_good_before {
                story.good(&["/v1/a", "/v1/closed"]);
            } else {
                story.good(&["/v1/a"]);
            }
            for number in 0..1_000 {
                for spelling in spellings {
                    let path = spelling(number);
                    assert_eq!(story.sign(&path), SingleResource, "{path}");
                }
                story.pass(MOMENT);
            }
        }
    }

    #[test]
    fn invented_paths_show_no_overload_while_any_resource_responds_well() {
        let mut story = SignStory::begin();
        story.good(&["/v1/rates", "/v1/accounts"]);
        for number in 0..10_000 {
            assert_eq!(story.sign(&format!("/x/{number}")), SingleResource, "{number}");
            assert_eq!(story.sign(&format!("/{number}/x")), SingleResource, "{number}");
            if number % 1_000 == 0 {
                story.good(&["/v1/rates"]);
            }
            story.pass(MOMENT);
        }
    }

    #[test]
    fn closed_paths_of_a_good_collection_show_overload_at_most_once() {
        let mut story = SignStory::begin();
        let mut rounds = 0;
        for _ in 0..100 {
            story.good(&["/v1/a", "/v1/b", "/v1/c", "/v1/d"]);
            for path in ["/v1/x", "/v1/y", "/v1/z"] {
                if story.sign(path) != SingleResource {
                    story.signs.begin_round(story.now);
                    rounds += 1;
                }
            }
            story.pass(100 * MOMENT);
        }
        assert!(rounds <= 1, "as new paths, once: {rounds}");
    }

    #[test]
    fn signs_of_all_resources_show_overload() {
        let mut story = SignStory::begin();
        let paths = ["/v1/a", "/v1/b", "/v1/c", "/v1/d"];
        story.good(&paths);
        assert_eq!((story.sign("/v1/a"), story.sign("/v1/b")), (SingleResource, SingleResource));
        assert_eq!(story.sign("/v1/c"), Overload);
        story.signs.begin_round(story.now);
        assert_eq!(story.sign("/v1/d"), SingleResource, "a new round counts anew");
        assert_eq!((story.sign("/v1/a"), story.sign("/v1/b")), (SingleResource, Overload));
    }

    #[test]
    fn paths_requested_once_show_overload_by_their_collection() {
        let mut story = SignStory::begin();
        let mut overloads = 0;
        for number in 0..300 {
            story.good(&[&format!("/accounts/{}", 2 * number)]);
            overloads += u32::from(story.sign(&format!("/accounts/{}", 2 * number + 1)) == Overload);
        }
        assert!(overloads > 290, "half of them refused: {overloads}");

        let mut story = SignStory::begin();
        for number in 0..300 {
            for other in 0..4 {
                story.good(&[&format!("/accounts/{number}-{other}")]);
            }
            assert_eq!(story.sign(&format!("/accounts/{number}-refused")), SingleResource, "a fifth of them");
        }
    }

    #[test]
    fn signs_of_unproven_resources_count_while_no_resource_responds_well() {
        let mut story = SignStory::begin();
        assert_eq!(
            (story.sign("/a"), story.sign("/b"), story.sign("/c")),
            (SingleResource, SingleResource, Unproven)
        );
        story.good(&["/d"]);
        assert_eq!(story.sign("/e/f"), SingleResource);
        story.pass(ORIGIN_RESOURCE_PROVEN);
        assert_eq!(
            (story.sign("/a"), story.sign("/b"), story.sign("/c")),
            (SingleResource, SingleResource, Unproven)
        );
    }

    #[test]
    fn more_resources_than_a_window_holds_show_no_false_overload() {
        let mut story = SignStory::begin();
        for number in 0..100_000 {
            story.good(&[&format!("/good/{number}")]);
            if number % 10 == 0 {
                assert_eq!(story.sign(&format!("/good/{number}-not")), SingleResource, "{number}");
            }
        }
    }
}

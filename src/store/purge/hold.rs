//! Holds: for a time after a write, nothing that the origin answers about the purged tags is
//! stored, since a lagging replica of its database may still show the old state.
//!
//! ```text
//! <namespace>hold:<32 digits>   1, expires when the hold ends
//! ```
//!
//! The mark is in Redis before the purge is recorded. A fetch takes its permit, and then asks for
//! the mark. If it does not see the mark of a write, the purge of that write is recorded later than
//! the permit, so the purge covers the answer; or the hold has ended.
//!
//! **Always:** if Redis does not answer the question, the answer of the fetch is not stored.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::entry::TagDigest;
use crate::hash::SeededBuildHasher;
use crate::limits::HELD_TAGS_MAX;

/// The tags that writes of this process hold. The process knows them without Redis.
#[derive(Default)]
pub(in crate::store) struct HeldTags(Mutex<HoldTable>);

#[derive(Default)]
struct HoldTable {
    /// The end of each hold. The table has at most [`HELD_TAGS_MAX`] tags.
    until: HashMap<u128, Instant, SeededBuildHasher>,
    /// The end of the holds that the table has no room for: every tag counts as held until then.
    all_until: Option<Instant>,
}

impl HeldTags {
    /// Holds a tag.
    pub(in crate::store) fn hold(&self, tag: TagDigest, held_for: Duration, now: Instant) {
        let end = now + held_for;
        let mut table = self.table();
        if table.until.len() >= HELD_TAGS_MAX && !table.until.contains_key(&tag.0) {
            table.until.retain(|_, end| *end > now);
            if table.until.len() >= HELD_TAGS_MAX {
                table.all_until = table.all_until.max(Some(end));
                return;
            }
        }
        let known = table.until.entry(tag.0).or_insert(end);
        *known = end.max(*known);
    }

    /// Returns whether a tag is held.
    pub(in crate::store) fn is_held(&self, tag: TagDigest, now: Instant) -> bool {
        let table = self.table();
        let holds = |end: &Instant| *end > now;
        table.all_until.as_ref().is_some_and(holds) || table.until.get(&tag.0).is_some_and(holds)
    }

    fn table(&self) -> MutexGuard<'_, HoldTable> {
        // Each critical section makes one assignment, so a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The question whether a tag is held.
#[derive(Clone, Debug)]
pub(in crate::store) enum HoldQuery {
    /// The tag is not held, or no write holds it.
    NotHeld,
    /// A write of this process holds the tag.
    Held,
    /// Redis has the answer; `None` until it has replied.
    Asked(watch::Receiver<Option<HoldState>>),
}

/// The state of a tag in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum HoldState {
    /// A write holds the tag, or Redis did not answer.
    Held,
    /// No write holds the tag.
    Free,
}

impl HoldQuery {
    /// Waits for the answer. A question without an answer means that the tag is held.
    pub(in crate::store) async fn is_held(&self) -> bool {
        match self {
            Self::NotHeld => false,
            Self::Held => true,
            Self::Asked(answer) => {
                let mut answer = answer.clone();
                let free = |state: &Option<HoldState>| state.is_some();
                answer.wait_for(free).await.map_or(HoldState::Held, |state| state.unwrap_or(HoldState::Held))
                    == HoldState::Held
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_tag_is_held_until_the_end_of_its_last_hold() {
        let (holds, now) = (HeldTags::default(), time::instant());
        let (one, other) = (TagDigest(1), TagDigest(2));
        assert!(!holds.is_held(one, now));
        holds.hold(one, 2 * SECOND, now);
        holds.hold(one, SECOND, now);
        assert!(holds.is_held(one, now + SECOND) && !holds.is_held(other, now));
        assert!(!holds.is_held(one, now + 2 * SECOND));
    }

    #[test]
    fn too_many_holds_hold_every_tag() {
        let (holds, now) = (HeldTags::default(), time::instant());
        let tag = |number: usize| TagDigest(number as u128);
        (0..HELD_TAGS_MAX).for_each(|number| holds.hold(tag(number), SECOND, now));
        let other = tag(HELD_TAGS_MAX);
        assert!(!holds.is_held(other, now));
        holds.hold(other, SECOND, now);
        assert!(holds.is_held(other, now) && holds.is_held(tag(HELD_TAGS_MAX + 1), now));
        assert!(!holds.is_held(other, now + SECOND), "every hold has ended");
        holds.hold(other, SECOND, now + SECOND);
        assert!(!holds.is_held(tag(0), now + SECOND), "ended holds leave room");
    }

    #[tokio::test]
    async fn an_unanswered_question_means_held() {
        assert!(!HoldQuery::NotHeld.is_held().await && HoldQuery::Held.is_held().await);
        for (state, is_held) in [(HoldState::Free, false), (HoldState::Held, true)] {
            let (answered, answer) = watch::channel(None);
            let query = HoldQuery::Asked(answer);
            answered.send_replace(Some(state));
            assert_eq!(query.is_held().await, is_held, "{state:?}");
        }
        let (answered, answer) = watch::channel(None);
        drop(answered);
        assert!(HoldQuery::Asked(answer).is_held().await);
    }
}

//! The purge log in Redis: the number of purges, and the purges of everything or by prefix.
//!
//! ```text
//! 1 <epoch> <count> <soft> <at>           the count at the last soft purge of everything, and its time (ms)
//! <count> <h|s> <at> <scheme://authority/path>      one line for each purge by prefix, oldest first
//! ```
//!
//! The log is one value, changed by one script (`scripts.rs`), so Redis loses it as a whole or not
//! at all. A lost log starts a new epoch, to which no entry belongs. A purge of everything starts
//! one as well.

use std::fmt;

use crate::entry::PurgeGeneration;
use crate::key::Target;
use crate::limits::{LIFETIME_MAX, PREFIXES_MAX};
use crate::store::purge::names::{PrefixesFullError, PurgeStrength, UrlPrefix};
use crate::time::Timestamp;

/// The purge log of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeLog {
    pub(in crate::store) tick: PurgeGeneration,
    /// The count at the last soft purge of everything, and its time.
    soft: (u64, Timestamp),
    prefixes: Vec<PrefixPurge>,
}

/// A purge by prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PrefixPurge {
    count: u64,
    strength: PurgeStrength,
    at: Timestamp,
    prefix: UrlPrefix,
}

/// The effect of purges on an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum PurgeStatus {
    /// No purge covers the entry.
    Stands,
    /// A soft purge at this time covers the entry: it is stale.
    Outdated(Timestamp),
    /// A hard purge covers the entry: it must not be used.
    Gone,
}

impl PurgeStatus {
    /// Returns the stronger of two effects.
    pub(in crate::store) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Gone, _) | (_, Self::Gone) => Self::Gone,
            (Self::Outdated(one), Self::Outdated(other)) => Self::Outdated(one.min(other)),
            (Self::Outdated(at), Self::Stands) | (Self::Stands, Self::Outdated(at)) => Self::Outdated(at),
            (Self::Stands, Self::Stands) => Self::Stands,
        }
    }
}

/// A purge of more than single keys.
#[derive(Clone, Debug)]
pub(in crate::store) enum BulkPurge {
    /// A purge of a tag or a group, which has a generation of its own: the log only counts it.
    Counted,
    All(PurgeStrength),
    Prefix(UrlPrefix, PurgeStrength),
}

impl PurgeLog {
    /// Starts a new epoch.
    pub(in crate::store) fn new() -> Self {
        Self {
            tick: PurgeGeneration { epoch: fastrand::u64(1..), count: 0 },
            soft: (0, Timestamp::EPOCH),
            prefixes: Vec::new(),
        }
    }

    /// Parses the value in Redis; returns `None` if CacheWarp did not write it.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.lines();
        let mut words = lines.next()?.split(' ');
        if words.next()? != "1" {
            return None;
        }
        let epoch = u64::from_str_radix(words.next()?, 16).ok().filter(|epoch| *epoch != 0)?;
        let mut number = || words.next()?.parse().ok();
        let (count, soft, at) = (number()?, number()?, number()?);
        let prefixes = lines.take(PREFIXES_MAX).map(PrefixPurge::parse).collect::<Option<_>>()?;
        Some(Self {
            tick: PurgeGeneration { epoch, count },
            soft: (soft, Timestamp::from_millis(at)),
            prefixes,
        })
    }

    /// Returns the effect of later purges on an entry of this target that was fetched at `tick`.
    /// The log does not cover tags.
    pub(in crate::store) fn judge(&self, tick: PurgeGeneration, target: &Target) -> PurgeStatus {
        if tick.epoch != self.tick.epoch {
            return PurgeStatus::Gone;
        }
        let mut fate =
            if self.soft.0 > tick.count { PurgeStatus::Outdated(self.soft.1) } else { PurgeStatus::Stands };
        for swept in self.prefixes.iter().filter(|swept| swept.count > tick.count) {
            if swept.prefix.covers(target) {
                fate = fate.and(match swept.strength {
                    PurgeStrength::Hard => PurgeStatus::Gone,
                    PurgeStrength::Soft => PurgeStatus::Outdated(swept.at),
                });
            }
        }
        fate
    }

    /// Records a purge as the script does, in a process without Redis.
    pub(in crate::store) fn count(
        &mut self,
        sweep: BulkPurge,
        now: Timestamp,
    ) -> Result<PurgeGeneration, PrefixesFullError> {
        let next = PurgeGeneration { count: self.tick.count + 1, ..self.tick };
        match sweep {
            BulkPurge::Counted => {}
            BulkPurge::All(PurgeStrength::Hard) => {
                *self = Self::new();
                return Ok(self.tick);
            }
            BulkPurge::All(PurgeStrength::Soft) => self.soft = (next.count, now),
            BulkPurge::Prefix(prefix, strength) => {
                let replaced = |swept: &PrefixPurge| {
                    swept.prefix == prefix
                        && (strength == PurgeStrength::Hard || swept.strength == PurgeStrength::Soft)
                };
                self.prefixes.retain(|swept| now.since(swept.at) <= LIFETIME_MAX && !replaced(swept));
                if self.prefixes.len() >= PREFIXES_MAX {
                    return Err(PrefixesFullError);
                }
                self.prefixes.push(PrefixPurge { count: next.count, strength, at: now, prefix });
            }
        }
        self.tick = next;
        Ok(next)
    }
}

/// The stored form in Redis.
impl fmt::Display for PurgeLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tick: PurgeGeneration { epoch, count }, soft: (soft, at), prefixes } = self;
        writeln!(f, "1 {epoch:016x} {count} {soft} {}", at.as_millis())?;
        prefixes.iter().try_for_each(|swept| writeln!(f, "{swept}"))
    }
}

impl fmt::Display for PrefixPurge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, strength, at, prefix } = self;
        write!(f, "{count} {} {} {prefix}", strength.letter(), at.as_millis())
    }
}

impl PrefixPurge {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(4, ' ');
        let count = words.next()?.parse().ok()?;
        let strength = match words.next()? {
            "h" => PurgeStrength::Hard,
            "s" => PurgeStrength::Soft,
            _ => return None,
        };
        let at = Timestamp::from_millis(words.next()?.parse().ok()?);
        Some(Self { count, strength, at, prefix: UrlPrefix::parse(words.next()?).ok()? })
    }
}

/// The generation of one tag: the counts at its last purges, in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagGeneration {
    pub(in crate::store) epoch: u64,
    pub(in crate::store) hard: u64,
    /// The count at the last soft purge, and its time.
    pub(in crate::store) soft: (u64, Timestamp),
}

/// The stored form in Redis.
impl fmt::Display for TagGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, hard, soft: (soft, at) } = self;
        write!(f, "{epoch:016x} {hard} {soft} {}", at.as_millis())
    }
}

impl TagGeneration {
    /// Returns the generation of a tag purged at this purge generation, or with unknown purges
    /// before it.
    pub(in crate::store) fn at(tick: PurgeGeneration) -> Self {
        Self { epoch: tick.epoch, hard: tick.count, soft: (0, Timestamp::EPOCH) }
    }

    /// Parses `<epoch> <hard> <soft> <at>`; returns `None` if CacheWarp did not write it.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(bytes).ok()?.split(' ');
        let epoch = u64::from_str_radix(words.next()?, 16).ok()?;
        let mut number = || words.next()?.parse().ok();
        Some(Self { epoch, hard: number()?, soft: (number()?, Timestamp::from_millis(number()?)) })
    }

    /// Returns the effect of the tag's purges on an entry that was fetched at `tick`.
    pub(in crate::store) fn judge(&self, tick: PurgeGeneration) -> PurgeStatus {
        if self.epoch != tick.epoch || self.hard > tick.count {
            PurgeStatus::Gone
        } else if self.soft.0 > tick.count {
            PurgeStatus::Outdated(self.soft.1)
        } else {
            PurgeStatus::Stands
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Scheme;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn target(path: &str) -> Target {
        Target::parse(Scheme::Http, &path.parse().unwrap(), [&b"a"[..]].into_iter()).unwrap()
    }

    fn prefix(text: &str) -> UrlPrefix {
        UrlPrefix::parse(text).unwrap()
    }

    #[test]
    fn the_clock_is_read_as_the_script_writes_it() {
        let text = b"1 00000000000000ff 7 5 900\n6 h 800 http://a/x\n7 s 900 http://a/y?z=1\n";
        let ledger = PurgeLog::parse(text).unwrap();
        assert_eq!(ledger.tick, PurgeGeneration { epoch: 255, count: 7 });
        let at = |count| PurgeGeneration { epoch: 255, count };
        for (path, count, fate) in [
            ("/n", 5, PurgeStatus::Stands),
            ("/n", 4, PurgeStatus::Outdated(Timestamp::from_millis(900))),
            ("/x", 6, PurgeStatus::Stands),
            ("/x1", 5, PurgeStatus::Gone),
            ("/y?z=12", 6, PurgeStatus::Outdated(Timestamp::from_millis(900))),
            ("/y?z=12", 7, PurgeStatus::Stands),
        ] {
            assert_eq!(ledger.judge(at(count), &target(path)), fate, "{path} {count}");
        }
        assert_eq!(ledger.judge(PurgeGeneration { epoch: 254, count: 7 }, &target("/n")), PurgeStatus::Gone);
    }

    #[test]
    fn a_clock_and_a_counter_come_back() {
        let mut ledger = PurgeLog::new();
        assert_eq!(PurgeLog::parse(ledger.to_string().as_bytes()), Some(ledger.clone()));
        ledger.count(BulkPurge::Prefix(prefix("http://a/x"), PurgeStrength::Hard), NOW).unwrap();
        ledger.count(BulkPurge::Prefix(prefix("https://a:8443/y?z"), PurgeStrength::Soft), NOW).unwrap();
        assert_eq!(PurgeLog::parse(ledger.to_string().as_bytes()), Some(ledger));
        let counter = TagGeneration { epoch: 255, hard: 4, soft: (6, NOW) };
        assert_eq!(counter.to_string(), "00000000000000ff 4 6 1000");
        assert_eq!(TagGeneration::parse(counter.to_string().as_bytes()), Some(counter));
    }

    #[test]
    fn what_is_no_clock() {
        for text in [
            &b""[..],
            b"2 ff 1 0 0\n",
            b"1 0 1 0 0\n",
            b"1 ff 1 0\n",
            b"1 ff x 0 0\n",
            b"1 ff 1 0 0\n1 x 0 http://a/\n",
            b"1 ff 1 0 0\n1 h 0 a\n",
            b"\xff",
        ] {
            assert_eq!(PurgeLog::parse(text), None, "{text:?}");
        }
        for text in [&b""[..], b"ff", b"ff 1 0", b"zz 1 0 0"] {
            assert_eq!(TagGeneration::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn purges_of_all_and_by_prefix_are_counted() {
        let mut ledger = PurgeLog::new();
        let before = ledger.tick;
        ledger.count(BulkPurge::Prefix(prefix("http://a/x"), PurgeStrength::Hard), NOW).unwrap();
        assert_eq!(ledger.judge(before, &target("/x")), PurgeStatus::Gone);
        assert_eq!(ledger.judge(ledger.tick, &target("/x")), PurgeStatus::Stands);
        assert_eq!(ledger.judge(before, &target("/y")), PurgeStatus::Stands);
        ledger.count(BulkPurge::All(PurgeStrength::Soft), NOW).unwrap();
        assert_eq!(ledger.judge(before, &target("/y")), PurgeStatus::Outdated(NOW));
        ledger.count(BulkPurge::All(PurgeStrength::Hard), NOW).unwrap();
        assert_eq!(ledger.judge(before, &target("/y")), PurgeStatus::Gone);
    }

    #[test]
    fn no_purge_by_prefix_is_forgotten_while_it_matters() {
        let mut ledger = PurgeLog::new();
        for number in 0..PREFIXES_MAX {
            ledger
                .count(BulkPurge::Prefix(prefix(&format!("http://a/{number}")), PurgeStrength::Hard), NOW)
                .unwrap();
        }
        let more = BulkPurge::Prefix(prefix("http://a/more"), PurgeStrength::Hard);
        assert_eq!(ledger.count(more.clone(), NOW), Err(PrefixesFullError));
        assert!(
            ledger.count(BulkPurge::Prefix(prefix("http://a/1"), PurgeStrength::Hard), NOW).is_ok(),
            "known already"
        );
        assert!(ledger.count(more, NOW.plus(LIFETIME_MAX * 2)).is_ok(), "what it purged has expired");
    }

    #[test]
    fn a_soft_purge_does_not_take_a_hard_ones_place() {
        let mut ledger = PurgeLog::new();
        let before = ledger.tick;
        ledger.count(BulkPurge::Prefix(prefix("http://a/x"), PurgeStrength::Hard), NOW).unwrap();
        ledger.count(BulkPurge::Prefix(prefix("http://a/x"), PurgeStrength::Soft), NOW).unwrap();
        assert_eq!(ledger.judge(before, &target("/x")), PurgeStatus::Gone);
    }

    #[test]
    fn counters_are_compared_within_their_epoch() {
        let counter = TagGeneration::parse(b"ff 4 6 900").unwrap();
        let at = |count| PurgeGeneration { epoch: 255, count };
        assert_eq!(counter.judge(at(3)), PurgeStatus::Gone);
        assert_eq!(counter.judge(at(4)), PurgeStatus::Outdated(Timestamp::from_millis(900)));
        assert_eq!(counter.judge(at(6)), PurgeStatus::Stands);
        assert_eq!(counter.judge(PurgeGeneration { epoch: 1, count: 9 }), PurgeStatus::Gone);
        assert_eq!(TagGeneration::at(at(4)).judge(at(4)), PurgeStatus::Stands);
    }
}

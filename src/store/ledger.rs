//! The purge clock as it stands in Redis: how many purges there have been, and those that are of no single tag.
//!
//! ```text
//! 1 <epoch> <count> <soft> <at>           the count at the last soft purge of everything, and when it was (ms)
//! <count> <h|s> <at> <scheme://authority/path>      one line for each purge by prefix, oldest first
//! ```
//!
//! One value, changed by one script (`scripts.rs`), so that it is lost as a whole or not at all: and then a new epoch begins,
//! which no entry belongs to. A purge of everything begins one as well.

use std::fmt;

use super::purge::{Full, Prefix, Strength};
use crate::entry::Tick;
use crate::key::Target;
use crate::limits::{LIFETIME_MAX, PREFIXES_MAX};
use crate::time::Timestamp;

/// The state of the purge clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    pub(super) tick: Tick,
    /// The count at the last soft purge of everything, and when it was.
    soft: (u64, Timestamp),
    prefixes: Vec<Swept>,
}

/// A purge by prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Swept {
    count: u64,
    strength: Strength,
    at: Timestamp,
    prefix: Prefix,
}

/// What purges mean for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing.
    Stands,
    /// It is stale, since then.
    Outdated(Timestamp),
    /// It is gone.
    Gone,
}

impl Fate {
    /// The worse of two.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Gone, _) | (_, Self::Gone) => Self::Gone,
            (Self::Outdated(one), Self::Outdated(other)) => Self::Outdated(one.min(other)),
            (Self::Outdated(at), Self::Stands) | (Self::Stands, Self::Outdated(at)) => Self::Outdated(at),
            (Self::Stands, Self::Stands) => Self::Stands,
        }
    }
}

/// A purge that is not of single keys.
#[derive(Clone, Debug)]
pub(super) enum Sweep {
    /// Of something with a counter of its own: only the clock moves here.
    Counted,
    All(Strength),
    Prefix(Prefix, Strength),
}

impl Ledger {
    /// The beginning of an epoch.
    pub(super) fn new() -> Self {
        Self {
            tick: Tick { epoch: fastrand::u64(1..), count: 0 },
            soft: (0, Timestamp::EPOCH),
            prefixes: Vec::new(),
        }
    }

    /// Reads what stands in Redis; `None` if it is none of ours.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.lines();
        let mut words = lines.next()?.split(' ');
        if words.next()? != "1" {
            return None;
        }
        let epoch = u64::from_str_radix(words.next()?, 16).ok().filter(|epoch| *epoch != 0)?;
        let mut number = || words.next()?.parse().ok();
        let (count, soft, at) = (number()?, number()?, number()?);
        let prefixes = lines.take(PREFIXES_MAX).map(Swept::parse).collect::<Option<_>>()?;
        Some(Self { tick: Tick { epoch, count }, soft: (soft, Timestamp::from_millis(at)), prefixes })
    }

    /// What the purges since mean for an entry of this target that was fetched at `tick`; tags are not looked at.
    pub(super) fn judge(&self, tick: Tick, target: &Target) -> Fate {
        if tick.epoch != self.tick.epoch {
            return Fate::Gone;
        }
        let mut fate = if self.soft.0 > tick.count { Fate::Outdated(self.soft.1) } else { Fate::Stands };
        for swept in self.prefixes.iter().filter(|swept| swept.count > tick.count) {
            if swept.prefix.covers(target) {
                fate = fate.and(match swept.strength {
                    Strength::Hard => Fate::Gone,
                    Strength::Soft => Fate::Outdated(swept.at),
                });
            }
        }
        fate
    }

    /// Counts a purge: what the script does, for a process that has no Redis.
    pub(super) fn count(&mut self, sweep: Sweep, now: Timestamp) -> Result<Tick, Full> {
        let next = Tick { count: self.tick.count + 1, ..self.tick };
        match sweep {
            Sweep::Counted => {}
            Sweep::All(Strength::Hard) => {
                *self = Self::new();
                return Ok(self.tick);
            }
            Sweep::All(Strength::Soft) => self.soft = (next.count, now),
            Sweep::Prefix(prefix, strength) => {
                let replaced = |swept: &Swept| {
                    swept.prefix == prefix && (strength == Strength::Hard || swept.strength == Strength::Soft)
                };
                self.prefixes.retain(|swept| now.since(swept.at) <= LIFETIME_MAX && !replaced(swept));
                if self.prefixes.len() >= PREFIXES_MAX {
                    return Err(Full);
                }
                self.prefixes.push(Swept { count: next.count, strength, at: now, prefix });
            }
        }
        self.tick = next;
        Ok(next)
    }
}

/// As it stands in Redis.
impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tick: Tick { epoch, count }, soft: (soft, at), prefixes } = self;
        writeln!(f, "1 {epoch:016x} {count} {soft} {}", at.as_millis())?;
        prefixes.iter().try_for_each(|swept| writeln!(f, "{swept}"))
    }
}

impl fmt::Display for Swept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, strength, at, prefix } = self;
        write!(f, "{count} {} {} {prefix}", strength.letter(), at.as_millis())
    }
}

impl Swept {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(4, ' ');
        let count = words.next()?.parse().ok()?;
        let strength = match words.next()? {
            "h" => Strength::Hard,
            "s" => Strength::Soft,
            _ => return None,
        };
        let at = Timestamp::from_millis(words.next()?.parse().ok()?);
        Some(Self { count, strength, at, prefix: Prefix::parse(words.next()?).ok()? })
    }
}

/// What stands of one tag: the counts at its last purges, in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    pub(super) epoch: u64,
    pub(super) hard: u64,
    /// The count, and when it was.
    pub(super) soft: (u64, Timestamp),
}

/// As it stands in Redis.
impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, hard, soft: (soft, at) } = self;
        write!(f, "{epoch:016x} {hard} {soft} {}", at.as_millis())
    }
}

impl Counter {
    /// Of a tag that has been purged at this tick, or that nothing is known of before it.
    pub(super) fn at(tick: Tick) -> Self {
        Self { epoch: tick.epoch, hard: tick.count, soft: (0, Timestamp::EPOCH) }
    }

    /// Reads `<epoch> <hard> <soft> <at>`; `None` if it is none of ours.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(bytes).ok()?.split(' ');
        let epoch = u64::from_str_radix(words.next()?, 16).ok()?;
        let mut number = || words.next()?.parse().ok();
        Some(Self { epoch, hard: number()?, soft: (number()?, Timestamp::from_millis(number()?)) })
    }

    /// What the tag's purges mean for an entry that was fetched at `tick`.
    pub(super) fn judge(&self, tick: Tick) -> Fate {
        if self.epoch != tick.epoch || self.hard > tick.count {
            Fate::Gone
        } else if self.soft.0 > tick.count {
            Fate::Outdated(self.soft.1)
        } else {
            Fate::Stands
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

    fn prefix(text: &str) -> Prefix {
        Prefix::parse(text).unwrap()
    }

    #[test]
    fn the_clock_is_read_as_the_script_writes_it() {
        let text = b"1 00000000000000ff 7 5 900\n6 h 800 http://a/x\n7 s 900 http://a/y?z=1\n";
        let ledger = Ledger::parse(text).unwrap();
        assert_eq!(ledger.tick, Tick { epoch: 255, count: 7 });
        let at = |count| Tick { epoch: 255, count };
        for (path, count, fate) in [
            ("/n", 5, Fate::Stands),
            ("/n", 4, Fate::Outdated(Timestamp::from_millis(900))),
            ("/x", 6, Fate::Stands),
            ("/x1", 5, Fate::Gone),
            ("/y?z=12", 6, Fate::Outdated(Timestamp::from_millis(900))),
            ("/y?z=12", 7, Fate::Stands),
        ] {
            assert_eq!(ledger.judge(at(count), &target(path)), fate, "{path} {count}");
        }
        assert_eq!(ledger.judge(Tick { epoch: 254, count: 7 }, &target("/n")), Fate::Gone);
    }

    #[test]
    fn a_clock_and_a_counter_come_back() {
        let mut ledger = Ledger::new();
        assert_eq!(Ledger::parse(ledger.to_string().as_bytes()), Some(ledger.clone()));
        ledger.count(Sweep::Prefix(prefix("http://a/x"), Strength::Hard), NOW).unwrap();
        ledger.count(Sweep::Prefix(prefix("https://a:8443/y?z"), Strength::Soft), NOW).unwrap();
        assert_eq!(Ledger::parse(ledger.to_string().as_bytes()), Some(ledger));
        let counter = Counter { epoch: 255, hard: 4, soft: (6, NOW) };
        assert_eq!(counter.to_string(), "00000000000000ff 4 6 1000");
        assert_eq!(Counter::parse(counter.to_string().as_bytes()), Some(counter));
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
            assert_eq!(Ledger::parse(text), None, "{text:?}");
        }
        for text in [&b""[..], b"ff", b"ff 1 0", b"zz 1 0 0"] {
            assert_eq!(Counter::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn purges_of_all_and_by_prefix_are_counted() {
        let mut ledger = Ledger::new();
        let before = ledger.tick;
        ledger.count(Sweep::Prefix(prefix("http://a/x"), Strength::Hard), NOW).unwrap();
        assert_eq!(ledger.judge(before, &target("/x")), Fate::Gone);
        assert_eq!(ledger.judge(ledger.tick, &target("/x")), Fate::Stands);
        assert_eq!(ledger.judge(before, &target("/y")), Fate::Stands);
        ledger.count(Sweep::All(Strength::Soft), NOW).unwrap();
        assert_eq!(ledger.judge(before, &target("/y")), Fate::Outdated(NOW));
        ledger.count(Sweep::All(Strength::Hard), NOW).unwrap();
        assert_eq!(ledger.judge(before, &target("/y")), Fate::Gone);
    }

    #[test]
    fn no_purge_by_prefix_is_forgotten_while_it_matters() {
        let mut ledger = Ledger::new();
        for number in 0..PREFIXES_MAX {
            ledger.count(Sweep::Prefix(prefix(&format!("http://a/{number}")), Strength::Hard), NOW).unwrap();
        }
        let more = Sweep::Prefix(prefix("http://a/more"), Strength::Hard);
        assert_eq!(ledger.count(more.clone(), NOW), Err(Full));
        assert!(
            ledger.count(Sweep::Prefix(prefix("http://a/1"), Strength::Hard), NOW).is_ok(),
            "known already"
        );
        assert!(ledger.count(more, NOW.plus(LIFETIME_MAX * 2)).is_ok(), "what it purged has expired");
    }

    #[test]
    fn a_soft_purge_does_not_take_a_hard_ones_place() {
        let mut ledger = Ledger::new();
        let before = ledger.tick;
        ledger.count(Sweep::Prefix(prefix("http://a/x"), Strength::Hard), NOW).unwrap();
        ledger.count(Sweep::Prefix(prefix("http://a/x"), Strength::Soft), NOW).unwrap();
        assert_eq!(ledger.judge(before, &target("/x")), Fate::Gone);
    }

    #[test]
    fn counters_are_compared_within_their_epoch() {
        let counter = Counter::parse(b"ff 4 6 900").unwrap();
        let at = |count| Tick { epoch: 255, count };
        assert_eq!(counter.judge(at(3)), Fate::Gone);
        assert_eq!(counter.judge(at(4)), Fate::Outdated(Timestamp::from_millis(900)));
        assert_eq!(counter.judge(at(6)), Fate::Stands);
        assert_eq!(counter.judge(Tick { epoch: 1, count: 9 }), Fate::Gone);
        assert_eq!(Counter::at(at(4)).judge(at(4)), Fate::Stands);
    }
}

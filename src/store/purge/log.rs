//! The purge log in Redis: the number of purges, and the purges of everything or by prefix.
//!
//! ```text
//! 1 <epoch> <count> <soft> <at>
//! <count> <h|s> <at> <scheme://authority/path>   one line for each purge by prefix
//! <count> <h|s> <at> sealed:<base64>             the same, of a node with keys
//! ```
//!
//! A sealed prefix has no common beginning with another one, so the script replaces too many of
//! them by a purge of everything. A node that cannot open a prefix takes its line for a purge of
//! everything.
//!
//! `soft` and the first `at` are the count at the last soft purge of everything, and its time (ms).
//! The log is one value, changed by one script (`scripts.rs`), so Redis loses it as a whole or not
//! at all. A lost log starts a new epoch, to which no entry belongs. A purge of everything starts
//! one as well.

use std::fmt;

use bytes::Bytes;

use crate::entry::PurgeGeneration;
use crate::key::Target;
use crate::limits::{LIFETIME_MAX, PREFIXES_MAX};
use crate::store::purge::names::{PurgeScope, PurgeStrength, UrlPrefix};
use crate::store::purge::prefixes::closest;
use crate::time::Timestamp;

/// The beginning of a sealed prefix.
pub(in crate::store) const SEALED_PREFIX: &str = "sealed:";

/// The purge log of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeLog {
    pub(in crate::store) generation: PurgeGeneration,
    /// The count at the last soft purge of everything, and its time.
    soft: (u64, Timestamp),
    prefixes: Vec<PrefixPurge>,
    /// The count at the last purge by a prefix that this node cannot open, or 0.
    unopened: u64,
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
    Valid,
    /// A soft purge at this time covers the entry: it is stale.
    Stale(Timestamp),
    /// A hard purge covers the entry: it must not be used.
    Purged,
}

impl PurgeStatus {
    /// Returns the stronger of two effects.
    pub(in crate::store) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Purged, _) | (_, Self::Purged) => Self::Purged,
            (Self::Stale(one), Self::Stale(other)) => Self::Stale(one.min(other)),
            (Self::Stale(at), Self::Valid) | (Self::Valid, Self::Stale(at)) => Self::Stale(at),
            (Self::Valid, Self::Valid) => Self::Valid,
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
            generation: PurgeGeneration { epoch: fastrand::u64(1..), count: 0 },
            soft: (0, Timestamp::EPOCH),
            prefixes: Vec::new(),
            unopened: 0,
        }
    }

    /// Parses the value in Redis; returns `None` if CacheWarp did not write it.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Self::parse_sealed(bytes, |_| None)
    }

    /// Parses the value in Redis, of which `open` opens sealed prefixes.
    pub(in crate::store) fn parse_sealed(
        bytes: &[u8],
        open: impl Fn(&str) -> Option<UrlPrefix>,
    ) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.lines();
        let mut words = lines.next()?.split(' ');
        if words.next()? != "1" {
            return None;
        }
        let epoch = u64::from_str_radix(words.next()?, 16).ok().filter(|epoch| *epoch != 0)?;
        let mut number = || words.next()?.parse().ok();
        let (count, soft, at) = (number()?, number()?, number()?);
        let (mut prefixes, mut unopened) = (Vec::new(), 0);
        for line in lines.take(PREFIXES_MAX) {
            match PrefixPurge::parse(line, &open)? {
                LoggedPrefix::Purge(purge) => prefixes.push(purge),
                LoggedPrefix::Unopened(count) => unopened = count.max(unopened),
            }
        }
        Some(Self {
            generation: PurgeGeneration { epoch, count },
            soft: (soft, Timestamp::from_millis(at)),
            prefixes,
            unopened,
        })
    }

    /// Returns the effect of later purges on an entry of this target that was fetched at
    /// `generation`. The log does not cover tags.
    pub(in crate::store) fn judge(&self, generation: PurgeGeneration, target: &Target) -> PurgeStatus {
        if generation.epoch != self.generation.epoch || self.unopened > generation.count {
            return PurgeStatus::Purged;
        }
        let mut status =
            if self.soft.0 > generation.count { PurgeStatus::Stale(self.soft.1) } else { PurgeStatus::Valid };
        for purge in self.prefixes.iter().filter(|purge| purge.count > generation.count) {
            if purge.prefix.covers(target) {
                status = status.and(match purge.strength {
                    PurgeStrength::Hard => PurgeStatus::Purged,
                    PurgeStrength::Soft => PurgeStatus::Stale(purge.at),
                });
            }
        }
        status
    }

    /// Adds the purges of a log that was known before and that this one lacks, if both are of one
    /// epoch. A log that Redis has lost or that another client has changed covers less than it did.
    pub(in crate::store) fn keep_known(&mut self, known: &Self, now: Timestamp) {
        if known.generation.epoch != self.generation.epoch {
            return;
        }
        self.unopened = self.unopened.max(known.unopened);
        if known.soft.0 > self.soft.0 {
            self.soft = known.soft;
        }
        for purge in &known.prefixes {
            let covers = |other: &PrefixPurge| {
                other.count >= purge.count
                    && other.prefix.contains(&purge.prefix)
                    && (other.strength == PurgeStrength::Hard || purge.strength == PurgeStrength::Soft)
            };
            if now.since(purge.at) <= LIFETIME_MAX && !self.prefixes.iter().any(covers) {
                self.prefixes.push(purge.clone());
            }
        }
        // Another client has written more than CacheWarp writes: everything counts as purged.
        if self.prefixes.len() > 2 * PREFIXES_MAX {
            self.prefixes.clear();
            self.unopened = self.generation.count;
        }
    }

    /// Records a purge as the script does, in a process without Redis.
    pub(in crate::store) fn record(&mut self, purge: BulkPurge, now: Timestamp) -> PurgeGeneration {
        self.generation.count += 1;
        match purge {
            BulkPurge::Counted => {}
            BulkPurge::All(strength) => self.record_all(strength, now),
            BulkPurge::Prefix(prefix, strength) => self.record_prefix(prefix, strength, now),
        }
        self.generation
    }

    fn record_all(&mut self, strength: PurgeStrength, now: Timestamp) {
        match strength {
            PurgeStrength::Hard => *self = Self::new(),
            PurgeStrength::Soft => self.soft = (self.generation.count, now),
        }
    }

    /// Records a purge by prefix. If the log has too many, a purge of the longest common prefix of
    /// any two replaces all purges under it; if no two have one, a purge of everything replaces the
    /// new one.
    fn record_prefix(&mut self, prefix: UrlPrefix, strength: PurgeStrength, now: Timestamp) {
        let count = self.generation.count;
        let is_replaced = |purge: &PrefixPurge| {
            prefix.contains(&purge.prefix)
                && (strength == PurgeStrength::Hard || purge.strength == PurgeStrength::Soft)
        };
        self.prefixes.retain(|purge| now.since(purge.at) <= LIFETIME_MAX && !is_replaced(purge));
        self.prefixes.push(PrefixPurge { count, strength, at: now, prefix });
        if self.prefixes.len() <= PREFIXES_MAX {
            return;
        }
        let Some(common) = closest(self.prefixes.iter().map(|purge| &purge.prefix)) else {
            self.prefixes.pop();
            return self.record_all(strength, now);
        };
        let is_hard =
            |purge: &PrefixPurge| common.contains(&purge.prefix) && purge.strength == PurgeStrength::Hard;
        let strength =
            if self.prefixes.iter().any(is_hard) { PurgeStrength::Hard } else { PurgeStrength::Soft };
        self.prefixes.retain(|purge| !common.contains(&purge.prefix));
        self.prefixes.push(PrefixPurge { count, strength, at: now, prefix: common });
    }

    /// Returns the coarser purges that this log, the result of a purge by `prefix`, records because
    /// it had no room for that purge.
    pub(in crate::store) fn coarser(&self, prefix: &UrlPrefix) -> Vec<PurgeScope> {
        let latest = self.prefixes.iter().filter(|purge| purge.count == self.generation.count);
        let mut latest = latest.map(|purge| &purge.prefix).peekable();
        if latest.peek().is_none() {
            return vec![PurgeScope::All];
        }
        latest.filter(|latest| *latest != prefix).cloned().map(PurgeScope::Prefix).collect()
    }
}

/// Returns the name of a new epoch.
pub(in crate::store) fn new_epoch() -> Bytes {
    format!("{:016x}", fastrand::u64(1..)).into()
}

/// The stored form in Redis.
impl fmt::Display for PurgeLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation: PurgeGeneration { epoch, count }, soft: (soft, at), prefixes, unopened } =
            self;
        writeln!(f, "1 {epoch:016x} {count} {soft} {}", at.as_millis())?;
        if *unopened > 0 {
            writeln!(f, "{unopened} h 0 {SEALED_PREFIX}")?;
        }
        prefixes.iter().try_for_each(|purge| writeln!(f, "{purge}"))
    }
}

impl fmt::Display for PrefixPurge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, strength, at, prefix } = self;
        write!(f, "{count} {} {} {prefix}", strength.letter(), at.as_millis())
    }
}

/// A line of a purge by prefix.
enum LoggedPrefix {
    Purge(PrefixPurge),
    /// A purge at this count whose prefix this node cannot open.
    Unopened(u64),
}

impl PrefixPurge {
    fn parse(line: &str, open: impl Fn(&str) -> Option<UrlPrefix>) -> Option<LoggedPrefix> {
        let mut words = line.splitn(4, ' ');
        let count = words.next()?.parse().ok()?;
        let strength = match words.next()? {
            "h" => PurgeStrength::Hard,
            "s" => PurgeStrength::Soft,
            _ => return None,
        };
        let at = Timestamp::from_millis(words.next()?.parse().ok()?);
        let text = words.next()?;
        let prefix = match text.strip_prefix(SEALED_PREFIX) {
            None => UrlPrefix::parse(text).ok()?,
            Some(sealed) => match open(sealed) {
                Some(prefix) => prefix,
                None => return Some(LoggedPrefix::Unopened(count)),
            },
        };
        Some(LoggedPrefix::Purge(Self { count, strength, at, prefix }))
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
    pub(in crate::store) fn at(generation: PurgeGeneration) -> Self {
        Self { epoch: generation.epoch, hard: generation.count, soft: (0, Timestamp::EPOCH) }
    }

    /// Parses `<epoch> <hard> <soft> <at>`; returns `None` if CacheWarp did not write it.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(bytes).ok()?.split(' ');
        let epoch = u64::from_str_radix(words.next()?, 16).ok()?;
        let mut number = || words.next()?.parse().ok();
        Some(Self { epoch, hard: number()?, soft: (number()?, Timestamp::from_millis(number()?)) })
    }

    /// Returns the effect of the tag's purges on an entry that was fetched at `generation`.
    pub(in crate::store) fn judge(&self, generation: PurgeGeneration) -> PurgeStatus {
        if self.epoch != generation.epoch || self.hard > generation.count {
            PurgeStatus::Purged
        } else if self.soft.0 > generation.count {
            PurgeStatus::Stale(self.soft.1)
        } else {
            PurgeStatus::Valid
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
    fn parses_the_log_as_the_script_writes_it() {
        let text = b"1 00000000000000ff 7 5 900\n6 h 800 http://a/x\n7 s 900 http://a/y?z=1\n";
        let log = PurgeLog::parse(text).unwrap();
        assert_eq!(log.generation, PurgeGeneration { epoch: 255, count: 7 });
        let at = |count| PurgeGeneration { epoch: 255, count };
        for (path, count, status) in [
            ("/n", 5, PurgeStatus::Valid),
            ("/n", 4, PurgeStatus::Stale(Timestamp::from_millis(900))),
            ("/x", 6, PurgeStatus::Valid),
            ("/x1", 5, PurgeStatus::Purged),
            ("/y?z=12", 6, PurgeStatus::Stale(Timestamp::from_millis(900))),
            ("/y?z=12", 7, PurgeStatus::Valid),
        ] {
            assert_eq!(log.judge(at(count), &target(path)), status, "{path} {count}");
        }
        assert_eq!(log.judge(PurgeGeneration { epoch: 254, count: 7 }, &target("/n")), PurgeStatus::Purged);
    }

    #[test]
    fn a_prefix_that_does_not_open_covers_everything() {
        let text = b"1 00000000000000ff 7 0 0\n5 s 800 sealed:QQ\n6 h 800 http://a/x\n";
        let at = |count| PurgeGeneration { epoch: 255, count };
        let unopened = PurgeLog::parse(text).unwrap();
        assert_eq!(unopened.judge(at(4), &target("/n")), PurgeStatus::Purged);
        assert_eq!(unopened.judge(at(5), &target("/n")), PurgeStatus::Valid);
        assert_eq!(PurgeLog::parse(unopened.to_string().as_bytes()), Some(unopened));
        let open = |sealed: &str| (sealed == "QQ").then(|| prefix("http://a/y"));
        let opened = PurgeLog::parse_sealed(text, open).unwrap();
        assert_eq!(opened.judge(at(4), &target("/n")), PurgeStatus::Valid);
        assert_eq!(opened.judge(at(4), &target("/y1")), PurgeStatus::Stale(Timestamp::from_millis(800)));
    }

    #[test]
    fn a_log_keeps_the_purges_that_were_known() {
        let known = b"1 00000000000000ff 7 5 900\n6 h 800 http://a/x\n7 s 900 http://a/y\n";
        let known = PurgeLog::parse(known).unwrap();
        let kept = |text: &str, now| {
            let mut log = PurgeLog::parse(text.as_bytes()).unwrap();
            log.keep_known(&known, now);
            log.to_string()
        };
        for (read, expected) in [
            // Another client has removed the purges.
            (
                "1 00000000000000ff 9 0 0\n",
                "1 00000000000000ff 9 5 900\n6 h 800 http://a/x\n7 s 900 http://a/y\n",
            ),
            // Later purges cover the known ones.
            (
                "1 00000000000000ff 9 8 950\n9 h 960 http://a/\n",
                "1 00000000000000ff 9 8 950\n9 h 960 http://a/\n",
            ),
            (
                "1 00000000000000ff 9 8 950\n9 s 960 http://a/\n",
                "1 00000000000000ff 9 8 950\n9 s 960 http://a/\n6 h 800 http://a/x\n",
            ),
            ("1 00000000000000fe 9 0 0\n", "1 00000000000000fe 9 0 0\n"),
        ] {
            assert_eq!(kept(read, NOW), expected);
        }
        let later = NOW.plus(LIFETIME_MAX * 2);
        assert_eq!(kept("1 00000000000000ff 9 5 900\n", later), "1 00000000000000ff 9 5 900\n");
        // Another client writes other prefixes again and again.
        let mut log = known.clone();
        for number in 0..=2 * PREFIXES_MAX as u64 {
            let text = format!("1 00000000000000ff 9 5 900\n{} h 800 http://b/{number:03}\n", number % 9);
            let mut read = PurgeLog::parse(text.as_bytes()).unwrap();
            read.keep_known(&log, NOW);
            log = read;
            assert!(log.prefixes.len() <= 2 * PREFIXES_MAX);
        }
        let before = PurgeGeneration { epoch: 255, count: 8 };
        assert_eq!(log.judge(before, &target("/n")), PurgeStatus::Purged);
    }

    #[test]
    fn log_and_tag_generation_round_trip() {
        let mut log = PurgeLog::new();
        assert_eq!(PurgeLog::parse(log.to_string().as_bytes()), Some(log.clone()));
        log.record(BulkPurge::Prefix(prefix("http://a/x"), PurgeStrength::Hard), NOW);
        log.record(BulkPurge::Prefix(prefix("https://a:8443/y?z"), PurgeStrength::Soft), NOW);
        assert_eq!(PurgeLog::parse(log.to_string().as_bytes()), Some(log));
        let tag_generation = TagGeneration { epoch: 255, hard: 4, soft: (6, NOW) };
        assert_eq!(tag_generation.to_string(), "00000000000000ff 4 6 1000");
        assert_eq!(TagGeneration::parse(tag_generation.to_string().as_bytes()), Some(tag_generation));
    }

    #[test]
    fn foreign_values_are_refused() {
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
    fn purges_of_all_and_by_prefix_are_recorded() {
        let mut log = PurgeLog::new();
        let before = log.generation;
        log.record(BulkPurge::Prefix(prefix("http://a/x"), PurgeStrength::Hard), NOW);
        assert_eq!(log.judge(before, &target("/x")), PurgeStatus::Purged);
        assert_eq!(log.judge(log.generation, &target("/x")), PurgeStatus::Valid);
        assert_eq!(log.judge(before, &target("/y")), PurgeStatus::Valid);
        log.record(BulkPurge::All(PurgeStrength::Soft), NOW);
        assert_eq!(log.judge(before, &target("/y")), PurgeStatus::Stale(NOW));
        log.record(BulkPurge::All(PurgeStrength::Hard), NOW);
        assert_eq!(log.judge(before, &target("/y")), PurgeStatus::Purged);
    }

    #[test]
    fn a_purge_by_prefix_is_kept_while_entries_may_live() {
        let mut log = PurgeLog::new();
        let purge =
            |number: usize| BulkPurge::Prefix(prefix(&format!("http://a/{number:02}/")), PurgeStrength::Hard);
        for number in 0..PREFIXES_MAX {
            log.record(purge(number), NOW);
            assert_eq!(log.coarser(&prefix(&format!("http://a/{number:02}/"))), []);
        }
        let before = log.generation;
        log.record(purge(1), NOW);
        assert_eq!(log.coarser(&prefix("http://a/01/")), [], "the prefix is in the log");
        log.record(purge(PREFIXES_MAX), NOW.plus(LIFETIME_MAX * 2));
        assert_eq!(log.coarser(&prefix("http://a/64/")), [], "the entries of the others have expired");
        assert_eq!(log.judge(before, &target("/01/x")), PurgeStatus::Valid);
    }

    #[test]
    fn more_purges_by_prefix_than_the_bound_become_coarser_ones() {
        let purge =
            |text: &str, strength| (BulkPurge::Prefix(prefix(text), strength), prefix(text), strength);
        let full = |texts: &dyn Fn(usize) -> String| {
            let mut log = PurgeLog::new();
            let before = log.generation;
            for number in 0..PREFIXES_MAX {
                log.record(purge(&texts(number), PurgeStrength::Soft).0, NOW);
            }
            (before, log)
        };
        // The closest two are merged, whether or not the new one is among them.
        let accounts = |number| format!("http://a/accounts/{number:02}");
        for (new, strength, coarser, purged) in [
            ("http://b/", PurgeStrength::Soft, "http://a/accounts/", PurgeStatus::Stale(NOW)),
            ("http://a/accounts/00/cards", PurgeStrength::Hard, "http://a/accounts/00", PurgeStatus::Purged),
            ("http://a/accounts/001", PurgeStrength::Soft, "http://a/accounts/", PurgeStatus::Stale(NOW)),
        ] {
            let (before, mut log) = full(&accounts);
            let (new, prefix, _) = purge(new, strength);
            log.record(new, NOW);
            assert!(log.prefixes.len() <= PREFIXES_MAX);
            let recorded = log.coarser(&prefix);
            assert_eq!(log.judge(before, &target("/accounts/00")), purged, "{recorded:?}");
            assert_eq!(log.judge(before, &target("/other")), PurgeStatus::Valid, "{recorded:?}");
            let [PurgeScope::Prefix(recorded)] = &recorded[..] else { panic!("{recorded:?}") };
            assert!(recorded.to_string().starts_with(coarser), "{recorded}");
        }
        // No two name the same origin.
        let hosts = |number| format!("http://host{number}/");
        for (strength, status) in
            [(PurgeStrength::Soft, PurgeStatus::Stale(NOW)), (PurgeStrength::Hard, PurgeStatus::Purged)]
        {
            let (before, mut log) = full(&hosts);
            let (new, prefix, _) = purge("http://b/", strength);
            log.record(new, NOW);
            assert_eq!(log.coarser(&prefix), [PurgeScope::All]);
            assert_eq!(log.judge(before, &target("/")), status);
        }
    }

    /// Compares the log with a list of all purges: the log covers at least as much.
    #[test]
    fn a_bounded_log_purges_whatever_an_unbounded_one_does() {
        let strictness = |status| match status {
            PurgeStatus::Valid => 0,
            PurgeStatus::Stale(_) => 1,
            PurgeStatus::Purged => 2,
        };
        for seed in 0..60 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut log = PurgeLog::new();
            let hosts = ["http://a", "https://a", "http://b:81", "http://ü"];
            let hosts = &hosts[..rng.usize(1..3)];
            let draw = |rng: &mut fastrand::Rng| {
                let host = hosts[rng.usize(..hosts.len())];
                let path: String =
                    (0..rng.usize(0..5)).map(|_| ["a", "b", "/", "é", "è"][rng.usize(..5)]).collect();
                format!("{host}/{path}")
            };
            let mut all: Vec<(PurgeGeneration, UrlPrefix, PurgeStrength)> = Vec::new();
            for _ in 0..200 {
                let Ok(prefix) = UrlPrefix::parse(&draw(&mut rng)) else { continue };
                let strength = if rng.bool() { PurgeStrength::Hard } else { PurgeStrength::Soft };
                all.push((log.generation, prefix.clone(), strength));
                log.record(BulkPurge::Prefix(prefix, strength), NOW);
                assert!(log.prefixes.len() <= PREFIXES_MAX, "seed {seed}");
                assert_eq!(PurgeLog::parse(log.to_string().as_bytes()).as_ref(), Some(&log), "seed {seed}");
            }
            for _ in 0..200 {
                let Ok(target) = Target::of_url(&draw(&mut rng)) else { continue };
                let (stored, ..) = all[rng.usize(..all.len())];
                let later = all.iter().rev().take_while(|(before, ..)| *before != stored);
                let first = all.iter().find(|(before, ..)| *before == stored);
                let wanted = later.chain(first).filter(|(_, prefix, _)| prefix.covers(&target)).map(
                    |(_, _, strength)| match strength {
                        PurgeStrength::Hard => PurgeStatus::Purged,
                        PurgeStrength::Soft => PurgeStatus::Stale(NOW),
                    },
                );
                let wanted = wanted.fold(PurgeStatus::Valid, PurgeStatus::and);
                let status = log.judge(stored, &target);
                assert!(
                    strictness(status) >= strictness(wanted),
                    "seed {seed}: {target} {status:?} {wanted:?}"
                );
                assert_eq!(log.judge(log.generation, &target), PurgeStatus::Valid, "seed {seed}");
            }
        }
    }

    #[test]
    fn a_soft_purge_does_not_replace_a_hard_one() {
        let mut log = PurgeLog::new();
        let before = log.generation;
        log.record(BulkPurge::Prefix(prefix("http://a/x"), PurgeStrength::Hard), NOW);
        log.record(BulkPurge::Prefix(prefix("http://a/x"), PurgeStrength::Soft), NOW);
        assert_eq!(log.judge(before, &target("/x")), PurgeStatus::Purged);
    }

    #[test]
    fn tag_generations_compare_within_their_epoch() {
        let tag_generation = TagGeneration::parse(b"ff 4 6 900").unwrap();
        let at = |count| PurgeGeneration { epoch: 255, count };
        assert_eq!(tag_generation.judge(at(3)), PurgeStatus::Purged);
        assert_eq!(tag_generation.judge(at(4)), PurgeStatus::Stale(Timestamp::from_millis(900)));
        assert_eq!(tag_generation.judge(at(6)), PurgeStatus::Valid);
        assert_eq!(tag_generation.judge(PurgeGeneration { epoch: 1, count: 9 }), PurgeStatus::Purged);
        assert_eq!(TagGeneration::at(at(4)).judge(at(4)), PurgeStatus::Valid);
    }
}

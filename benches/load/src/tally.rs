//! What was seen of one phase. A request belongs to the phase in which it was due.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::durations::Durations;

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Nobody listens: no connection could be opened, and none was open.
    Refused,
    /// The connection ended before a byte of the answer.
    Closed,
    /// The connection ended within the answer.
    Cut,
    /// What came is not one HTTP response.
    Malformed,
    /// Sent, and not answered whole in time.
    Timeout,
    /// Not even sent in time: every connection was busy.
    Unsent,
}

impl Failure {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Cut => "cut",
            Self::Malformed => "malformed",
            Self::Timeout => "timeout",
            Self::Unsent => "unsent",
        }
    }
}

/// What was seen of one phase.
#[derive(Debug)]
pub struct Tally {
    /// From when a request was due to the end of its answer, whatever its status.
    pub latency: Durations,
    /// The same of answers below 500 alone: a server that refuses at once is not quick for those whom it serves.
    pub served: Durations,
    /// From when it was sent: what is left without the delays of this program, and without those of requests before it.
    pub service: Durations,
    /// From when a request was due and a connection known to be free to when it was sent: this program's own delay.
    pub lag: Durations,
    /// Requests that were due while no connection was free.
    pub waited: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without an answer.
    pub failures: BTreeMap<Failure, u64>,
    /// All that was read, heads and bodies.
    pub bytes: u64,
    /// From the first request to the last answer.
    pub span: Option<(Instant, Instant)>,
    /// CPU time of this process while requests of this phase were sent.
    pub cpu: Duration,
    /// CPU time of the watched process in that time.
    pub watched: Option<Duration>,
}

impl Tally {
    /// Nothing was seen yet.
    pub fn new() -> Self {
        Self {
            latency: Durations::new(),
            served: Durations::new(),
            service: Durations::new(),
            lag: Durations::new(),
            waited: 0,
            statuses: BTreeMap::new(),
            failures: BTreeMap::new(),
            bytes: 0,
            span: None,
            cpu: Duration::ZERO,
            watched: None,
        }
    }

    /// A request left at `sent`, that was due at `due`, on a connection that was known to be free from `free` on.
    pub fn sent(&mut self, due: Instant, free: Instant, sent: Instant) {
        self.lag.record(sent.saturating_duration_since(due.max(free)));
        self.waited += u64::from(free > due);
        let first = self.span.map_or(due, |(first, _)| first);
        self.span = Some((first, self.span.map_or(sent, |(_, last)| last)));
    }

    /// It was answered.
    pub fn answered(&mut self, due: Instant, sent: Instant, now: Instant, status: u16) {
        let latency = now.saturating_duration_since(due);
        self.latency.record(latency);
        if status < 500 {
            self.served.record(latency);
        }
        self.service.record(now.saturating_duration_since(sent));
        *self.statuses.entry(status).or_default() += 1;
        self.span = Some((self.span.map_or(due, |(first, _)| first), now));
    }

    /// It will not be.
    pub fn failed(&mut self, failure: Failure) {
        *self.failures.entry(failure).or_default() += 1;
    }

    /// Answers of any status.
    pub fn answers(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Answers above 399, and requests without an answer.
    pub fn errors(&self) -> u64 {
        let bad = self.statuses.iter().filter(|&(&status, _)| status >= 400).map(|(_, count)| count);
        bad.chain(self.failures.values()).sum()
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_told_apart() {
        let start = crate::clock::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut tally = Tally::new();
        // Sent 2 ms late though free, answered after 3 more.
        tally.sent(at(10), at(1), at(12));
        tally.answered(at(10), at(12), at(15), 200);
        // Nothing was free until 30; the program was in time.
        tally.sent(at(20), at(30), at(30));
        tally.answered(at(20), at(30), at(31), 503);
        tally.failed(Failure::Cut);
        let near = |micros: f64, millis: f64| (micros / 1e3 - millis).abs() < 0.02 * millis;
        assert!(near(tally.latency.micros_max(), 11.0) && near(tally.latency.micros_at(500), 5.0));
        assert!(near(tally.served.micros_max(), 5.0), "the refusal is not among them");
        assert!(near(tally.service.micros_max(), 3.0) && near(tally.service.micros_at(500), 1.0));
        assert!(near(tally.lag.micros_max(), 2.0) && tally.lag.micros_at(500) < 2.0);
        assert_eq!((tally.waited, tally.answers(), tally.errors()), (1, 2, 2));
        assert_eq!(tally.span, Some((at(10), at(31))));
    }
}

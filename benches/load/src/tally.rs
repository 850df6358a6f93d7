//! The results of one phase. A request belongs to the phase in which it was due.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::durations::Durations;

/// The reason why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The server does not accept connections: none was open, and none could be opened.
    Refused,
    /// The connection ended before the first byte of the answer.
    Closed,
    /// The connection ended within the answer.
    Cut,
    /// The bytes are not one HTTP response.
    Malformed,
    /// The request was sent, and not answered completely in time.
    Timeout,
    /// The request was not sent in time: every connection was busy.
    Unsent,
}

impl Failure {
    /// Returns the word for the failure.
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

/// The results of one phase.
#[derive(Debug)]
pub struct Tally {
    /// Times from a request's due time to the end of its answer, whatever its status.
    pub latency: Durations,
    /// Latencies of answers below 500: an immediate refusal does not make a server fast.
    pub served: Durations,
    /// Times from sending to the end of the answer, without the delays of this program and of
    /// earlier requests.
    pub service: Durations,
    /// The generator's own delays: the time from the moment at which a request was due and a
    /// connection was free, to the send.
    pub lag: Durations,
    /// Requests that were due while no connection was free.
    pub waited: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without an answer.
    pub failures: BTreeMap<Failure, u64>,
    /// All bytes read, heads and bodies.
    pub bytes: u64,
    /// The times of the first request and of the last answer.
    pub span: Option<(Instant, Instant)>,
    /// CPU time of this process during the phase.
    pub cpu: Duration,
    /// CPU time of the watched process during the phase.
    pub watched: Option<Duration>,
}

impl Tally {
    /// Returns empty results.
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

    /// Counts a request that was due at `due` and sent at `sent`, on a connection that was free
    /// since `free`.
    pub fn sent(&mut self, due: Instant, free: Instant, sent: Instant) {
        self.lag.record(sent.saturating_duration_since(due.max(free)));
        self.waited += u64::from(free > due);
        let first = self.span.map_or(due, |(first, _)| first);
        self.span = Some((first, self.span.map_or(sent, |(_, last)| last)));
    }

    /// Counts an answer.
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

    /// Counts a failure.
    pub fn failed(&mut self, failure: Failure) {
        *self.failures.entry(failure).or_default() += 1;
    }

    /// Returns the number of answers, of any status.
    pub fn answers(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Returns the number of answers above 399 and of requests without an answer.
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
    fn delays_of_generator_and_server_are_separate() {
        let start = crate::clock::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut tally = Tally::new();
        // The request was sent 2 ms late on a free connection, and answered after 3 more.
        tally.sent(at(10), at(1), at(12));
        tally.answered(at(10), at(12), at(15), 200);
        // No connection was free until 30; the generator was in time.
        tally.sent(at(20), at(30), at(30));
        tally.answered(at(20), at(30), at(31), 503);
        tally.failed(Failure::Cut);
        let near = |micros: f64, millis: f64| (micros / 1e3 - millis).abs() < 0.02 * millis;
        assert!(near(tally.latency.micros_max(), 11.0) && near(tally.latency.micros_at(500), 5.0));
        assert!(near(tally.served.micros_max(), 5.0), "the refusal is not counted as served");
        assert!(near(tally.service.micros_max(), 3.0) && near(tally.service.micros_at(500), 1.0));
        assert!(near(tally.lag.micros_max(), 2.0) && tally.lag.micros_at(500) < 2.0);
        assert_eq!((tally.waited, tally.answers(), tally.errors()), (1, 2, 2));
        assert_eq!(tally.span, Some((at(10), at(31))));
    }
}

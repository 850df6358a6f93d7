//! The log lines about an origin that fails: one when a phase of the exchange begins to fail, one
//! when the origin answers again.
//!
//! All workers of a process share one [`OutageLog`], so the log has one line per change and not one
//! per worker. While a phase goes on failing, the log reminds of it once in
//! [`ORIGIN_OUTAGE_REMINDED`]. An origin that fails and answers by turns has
//! [`ORIGIN_OUTAGES_LOGGED_MAX`] such pairs of lines in that time, and then one reminder for the
//! rest.
//!
//! **Always:** each warning that a phase fails is followed by the line that it does not any more,
//! or by the end of the process.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{FaultParty, FetchError, FetchPhase};
use crate::label::Label;
use crate::limits::{ORIGIN_OUTAGE_REMINDED, ORIGIN_OUTAGES_LOGGED_MAX};
use crate::time;

/// What the log of a process says about its origin. Clones are the same.
#[derive(Clone, Default)]
pub struct OutageLog(Arc<SharedOutages>);

/// Of no interest beside settings.
impl fmt::Debug for OutageLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutageLog")
    }
}

#[derive(Default)]
struct SharedOutages {
    /// Whether any phase fails: an answer in fair weather reads this and nothing else.
    is_failing: AtomicBool,
    state: Mutex<OutageState>,
}

#[derive(Default)]
struct OutageState {
    /// The addresses that the origin's name had when it was dialled last.
    addresses: Vec<SocketAddr>,
    outages: PhaseOutages,
}

/// What an answer shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerProof {
    /// The head of an answer came over a new connection: nothing up to there fails.
    Connection,
    /// The head of an answer came over a connection that was there.
    Head,
    /// A body came whole.
    Body,
}

impl AnswerProof {
    fn refutes(self, phase: FetchPhase) -> bool {
        match phase {
            FetchPhase::Admission | FetchPhase::Resolve | FetchPhase::Connect | FetchPhase::Tls => {
                self == Self::Connection
            }
            FetchPhase::Request | FetchPhase::Head => self != Self::Body,
            FetchPhase::Body => self == Self::Body,
        }
    }
}

impl OutageLog {
    /// The origin's name has these addresses.
    pub(super) fn resolved(&self, addresses: &[SocketAddr]) {
        let mut state = self.state();
        if state.addresses != addresses {
            state.addresses = addresses.to_vec();
        }
    }

    /// An exchange with `origin` failed.
    pub(super) fn failed(&self, origin: &str, error: &FetchError) {
        if error.fault() != FaultParty::Origin || error.phase() == FetchPhase::Admission {
            return;
        }
        let mut state = self.state();
        self.0.is_failing.store(true, Ordering::Relaxed);
        let line = state.outages.failed(error.phase(), time::instant());
        let addresses = AddressList(state.addresses.clone());
        drop(state);
        let (phase, cause) = (error.phase().word(), ErrorChain(error));
        match line {
            OutageLine::None => {}
            OutageLine::Begins => tracing::warn!(origin, %addresses, phase, %cause, "the origin fails"),
            OutageLine::Reminder { since, failures } => {
                let since = Seconds(since);
                tracing::warn!(origin, %addresses, phase, %cause, failures, %since, "the origin still fails");
            }
        }
    }

    /// A worker's circuit breaker opened.
    pub(super) fn breaker_opened(&self, origin: &str) {
        self.0.is_failing.store(true, Ordering::Relaxed);
        if self.state().outages.breaker_opened() {
            tracing::warn!(
                origin,
                "origin circuit breaker open after repeated failures; sending probes only"
            );
        }
    }

    /// An exchange with `origin` got so far.
    pub(super) fn succeeded(&self, origin: &str, proof: AnswerProof) {
        if !self.0.is_failing.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state();
        let ended = state.outages.succeeded(proof, time::instant());
        self.0.is_failing.store(state.outages.are_any(), Ordering::Relaxed);
        drop(state);
        if let Some(OutageEnd { after, failures }) = ended {
            let after = Seconds(after);
            tracing::info!(origin, %after, failures, "the origin answers again");
        }
    }

    fn state(&self) -> MutexGuard<'_, OutageState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which phases fail, and how much of that is logged. Pure.
#[derive(Default)]
struct PhaseOutages {
    phases: Vec<(FetchPhase, PhaseOutage)>,
    breaker_is_logged: bool,
    /// When the current minute began, and how many outages ended in it.
    minute: Option<(Instant, u32)>,
}

/// A phase that fails.
#[derive(Clone, Copy)]
struct PhaseOutage {
    since: Instant,
    failures: u64,
    logged: Instant,
}

/// The line for a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutageLine {
    None,
    Begins,
    Reminder { since: Duration, failures: u64 },
}

/// The end of an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OutageEnd {
    after: Duration,
    failures: u64,
}

impl PhaseOutages {
    fn failed(&mut self, phase: FetchPhase, now: Instant) -> OutageLine {
        let Some((_, outage)) = self.phases.iter_mut().find(|(failing, _)| *failing == phase) else {
            self.phases.push((phase, PhaseOutage { since: now, failures: 1, logged: now }));
            return OutageLine::Begins;
        };
        outage.failures = outage.failures.saturating_add(1);
        if now.saturating_duration_since(outage.logged) < ORIGIN_OUTAGE_REMINDED {
            return OutageLine::None;
        }
        outage.logged = now;
        OutageLine::Reminder { since: now.saturating_duration_since(outage.since), failures: outage.failures }
    }

    /// Whether this is worth a line.
    fn breaker_opened(&mut self) -> bool {
        !std::mem::replace(&mut self.breaker_is_logged, true)
    }

    fn succeeded(&mut self, proof: AnswerProof, now: Instant) -> Option<OutageEnd> {
        let refuted = self.phases.iter().filter(|(phase, _)| proof.refutes(*phase));
        let (since, failures) = refuted
            .map(|(_, outage)| (outage.since, outage.failures))
            .reduce(|(a, some), (b, more)| (a.min(b), some.saturating_add(more)))?;
        let (minute, ended) = self
            .minute
            .filter(|(minute, _)| now.saturating_duration_since(*minute) < ORIGIN_OUTAGE_REMINDED)
            .unwrap_or((now, 0));
        if ended >= ORIGIN_OUTAGES_LOGGED_MAX {
            return None;
        }
        self.minute = Some((minute, ended + 1));
        self.phases.retain(|(phase, _)| !proof.refutes(*phase));
        self.breaker_is_logged &= !self.phases.is_empty();
        Some(OutageEnd { after: now.saturating_duration_since(since), failures })
    }

    fn are_any(&self) -> bool {
        !self.phases.is_empty()
    }
}

/// An error and its causes, in one line.
struct ErrorChain<'a>(&'a FetchError);

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

struct AddressList(Vec<SocketAddr>);

impl fmt::Display for AddressList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, address) in self.0.iter().enumerate() {
            write!(f, "{}{address}", if number == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}s", self.0.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_phase_that_fails_has_one_line_and_a_reminder_a_minute() {
        let begun = time::instant();
        let mut outages = PhaseOutages::default();
        assert_eq!(outages.failed(FetchPhase::Connect, begun), OutageLine::Begins);
        for second in 1..60 {
            assert_eq!(outages.failed(FetchPhase::Connect, begun + second * SECOND), OutageLine::None);
        }
        let reminder = OutageLine::Reminder { since: 60 * SECOND, failures: 61 };
        assert_eq!(outages.failed(FetchPhase::Connect, begun + 60 * SECOND), reminder);
        assert_eq!(outages.failed(FetchPhase::Connect, begun + 61 * SECOND), OutageLine::None);
        assert_eq!(outages.failed(FetchPhase::Tls, begun + 61 * SECOND), OutageLine::Begins, "another phase");
        let ended = Some(OutageEnd { after: 70 * SECOND, failures: 63 });
        assert_eq!(outages.succeeded(AnswerProof::Connection, begun + 70 * SECOND), ended);
        assert_eq!(outages.succeeded(AnswerProof::Connection, begun + 70 * SECOND), None);
        assert!(!outages.are_any());
    }

    #[test]
    fn an_answer_ends_what_it_refutes() {
        let now = time::instant();
        let rows = [
            (FetchPhase::Resolve, [true, false, false]),
            (FetchPhase::Connect, [true, false, false]),
            (FetchPhase::Tls, [true, false, false]),
            (FetchPhase::Request, [true, true, false]),
            (FetchPhase::Head, [true, true, false]),
            (FetchPhase::Body, [false, false, true]),
        ];
        for (phase, ends) in rows {
            for (proof, ends) in
                [AnswerProof::Connection, AnswerProof::Head, AnswerProof::Body].into_iter().zip(ends)
            {
                let mut outages = PhaseOutages::default();
                outages.failed(phase, now);
                assert_eq!(outages.succeeded(proof, now).is_some(), ends, "{phase:?} {proof:?}");
            }
        }
    }

    #[test]
    fn an_origin_that_fails_by_turns_does_not_fill_the_log() {
        let begun = time::instant();
        let mut outages = PhaseOutages::default();
        let mut lines = 0;
        for second in 0..600 {
            let now = begun + second * SECOND;
            lines += u32::from(outages.failed(FetchPhase::Head, now) != OutageLine::None);
            lines += u32::from(outages.succeeded(AnswerProof::Head, now).is_some());
        }
        assert!(lines <= 10 * (2 * ORIGIN_OUTAGES_LOGGED_MAX + 2), "{lines}");
    }

    #[test]
    fn a_breaker_is_logged_once_an_outage() {
        let now = time::instant();
        let mut outages = PhaseOutages::default();
        for _ in 0..2 {
            outages.failed(FetchPhase::Connect, now);
            assert!(outages.breaker_opened());
            assert!(!outages.breaker_opened(), "of another worker");
            outages.succeeded(AnswerProof::Connection, now);
        }
    }

    #[test]
    fn the_whole_chain_of_causes_is_one_line() {
        let inner = io::Error::other("invalid peer certificate: UnknownIssuer");
        let error = FetchError::Tls(Arc::new(inner));
        assert_eq!(
            ErrorChain(&error).to_string(),
            "the TLS handshake with the origin failed: invalid peer certificate: UnknownIssuer"
        );
    }
}

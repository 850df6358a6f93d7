//! Log lines about a failing origin: one when a phase of the exchange begins to fail, one when the
//! origin responds again.
//!
//! All workers of a process share one [`OutageLog`], so the log has one line per change and not one
//! per worker. While a phase keeps failing, the log repeats it once per [`ORIGIN_OUTAGE_REMINDED`].
//! An origin that alternates between failure and success gets [`ORIGIN_OUTAGES_LOGGED_MAX`] such
//! pairs of lines in that time, and then one reminder for the rest.
//!
//! **Always:** after each warning that a phase fails follows the line that the origin responds
//! again, or the end of the process.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::label::Label;
use crate::limits::{ORIGIN_OUTAGE_REMINDED, ORIGIN_OUTAGES_LOGGED_MAX};
use crate::origin::error::{FaultParty, FetchError, FetchPhase};
use crate::time;

/// Outage log of a process about its origin. Clones share its state.
#[derive(Clone, Default)]
pub struct OutageLog(Arc<SharedOutages>);

/// Prints only the name: the settings that contain it have no use for its state.
impl fmt::Debug for OutageLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutageLog")
    }
}

#[derive(Default)]
struct SharedOutages {
    /// Whether any phase fails. Without an outage, a response reads only this flag.
    is_failing: AtomicBool,
    state: Mutex<OutageState>,
}

#[derive(Default)]
struct OutageState {
    /// Addresses of the origin's name when it was last resolved.
    addresses: Vec<SocketAddr>,
    outages: PhaseOutages,
}

/// Evidence that a successful step gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerProof {
    /// A response head arrived on a new connection: every phase up to it works.
    Connection,
    /// A response head arrived on a reused connection.
    Head,
    /// A body was complete.
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
    /// Records the addresses of the origin's name.
    pub(super) fn resolved(&self, addresses: &[SocketAddr]) {
        let mut state = self.state();
        if state.addresses != addresses {
            state.addresses = addresses.to_vec();
        }
    }

    /// Records that an exchange with `origin` failed, and logs it if due.
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

    /// Records that a worker's circuit breaker opened. Warns once if no line about a failing phase
    /// did: an outage has one warning.
    pub(super) fn breaker_opened(&self, origin: &str) {
        self.0.is_failing.store(true, Ordering::Relaxed);
        if self.state().outages.breaker_opened() {
            tracing::warn!(
                origin,
                "origin circuit breaker open after repeated failures; sending probes only"
            );
        } else {
            tracing::debug!(origin, "origin circuit breaker open; sending probes only");
        }
    }

    /// Records that an exchange with `origin` succeeded up to `proof`.
    pub(super) fn succeeded(&self, origin: &str, proof: AnswerProof) {
        if !self.0.is_failing.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state();
        let ended = state.outages.succeeded(proof, time::instant());
        self.0.is_failing.store(state.outages.is_any(), Ordering::Relaxed);
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

/// Phases that fail, with the rate limit of their log lines. Pure.
#[derive(Default)]
struct PhaseOutages {
    phases: Vec<(FetchPhase, PhaseOutage)>,
    breaker_is_logged: bool,
    /// Start of the current minute, and the number of outages that ended in it.
    minute: Option<(Instant, u32)>,
}

/// Outage of one phase.
#[derive(Clone, Copy)]
struct PhaseOutage {
    since: Instant,
    failures: u64,
    logged: Instant,
}

/// Log line for a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutageLine {
    None,
    Begins,
    Reminder { since: Duration, failures: u64 },
}

/// End of an outage.
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

    /// Returns whether to warn of the opened breaker: no failing phase is logged.
    fn breaker_opened(&mut self) -> bool {
        self.phases.is_empty() && !std::mem::replace(&mut self.breaker_is_logged, true)
    }

    fn succeeded(&mut self, proof: AnswerProof, now: Instant) -> Option<OutageEnd> {
        self.breaker_is_logged = false;
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
        Some(OutageEnd { after: now.saturating_duration_since(since), failures })
    }

    fn is_any(&self) -> bool {
        !self.phases.is_empty()
    }
}

/// Error with its causes, in one line.
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

/// Duration in a log line.
pub(super) struct Seconds(pub(super) Duration);

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
    fn a_failing_phase_logs_one_line_and_a_reminder_a_minute() {
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
        assert!(!outages.is_any());
    }

    #[test]
    fn a_success_ends_the_outages_that_it_refutes() {
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
    fn an_alternating_origin_does_not_flood_the_log() {
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
    fn an_outage_has_one_warning() {
        let now = time::instant();
        let mut outages = PhaseOutages::default();
        for _ in 0..2 {
            assert_eq!(outages.failed(FetchPhase::Connect, now), OutageLine::Begins);
            assert!(!outages.breaker_opened(), "the phase has a line");
            outages.succeeded(AnswerProof::Connection, now);
            assert!(outages.breaker_opened(), "no phase fails");
            assert!(!outages.breaker_opened(), "of another worker");
            outages.succeeded(AnswerProof::Head, now);
        }
    }

    #[test]
    fn the_chain_of_causes_is_one_line() {
        let inner = io::Error::other("invalid peer certificate: UnknownIssuer");
        let error = FetchError::Tls(Arc::new(inner));
        assert_eq!(
            ErrorChain(&error).to_string(),
            "the TLS handshake with the origin failed: invalid peer certificate: UnknownIssuer"
        );
    }
}

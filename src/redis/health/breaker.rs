//! The circuit breaker of a Redis server.
//!
//! An unreachable server costs nothing, since no connection to it is up. A server that accepts
//! connections and does not reply costs every request its whole timeout, unless commands stop being
//! sent.
//!
//! ```text
//!            misses in a row, on several connections;
//!            LOADING, BUSY                                timer, or any reply
//! ┌────────┐ ───────────────────────────────► ┌──────┐ ──────────────────────────► ┌─────────┐
//! │ closed │                                  │ open │                             │ probing │ one PING
//! └────────┘                                  └──────┘ ◄────────────────────────── └─────────┘
//!      ▲                                         │       no reply, or a refusal        │
//!      └──────────── a new connection ◄──────────┘       (the back-off doubles)        │
//!      └────────────────────────────────────────────────────────────────── PONG ◄──────┘
//! ```
//!
//! Pure: events come in with the time and the jitter, and the change comes out. **Always:** while
//! it is not closed nothing but the probe is sent, at most one probe is pending, and a back-off
//! separates two probes. A reply alone does not close the breaker, since a server that answers one
//! command now and then would open and close it for ever; a reply only brings the probe forward. A
//! greeting closes it, because it proves more than a probe.

use std::time::{Duration, Instant};

use crate::labels;
use crate::limits::{
    REDIS_BREAKER_MISSES, REDIS_BREAKER_REST_MAX, REDIS_BREAKER_REST_MIN, REDIS_BREAKER_SILENT_CONNECTIONS,
};
use crate::resp::ErrorKind;

labels! {
    /// The reason that a breaker opened.
    pub(in crate::redis) enum OpenCause {
        /// Reads time out, and no reply comes.
        Silent => "silent",
        /// Redis is loading its data from disk.
        Loading => "loading",
        /// Redis is running a script and nothing else.
        Busy => "busy",
    }
}

impl OpenCause {
    /// Returns the cause, if this error means that every command will be refused.
    pub(in crate::redis) fn of(kind: ErrorKind) -> Option<Self> {
        [(ErrorKind::Loading, Self::Loading), (ErrorKind::Busy, Self::Busy)]
            .into_iter()
            .find_map(|(of_all, cause)| (kind == of_all).then_some(cause))
    }
}

labels! {
    /// The state of a breaker.
    pub enum BreakerState {
        /// Commands are sent.
        Closed => "closed",
        /// No command is sent.
        Open => "open",
        /// A probe is pending.
        Probing => "probing",
    }
}

/// A change of state to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) enum BreakerChange {
    /// Commands are no longer sent.
    Opened(OpenCause),
    /// Commands are sent again.
    Closed,
}

/// The result of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) enum ProbeResult {
    /// The server executes commands.
    Answered,
    /// The server still refuses all commands.
    Refused(OpenCause),
    /// No reply came, or the probe could not be sent.
    Unanswered,
}

/// The connections of a server at the time of a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) struct ConnectionCounts {
    /// Connections that are up.
    pub(in crate::redis) up: usize,
    /// Connections among them that missed a deadline and have received nothing since.
    pub(in crate::redis) silent: usize,
}

/// A circuit breaker for one server and one worker.
#[derive(Debug)]
pub(in crate::redis) struct RedisBreaker(BreakerPhase);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BreakerPhase {
    Closed {
        /// Commands that timed out since the last reply.
        missed: u32,
    },
    Open {
        cause: OpenCause,
        /// Failed probes so far.
        failed: u32,
        probe_at: Instant,
    },
    Probing {
        cause: OpenCause,
        failed: u32,
    },
}

impl RedisBreaker {
    /// A closed breaker.
    pub(in crate::redis) fn new() -> Self {
        Self(BreakerPhase::Closed { missed: 0 })
    }

    /// Returns the state.
    pub(in crate::redis) fn state(&self) -> BreakerState {
        match self.0 {
            BreakerPhase::Closed { .. } => BreakerState::Closed,
            BreakerPhase::Open { .. } => BreakerState::Open,
            BreakerPhase::Probing { .. } => BreakerState::Probing,
        }
    }

    /// Records that `commands` timed out. `jitter` is between 0 and 1.
    pub(in crate::redis) fn missed(
        &mut self,
        commands: u32,
        connections: ConnectionCounts,
        now: Instant,
        jitter: f64,
    ) -> Option<BreakerChange> {
        let BreakerPhase::Closed { missed } = &mut self.0 else { return None };
        *missed = missed.saturating_add(commands);
        let is_silent = connections.silent >= REDIS_BREAKER_SILENT_CONNECTIONS.min(connections.up);
        if *missed < REDIS_BREAKER_MISSES || !is_silent {
            return None;
        }
        Some(self.open(OpenCause::Silent, now, jitter))
    }

    /// Records that the server refuses all commands.
    pub(in crate::redis) fn refused(
        &mut self,
        cause: OpenCause,
        now: Instant,
        jitter: f64,
    ) -> Option<BreakerChange> {
        match self.0 {
            BreakerPhase::Closed { .. } => Some(self.open(cause, now, jitter)),
            BreakerPhase::Open { .. } | BreakerPhase::Probing { .. } => None,
        }
    }

    /// Records a reply, in time or late.
    pub(in crate::redis) fn reply_arrived(&mut self, now: Instant) {
        match &mut self.0 {
            BreakerPhase::Closed { missed } => *missed = 0,
            BreakerPhase::Open { cause: OpenCause::Silent, probe_at, .. } => *probe_at = now.min(*probe_at),
            BreakerPhase::Open { cause: OpenCause::Loading | OpenCause::Busy, .. }
            | BreakerPhase::Probing { .. } => {}
        }
    }

    /// Records a new connection. A server that is loading greets too, so this closes only a breaker
    /// opened by silence.
    pub(in crate::redis) fn greeted(&mut self) -> Option<BreakerChange> {
        match self.0 {
            BreakerPhase::Open { cause: OpenCause::Silent, .. }
            | BreakerPhase::Probing { cause: OpenCause::Silent, .. } => Some(self.close()),
            BreakerPhase::Closed { .. } => {
                self.close();
                None
            }
            BreakerPhase::Open { .. } | BreakerPhase::Probing { .. } => None,
        }
    }

    /// Returns whether the server refuses every command.
    pub(in crate::redis) fn is_refusing(&self) -> bool {
        match self.0 {
            BreakerPhase::Closed { .. } => false,
            BreakerPhase::Open { cause, .. } | BreakerPhase::Probing { cause, .. } => {
                cause != OpenCause::Silent
            }
        }
    }

    /// Returns when the probe is due, if the breaker is open.
    pub(in crate::redis) fn probe_at(&self) -> Option<Instant> {
        match self.0 {
            BreakerPhase::Open { probe_at, .. } => Some(probe_at),
            BreakerPhase::Closed { .. } | BreakerPhase::Probing { .. } => None,
        }
    }

    /// Starts the probe. The caller reports its result to [`probed`](Self::probed).
    pub(in crate::redis) fn probe(&mut self) {
        if let BreakerPhase::Open { cause, failed, .. } = self.0 {
            self.0 = BreakerPhase::Probing { cause, failed };
        }
    }

    /// Records the result of the probe; ignored if another event has closed the breaker.
    pub(in crate::redis) fn probed(
        &mut self,
        probed: ProbeResult,
        now: Instant,
        jitter: f64,
    ) -> Option<BreakerChange> {
        let BreakerPhase::Probing { cause, failed } = self.0 else { return None };
        let cause = match probed {
            ProbeResult::Answered => return Some(self.close()),
            ProbeResult::Refused(cause) => cause,
            ProbeResult::Unanswered => cause,
        };
        let failed = failed.saturating_add(1);
        self.0 = BreakerPhase::Open { cause, failed, probe_at: now + rest(failed, jitter) };
        None
    }

    fn open(&mut self, cause: OpenCause, now: Instant, jitter: f64) -> BreakerChange {
        self.0 = BreakerPhase::Open { cause, failed: 0, probe_at: now + rest(0, jitter) };
        BreakerChange::Opened(cause)
    }

    fn close(&mut self) -> BreakerChange {
        self.0 = BreakerPhase::Closed { missed: 0 };
        BreakerChange::Closed
    }
}

/// Doubles with each failed probe, and jitters between half and all of it.
fn rest(failed: u32, jitter: f64) -> Duration {
    let longest =
        REDIS_BREAKER_REST_MIN.saturating_mul(2_u32.saturating_pow(failed)).min(REDIS_BREAKER_REST_MAX);
    longest.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::instant;

    const BOTH: ConnectionCounts = ConnectionCounts { up: 4, silent: 2 };

    fn silent(now: Instant) -> RedisBreaker {
        let mut breaker = RedisBreaker::new();
        assert_eq!(
            breaker.missed(REDIS_BREAKER_MISSES, BOTH, now, 0.0),
            Some(BreakerChange::Opened(OpenCause::Silent))
        );
        breaker
    }

    #[test]
    fn misses_on_silent_connections_and_refusals_open_it() {
        let now = instant();
        let enough = REDIS_BREAKER_MISSES;
        for (misses, up, silent, opens) in [
            (enough, 4, 2, true),
            (enough - 1, 4, 4, false),
            (1000, 4, 1, false),
            (enough, 1, 1, true),
            (1000, 1, 0, false),
            (enough, 0, 0, true),
        ] {
            let mut breaker = RedisBreaker::new();
            let change = breaker.missed(misses, ConnectionCounts { up, silent }, now, 0.5);
            assert_eq!(change.is_some(), opens, "{misses} misses, {silent} of {up} silent");
            assert_eq!(breaker.state() == BreakerState::Closed, !opens);
        }
        let mut breaker = RedisBreaker::new();
        assert_eq!(
            breaker.refused(OpenCause::Loading, now, 0.5),
            Some(BreakerChange::Opened(OpenCause::Loading))
        );
        assert_eq!(breaker.refused(OpenCause::Busy, now, 0.5), None, "it is open");
        breaker.probe();
        assert!(breaker.is_refusing() && !silent(now).is_refusing() && !RedisBreaker::new().is_refusing());
    }

    #[test]
    fn a_reply_resets_the_count_of_misses() {
        let now = instant();
        let mut breaker = RedisBreaker::new();
        for _ in 0..100 {
            assert_eq!(breaker.missed(REDIS_BREAKER_MISSES - 1, BOTH, now, 0.0), None);
            breaker.reply_arrived(now);
        }
    }

    #[test]
    fn a_reply_brings_the_probe_forward_and_closes_nothing() {
        let now = instant();
        let mut breaker = silent(now);
        assert!(breaker.probe_at().unwrap() > now);
        breaker.reply_arrived(now);
        assert_eq!((breaker.state(), breaker.probe_at()), (BreakerState::Open, Some(now)));
        breaker.probe();
        assert_eq!((breaker.state(), breaker.probe_at()), (BreakerState::Probing, None));
        assert_eq!(breaker.probed(ProbeResult::Answered, now, 0.0), Some(BreakerChange::Closed));
        assert_eq!(breaker.probed(ProbeResult::Unanswered, now, 0.0), None, "no probe is pending");
        assert_eq!(breaker.state(), BreakerState::Closed);

        // A refusal from a loading server does not bring the probe forward.
        let mut breaker = RedisBreaker::new();
        breaker.refused(OpenCause::Loading, now, 0.0);
        breaker.reply_arrived(now);
        assert!(breaker.probe_at().unwrap() > now);
        assert_eq!((breaker.greeted(), breaker.state()), (None, BreakerState::Open));
    }

    #[test]
    fn a_greeting_closes_it() {
        let now = instant();
        let mut breaker = silent(now);
        assert_eq!(breaker.greeted(), Some(BreakerChange::Closed));
        let mut breaker = silent(now);
        breaker.probe();
        assert_eq!(breaker.greeted(), Some(BreakerChange::Closed));
        assert_eq!(breaker.probed(ProbeResult::Unanswered, now, 0.0), None);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_failed_probe_doubles_the_back_off_up_to_its_limit() {
        let mut now = instant();
        let mut breaker = silent(now);
        let mut rests = Vec::new();
        for _ in 0..10 {
            let at = breaker.probe_at().unwrap();
            rests.push(at - now);
            now = at;
            breaker.probe();
            assert_eq!(breaker.probed(ProbeResult::Refused(OpenCause::Loading), now, 1.0), None);
        }
        assert!(rests.is_sorted() && rests[0] == REDIS_BREAKER_REST_MIN / 2, "{rests:?}");
        assert_eq!(rests[9], REDIS_BREAKER_REST_MAX);
    }

    proptest! {
        #[test]
        fn a_successful_probe_always_closes_it(events in prop::collection::vec(0_u8..8, 0..200)) {
            let mut now = instant();
            let mut breaker = RedisBreaker::new();
            let mut open = false;
            for event in events {
                now += Duration::from_millis(7);
                let change = match event {
                    0 => breaker.missed(5, BOTH, now, 0.3),
                    1 => breaker.refused(OpenCause::Busy, now, 0.7),
                    2 => { breaker.reply_arrived(now); None }
                    3 => breaker.greeted(),
                    4 => breaker.probed(ProbeResult::Unanswered, now, 0.1),
                    5 => breaker.probed(ProbeResult::Refused(OpenCause::Loading), now, 0.1),
                    6 => breaker.probed(ProbeResult::Answered, now, 0.1),
                    _ => { breaker.probe(); None }
                };
                match change {
                    Some(BreakerChange::Opened(_)) => { prop_assert!(!open); open = true; }
                    Some(BreakerChange::Closed) => { prop_assert!(open); open = false; }
                    None => {}
                }
                prop_assert_eq!(breaker.state() == BreakerState::Closed, !open);
                if let Some(at) = breaker.probe_at() {
                    prop_assert!(at <= now + REDIS_BREAKER_REST_MAX);
                }
            }
            if breaker.probe_at().is_some() {
                breaker.probe();
            }
            breaker.probed(ProbeResult::Answered, now, 0.0);
            prop_assert_eq!(breaker.state(), BreakerState::Closed);
        }
    }
}

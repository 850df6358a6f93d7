//! What is counted for all servers together; what is counted for each is in its [`Ledger`](super::ledger::Ledger).

use super::breaker::{BreakerState, Cause};
use super::error::{Lost, Unavailable};
use crate::labels;
use crate::resp::{ErrorKind, Reply};
use crate::telemetry::{Counter, Counters, Gauge, Gauges, Registry};

labels! {
    /// How a command ended.
    pub(super) enum Outcome {
        Ok => "ok",
        NotConnected => "not-connected",
        BreakerOpen => "breaker-open",
        Full => "full",
        Timeout => "timeout",
        Closed => "closed",
        Shifted => "shifted",
        Malformed => "malformed",
        /// Refused by the server.
        Error => "error",
    }
}

labels! {
    /// What a connection of the pool is doing.
    pub enum Standing {
        /// Waiting before it is dialled again.
        Resting => "resting",
        /// Dialling, or in the handshake.
        Connecting => "connecting",
        /// In use.
        Up => "up",
    }
}

labels! {
    /// What became of a read whose reply was late.
    pub(super) enum Hedge {
        /// Sent again, and the second reply came first.
        Won => "won",
        /// Sent again, and the first reply came first.
        Lost => "lost",
        /// Sent again, and no reply came.
        Vain => "vain",
        /// Not sent again: too many were.
        Unpaid => "over-budget",
        /// Not sent again: no other connection would take it.
        NoRoom => "no-room",
    }
}

/// The metrics of one worker's pool.
#[derive(Clone)]
pub(super) struct Metrics {
    commands: Counters<Outcome>,
    errors: Counters<ErrorKind>,
    connections: Gauges<Standing>,
    window: Gauge,
    reconnects: Counter,
    lost: Counters<Lost>,
    late: Counter,
    panics: Counter,
    breakers: Gauges<BreakerState>,
    opened: Counters<Cause>,
    hedges: Counters<Hedge>,
}

/// One connection is counted under its standing for as long as this lives.
pub(super) struct Stands(Gauges<Standing>, Standing);

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            commands: registry.counters("cachewarp_redis_commands", "Redis commands by outcome.", "outcome"),
            errors: registry.counters("cachewarp_redis_errors", "Error replies of Redis by kind.", "kind"),
            connections: registry.gauges(
                "cachewarp_redis_connections",
                "Connections to Redis by state.",
                "state",
            ),
            window: registry
                .gauge("cachewarp_redis_commands_in_flight", "Commands that Redis has not answered."),
            reconnects: registry
                .counter("cachewarp_redis_reconnects", "Connections to Redis that replaced a lost one."),
            lost: registry.counters(
                "cachewarp_redis_connections_lost",
                "Connections to Redis that ended, by reason.",
                "reason",
            ),
            late: registry
                .counter("cachewarp_redis_late_replies", "Replies dropped because nobody waited any more."),
            panics: registry.counter("cachewarp_panics", "Requests and connections that ended in a panic."),
            breakers: registry.gauges(
                "cachewarp_redis_breakers",
                "Breakers by state: one for each worker and server.",
                "state",
            ),
            opened: registry.counters(
                "cachewarp_redis_breaker_opened",
                "How often a breaker has opened, by cause.",
                "cause",
            ),
            hedges: registry.counters(
                "cachewarp_redis_hedges",
                "Reads whose reply was late, by what became of the second try.",
                "result",
            ),
        }
    }

    /// A command has ended.
    pub(super) fn command<T>(&self, result: &Result<T, Unavailable>) {
        let outcome = match result {
            Ok(_) => Outcome::Ok,
            Err(Unavailable::NotConnected) => Outcome::NotConnected,
            Err(Unavailable::BreakerOpen) => Outcome::BreakerOpen,
            Err(Unavailable::Full) => Outcome::Full,
            Err(Unavailable::Timeout) => Outcome::Timeout,
            Err(Unavailable::Closed) => Outcome::Closed,
            Err(Unavailable::Shifted) => Outcome::Shifted,
            Err(Unavailable::Malformed) => Outcome::Malformed,
            Err(Unavailable::Server(kind)) => {
                self.errors.inc(*kind);
                Outcome::Error
            }
        };
        self.commands.inc(outcome);
    }

    /// The same for a reply that may be a refusal.
    pub(super) fn reply(&self, result: Result<&Reply, Unavailable>) {
        self.command(&match result {
            Ok(Reply::Error(error)) => Err(Unavailable::Server(error.kind)),
            Ok(_) => Ok(()),
            Err(why) => Err(why),
        });
    }

    /// So many more commands are not answered than when this was last told; fewer if negative.
    pub(super) fn in_flight(&self, change: isize) {
        self.window.add(i64::try_from(change).unwrap_or_default());
    }

    /// A reply came that nobody waited for any more.
    pub(super) fn late(&self) {
        self.late.inc();
    }

    /// A task of the pool panicked.
    pub(super) fn panicked(&self) {
        self.panics.inc();
    }

    /// So many more breakers are in a state; fewer if negative.
    pub(super) fn breaker(&self, state: BreakerState, change: i64) {
        self.breakers.add(state, change);
    }

    /// A breaker has opened.
    pub(super) fn opened(&self, cause: Cause) {
        self.opened.inc(cause);
    }

    /// A reply was late.
    pub(super) fn hedge(&self, hedge: Hedge) {
        self.hedges.inc(hedge);
    }

    /// A connection came up in the place of a lost one.
    pub(super) fn reconnected(&self) {
        self.reconnects.inc();
    }

    /// A connection ended.
    pub(super) fn lost(&self, why: Lost) {
        self.lost.inc(why);
    }

    /// Counts a connection under `standing` until the answer is dropped.
    pub(super) fn stands(&self, standing: Standing) -> Stands {
        self.connections.add(standing, 1);
        Stands(self.connections.clone(), standing)
    }
}

impl Drop for Stands {
    fn drop(&mut self) {
        self.0.add(self.1, -1);
    }
}

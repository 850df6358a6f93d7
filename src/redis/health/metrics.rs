//! What is counted for all servers together; what is counted for each is in its [`Ledger`](super::server_stats::Ledger).

use super::breaker::{BreakerState, OpenCause};
use crate::labels;
use crate::redis::error::{CommandError, DisconnectReason};
use crate::resp::{ErrorKind, Reply};
use crate::telemetry::{Counter, Counters, Gauge, Gauges, Registry};

labels! {
    /// How a command ended.
    pub(in crate::redis) enum CommandOutcome {
        Ok => "ok",
        NotConnected => "not-connected",
        BreakerOpen => "breaker-open",
        Full => "full",
        Timeout => "timeout",
        Closed => "closed",
        Desynchronised => "desynchronised",
        Malformed => "malformed",
        /// Refused by the server.
        Error => "error",
    }
}

labels! {
    /// What a connection of the pool is doing.
    pub enum ConnectionStatus {
        /// Waiting before it is dialled again.
        Disconnected => "disconnected",
        /// Dialling, or in the handshake.
        Connecting => "connecting",
        /// In use.
        Up => "up",
    }
}

labels! {
    /// What became of a read whose reply was late.
    pub(in crate::redis) enum HedgeResult {
        /// Sent again, and the second reply came first.
        Won => "won",
        /// Sent again, and the first reply came first.
        Lost => "lost",
        /// Sent again, and no reply came.
        Unused => "unused",
        /// Not sent again: too many were.
        OverBudget => "over-budget",
        /// Not sent again: no other connection would take it.
        NoRoom => "no-room",
    }
}

/// The metrics of one worker's pool.
#[derive(Clone)]
pub(in crate::redis) struct PoolMetrics {
    commands: Counters<CommandOutcome>,
    errors: Counters<ErrorKind>,
    connections: Gauges<ConnectionStatus>,
    window: Gauge,
    reconnects: Counter,
    lost: Counters<DisconnectReason>,
    late: Counter,
    panics: Counter,
    breakers: Gauges<BreakerState>,
    opened: Counters<OpenCause>,
    hedges: Counters<HedgeResult>,
}

/// One connection is counted under its status for as long as this lives.
pub(in crate::redis) struct StatusGuard(Gauges<ConnectionStatus>, ConnectionStatus);

impl PoolMetrics {
    pub(in crate::redis) fn new(registry: &Registry) -> Self {
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
    pub(in crate::redis) fn command<T>(&self, result: &Result<T, CommandError>) {
        let outcome = match result {
            Ok(_) => CommandOutcome::Ok,
            Err(CommandError::NotConnected) => CommandOutcome::NotConnected,
            Err(CommandError::BreakerOpen) => CommandOutcome::BreakerOpen,
            Err(CommandError::Full) => CommandOutcome::Full,
            Err(CommandError::Timeout) => CommandOutcome::Timeout,
            Err(CommandError::Closed) => CommandOutcome::Closed,
            Err(CommandError::Desynchronised) => CommandOutcome::Desynchronised,
            Err(CommandError::Malformed) => CommandOutcome::Malformed,
            Err(CommandError::Server(kind)) => {
                self.errors.inc(*kind);
                CommandOutcome::Error
            }
        };
        self.commands.inc(outcome);
    }

    /// The same for a reply that may be a refusal.
    pub(in crate::redis) fn reply(&self, result: Result<&Reply, CommandError>) {
        self.command(&match result {
            Ok(Reply::Error(error)) => Err(CommandError::Server(error.kind)),
            Ok(_) => Ok(()),
            Err(why) => Err(why),
        });
    }

    /// So many more commands are not answered than when this was last told; fewer if negative.
    pub(in crate::redis) fn in_flight(&self, change: isize) {
        self.window.add(i64::try_from(change).unwrap_or_default());
    }

    /// A reply came that nobody waited for any more.
    pub(in crate::redis) fn late(&self) {
        self.late.inc();
    }

    /// A task of the pool panicked.
    pub(in crate::redis) fn panicked(&self) {
        self.panics.inc();
    }

    /// So many more breakers are in a state; fewer if negative.
    pub(in crate::redis) fn breaker(&self, state: BreakerState, change: i64) {
        self.breakers.add(state, change);
    }

    /// A breaker has opened.
    pub(in crate::redis) fn opened(&self, cause: OpenCause) {
        self.opened.inc(cause);
    }

    /// A reply was late.
    pub(in crate::redis) fn hedge(&self, hedge: HedgeResult) {
        self.hedges.inc(hedge);
    }

    /// A connection came up in the place of a lost one.
    pub(in crate::redis) fn reconnected(&self) {
        self.reconnects.inc();
    }

    /// A connection ended.
    pub(in crate::redis) fn lost(&self, why: DisconnectReason) {
        self.lost.inc(why);
    }

    /// Counts a connection under `status` until the answer is dropped.
    pub(in crate::redis) fn set_status(&self, status: ConnectionStatus) -> StatusGuard {
        self.connections.add(status, 1);
        StatusGuard(self.connections.clone(), status)
    }
}

impl Drop for StatusGuard {
    fn drop(&mut self) {
        self.0.add(self.1, -1);
    }
}

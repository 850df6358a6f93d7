//! The metrics over all servers together; [`ServerStats`](super::server_stats::ServerStats) has
//! those of each server.

use super::breaker::{BreakerState, OpenCause};
use crate::labels;
use crate::redis::error::{CommandError, DisconnectReason};
use crate::resp::ErrorKind;
use crate::telemetry::{Counter, Counters, Gauge, Gauges, Registry};

labels! {
    /// The outcome of a command.
    pub(in crate::redis) enum CommandOutcome {
        Ok => "ok",
        NotConnected => "not-connected",
        BreakerOpen => "breaker-open",
        Full => "full",
        Timeout => "timeout",
        Closed => "closed",
        Desynchronised => "desynchronised",
        Malformed => "malformed",
        /// Refused by Redis.
        Error => "error",
    }
}

labels! {
    /// The status of one connection slot.
    pub enum ConnectionStatus {
        /// Backing off before the next attempt.
        Disconnected => "disconnected",
        /// Dialling, or in the handshake.
        Connecting => "connecting",
        /// In use.
        Up => "up",
    }
}

labels! {
    /// The outcome of hedging a late read.
    pub(in crate::redis) enum HedgeResult {
        /// Sent again, and the second reply came first.
        Won => "won",
        /// Sent again, and the first reply came first.
        Lost => "lost",
        /// Sent again, and neither reply came in time.
        Unused => "unused",
        /// Not sent again: the hedge budget was spent.
        OverBudget => "over-budget",
        /// Not sent again: no other connection had room.
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

/// Counts one connection slot under its status until it is dropped.
pub(in crate::redis) struct StatusGuard(Gauges<ConnectionStatus>, ConnectionStatus);

impl PoolMetrics {
    pub(in crate::redis) fn new(registry: &Registry) -> Self {
        Self {
            commands: registry.counters("cachewarp_redis_commands", "Redis commands by outcome.", "outcome"),
            errors: registry.counters("cachewarp_redis_errors", "Error replies of Redis by kind.", "kind"),
            connections: registry.gauges(
                "cachewarp_redis_connections",
                "Redis connections by state.",
                "state",
            ),
            window: registry.gauge("cachewarp_redis_commands_in_flight", "Commands without a reply yet."),
            reconnects: registry
                .counter("cachewarp_redis_reconnects", "Redis connections that replaced a lost one."),
            lost: registry.counters(
                "cachewarp_redis_connections_lost",
                "Lost Redis connections by reason.",
                "reason",
            ),
            late: registry.counter(
                "cachewarp_redis_late_replies",
                "Replies dropped because their caller had given up.",
            ),
            panics: registry.counter("cachewarp_panics", "Requests and connections that ended in a panic."),
            breakers: registry.gauges(
                "cachewarp_redis_breakers",
                "Redis circuit breakers by state, one per worker and server.",
                "state",
            ),
            opened: registry.counters(
                "cachewarp_redis_breaker_opened",
                "Redis circuit breaker openings by cause.",
                "cause",
            ),
            hedges: registry.counters(
                "cachewarp_redis_hedges",
                "Late reads by the outcome of their hedge.",
                "result",
            ),
        }
    }

    /// Counts the outcome of a command.
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

    /// Adds to the gauge of unanswered commands; negative to subtract.
    pub(in crate::redis) fn in_flight(&self, change: isize) {
        self.window.add(i64::try_from(change).unwrap_or_default());
    }

    /// Counts a reply whose caller had given up.
    pub(in crate::redis) fn late(&self) {
        self.late.inc();
    }

    /// Counts a panic of one of the pool's tasks.
    pub(in crate::redis) fn panicked(&self) {
        self.panics.inc();
    }

    /// Adds to the gauge of breakers in a state; negative to subtract.
    pub(in crate::redis) fn breaker(&self, state: BreakerState, change: i64) {
        self.breakers.add(state, change);
    }

    /// Counts a breaker that opened.
    pub(in crate::redis) fn opened(&self, cause: OpenCause) {
        self.opened.inc(cause);
    }

    /// Counts the outcome of a late read.
    pub(in crate::redis) fn hedge(&self, hedge: HedgeResult) {
        self.hedges.inc(hedge);
    }

    /// Counts a connection that replaced a lost one.
    pub(in crate::redis) fn reconnected(&self) {
        self.reconnects.inc();
    }

    /// Counts a connection that ended.
    pub(in crate::redis) fn lost(&self, why: DisconnectReason) {
        self.lost.inc(why);
    }

    /// Counts a connection slot under `status` until the guard is dropped.
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

//! The health of a pool's server: latency and circuit breaker, with their metrics, statistics and
//! log lines.
//!
//! Connections report replies and timeouts, callers read the deadlines and the breaker. Both happen
//! for every command, so the values that callers read are kept in cells, and the breaker sees
//! replies only while it has misses to forget. Everything lives on one thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep_until;

use super::breaker::{BreakerChange, BreakerState, ConnectionCounts, OpenCause, ProbeResult, RedisBreaker};
use super::latency::LatencyEstimator;
use super::metrics::PoolMetrics;
use super::refusals::{Redirections, RefusalChange, ServerRefusals};
use super::server_stats::ServerStats;
use super::stats_board::{LogNovelty, StatsBoard, StatsWriter};
use crate::limits::{REDIS_REFUSAL_EXPIRY, REDIS_STALL_FACTOR, REDIS_STALL_MIN, REDIS_WAIT_MAX};
use crate::redis::error::CommandError;
use crate::redis::submission::{Submission, wait_deadline};
use crate::resp::{Command, CommandUrgency, ErrorKind, ReplyDeadlines, ReplyTiming};
use crate::time::instant;

/// The health of one server.
pub(in crate::redis) struct ServerHealth {
    pub(in crate::redis) metrics: PoolMetrics,
    pub(in crate::redis) server_stats: ServerStats,
    board: StatsBoard,
    refusals: Arc<ServerRefusals>,
    redirections: Redirections,
    /// The server's address, without credentials.
    server: String,
    /// The longest wait for a reply.
    command_timeout: Duration,
    /// The longest time that a connection may make no progress.
    stall: Duration,
    late_reporting: LateReporting,
    latency: RefCell<LatencyEstimator>,
    deadlines: Cell<ReplyDeadlines>,
    breaker: RefCell<RedisBreaker>,
    /// Whether the breaker has counted misses, or is not closed.
    is_alert: Cell<bool>,
    is_closed: Cell<bool>,
    /// The number of connections that are up.
    up: Cell<usize>,
    /// Notified when a connection is up.
    connected: Notify,
    /// The number of them that are silent.
    silent: Cell<usize>,
    /// Notified when the breaker opens, or its probe is due earlier.
    probe_changed: Notify,
}

/// Whether a caller is notified that its reply is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) enum LateReporting {
    /// Notified, so that it can hedge.
    On,
    /// Not notified: no timer is set for it.
    Off,
}

impl ServerHealth {
    /// The health of a server without any history.
    pub(in crate::redis) fn new(
        board: StatsBoard,
        server: String,
        command_timeout: Duration,
        late_reporting: LateReporting,
        redirections: Redirections,
        metrics: PoolMetrics,
    ) -> Self {
        let command_timeout = command_timeout.min(REDIS_WAIT_MAX);
        let stall = command_timeout.saturating_mul(REDIS_STALL_FACTOR).max(REDIS_STALL_MIN);
        let latency = LatencyEstimator::new(command_timeout, instant());
        metrics.breaker(BreakerState::Closed, 1);
        Self {
            metrics,
            server_stats: board.server_stats(&server),
            refusals: board.refusals(&server),
            redirections,
            board,
            server,
            command_timeout,
            stall: stall.min(REDIS_WAIT_MAX),
            late_reporting,
            deadlines: Cell::new(latency.deadlines()),
            latency: RefCell::new(latency),
            breaker: RefCell::new(RedisBreaker::new()),
            is_alert: Cell::new(false),
            is_closed: Cell::new(true),
            up: Cell::new(0),
            connected: Notify::new(),
            silent: Cell::new(0),
            probe_changed: Notify::new(),
        }
    }

    /// Returns whether commands may be sent.
    pub(in crate::redis) fn admits(&self) -> bool {
        self.is_closed.get()
    }

    /// Returns the longest wait for a reply.
    pub(in crate::redis) fn command_timeout(&self) -> Duration {
        self.command_timeout
    }

    /// Creates the submission of a command that begins now.
    pub(in crate::redis) fn submission<'a>(&self, command: &'a Command<'a>) -> Submission<'a> {
        let now = instant();
        Submission { command, submitted: now, due: self.deadline(now) }
    }

    /// Returns the time at which the caller of a command that begins now stops waiting, also if a
    /// cluster redirects the command meanwhile.
    pub(in crate::redis) fn deadline(&self, now: Instant) -> Instant {
        wait_deadline(now, self.command_timeout)
    }

    /// Returns how long a connection may make no progress before it is closed.
    pub(in crate::redis) fn stall(&self) -> Duration {
        self.stall
    }

    /// Returns the current deadlines of reads.
    pub(in crate::redis) fn deadlines(&self) -> ReplyDeadlines {
        self.deadlines.get()
    }

    /// Records a reply, in time or late.
    pub(in crate::redis) fn replied(&self, timing: ReplyTiming, now: Instant) {
        let took = now.saturating_duration_since(timing.submitted);
        self.server_stats.add_reply(took);
        if timing.urgency == CommandUrgency::Interactive
            && let Some(deadlines) = self.latency.borrow_mut().observe(took, now)
        {
            let late = deadlines.late.filter(|_| self.late_reporting == LateReporting::On);
            self.deadlines.set(ReplyDeadlines { late, ..deadlines });
        }
        if self.is_alert.get() {
            self.breaker.borrow_mut().reply_arrived(now);
            self.is_alert.set(!self.is_closed.get());
            self.probe_changed.notify_one();
        }
    }

    /// Records commands that timed out.
    pub(in crate::redis) fn missed(&self, commands: usize, now: Instant) {
        self.is_alert.set(true);
        let connections = ConnectionCounts { up: self.up.get(), silent: self.silent.get() };
        let commands = u32::try_from(commands).unwrap_or(u32::MAX);
        self.update_breaker(|breaker, jitter| breaker.missed(commands, connections, now, jitter));
    }

    /// Records an error reply.
    pub(in crate::redis) fn refused(&self, kind: ErrorKind, now: Instant) {
        if let Some(cause) = OpenCause::of(kind) {
            self.update_breaker(|breaker, jitter| breaker.refused(cause, now, jitter));
        }
    }

    /// Counts the result of a command, and records whether the server refuses its kind of work.
    pub(in crate::redis) fn finished<T>(&self, command: &Command<'_>, result: &Result<T, CommandError>) {
        self.metrics.command(result);
        match result {
            Ok(_) => {
                let ended = self.refusals.accept(command, || self.board.elapsed(instant()));
                ended.into_iter().for_each(|change| self.log_refusal(command, change));
            }
            Err(CommandError::Server(kind)) => {
                let now = self.board.elapsed(instant());
                let change = self.refusals.refuse(command, *kind, self.redirections, now);
                change.into_iter().for_each(|change| self.log_refusal(command, change));
            }
            Err(_) => {}
        }
    }

    /// Writes a change of the refused commands to the log.
    fn log_refusal(&self, cause: &Command<'_>, change: RefusalChange) {
        let server = &self.server;
        match change {
            RefusalChange::Refused(command, kind, advice) => {
                let key = (kind == ErrorKind::WrongType).then(|| cause.key()).flatten();
                let key = key.map(|key| key.escape_ascii().to_string());
                tracing::warn!(server, %command, %kind, key, advice, "Redis refuses a command");
            }
            RefusalChange::Accepted(command) => {
                tracing::info!(server, %command, "Redis accepts a command again");
            }
            RefusalChange::Expired(command) => {
                let seconds = REDIS_REFUSAL_EXPIRY.as_secs();
                tracing::info!(server, %command, seconds, "Redis has not refused a command again");
            }
        }
    }

    /// Returns whether the server refuses every command: it is loading or busy.
    pub(in crate::redis) fn refuses_all(&self) -> bool {
        !self.is_closed.get() && self.breaker.borrow().is_refusing()
    }

    /// Returns whether the server refuses any command about keys or channels.
    pub(in crate::redis) fn is_refusing(&self) -> bool {
        self.refusals.any()
    }

    /// Counts one more silent connection until the guard is dropped.
    pub(in crate::redis) fn silence(self: &Rc<Self>) -> SilentGuard {
        self.silent.set(self.silent.get() + 1);
        SilentGuard(Rc::clone(self))
    }

    /// Records a new connection. `New` if it is the only one of the process to this server.
    pub(in crate::redis) fn connected(&self) -> LogNovelty {
        self.up.set(self.up.get() + 1);
        self.connected.notify_waiters();
        self.update_breaker(|breaker, _| breaker.greeted());
        self.board.connected(&self.server)
    }

    /// Records the end of a connection. `New` if it was the last of the process to this server.
    pub(in crate::redis) fn lost(&self) -> LogNovelty {
        self.up.set(self.up.get() - 1);
        self.board.lost(&self.server)
    }

    /// Records a failed attempt to connect. `New` if no worker is connected and the reason is a new
    /// one.
    pub(in crate::redis) fn unreachable(&self, why: &str) -> LogNovelty {
        self.board.unreachable(&self.server, why)
    }

    /// Records the rights that the user lacks, as text. `New` if another worker has not logged
    /// them.
    pub(in crate::redis) fn lacks_rights(&self, missing: &str) -> LogNovelty {
        self.board.lacks_rights(&self.server, missing)
    }

    /// Writes the server's state into the statistics of a connection.
    pub(in crate::redis) fn publish(&self, stats: &StatsWriter) {
        stats.set_server(self.breaker.borrow().state(), self.deadlines.get().silence);
    }

    /// Returns whether any connection is up.
    pub(in crate::redis) fn is_up(&self) -> bool {
        self.up.get() > 0
    }

    /// Waits until any connection is up.
    pub(in crate::redis) async fn reachable(&self) {
        loop {
            let connected = self.connected.notified();
            if self.is_up() {
                return;
            }
            connected.await;
        }
    }

    /// Waits until the probe of the breaker is due. The caller sends it and reports its result.
    pub(in crate::redis) async fn probe_due(&self) {
        loop {
            let at = self.breaker.borrow().probe_at();
            match at {
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = sleep_until(at.into()) => break,
                        () = self.probe_changed.notified() => {}
                    }
                }
                None => self.probe_changed.notified().await,
            }
        }
        self.update_breaker(|breaker, _| {
            breaker.probe();
            None
        });
    }

    /// Records the result of the probe.
    pub(in crate::redis) fn probed(&self, probed: ProbeResult) {
        self.update_breaker(|breaker, jitter| breaker.probed(probed, instant(), jitter));
    }

    /// Applies an event to the breaker, and updates metrics and log.
    fn update_breaker(&self, event: impl FnOnce(&mut RedisBreaker, f64) -> Option<BreakerChange>) {
        let (before, change, after) = {
            let mut breaker = self.breaker.borrow_mut();
            let before = breaker.state();
            let change = event(&mut breaker, fastrand::f64());
            (before, change, breaker.state())
        };
        if before != after {
            self.metrics.breaker(before, -1);
            self.metrics.breaker(after, 1);
        }
        match change {
            Some(BreakerChange::Opened(cause)) => {
                self.is_closed.set(false);
                self.is_alert.set(true);
                self.metrics.opened(cause);
                self.probe_changed.notify_one();
                if self.board.opened(&self.server) == LogNovelty::New {
                    tracing::warn!(server = self.server, %cause, "Redis circuit breaker opened; sending probes only");
                }
            }
            Some(BreakerChange::Closed) => {
                self.is_closed.set(true);
                self.is_alert.set(false);
                if self.board.closed(&self.server) == LogNovelty::New {
                    tracing::info!(server = self.server, "Redis circuit breaker closed");
                }
            }
            None => {}
        }
    }
}

impl Drop for ServerHealth {
    fn drop(&mut self) {
        self.metrics.breaker(self.breaker.borrow().state(), -1);
        if !self.is_closed.get() {
            self.board.closed(&self.server);
        }
    }
}

/// A connection that missed a deadline and has received nothing since.
pub(in crate::redis) struct SilentGuard(Rc<ServerHealth>);

impl Drop for SilentGuard {
    fn drop(&mut self) {
        self.0.silent.set(self.0.silent.get().saturating_sub(1));
    }
}

//! How the server of a pool is doing: its latency and its breaker, with everything that makes them known.
//!
//! The connections tell what came and what did not, callers ask what to expect. Both do it for every command, so what
//! they ask is kept ready in cells, and the breaker is only told of replies while it has something to forget. It all
//! lives on one thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::time::sleep_until;

use super::breaker::{BreakerChange, BreakerState, ConnectionCounts, OpenCause, ProbeResult, RedisBreaker};
use super::latency::LatencyEstimator;
use super::metrics::PoolMetrics;
use super::server_stats::ServerStats;
use super::stats_board::{LogNovelty, StatsBoard, StatsWriter};
use crate::limits::{REDIS_STALL_FACTOR, REDIS_STALL_MIN, REDIS_WAIT_MAX};
use crate::resp::{ErrorKind, ReplyDeadlines, ReplyTiming, Urgency};
use crate::time::instant;

/// What is known of one server.
pub(in crate::redis) struct ServerHealth {
    pub(in crate::redis) metrics: PoolMetrics,
    pub(in crate::redis) server_stats: ServerStats,
    board: StatsBoard,
    /// The server's address, without credentials.
    server: String,
    /// The most that a command may take.
    command_timeout: Duration,
    /// How long a connection may make no progress.
    stall: Duration,
    late_reporting: LateReporting,
    latency: RefCell<LatencyEstimator>,
    deadlines: Cell<ReplyDeadlines>,
    breaker: RefCell<RedisBreaker>,
    /// The breaker has counted misses, or is not closed.
    is_alert: Cell<bool>,
    is_closed: Cell<bool>,
    /// How many connections are up.
    up: watch::Sender<usize>,
    /// How many of them are silent.
    silent: Cell<usize>,
    /// The breaker has opened, or its probe is due earlier.
    probe_changed: Notify,
}

/// Whether anybody wants to know that a reply is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) enum LateReporting {
    /// Its caller, who may hedge.
    On,
    /// Nobody: no alarm is set for it.
    Off,
}

impl ServerHealth {
    /// Of a server of which nothing is known yet.
    pub(in crate::redis) fn new(
        board: StatsBoard,
        server: String,
        command_timeout: Duration,
        late_reporting: LateReporting,
        metrics: PoolMetrics,
    ) -> Self {
        let command_timeout = command_timeout.min(REDIS_WAIT_MAX);
        let stall = command_timeout.saturating_mul(REDIS_STALL_FACTOR).max(REDIS_STALL_MIN);
        let latency = LatencyEstimator::new(command_timeout, instant());
        metrics.breaker(BreakerState::Closed, 1);
        Self {
            metrics,
            server_stats: board.server_stats(&server),
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
            up: watch::Sender::new(0),
            silent: Cell::new(0),
            probe_changed: Notify::new(),
        }
    }

    /// Whether commands are let through.
    pub(in crate::redis) fn admits(&self) -> bool {
        self.is_closed.get()
    }

    /// The most that a command may take.
    pub(in crate::redis) fn command_timeout(&self) -> Duration {
        self.command_timeout
    }

    /// How long a connection may make no progress before it is given up.
    pub(in crate::redis) fn stall(&self) -> Duration {
        self.stall
    }

    /// How long to wait for a reply just now.
    pub(in crate::redis) fn deadlines(&self) -> ReplyDeadlines {
        self.deadlines.get()
    }

    /// A reply came, in time or late.
    pub(in crate::redis) fn replied(&self, timing: ReplyTiming, now: Instant) {
        let took = now.saturating_duration_since(timing.submitted);
        self.server_stats.add_reply(took);
        if timing.urgency == Urgency::Interactive
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

    /// So many callers have waited in vain.
    pub(in crate::redis) fn missed(&self, commands: usize, now: Instant) {
        self.is_alert.set(true);
        let connections = ConnectionCounts { up: *self.up.borrow(), silent: self.silent.get() };
        let commands = u32::try_from(commands).unwrap_or(u32::MAX);
        self.update_breaker(|breaker, jitter| breaker.missed(commands, connections, now, jitter));
    }

    /// The server refused a command.
    pub(in crate::redis) fn refused(&self, kind: ErrorKind, now: Instant) {
        if let Some(cause) = OpenCause::of(kind) {
            self.update_breaker(|breaker, jitter| breaker.refused(cause, now, jitter));
        }
    }

    /// One connection is silent more, until the answer is dropped.
    pub(in crate::redis) fn silence(self: &Rc<Self>) -> SilentGuard {
        self.silent.set(self.silent.get() + 1);
        SilentGuard(Rc::clone(self))
    }

    /// A connection came up. It is novelty if no worker has another one.
    pub(in crate::redis) fn connected(&self) -> LogNovelty {
        self.up.send_modify(|up| *up += 1);
        self.update_breaker(|breaker, _| breaker.greeted());
        self.board.connected(&self.server)
    }

    /// A connection ended. It is novelty if no worker has another one.
    pub(in crate::redis) fn lost(&self) -> LogNovelty {
        self.up.send_modify(|up| *up -= 1);
        self.board.lost(&self.server)
    }

    /// No connection comes about. It is novelty if no worker has one, or has said so.
    pub(in crate::redis) fn unreachable(&self, why: &str) -> LogNovelty {
        self.board.unreachable(&self.server, why)
    }

    /// Every connection of the process.
    pub(in crate::redis) fn board(&self) -> &StatsBoard {
        &self.board
    }

    /// What whoever looks at a connection should know of its server.
    pub(in crate::redis) fn publish(&self, stats: &StatsWriter) {
        stats.set_server(self.breaker.borrow().state(), self.deadlines.get().silence);
    }

    /// Whether any connection is up.
    pub(in crate::redis) fn is_up(&self) -> bool {
        *self.up.borrow() > 0
    }

    /// Until any connection is up.
    pub(in crate::redis) async fn reachable(&self) {
        // The sender is our own, so it is not gone.
        let _ = self.up.subscribe().wait_for(|up| *up > 0).await;
    }

    /// Until the breaker is to be probed. Whoever has waited for it probes, and says what came of it.
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

    /// What became of the probe.
    pub(in crate::redis) fn probed(&self, probed: ProbeResult) {
        self.update_breaker(|breaker, jitter| breaker.probed(probed, instant(), jitter));
    }

    /// Lets something happen to the breaker, and makes known what came of it.
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
                    tracing::warn!(server = self.server, %cause, "Redis serves nobody; it is probed and not asked");
                }
            }
            Some(BreakerChange::Closed) => {
                self.is_closed.set(true);
                self.is_alert.set(false);
                if self.board.closed(&self.server) == LogNovelty::New {
                    tracing::info!(server = self.server, "Redis serves again");
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

/// A connection that has missed a time limit and has brought nothing since.
pub(in crate::redis) struct SilentGuard(Rc<ServerHealth>);

impl Drop for SilentGuard {
    fn drop(&mut self) {
        self.0.silent.set(self.0.silent.get().saturating_sub(1));
    }
}

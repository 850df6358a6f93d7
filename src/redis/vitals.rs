//! How the server of a pool is doing: its pace and its breaker, with everything that makes them known.
//!
//! The connections tell what came and what did not, callers ask what to expect. Both do it for every command, so what
//! they ask is kept ready in cells, and the breaker is only told of replies while it has something to forget. It all
//! lives on one thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::time::sleep_until;

use super::board::{Board, News, Pinned};
use super::breaker::{Breaker, BreakerState, Cause, Change, Connections, Probed};
use super::ledger::Ledger;
use super::metrics::Metrics;
use super::options::Options;
use super::pace::Pace;
use crate::limits::{REDIS_STALL_FACTOR, REDIS_STALL_MIN, REDIS_WAIT_MAX};
use crate::resp::{ErrorKind, Patience, Timing, Urgency};
use crate::time::instant;

/// What is known of one server.
pub(super) struct Vitals {
    pub(super) metrics: Metrics,
    pub(super) ledger: Ledger,
    board: Board,
    /// The server's address, without credentials.
    server: String,
    /// The most that a command may take.
    ceiling: Duration,
    /// How long a connection may make no progress.
    stall: Duration,
    lateness: Lateness,
    pace: RefCell<Pace>,
    patience: Cell<Patience>,
    breaker: RefCell<Breaker>,
    /// The breaker has counted misses, or is not closed.
    is_alert: Cell<bool>,
    is_closed: Cell<bool>,
    /// How many connections are up.
    up: watch::Sender<usize>,
    /// How many of them are silent.
    silent: Cell<usize>,
    /// The breaker has opened, or its probe is due earlier.
    called: Notify,
}

/// Whether anybody wants to know that a reply is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lateness {
    /// Its caller, who may hedge.
    Told,
    /// Nobody: no alarm is set for it.
    Ignored,
}

impl Vitals {
    /// Of a server of which nothing is known yet.
    pub(super) fn new(options: &Options, metrics: Metrics) -> Self {
        let command_timeout = options.command_timeout;
        let lateness = if options.hedge_share > 0.0 { Lateness::Told } else { Lateness::Ignored };
        let ceiling = command_timeout.min(REDIS_WAIT_MAX);
        let stall = command_timeout.saturating_mul(REDIS_STALL_FACTOR).max(REDIS_STALL_MIN);
        let pace = Pace::new(ceiling, instant());
        metrics.breaker(BreakerState::Closed, 1);
        let server = options.address.to_string();
        Self {
            metrics,
            ledger: options.board.ledger(&server),
            board: options.board.clone(),
            server,
            ceiling,
            stall: stall.min(REDIS_WAIT_MAX),
            lateness,
            patience: Cell::new(pace.patience()),
            pace: RefCell::new(pace),
            breaker: RefCell::new(Breaker::new()),
            is_alert: Cell::new(false),
            is_closed: Cell::new(true),
            up: watch::Sender::new(0),
            silent: Cell::new(0),
            called: Notify::new(),
        }
    }

    /// Whether commands are let through.
    pub(super) fn admits(&self) -> bool {
        self.is_closed.get()
    }

    /// The most that a command may take.
    pub(super) fn ceiling(&self) -> Duration {
        self.ceiling
    }

    /// How long a connection may make no progress before it is given up.
    pub(super) fn stall(&self) -> Duration {
        self.stall
    }

    /// How long to wait for a reply just now.
    pub(super) fn patience(&self) -> Patience {
        self.patience.get()
    }

    /// A reply came, in time or late.
    pub(super) fn replied(&self, timing: Timing, now: Instant) {
        let took = now.saturating_duration_since(timing.submitted);
        self.ledger.replied(took);
        if timing.urgency == Urgency::Pressing
            && let Some(patience) = self.pace.borrow_mut().observe(took, now)
        {
            let late = patience.late.filter(|_| self.lateness == Lateness::Told);
            self.patience.set(Patience { late, ..patience });
        }
        if self.is_alert.get() {
            self.breaker.borrow_mut().heard(now);
            self.is_alert.set(!self.is_closed.get());
            self.called.notify_one();
        }
    }

    /// So many callers have waited in vain.
    pub(super) fn missed(&self, commands: usize, now: Instant) {
        self.is_alert.set(true);
        let connections = Connections { up: *self.up.borrow(), silent: self.silent.get() };
        let commands = u32::try_from(commands).unwrap_or(u32::MAX);
        self.changes(|breaker, jitter| breaker.missed(commands, connections, now, jitter));
    }

    /// The server refused a command.
    pub(super) fn refused(&self, kind: ErrorKind, now: Instant) {
        if let Some(cause) = Cause::of(kind) {
            self.changes(|breaker, jitter| breaker.refused(cause, now, jitter));
        }
    }

    /// One connection is silent more, until the answer is dropped.
    pub(super) fn silence(self: &Rc<Self>) -> Silent {
        self.silent.set(self.silent.get() + 1);
        Silent(Rc::clone(self))
    }

    /// A connection came up. It is news if no worker has another one.
    pub(super) fn arrived(&self) -> News {
        self.up.send_modify(|up| *up += 1);
        self.changes(|breaker, _| breaker.greeted());
        self.board.arrived(&self.server)
    }

    /// A connection ended. It is news if no worker has another one.
    pub(super) fn parted(&self) -> News {
        self.up.send_modify(|up| *up -= 1);
        self.board.parted(&self.server)
    }

    /// No connection comes about. It is news if no worker has one, or has said so.
    pub(super) fn unreachable(&self, why: &str) -> News {
        self.board.unreachable(&self.server, why)
    }

    /// Every connection of the process.
    pub(super) fn board(&self) -> &Board {
        &self.board
    }

    /// What whoever looks at a connection should know of its server.
    pub(super) fn show(&self, card: &Pinned) {
        card.server(self.breaker.borrow().state(), self.patience.get().silence);
    }

    /// Whether any connection is up.
    pub(super) fn is_up(&self) -> bool {
        *self.up.borrow() > 0
    }

    /// Until any connection is up.
    pub(super) async fn reachable(&self) {
        // The sender is our own, so it is not gone.
        let _ = self.up.subscribe().wait_for(|up| *up > 0).await;
    }

    /// Until the breaker is to be probed. Whoever has waited for it probes, and says what came of it.
    pub(super) async fn probe_is_due(&self) {
        loop {
            let at = self.breaker.borrow().probe_at();
            match at {
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = sleep_until(at.into()) => break,
                        () = self.called.notified() => {}
                    }
                }
                None => self.called.notified().await,
            }
        }
        self.changes(|breaker, _| {
            breaker.probe();
            None
        });
    }

    /// What became of the probe.
    pub(super) fn probed(&self, probed: Probed) {
        self.changes(|breaker, jitter| breaker.probed(probed, instant(), jitter));
    }

    /// Lets something happen to the breaker, and makes known what came of it.
    fn changes(&self, event: impl FnOnce(&mut Breaker, f64) -> Option<Change>) {
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
            Some(Change::Opened(cause)) => {
                self.is_closed.set(false);
                self.is_alert.set(true);
                self.metrics.opened(cause);
                self.called.notify_one();
                if self.board.opened(&self.server) == News::Fresh {
                    tracing::warn!(server = self.server, %cause, "Redis serves nobody; it is probed and not asked");
                }
            }
            Some(Change::Closed) => {
                self.is_closed.set(true);
                self.is_alert.set(false);
                if self.board.closed(&self.server) == News::Fresh {
                    tracing::info!(server = self.server, "Redis serves again");
                }
            }
            None => {}
        }
    }
}

impl Drop for Vitals {
    fn drop(&mut self) {
        self.metrics.breaker(self.breaker.borrow().state(), -1);
        if !self.is_closed.get() {
            self.board.closed(&self.server);
        }
    }
}

/// A connection that has missed a time limit and has brought nothing since.
pub(super) struct Silent(Rc<Vitals>);

impl Drop for Silent {
    fn drop(&mut self) {
        self.0.silent.set(self.0.silent.get().saturating_sub(1));
    }
}

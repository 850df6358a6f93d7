//! What the pools of a process are doing, for whoever looks from another thread.
//!
//! A pool belongs to one worker's thread and nobody else can ask it anything. So each seat has a stats on a board that
//! all pools of a process share, and its task writes down what is true at the end of each turn: plain stores of numbers,
//! which cost nothing and wait for nobody. A reader may see one number of this turn and one of the last.
//!
//! Beside the connections lie the servers' server_stats_table (`server_stats.rs`): a stats is what is true now, a server_stats what has been.
//!
//! The board also knows what the log was logged of each server, so that a process with many workers says once that Redis
//! is lost, and not once for each. What always holds: there is a stats for each seat of an open pool and for no other,
//! so there are never more than connections, and the lock is held for a walk over them at most.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::breaker::BreakerState;
use super::metrics::ConnectionStatus;
use super::server_stats::{ServerState, ServerStats, ServerStatsTable};
use crate::label::Label;
use crate::redis::submission::Lane;
use crate::resp::Pipeline;
use crate::telemetry::Registry;

/// All connections to Redis of a process. Clones are the same board.
#[derive(Clone)]
pub struct StatsBoard(Arc<BoardState>);

/// Of no interest beside settings, and never twice the same.
impl fmt::Debug for StatsBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatsBoard")
    }
}

#[derive(Debug)]
struct BoardState {
    server_stats_table: ServerStatsTable,
    /// What times on connections are counted from.
    begin: Instant,
    connections: Mutex<Vec<Arc<ConnectionStats>>>,
    logged: Mutex<BTreeMap<String, LoggedState>>,
}

/// One connection, or the place of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionState {
    /// Where it leads, without credentials.
    pub server: String,
    /// What it is there for.
    pub lane: Lane,
    /// What it is doing.
    pub status: ConnectionStatus,
    /// Whether the server is asked at all by this worker.
    pub breaker: BreakerState,
    /// How long a read waits for any sign of life just now.
    pub silence: Duration,
    /// Commands that are not answered.
    pub commands: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long the oldest of them has been under way.
    pub oldest: Option<Duration>,
    /// Connections that replaced a lost one in this place.
    pub reconnects: u64,
    /// Bytes read in this place, over all its connections.
    pub received: u64,
    /// Bytes written.
    pub sent: u64,
}

/// What the log was logged of a server.
#[derive(Debug, Default)]
struct LoggedState {
    /// Connections that are up.
    up: usize,
    /// Breakers that are not closed.
    open: usize,
    /// Why it could not be reached.
    why: Option<String>,
}

/// Whether something is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) enum LogNovelty {
    /// It changes what an operator knows.
    New,
    /// Another worker, or another connection, has said so.
    Known,
}

impl LogNovelty {
    fn if_first(is_first: bool) -> Self {
        if is_first { Self::New } else { Self::Known }
    }
}

impl StatsBoard {
    /// With nothing on it; times count from `now`.
    pub fn new(now: Instant) -> Self {
        Self(Arc::new(BoardState {
            server_stats_table: ServerStatsTable::default(),
            begin: now,
            connections: Mutex::default(),
            logged: Mutex::default(),
        }))
    }

    /// Every connection, in the order in which the pools were opened and fill them.
    pub fn snapshot(&self, now: Instant) -> Vec<ConnectionState> {
        let now = self.ticks(now);
        self.connections().iter().map(|stats| stats.read(now)).collect()
    }

    /// What each server has done since the start, by its address: also one that nobody speaks to any more.
    pub fn servers(&self) -> Vec<(String, ServerState)> {
        self.0.server_stats_table.read()
    }

    /// Shows the same to whoever scrapes. To be called once for a registry.
    pub fn show(&self, registry: &Registry) {
        self.0.server_stats_table.register(registry);
    }

    /// Where a worker writes down what a server does, until it is dropped.
    pub(in crate::redis) fn server_stats(&self, server: &str) -> ServerStats {
        self.0.server_stats_table.open(server)
    }

    /// A stats for one seat, until it is dropped.
    pub(in crate::redis) fn register(&self, server: String, lane: Lane) -> StatsWriter {
        let stats = Arc::new(ConnectionStats { server, lane, cells: Default::default() });
        self.connections().push(Arc::clone(&stats));
        StatsWriter { board: self.clone(), stats }
    }

    /// A connection to the server came up.
    pub(in crate::redis) fn connected(&self, server: &str) -> LogNovelty {
        self.logged(server, |logged| {
            logged.up += 1;
            logged.why = None;
            LogNovelty::if_first(logged.up == 1)
        })
    }

    /// One ended.
    pub(in crate::redis) fn lost(&self, server: &str) -> LogNovelty {
        self.logged(server, |logged| {
            logged.up = logged.up.saturating_sub(1);
            LogNovelty::if_first(logged.up == 0)
        })
    }

    /// The server cannot be reached.
    pub(in crate::redis) fn unreachable(&self, server: &str, why: &str) -> LogNovelty {
        self.logged(server, |logged| {
            let is_new = logged.up == 0 && logged.why.as_deref() != Some(why);
            logged.why = Some(why.to_owned());
            LogNovelty::if_first(is_new)
        })
    }

    /// A breaker has opened.
    pub(in crate::redis) fn opened(&self, server: &str) -> LogNovelty {
        self.logged(server, |logged| {
            logged.open += 1;
            LogNovelty::if_first(logged.open == 1)
        })
    }

    /// One has closed.
    pub(in crate::redis) fn closed(&self, server: &str) -> LogNovelty {
        self.logged(server, |logged| {
            logged.open = logged.open.saturating_sub(1);
            LogNovelty::if_first(logged.open == 0)
        })
    }

    fn logged<T>(&self, server: &str, change: impl FnOnce(&mut LoggedState) -> T) -> T {
        let mut logged = self.0.logged.lock().unwrap_or_else(PoisonError::into_inner);
        change(logged.entry(server.to_owned()).or_default())
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Arc<ConnectionStats>>> {
        self.0.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Microseconds since the beginning, and one: zero is for nothing.
    fn ticks(&self, at: Instant) -> u64 {
        let micros = at.saturating_duration_since(self.0.begin).as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// The numbers of one seat. One thread writes them.
#[derive(Debug)]
struct ConnectionStats {
    server: String,
    lane: Lane,
    cells: StatsCells,
}

#[derive(Debug, Default)]
struct StatsCells {
    status: AtomicU64,
    breaker: AtomicU64,
    silence: AtomicU64,
    commands: AtomicU64,
    bytes: AtomicU64,
    oldest: AtomicU64,
    connections: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

impl ConnectionStats {
    fn read(&self, now: u64) -> ConnectionState {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let cells = &self.cells;
        let oldest = Some(read(&cells.oldest)).filter(|&since| since > 0);
        ConnectionState {
            server: self.server.clone(),
            lane: self.lane,
            status: labelled(read(&cells.status), ConnectionStatus::Disconnected),
            breaker: labelled(read(&cells.breaker), BreakerState::Closed),
            silence: Duration::from_micros(read(&cells.silence)),
            commands: read(&cells.commands),
            bytes: read(&cells.bytes),
            oldest: oldest.map(|since| Duration::from_micros(now.saturating_sub(since))),
            reconnects: read(&cells.connections).saturating_sub(1),
            received: read(&cells.received),
            sent: read(&cells.sent),
        }
    }
}

/// The label in a cell.
fn labelled<L: Label>(cell: u64, otherwise: L) -> L {
    usize::try_from(cell).ok().and_then(|index| L::ALL.get(index).copied()).unwrap_or(otherwise)
}

/// A stats, and the right to write on it.
#[derive(Debug)]
pub(in crate::redis) struct StatsWriter {
    board: StatsBoard,
    stats: Arc<ConnectionStats>,
}

impl StatsWriter {
    /// What the seat does now.
    pub(in crate::redis) fn set_status(&self, status: ConnectionStatus) {
        let cells = &self.stats.cells;
        cells.status.store(status.index() as u64, Ordering::Relaxed);
        if status == ConnectionStatus::Up {
            add(&cells.connections, 1);
        } else {
            for cell in [&cells.commands, &cells.bytes, &cells.oldest] {
                cell.store(0, Ordering::Relaxed);
            }
        }
    }

    /// What is under way, and what went over the wire since this was last logged.
    pub(in crate::redis) fn record(&self, pipeline: &Pipeline, received: usize, sent: usize) {
        let cells = &self.stats.cells;
        cells.commands.store(pipeline.queued() as u64, Ordering::Relaxed);
        cells.bytes.store(pipeline.queued_bytes() as u64, Ordering::Relaxed);
        let oldest = pipeline.oldest().map_or(0, |since| self.board.ticks(since));
        cells.oldest.store(oldest, Ordering::Relaxed);
        add(&cells.received, received as u64);
        add(&cells.sent, sent as u64);
    }

    /// What holds for the server.
    pub(in crate::redis) fn set_server(&self, breaker: BreakerState, silence: Duration) {
        let silence = u64::try_from(silence.as_micros()).unwrap_or(u64::MAX);
        self.stats.cells.breaker.store(breaker.index() as u64, Ordering::Relaxed);
        self.stats.cells.silence.store(silence, Ordering::Relaxed);
    }
}

/// Without a locked instruction: there is one writer.
fn add(cell: &AtomicU64, more: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

impl Drop for StatsWriter {
    fn drop(&mut self) {
        self.board.connections().retain(|stats| !Arc::ptr_eq(stats, &self.stats));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{CommandSpec, ExpectedReply, Urgency, Window};
    use crate::time::instant;

    #[test]
    fn what_is_written_is_what_is_read() {
        let begin = instant();
        let at = |millis| begin + Duration::from_millis(millis);
        let board = StatsBoard::new(begin);
        let other = board.register("redis://a:1".to_owned(), Lane::Bulk);
        let stats = board.register("redis://a:1".to_owned(), Lane::Reads);
        let mut pipeline = Pipeline::new(Window { commands: 4, bytes: 1000 });
        let spec = CommandSpec {
            expected: ExpectedReply::Value,
            bytes: 70,
            urgency: Urgency::Interactive,
            submitted: at(5),
            due: at(9),
        };
        let _ticket = pipeline.submit(spec).unwrap();
        stats.set_status(ConnectionStatus::Up);
        stats.set_status(ConnectionStatus::Disconnected);
        stats.set_status(ConnectionStatus::Up);
        stats.record(&pipeline, 10, 20);
        stats.record(&pipeline, 1, 2);
        stats.set_server(BreakerState::Probing, Duration::from_millis(6));
        let states = board.clone().snapshot(at(8));
        assert_eq!(
            (states.len(), states[0].lane, states[0].status),
            (2, Lane::Bulk, ConnectionStatus::Disconnected)
        );
        assert_eq!((states[0].oldest, states[0].reconnects), (None, 0));
        let expected = ConnectionState {
            server: "redis://a:1".to_owned(),
            lane: Lane::Reads,
            status: ConnectionStatus::Up,
            breaker: BreakerState::Probing,
            silence: Duration::from_millis(6),
            commands: 1,
            bytes: 70,
            oldest: Some(Duration::from_millis(3)),
            reconnects: 1,
            received: 11,
            sent: 22,
        };
        assert_eq!(states[1], expected);
        stats.set_status(ConnectionStatus::Disconnected);
        assert_eq!((board.snapshot(at(9))[1].commands, board.snapshot(at(9))[1].oldest), (0, None));
        drop((other, stats));
        assert!(board.snapshot(at(9)).is_empty());
    }

    #[test]
    fn a_line_for_each_change_and_not_for_each_worker() {
        let board = StatsBoard::new(instant());
        let (a, b) = ("redis://a:1", "redis://b:1");
        assert_eq!(
            ["refused", "refused", "reset"].map(|why| board.unreachable(a, why)),
            [LogNovelty::New, LogNovelty::Known, LogNovelty::New]
        );
        assert_eq!(
            [a, a, b].map(|server| board.connected(server)),
            [LogNovelty::New, LogNovelty::Known, LogNovelty::New]
        );
        assert_eq!(board.unreachable(a, "refused"), LogNovelty::Known, "somebody is connected");
        assert_eq!(
            [a, a, b].map(|server| board.lost(server)),
            [LogNovelty::Known, LogNovelty::New, LogNovelty::New]
        );
        assert_eq!([a, a].map(|server| board.opened(server)), [LogNovelty::New, LogNovelty::Known]);
        assert_eq!([a, a].map(|server| board.closed(server)), [LogNovelty::Known, LogNovelty::New]);
    }
}

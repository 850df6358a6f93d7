//! The statistics of all Redis connections of a process, readable from any thread.
//!
//! A pool belongs to one worker's thread, which alone can read its state. So each connection slot
//! has [`ConnectionStats`] on a board that all pools share, and its task writes the current numbers
//! at the end of each turn: plain stores, which cost nothing and never wait. A reader may see
//! numbers of two turns mixed.
//!
//! [`ServerStats`](super::server_stats) complement them: the board has the present, they have the
//! totals.
//!
//! The board also has the logged state of each server, so that a process with many workers logs the
//! loss of Redis once, not once per worker. **Always:** the board has one entry for each slot of an
//! open pool and no others, and a lock is held for one walk over them at most.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::breaker::BreakerState;
use super::metrics::ConnectionStatus;
use super::refusals::ServerRefusals;
use super::server_stats::{ServerState, ServerStats, ServerStatsTable};
use crate::label::Label;
use crate::limits::LOGGED_CAUSES_MAX;
use crate::redis::submission::Lane;
use crate::resp::Pipeline;
use crate::telemetry::Registry;

/// All Redis connections of a process. Clones are the same board.
#[derive(Clone)]
pub struct StatsBoard(Arc<BoardState>);

/// Irrelevant among settings, and never equal.
impl fmt::Debug for StatsBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatsBoard")
    }
}

#[derive(Debug)]
struct BoardState {
    server_stats_table: ServerStatsTable,
    /// The start of the clock of the entries' times.
    begin: Instant,
    connections: Mutex<Vec<Arc<ConnectionStats>>>,
    logged: Mutex<BTreeMap<String, LoggedState>>,
}

/// One connection slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionState {
    /// The server's address, without credentials.
    pub server: String,
    /// The traffic that it carries.
    pub lane: Lane,
    /// The status of the slot.
    pub status: ConnectionStatus,
    /// The circuit breaker of this worker for the server.
    pub breaker: BreakerState,
    /// The current deadline of a read on a silent connection.
    pub silence: Duration,
    /// Unanswered commands.
    pub commands: u64,
    /// The bytes of the unanswered commands.
    pub bytes: u64,
    /// The age of the oldest unanswered command.
    pub oldest: Option<Duration>,
    /// Connections of this slot that replaced a lost one.
    pub reconnects: u64,
    /// Bytes read by this slot, over all its connections.
    pub received: u64,
    /// Bytes written by this slot, over all its connections.
    pub sent: u64,
}

/// The state of a server that the log shows.
#[derive(Debug, Default)]
struct LoggedState {
    /// Connections that are up.
    up: usize,
    /// Breakers that are not closed.
    open: usize,
    /// The causes of failed attempts to connect that the log has named since the last connection.
    causes: BTreeSet<String>,
    /// The rights that the user lacks, as text.
    missing_rights: String,
    /// The commands that the server refuses.
    refusals: Arc<ServerRefusals>,
}

/// Whether an event is new to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) enum LogNovelty {
    /// It changes the logged state.
    New,
    /// Another worker or connection has logged it.
    Known,
}

impl LogNovelty {
    fn if_first(is_first: bool) -> Self {
        if is_first { Self::New } else { Self::Known }
    }
}

impl StatsBoard {
    /// An empty board; times count from `now`.
    pub fn new(now: Instant) -> Self {
        Self(Arc::new(BoardState {
            server_stats_table: ServerStatsTable::default(),
            begin: now,
            connections: Mutex::default(),
            logged: Mutex::default(),
        }))
    }

    /// Returns every connection slot, in the order of pools and slots.
    pub fn snapshot(&self, now: Instant) -> Vec<ConnectionState> {
        let now = self.ticks(now);
        self.connections().iter().map(|stats| stats.read(now)).collect()
    }

    /// Returns the totals of each server since the start, unused servers included.
    pub fn servers(&self) -> Vec<(String, ServerState)> {
        self.0.server_stats_table.read()
    }

    /// Registers the metrics of the servers. Call once for a registry.
    pub fn show(&self, registry: &Registry) {
        self.0.server_stats_table.register(registry);
    }

    /// Opens a worker's statistics of a server, until they are dropped.
    pub(in crate::redis) fn server_stats(&self, server: &str) -> ServerStats {
        self.0.server_stats_table.open(server)
    }

    /// Adds an entry for one slot, until the writer is dropped.
    pub(in crate::redis) fn register(&self, server: String, lane: Lane) -> StatsWriter {
        let stats = Arc::new(ConnectionStats { server, lane, cells: Default::default() });
        self.connections().push(Arc::clone(&stats));
        StatsWriter { board: self.clone(), stats }
    }

    /// Records a new connection to the server.
    pub(in crate::redis) fn connected(&self, server: &str) -> LogNovelty {
        self.logged(server, |logged| {
            logged.up += 1;
            logged.causes.clear();
            LogNovelty::if_first(logged.up == 1)
        })
    }

    /// Records the end of a connection.
    pub(in crate::redis) fn lost(&self, server: &str) -> LogNovelty {
        self.logged(server, |logged| {
            logged.up = logged.up.saturating_sub(1);
            LogNovelty::if_first(logged.up == 0)
        })
    }

    /// Records a failed attempt to connect. `New` if the log has not named its cause since the last
    /// connection.
    pub(in crate::redis) fn unreachable(&self, server: &str, why: &str) -> LogNovelty {
        self.logged(server, |logged| {
            let is_new = logged.up == 0
                && logged.causes.len() < LOGGED_CAUSES_MAX
                && logged.causes.insert(why.to_owned());
            LogNovelty::if_first(is_new)
        })
    }

    /// Records the rights that the user lacks; none is empty text.
    pub(in crate::redis) fn lacks_rights(&self, server: &str, missing: &str) -> LogNovelty {
        self.logged(server, |logged| {
            let is_new = logged.missing_rights != missing;
            missing.clone_into(&mut logged.missing_rights);
            LogNovelty::if_first(is_new)
        })
    }

    /// Returns the refused commands of the server.
    pub(in crate::redis) fn refusals(&self, server: &str) -> Arc<ServerRefusals> {
        self.logged(server, |logged| Arc::clone(&logged.refusals))
    }

    /// Returns the time since the start of the process.
    pub(in crate::redis) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.0.begin)
    }

    /// Records a breaker that opened.
    pub(in crate::redis) fn opened(&self, server: &str) -> LogNovelty {
        self.logged(server, |logged| {
            logged.open += 1;
            LogNovelty::if_first(logged.open == 1)
        })
    }

    /// Records a breaker that closed.
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

    /// Microseconds since the begin, plus one: zero means none.
    fn ticks(&self, at: Instant) -> u64 {
        let micros = at.saturating_duration_since(self.0.begin).as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// The numbers of one slot. One thread writes them.
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

/// Reads a label from a cell.
fn labelled<L: Label>(cell: u64, otherwise: L) -> L {
    usize::try_from(cell).ok().and_then(|index| L::ALL.get(index).copied()).unwrap_or(otherwise)
}

/// The only writer of one slot's statistics.
#[derive(Debug)]
pub(in crate::redis) struct StatsWriter {
    board: StatsBoard,
    stats: Arc<ConnectionStats>,
}

impl StatsWriter {
    /// Sets the status of the slot.
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

    /// Writes the state of the pipeline, and adds the bytes of this turn.
    pub(in crate::redis) fn record(&self, pipeline: &Pipeline, received: usize, sent: usize) {
        let cells = &self.stats.cells;
        cells.commands.store(pipeline.queued() as u64, Ordering::Relaxed);
        cells.bytes.store(pipeline.queued_bytes() as u64, Ordering::Relaxed);
        let oldest = pipeline.oldest().map_or(0, |since| self.board.ticks(since));
        cells.oldest.store(oldest, Ordering::Relaxed);
        add(&cells.received, received as u64);
        add(&cells.sent, sent as u64);
    }

    /// Writes the state of the server.
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
    use crate::resp::{CommandSpec, CommandUrgency, ExpectedReply, Window};
    use crate::time::instant;

    #[test]
    fn a_snapshot_returns_the_written_numbers() {
        let begin = instant();
        let at = |millis| begin + Duration::from_millis(millis);
        let board = StatsBoard::new(begin);
        let other = board.register("redis://a:1".to_owned(), Lane::Bulk);
        let stats = board.register("redis://a:1".to_owned(), Lane::Reads);
        let mut pipeline = Pipeline::new(Window { commands: 4, bytes: 1000 });
        let spec = CommandSpec {
            expected: ExpectedReply::Value,
            bytes: 70,
            urgency: CommandUrgency::Interactive,
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
    fn each_change_is_new_to_the_log_once() {
        let board = StatsBoard::new(instant());
        let (a, b) = ("redis://a:1", "redis://b:1");
        assert_eq!(
            ["refused", "refused", "reset", "refused"].map(|why| board.unreachable(a, why)),
            [LogNovelty::New, LogNovelty::Known, LogNovelty::New, LogNovelty::Known]
        );
        for cause in 2..LOGGED_CAUSES_MAX {
            assert_eq!(board.unreachable(a, &cause.to_string()), LogNovelty::New);
        }
        assert_eq!(board.unreachable(a, "one too many"), LogNovelty::Known);
        assert_eq!(
            [a, a, b].map(|server| board.connected(server)),
            [LogNovelty::New, LogNovelty::Known, LogNovelty::New]
        );
        assert_eq!(board.unreachable(a, "refused"), LogNovelty::Known, "another worker is connected");
        assert_eq!(
            [a, a, b].map(|server| board.lost(server)),
            [LogNovelty::Known, LogNovelty::New, LogNovelty::New]
        );
        assert_eq!([a, a].map(|server| board.opened(server)), [LogNovelty::New, LogNovelty::Known]);
        assert_eq!([a, a].map(|server| board.closed(server)), [LogNovelty::Known, LogNovelty::New]);
    }
}

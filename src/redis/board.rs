//! What the pools of a process are doing, for whoever looks from another thread.
//!
//! A pool belongs to one worker's thread and nobody else can ask it anything. So each seat has a card on a board that
//! all pools of a process share, and its task writes down what is true at the end of each turn: plain stores of numbers,
//! which cost nothing and wait for nobody. A reader may see one number of this turn and one of the last.
//!
//! Beside the cards lie the servers' ledgers (`ledger.rs`): a card is what is true now, a ledger what has been.
//!
//! The board also knows what the log was told of each server, so that a process with many workers says once that Redis
//! is lost, and not once for each. What always holds: there is a card for each seat of an open pool and for no other,
//! so there are never more than connections, and the lock is held for a walk over them at most.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ask::Lane;
use super::breaker::BreakerState;
use super::ledger::{Ledger, Ledgers, ServerState};
use super::metrics::Standing;
use crate::label::Label;
use crate::resp::Pipeline;
use crate::telemetry::Registry;

/// All connections to Redis of a process. Clones are the same board.
#[derive(Clone)]
pub struct Board(Arc<Shared>);

/// Of no interest beside settings, and never twice the same.
impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Board")
    }
}

#[derive(Debug)]
struct Shared {
    ledgers: Ledgers,
    /// What times on cards are counted from.
    begin: Instant,
    cards: Mutex<Vec<Arc<Card>>>,
    told: Mutex<BTreeMap<String, Told>>,
}

/// One connection, or the place of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionState {
    /// Where it leads, without credentials.
    pub server: String,
    /// What it is there for.
    pub lane: Lane,
    /// What it is doing.
    pub standing: Standing,
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

/// What the log was told of a server.
#[derive(Debug, Default)]
struct Told {
    /// Connections that are up.
    up: usize,
    /// Breakers that are not closed.
    open: usize,
    /// Why it could not be reached.
    why: Option<String>,
}

/// Whether something is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It changes what an operator knows.
    Fresh,
    /// Another worker, or another connection, has said so.
    Known,
}

impl News {
    fn if_first(is_first: bool) -> Self {
        if is_first { Self::Fresh } else { Self::Known }
    }
}

impl Board {
    /// With nothing on it; times count from `now`.
    pub fn new(now: Instant) -> Self {
        Self(Arc::new(Shared {
            ledgers: Ledgers::default(),
            begin: now,
            cards: Mutex::default(),
            told: Mutex::default(),
        }))
    }

    /// Every connection, in the order in which the pools were opened and fill them.
    pub fn snapshot(&self, now: Instant) -> Vec<ConnectionState> {
        let now = self.ticks(now);
        self.cards().iter().map(|card| card.read(now)).collect()
    }

    /// What each server has done since the start, by its address: also one that nobody speaks to any more.
    pub fn servers(&self) -> Vec<(String, ServerState)> {
        self.0.ledgers.read()
    }

    /// Shows the same to whoever scrapes. To be called once for a registry.
    pub fn show(&self, registry: &Registry) {
        self.0.ledgers.show(registry);
    }

    /// Where a worker writes down what a server does, until it is dropped.
    pub(super) fn ledger(&self, server: &str) -> Ledger {
        self.0.ledgers.open(server)
    }

    /// A card for one seat, until it is dropped.
    pub(super) fn pin(&self, server: String, lane: Lane) -> Pinned {
        let card = Arc::new(Card { server, lane, cells: Default::default() });
        self.cards().push(Arc::clone(&card));
        Pinned { board: self.clone(), card }
    }

    /// A connection to the server came up.
    pub(super) fn arrived(&self, server: &str) -> News {
        self.told(server, |told| {
            told.up += 1;
            told.why = None;
            News::if_first(told.up == 1)
        })
    }

    /// One ended.
    pub(super) fn parted(&self, server: &str) -> News {
        self.told(server, |told| {
            told.up = told.up.saturating_sub(1);
            News::if_first(told.up == 0)
        })
    }

    /// The server cannot be reached.
    pub(super) fn unreachable(&self, server: &str, why: &str) -> News {
        self.told(server, |told| {
            let is_news = told.up == 0 && told.why.as_deref() != Some(why);
            told.why = Some(why.to_owned());
            News::if_first(is_news)
        })
    }

    /// A breaker has opened.
    pub(super) fn opened(&self, server: &str) -> News {
        self.told(server, |told| {
            told.open += 1;
            News::if_first(told.open == 1)
        })
    }

    /// One has closed.
    pub(super) fn closed(&self, server: &str) -> News {
        self.told(server, |told| {
            told.open = told.open.saturating_sub(1);
            News::if_first(told.open == 0)
        })
    }

    fn told<T>(&self, server: &str, change: impl FnOnce(&mut Told) -> T) -> T {
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        change(told.entry(server.to_owned()).or_default())
    }

    fn cards(&self) -> MutexGuard<'_, Vec<Arc<Card>>> {
        self.0.cards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Microseconds since the beginning, and one: zero is for nothing.
    fn ticks(&self, at: Instant) -> u64 {
        let micros = at.saturating_duration_since(self.0.begin).as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// The numbers of one seat. One thread writes them.
#[derive(Debug)]
struct Card {
    server: String,
    lane: Lane,
    cells: Cells,
}

#[derive(Debug, Default)]
struct Cells {
    standing: AtomicU64,
    breaker: AtomicU64,
    silence: AtomicU64,
    commands: AtomicU64,
    bytes: AtomicU64,
    oldest: AtomicU64,
    connections: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

impl Card {
    fn read(&self, now: u64) -> ConnectionState {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let cells = &self.cells;
        let oldest = Some(read(&cells.oldest)).filter(|&since| since > 0);
        ConnectionState {
            server: self.server.clone(),
            lane: self.lane,
            standing: labelled(read(&cells.standing), Standing::Resting),
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

/// A card, and the right to write on it.
#[derive(Debug)]
pub(super) struct Pinned {
    board: Board,
    card: Arc<Card>,
}

impl Pinned {
    /// What the seat does now.
    pub(super) fn stands(&self, standing: Standing) {
        let cells = &self.card.cells;
        cells.standing.store(standing.index() as u64, Ordering::Relaxed);
        if standing == Standing::Up {
            add(&cells.connections, 1);
        } else {
            for cell in [&cells.commands, &cells.bytes, &cells.oldest] {
                cell.store(0, Ordering::Relaxed);
            }
        }
    }

    /// What is under way, and what went over the wire since this was last told.
    pub(super) fn turn(&self, pipeline: &Pipeline, received: usize, sent: usize) {
        let cells = &self.card.cells;
        cells.commands.store(pipeline.in_line() as u64, Ordering::Relaxed);
        cells.bytes.store(pipeline.bytes_in_line() as u64, Ordering::Relaxed);
        let oldest = pipeline.oldest().map_or(0, |since| self.board.ticks(since));
        cells.oldest.store(oldest, Ordering::Relaxed);
        add(&cells.received, received as u64);
        add(&cells.sent, sent as u64);
    }

    /// What holds for the server.
    pub(super) fn server(&self, breaker: BreakerState, silence: Duration) {
        let silence = u64::try_from(silence.as_micros()).unwrap_or(u64::MAX);
        self.card.cells.breaker.store(breaker.index() as u64, Ordering::Relaxed);
        self.card.cells.silence.store(silence, Ordering::Relaxed);
    }
}

/// Without a locked instruction: there is one writer.
fn add(cell: &AtomicU64, more: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.board.cards().retain(|card| !Arc::ptr_eq(card, &self.card));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Expected, Order, Urgency, Window};
    use crate::time::instant;

    #[test]
    fn what_is_written_is_what_is_read() {
        let begin = instant();
        let at = |millis| begin + Duration::from_millis(millis);
        let board = Board::new(begin);
        let other = board.pin("redis://a:1".to_owned(), Lane::Bulk);
        let card = board.pin("redis://a:1".to_owned(), Lane::Reads);
        let mut pipeline = Pipeline::new(Window { commands: 4, bytes: 1000 });
        let order = Order {
            expected: Expected::Value,
            bytes: 70,
            urgency: Urgency::Pressing,
            submitted: at(5),
            due: at(9),
        };
        let _ticket = pipeline.submit(order).unwrap();
        card.stands(Standing::Up);
        card.stands(Standing::Resting);
        card.stands(Standing::Up);
        card.turn(&pipeline, 10, 20);
        card.turn(&pipeline, 1, 2);
        card.server(BreakerState::Probing, Duration::from_millis(6));
        let states = board.clone().snapshot(at(8));
        assert_eq!((states.len(), states[0].lane, states[0].standing), (2, Lane::Bulk, Standing::Resting));
        assert_eq!((states[0].oldest, states[0].reconnects), (None, 0));
        let expected = ConnectionState {
            server: "redis://a:1".to_owned(),
            lane: Lane::Reads,
            standing: Standing::Up,
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
        card.stands(Standing::Resting);
        assert_eq!((board.snapshot(at(9))[1].commands, board.snapshot(at(9))[1].oldest), (0, None));
        drop((other, card));
        assert!(board.snapshot(at(9)).is_empty());
    }

    #[test]
    fn a_line_for_each_change_and_not_for_each_worker() {
        let board = Board::new(instant());
        let (a, b) = ("redis://a:1", "redis://b:1");
        assert_eq!(
            ["refused", "refused", "reset"].map(|why| board.unreachable(a, why)),
            [News::Fresh, News::Known, News::Fresh]
        );
        assert_eq!([a, a, b].map(|server| board.arrived(server)), [News::Fresh, News::Known, News::Fresh]);
        assert_eq!(board.unreachable(a, "refused"), News::Known, "somebody is connected");
        assert_eq!([a, a, b].map(|server| board.parted(server)), [News::Known, News::Fresh, News::Fresh]);
        assert_eq!([a, a].map(|server| board.opened(server)), [News::Fresh, News::Known]);
        assert_eq!([a, a].map(|server| board.closed(server)), [News::Known, News::Fresh]);
    }
}

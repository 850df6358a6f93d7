//! Models of the code whose correctness depends on the memory order of atomics. Loom tries every
//! interleaving and every value that a load may return.
//!
//! Three kinds of atomics need no model, since one load decides or a lock orders them: the counters
//! of metrics, the begin of a drain (`server/drain.rs`), and the independent numbers of a
//! connection's statistics (`redis/health/stats_board.rs`). Each model has the steps of its file in
//! their order, without the data. A change of the order there is a change here.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::sync::{Arc, Mutex, RwLock};
use loom::thread;

/// The flag of a view that must be checked against the clock, as in `store/clock.rs`.
const PASSING: u64 = 1 << 63;

/// The reason why the purge log is trusted.
#[derive(Clone, Copy, PartialEq)]
enum Trust {
    /// No invalidation has arrived.
    Tracked,
    /// The log is being read again, within its grace.
    Outrun,
    /// The grace is over.
    Expired,
    Nothing,
}

/// The purge state of `store/clock.rs`: the view is written while the ledger's lock is held, and
/// read without it.
struct Clock {
    view: AtomicU64,
    views: AtomicU64,
    ledger: RwLock<(u64, Trust)>,
    /// The generation of one tag; `None` if it is unknown.
    counter: Mutex<Option<u64>>,
}

impl Clock {
    /// Returns a state at view 1, with one purge counted.
    fn new(trust: Trust, passing: u64) -> Arc<Self> {
        Arc::new(Self {
            view: AtomicU64::new(1 | passing),
            views: AtomicU64::new(1),
            ledger: RwLock::new((1, trust)),
            counter: Mutex::new(Some(1)),
        })
    }

    fn view(&self) -> u64 {
        let view = self.view.load(Ordering::Acquire);
        if view & PASSING == 0 {
            return view;
        }
        let ledger = self.ledger.read().unwrap();
        match ledger.1 {
            Trust::Tracked | Trust::Outrun => self.view.load(Ordering::Acquire) & !PASSING,
            Trust::Expired | Trust::Nothing => 0,
        }
    }

    fn next_view(&self) -> u64 {
        self.views.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn learn(&self, count: u64) {
        let mut ledger = self.ledger.write().unwrap();
        *ledger = (count, Trust::Tracked);
        self.view.store(self.next_view(), Ordering::Release);
    }

    fn outrun(&self) {
        let mut ledger = self.ledger.write().unwrap();
        if ledger.1 == Trust::Tracked {
            ledger.1 = Trust::Outrun;
            self.view.fetch_or(PASSING, Ordering::AcqRel);
        }
    }

    fn settled(&self) {
        let is_outrun = self.ledger.read().unwrap().1 == Trust::Outrun;
        if is_outrun {
            let mut ledger = self.ledger.write().unwrap();
            ledger.1 = Trust::Nothing;
            self.view.store(0, Ordering::Release);
        }
    }

    fn forget_counter(&self) {
        *self.counter.lock().unwrap() = None;
        let ledger = self.ledger.write().unwrap();
        let view = self.view.load(Ordering::Acquire);
        if view != 0 {
            self.view.store(self.next_view() | (view & PASSING), Ordering::Release);
        }
        drop(ledger);
    }
}

#[test]
fn an_entry_checked_against_an_old_tag_generation_is_checked_again() {
    loom::model(|| {
        let clock = Clock::new(Trust::Tracked, 0);
        let hit = thread::spawn({
            let clock = Arc::clone(&clock);
            move || {
                // Like `judge`, the reader takes the view before anything else.
                let view = clock.view();
                clock.counter.lock().unwrap().map(|_| view)
            }
        });
        clock.forget_counter();
        if let Some(looked_at) = hit.join().unwrap() {
            assert_ne!(looked_at, clock.view());
        }
    });
}

#[test]
fn an_expired_view_is_never_returned() {
    loom::model(|| {
        let clock = Clock::new(Trust::Expired, PASSING);
        let learner = thread::spawn({
            let clock = Arc::clone(&clock);
            move || clock.learn(2)
        });
        assert_ne!(clock.view(), 1, "a view that is trusted now is a new one");
        learner.join().unwrap();
        assert_eq!(clock.view(), 2);
    });
}

#[test]
fn after_a_worker_confirms_a_purge_no_reader_uses_the_old_view() {
    loom::model(|| {
        let (clock, confirmed) = (Clock::new(Trust::Tracked, 0), Arc::new(AtomicBool::new(false)));
        let worker = thread::spawn({
            let (clock, confirmed) = (Arc::clone(&clock), Arc::clone(&confirmed));
            move || {
                clock.outrun();
                clock.settled();
                // The real answer goes through Redis, which orders at least as much.
                confirmed.store(true, Ordering::Release);
            }
        });
        let reader = thread::spawn({
            let clock = Arc::clone(&clock);
            move || clock.learn(2)
        });
        if confirmed.load(Ordering::Acquire) {
            let view = clock.view();
            let count = clock.ledger.read().unwrap().0;
            assert!(view != 1 && (view == 0 || count == 2), "view {view} of {count}");
        }
        worker.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn an_entry_put_during_an_invalidation_does_not_stay_in_memory() {
    loom::model(|| {
        // In `store/watch.rs` and `Shared::outdate`, the flag is set under the lock, and memory is
        // cleared after it.
        let (shard, overtaken) = (Arc::new(Mutex::new(())), Arc::new(AtomicBool::new(false)));
        let memory = Arc::new(Mutex::new(false));
        let put = thread::spawn({
            let (shard, overtaken, memory) =
                (Arc::clone(&shard), Arc::clone(&overtaken), Arc::clone(&memory));
            move || {
                let _held = shard.lock().unwrap();
                if !overtaken.load(Ordering::Acquire) {
                    *memory.lock().unwrap() = true;
                }
            }
        });
        let held = shard.lock().unwrap();
        overtaken.store(true, Ordering::Release);
        drop(held);
        *memory.lock().unwrap() = false;
        put.join().unwrap();
        assert!(!*memory.lock().unwrap());
    });
}

#[test]
fn an_entry_read_over_a_lost_connection_is_never_trusted_after_the_loss() {
    loom::model(|| {
        // In `redis/tracking/table.rs`, each connection has one number, and its data has its own
        // lock.
        let (live, kept) = (Arc::new(AtomicU64::new(7)), Arc::new(Mutex::new(None)));
        let reported = Arc::new(AtomicBool::new(false));
        let reader = thread::spawn({
            let kept = Arc::clone(&kept);
            move || *kept.lock().unwrap() = Some(7)
        });
        let connection = thread::spawn({
            let (live, reported) = (Arc::clone(&live), Arc::clone(&reported));
            move || {
                live.store(0, Ordering::Release);
                reported.store(true, Ordering::Release);
            }
        });
        if reported.load(Ordering::Acquire) {
            let witness = *kept.lock().unwrap();
            assert_ne!(witness, Some(live.load(Ordering::Acquire)));
        }
        reader.join().unwrap();
        connection.join().unwrap();
    });
}

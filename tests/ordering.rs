//! Where the order of atomics matters, tried by loom in every interleaving and with every value that a load may give.
//!
//! What follows from one load, or is said under a lock, is not here: the counters of metrics, a drain's beginning
//! (`server/drain.rs`), the statistics of connections (`redis/health/stats_board.rs`), which are numbers beside each other and no more. Each model
//! is the steps of a file in their order, without what they carry; whoever changes an order there changes it here.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::sync::{Arc, Mutex, RwLock};
use loom::thread;

/// In a view, as in `store/clock.rs`.
const PASSING: u64 = 1 << 63;

/// Why the purge clock is believed.
#[derive(Clone, Copy, PartialEq)]
enum Trust {
    /// Nobody has said otherwise.
    Tracked,
    /// It is being read again.
    Outrun,
    /// It was for a while, and that is over.
    Expired,
    Nothing,
}

/// `store/clock.rs`: the view is written with the ledger's lock held, and read without it.
struct Clock {
    view: AtomicU64,
    views: AtomicU64,
    ledger: RwLock<(u64, Trust)>,
    /// Of one tag; `None` if it is not known.
    counter: Mutex<Option<u64>>,
}

impl Clock {
    /// At view 1, where one purge has been counted.
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
fn an_entry_that_was_judged_by_an_old_counter_is_judged_again() {
    loom::model(|| {
        let clock = Clock::new(Trust::Tracked, 0);
        let hit = thread::spawn({
            let clock = Arc::clone(&clock);
            move || {
                // As `judge` does: the view before anything that is looked at.
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
fn nobody_goes_on_by_a_view_that_has_passed() {
    loom::model(|| {
        let clock = Clock::new(Trust::Expired, PASSING);
        let learner = thread::spawn({
            let clock = Arc::clone(&clock);
            move || clock.learn(2)
        });
        assert_ne!(clock.view(), 1, "what is trusted by now is of another view");
        learner.join().unwrap();
        assert_eq!(clock.view(), 2);
    });
}

#[test]
fn after_a_worker_has_said_that_it_has_caught_up_nobody_goes_on_by_what_was() {
    loom::model(|| {
        let (clock, confirmed) = (Clock::new(Trust::Tracked, 0), Arc::new(AtomicBool::new(false)));
        let worker = thread::spawn({
            let (clock, confirmed) = (Arc::clone(&clock), Arc::clone(&confirmed));
            move || {
                clock.outrun();
                clock.settled();
                // The answer goes by way of Redis, which orders at least as much.
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
fn what_is_put_when_a_change_comes_is_taken_out_or_does_not_come_in() {
    loom::model(|| {
        // `store/watch.rs` and `Shared::outdate`: the sign is given under the lock, and memory is looked at after it.
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
fn what_was_read_over_a_lost_connection_is_not_known_to_whoever_has_heard_of_the_loss() {
    loom::model(|| {
        // `redis/tracking/table.rs`: one number a seat; what is kept beside it is behind a lock of its own.
        let (live, kept) = (Arc::new(AtomicU64::new(7)), Arc::new(Mutex::new(None)));
        let heard = Arc::new(AtomicBool::new(false));
        let reader = thread::spawn({
            let kept = Arc::clone(&kept);
            move || *kept.lock().unwrap() = Some(7)
        });
        let connection = thread::spawn({
            let (live, heard) = (Arc::clone(&live), Arc::clone(&heard));
            move || {
                live.store(0, Ordering::Release);
                heard.store(true, Ordering::Release);
            }
        });
        if heard.load(Ordering::Acquire) {
            let witness = *kept.lock().unwrap();
            assert_ne!(witness, Some(live.load(Ordering::Acquire)));
        }
        reader.join().unwrap();
        connection.join().unwrap();
    });
}

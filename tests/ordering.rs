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

/// The flag of a revision whose trust must be checked, as in `store/purge/state.rs`.
const EXPIRES: u64 = 1 << 63;

/// The reason why the purge log is trusted.
#[derive(Clone, Copy, PartialEq)]
enum Trust {
    /// No invalidation has arrived.
    Tracked,
    /// The log is being read again, within its grace.
    Revalidating,
    /// The grace is over.
    Expired,
    Nothing,
}

/// The purge state of `store/purge/state.rs`: the revision is written while the log's lock is held,
/// and read without it.
struct PurgeState {
    revision: AtomicU64,
    last_revision: AtomicU64,
    log: RwLock<(u64, Trust)>,
    /// The generation of one tag; `None` if it is unknown.
    tag_generation: Mutex<Option<u64>>,
}

impl PurgeState {
    /// Returns a state at revision 1, with one purge counted.
    fn new(trust: Trust, expires: u64) -> Arc<Self> {
        Arc::new(Self {
            revision: AtomicU64::new(1 | expires),
            last_revision: AtomicU64::new(1),
            log: RwLock::new((1, trust)),
            tag_generation: Mutex::new(Some(1)),
        })
    }

    fn revision(&self) -> u64 {
        let revision = self.revision.load(Ordering::Acquire);
        if revision & EXPIRES == 0 {
            return revision;
        }
        let log = self.log.read().unwrap();
        match log.1 {
            Trust::Tracked | Trust::Revalidating => self.revision.load(Ordering::Acquire) & !EXPIRES,
            Trust::Expired | Trust::Nothing => 0,
        }
    }

    fn next_revision(&self) -> u64 {
        self.last_revision.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn set_log(&self, count: u64) {
        let mut log = self.log.write().unwrap();
        *log = (count, Trust::Tracked);
        self.revision.store(self.next_revision(), Ordering::Release);
    }

    fn revalidate(&self) {
        let mut log = self.log.write().unwrap();
        if log.1 == Trust::Tracked {
            log.1 = Trust::Revalidating;
            self.revision.fetch_or(EXPIRES, Ordering::AcqRel);
        }
    }

    fn end_revalidation(&self) {
        let is_revalidating = self.log.read().unwrap().1 == Trust::Revalidating;
        if is_revalidating {
            let mut log = self.log.write().unwrap();
            log.1 = Trust::Nothing;
            self.revision.store(0, Ordering::Release);
        }
    }

    fn invalidate_tag(&self) {
        *self.tag_generation.lock().unwrap() = None;
        let log = self.log.write().unwrap();
        let revision = self.revision.load(Ordering::Acquire);
        if revision != 0 {
            self.revision.store(self.next_revision() | (revision & EXPIRES), Ordering::Release);
        }
        drop(log);
    }
}

#[test]
fn an_entry_checked_against_an_old_tag_generation_is_checked_again() {
    loom::model(|| {
        let state = PurgeState::new(Trust::Tracked, 0);
        let hit = thread::spawn({
            let state = Arc::clone(&state);
            move || {
                // Like `judge`, the reader takes the revision before anything else.
                let revision = state.revision();
                state.tag_generation.lock().unwrap().map(|_| revision)
            }
        });
        state.invalidate_tag();
        if let Some(checked_at) = hit.join().unwrap() {
            assert_ne!(checked_at, state.revision());
        }
    });
}

#[test]
fn an_expired_revision_is_never_returned() {
    loom::model(|| {
        let state = PurgeState::new(Trust::Expired, EXPIRES);
        let setter = thread::spawn({
            let state = Arc::clone(&state);
            move || state.set_log(2)
        });
        assert_ne!(state.revision(), 1, "a revision that is trusted now is a new one");
        setter.join().unwrap();
        assert_eq!(state.revision(), 2);
    });
}

#[test]
fn after_a_worker_confirms_a_purge_no_reader_uses_the_old_revision() {
    loom::model(|| {
        let (state, confirmed) = (PurgeState::new(Trust::Tracked, 0), Arc::new(AtomicBool::new(false)));
        let worker = thread::spawn({
            let (state, confirmed) = (Arc::clone(&state), Arc::clone(&confirmed));
            move || {
                state.revalidate();
                state.end_revalidation();
                // The real answer goes through Redis, which orders at least as much.
                confirmed.store(true, Ordering::Release);
            }
        });
        let reader = thread::spawn({
            let state = Arc::clone(&state);
            move || state.set_log(2)
        });
        if confirmed.load(Ordering::Acquire) {
            let revision = state.revision();
            let count = state.log.read().unwrap().0;
            assert!(revision != 1 && (revision == 0 || count == 2), "revision {revision} of {count}");
        }
        worker.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn an_entry_put_during_an_invalidation_does_not_stay_in_memory() {
    loom::model(|| {
        // In `store/purge/watch.rs` and `StoreShared::supersede`, the flag is set under the lock,
        // and memory is cleared after it.
        let (shard, superseded) = (Arc::new(Mutex::new(())), Arc::new(AtomicBool::new(false)));
        let memory = Arc::new(Mutex::new(false));
        let put = thread::spawn({
            let (shard, superseded, memory) =
                (Arc::clone(&shard), Arc::clone(&superseded), Arc::clone(&memory));
            move || {
                let _held = shard.lock().unwrap();
                if !superseded.load(Ordering::Acquire) {
                    *memory.lock().unwrap() = true;
                }
            }
        });
        let held = shard.lock().unwrap();
        superseded.store(true, Ordering::Release);
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
            let token = *kept.lock().unwrap();
            assert_ne!(token, Some(live.load(Ordering::Acquire)));
        }
        reader.join().unwrap();
        connection.join().unwrap();
    });
}

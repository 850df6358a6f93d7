//! What each server has done since the start: how long its replies took, and what went over the wire.
//!
//! A worker that speaks to a server has a [`Ledger`] for it, which that worker's thread alone writes, so that to count is a load
//! and a store and no locked instruction. What is told of a server is the sum of its ledgers and of its past.
//!
//! Whoever scrapes takes a counter that falls for a new beginning. So what a ledger has counted is added to the server's past
//! when the worker lets go of the server, and the past outlives all connections: after a fail-over the old master comes back.
//! Not for ever, since where addresses are handed out anew there are always others: beyond [`REDIS_SERVERS_REMEMBERED`], what
//! is known of the server that was let go of longest ago is forgotten.
//!
//! What always holds: a server that somebody speaks to is never forgotten, and a walk over the servers is the longest that the
//! lock is held; it is not taken to count.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::limits::REDIS_SERVERS_REMEMBERED;
use crate::telemetry::{Registry, Tally, Times};

/// All servers of a process. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledgers(Arc<Mutex<Books>>);

#[derive(Debug, Default)]
struct Books {
    /// By the server's address, without credentials.
    accounts: BTreeMap<String, Account>,
    /// How often a server was let go of by the last worker that spoke to it.
    partings: u64,
}

#[derive(Debug, Default)]
struct Account {
    /// One for each worker that speaks to the server.
    open: Vec<Arc<Counts>>,
    /// What the others have counted.
    past: ServerState,
    /// Which parting the last one was.
    parted: u64,
}

/// What one server has done, over all workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerState {
    /// From each command's submission to its reply, late or not.
    pub replies: Times,
    /// Bytes read from it.
    pub received: u64,
    /// Bytes written to it.
    pub sent: u64,
}

impl ServerState {
    fn add(&mut self, counts: &Counts) {
        self.replies += counts.replies.read();
        self.received += counts.received.load(Ordering::Relaxed);
        self.sent += counts.sent.load(Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Counts {
    replies: Tally,
    received: AtomicU64,
    sent: AtomicU64,
}

impl Ledgers {
    /// For one worker that speaks to this server, until it is dropped.
    pub(super) fn open(&self, server: &str) -> Ledger {
        let counts = Arc::<Counts>::default();
        let mut books = self.books();
        books.accounts.entry(server.to_owned()).or_default().open.push(Arc::clone(&counts));
        books.forget();
        Ledger { ledgers: self.clone(), server: server.to_owned(), counts }
    }

    /// Every server that is known, by its address.
    pub(super) fn read(&self) -> Vec<(String, ServerState)> {
        let read = |(server, account): (&String, &Account)| (server.clone(), account.read());
        self.books().accounts.iter().map(read).collect()
    }

    /// Shows them to whoever scrapes. To be called once for a registry.
    pub(super) fn show(&self, registry: &Registry) {
        let listing = |pick: fn(ServerState) -> u64| {
            let ledgers = self.clone();
            move || ledgers.read().into_iter().map(|(server, state)| (place(&server), pick(state))).collect()
        };
        registry.listed_counters(
            "cachewarp_redis_received_bytes",
            "Bytes read from Redis, by server.",
            "server",
            listing(|state| state.received),
        );
        registry.listed_counters(
            "cachewarp_redis_sent_bytes",
            "Bytes written to Redis, by server.",
            "server",
            listing(|state| state.sent),
        );
        let ledgers = self.clone();
        registry.listed_histograms(
            "cachewarp_redis_reply_seconds",
            "From a command's submission to its reply, late or not, by server.",
            "server",
            move || {
                let one = |(server, state): (String, ServerState)| (place(&server), state.replies);
                ledgers.read().into_iter().map(one).collect()
            },
        );
    }

    fn close(&self, server: &str, counts: &Arc<Counts>) {
        let mut books = self.books();
        books.partings += 1;
        let parting = books.partings;
        if let Some(account) = books.accounts.get_mut(server) {
            account.open.retain(|open| !Arc::ptr_eq(open, counts));
            account.past.add(counts);
            account.parted = parting;
        }
        books.forget();
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// What there are too many of, if nobody speaks to them.
    fn forget(&mut self) {
        while self.accounts.len() > REDIS_SERVERS_REMEMBERED {
            let left = self.accounts.iter().filter(|(_, account)| account.open.is_empty());
            let Some(longest) = left.min_by_key(|(_, account)| account.parted) else { return };
            let server = longest.0.clone();
            self.accounts.remove(&server);
        }
    }
}

impl Account {
    fn read(&self) -> ServerState {
        let mut state = self.past.clone();
        self.open.iter().for_each(|counts| state.add(counts));
        state
    }
}

/// One worker's part of what a server has done, and the right to write it.
#[derive(Debug)]
pub(super) struct Ledger {
    ledgers: Ledgers,
    server: String,
    counts: Arc<Counts>,
}

impl Ledger {
    /// A reply took so long.
    pub(super) fn replied(&self, took: Duration) {
        self.counts.replies.observe(took);
    }

    /// So many bytes went over the wire.
    pub(super) fn moved(&self, received: usize, sent: usize) {
        add(&self.counts.received, received as u64);
        add(&self.counts.sent, sent as u64);
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.ledgers.close(&self.server, &self.counts);
    }
}

/// Without a locked instruction: there is one writer.
fn add(cell: &AtomicU64, more: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

/// Host and port, or the path of a socket: all servers are spoken to in the same way.
fn place(server: &str) -> String {
    server.split_once("://").map_or(server, |(_, place)| place).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(ledgers: &Ledgers, server: &str) -> Option<ServerState> {
        ledgers.read().into_iter().find(|(name, _)| name == server).map(|(_, state)| state)
    }

    #[test]
    fn workers_are_summed_and_what_is_counted_stays() {
        let ledgers = Ledgers::default();
        let [first, second] = [(); 2].map(|()| ledgers.open("redis://a:1"));
        let other = ledgers.open("redis://b:1");
        first.replied(Duration::from_millis(1));
        first.moved(10, 20);
        second.replied(Duration::from_millis(2));
        second.moved(1, 2);
        let before = state(&ledgers, "redis://a:1").unwrap();
        assert_eq!((before.received, before.sent, before.replies.count()), (11, 22, 2));
        assert_eq!(before.replies.nanos, 3_000_000);
        drop((first, second));
        assert_eq!(state(&ledgers, "redis://a:1"), Some(before));
        ledgers.open("redis://a:1").moved(1, 0);
        assert_eq!(state(&ledgers, "redis://a:1").unwrap().received, 12);
        drop(other);
        assert_eq!(state(&ledgers, "redis://b:1"), Some(ServerState::default()));
    }

    #[test]
    fn the_one_that_is_gone_longest_is_forgotten() {
        let ledgers = Ledgers::default();
        let kept = ledgers.open("kept");
        for number in 0..REDIS_SERVERS_REMEMBERED {
            ledgers.open(&number.to_string()).moved(1, 1);
        }
        assert_eq!(ledgers.read().len(), REDIS_SERVERS_REMEMBERED);
        assert_eq!((state(&ledgers, "0"), state(&ledgers, "1").is_some()), (None, true));
        // Who is spoken to is not, however many there are.
        let many: Vec<_> =
            (0..=REDIS_SERVERS_REMEMBERED).map(|number| ledgers.open(&format!("new-{number}"))).collect();
        assert_eq!(ledgers.read().len(), REDIS_SERVERS_REMEMBERED + 2);
        drop(many);
        assert_eq!(ledgers.read().len(), REDIS_SERVERS_REMEMBERED);
        assert!(state(&ledgers, "kept").is_some());
        drop(kept);
    }

    #[test]
    fn what_is_scraped() {
        let (ledgers, registry) = (Ledgers::default(), Registry::new());
        ledgers.show(&registry);
        assert!(!registry.render().contains("server="));
        let ledger = ledgers.open("rediss://[::1]:6379");
        ledger.replied(Duration::from_micros(70));
        ledger.moved(5, 6);
        let text = registry.render();
        for line in [
            r#"cachewarp_redis_received_bytes_total{server="[::1]:6379"} 5"#,
            r#"cachewarp_redis_sent_bytes_total{server="[::1]:6379"} 6"#,
            r#"cachewarp_redis_reply_seconds_count{server="[::1]:6379"} 1"#,
            r#"cachewarp_redis_reply_seconds_bucket{le="0.0001",server="[::1]:6379"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
    }
}

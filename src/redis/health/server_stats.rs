//! The statistics of each server since the start of the process: latencies of its replies, bytes
//! sent and received.
//!
//! Each worker that uses a server has a [`ServerStats`] for it, which only that worker's thread
//! writes, so that counting is a load and a store without a locked instruction. A server's total is
//! the sum of its workers' statistics and of its past.
//!
//! Prometheus treats a falling counter as a restart. So a worker that drops a server adds its
//! counts to the *past* of the server, which outlives the connections: after a fail-over the old
//! master may come back. Addresses may change without end, so the pasts of at most
//! [`REDIS_SERVERS_REMEMBERED`] servers are kept; the server that was dropped longest ago leaves
//! first.
//!
//! **Always:** a server in use is never removed, and the lock is held for one walk over the servers
//! at most, never to count.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::limits::REDIS_SERVERS_REMEMBERED;
use crate::telemetry::{DurationSummary, DurationTally, Registry};

/// All servers of a process. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(in crate::redis) struct ServerStatsTable(Arc<Mutex<StatsTable>>);

#[derive(Debug, Default)]
struct StatsTable {
    /// Keyed by the server's address, without credentials.
    records: BTreeMap<String, ServerRecord>,
    /// The number of times that a worker dropped a server.
    releases: u64,
}

#[derive(Debug, Default)]
struct ServerRecord {
    /// The counts of each worker that uses the server.
    open: Vec<Arc<WorkerCounts>>,
    /// The counts of the workers that dropped it.
    past: ServerState,
    /// The number of its last release.
    released: u64,
}

/// The totals of one server, over all workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerState {
    /// Latencies from a command's submission to its reply, late or not.
    pub replies: DurationSummary,
    /// Bytes read from it.
    pub received: u64,
    /// Bytes written to it.
    pub sent: u64,
}

impl ServerState {
    fn add(&mut self, counts: &WorkerCounts) {
        self.replies += counts.replies.read();
        self.received += counts.received.load(Ordering::Relaxed);
        self.sent += counts.sent.load(Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct WorkerCounts {
    replies: DurationTally,
    received: AtomicU64,
    sent: AtomicU64,
}

impl ServerStatsTable {
    /// Opens the statistics of one worker for this server, until they are dropped.
    pub(in crate::redis) fn open(&self, server: &str) -> ServerStats {
        let counts = Arc::<WorkerCounts>::default();
        let mut lock = self.lock();
        lock.records.entry(server.to_owned()).or_default().open.push(Arc::clone(&counts));
        lock.forget();
        ServerStats { table: self.clone(), server: server.to_owned(), counts }
    }

    /// Returns every known server, by its address.
    pub(in crate::redis) fn read(&self) -> Vec<(String, ServerState)> {
        let read = |(server, record): (&String, &ServerRecord)| (server.clone(), record.read());
        self.lock().records.iter().map(read).collect()
    }

    /// Registers the metrics. Call once for a registry.
    pub(in crate::redis) fn register(&self, registry: &Registry) {
        let listing = |pick: fn(ServerState) -> u64| {
            let table = self.clone();
            move || table.read().into_iter().map(|(server, state)| (host(&server), pick(state))).collect()
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
        let table = self.clone();
        registry.listed_histograms(
            "cachewarp_redis_reply_seconds",
            "Redis reply latency from submission, late replies included, by server.",
            "server",
            move || {
                let one = |(server, state): (String, ServerState)| (host(&server), state.replies);
                table.read().into_iter().map(one).collect()
            },
        );
    }

    fn close(&self, server: &str, counts: &Arc<WorkerCounts>) {
        let mut lock = self.lock();
        lock.releases += 1;
        let release = lock.releases;
        if let Some(record) = lock.records.get_mut(server) {
            record.open.retain(|open| !Arc::ptr_eq(open, counts));
            record.past.add(counts);
            record.released = release;
        }
        lock.forget();
    }

    fn lock(&self) -> MutexGuard<'_, StatsTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StatsTable {
    /// Removes the servers beyond the limit, if they are not in use.
    fn forget(&mut self) {
        while self.records.len() > REDIS_SERVERS_REMEMBERED {
            let left = self.records.iter().filter(|(_, record)| record.open.is_empty());
            let Some(longest) = left.min_by_key(|(_, record)| record.released) else { return };
            let server = longest.0.clone();
            self.records.remove(&server);
        }
    }
}

impl ServerRecord {
    fn read(&self) -> ServerState {
        let mut state = self.past.clone();
        self.open.iter().for_each(|counts| state.add(counts));
        state
    }
}

/// One worker's counts for a server.
#[derive(Debug)]
pub(in crate::redis) struct ServerStats {
    table: ServerStatsTable,
    server: String,
    counts: Arc<WorkerCounts>,
}

impl ServerStats {
    /// Records a reply.
    pub(in crate::redis) fn add_reply(&self, took: Duration) {
        self.counts.replies.observe(took);
    }

    /// Records bytes on the wire.
    pub(in crate::redis) fn add_bytes(&self, received: usize, sent: usize) {
        add(&self.counts.received, received as u64);
        add(&self.counts.sent, sent as u64);
    }
}

impl Drop for ServerStats {
    fn drop(&mut self) {
        self.table.close(&self.server, &self.counts);
    }
}

/// Without a locked instruction: there is one writer.
fn add(cell: &AtomicU64, more: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

/// Returns host and port, or the path of a socket; the scheme is the same for all servers.
fn host(server: &str) -> String {
    server.split_once("://").map_or(server, |(_, host)| host).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(table: &ServerStatsTable, server: &str) -> Option<ServerState> {
        table.read().into_iter().find(|(name, _)| name == server).map(|(_, state)| state)
    }

    #[test]
    fn workers_are_summed_and_totals_outlive_them() {
        let table = ServerStatsTable::default();
        let [first, second] = [(); 2].map(|()| table.open("redis://a:1"));
        let other = table.open("redis://b:1");
        first.add_reply(Duration::from_millis(1));
        first.add_bytes(10, 20);
        second.add_reply(Duration::from_millis(2));
        second.add_bytes(1, 2);
        let before = state(&table, "redis://a:1").unwrap();
        assert_eq!((before.received, before.sent, before.replies.count()), (11, 22, 2));
        assert_eq!(before.replies.nanos, 3_000_000);
        drop((first, second));
        assert_eq!(state(&table, "redis://a:1"), Some(before));
        table.open("redis://a:1").add_bytes(1, 0);
        assert_eq!(state(&table, "redis://a:1").unwrap().received, 12);
        drop(other);
        assert_eq!(state(&table, "redis://b:1"), Some(ServerState::default()));
    }

    #[test]
    fn the_server_dropped_longest_ago_is_removed() {
        let table = ServerStatsTable::default();
        let kept = table.open("kept");
        for number in 0..REDIS_SERVERS_REMEMBERED {
            table.open(&number.to_string()).add_bytes(1, 1);
        }
        assert_eq!(table.read().len(), REDIS_SERVERS_REMEMBERED);
        assert_eq!((state(&table, "0"), state(&table, "1").is_some()), (None, true));
        // Servers in use are kept, beyond the limit too.
        let many: Vec<_> =
            (0..=REDIS_SERVERS_REMEMBERED).map(|number| table.open(&format!("new-{number}"))).collect();
        assert_eq!(table.read().len(), REDIS_SERVERS_REMEMBERED + 2);
        drop(many);
        assert_eq!(table.read().len(), REDIS_SERVERS_REMEMBERED);
        assert!(state(&table, "kept").is_some());
        drop(kept);
    }

    #[test]
    fn servers_are_scraped_by_host_and_port() {
        let (table, registry) = (ServerStatsTable::default(), Registry::new());
        table.register(&registry);
        assert!(!registry.render().contains("server="));
        let stats = table.open("rediss://[::1]:6379");
        stats.add_reply(Duration::from_micros(70));
        stats.add_bytes(5, 6);
        let text = registry.render();
        for line in [
            r#"cachewarp_redis_received_bytes_total{server="[::1]:6379"} 5"#,
            r#"cachewarp_redis_sent_bytes_total{server="[::1]:6379"} 6"#,
            r#"cachewarp_redis_reply_seconds_count{server="[::1]:6379"} 1"#,
            r#"cachewarp_redis_reply_seconds_bucket{server="[::1]:6379",le="0.0001"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
    }
}

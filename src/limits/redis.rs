//! The bounds of the Redis client: replies, windows, deadlines, topologies, probes.

use std::time::Duration;

use super::{ENTRY_BYTES_MAX, KIB};

/// Bytes around an entry in a Redis reply: type, length, line ends.
pub const REPLY_OVERHEAD_BYTES: usize = 64;
/// The largest reply that is read; a longer one closes the connection.
pub const REPLY_BYTES_MAX: usize = ENTRY_BYTES_MAX + REPLY_OVERHEAD_BYTES;
/// How deep a reply may nest.
pub const REPLY_DEPTH_MAX: usize = 8;
/// How many elements a reply may have, nested ones included. The largest that is asked for is the map of a cluster: two
/// for each range of slots, were every second slot another server's, and twenty for each server.
pub const REPLY_ELEMENTS_MAX: usize = 40_960;
/// The longest reply that is one line: a status, a number, an error.
pub const REPLY_LINE_BYTES_MAX: usize = 64 * KIB;
/// What a connection's read buffer holds: a window of replies of usual size. A reply that does not fit has a buffer of
/// its own, and a slice of a small reply keeps no more than this alive.
pub const REDIS_READ_BYTES: usize = 64 * KIB;
/// The least room that a read is offered, so that a batch of replies is one system call.
pub const REDIS_READ_ROOM_BYTES_MIN: usize = 32 * KIB;
/// The largest value that is copied behind the other commands of a batch; a larger one is written from where it is.
pub const REDIS_COPY_BYTES_MAX: usize = 16 * KIB;
/// Commands that one connection has under way before the next one is used.
pub const REDIS_WINDOW_COMMANDS: usize = 32;
/// Commands that all connections for reads together have under way at least before the answer is that they are full: few
/// connections take more each.
pub const REDIS_LANE_COMMANDS_MIN: usize = 1024;
/// Values of the largest size that one connection may have under way.
pub const REDIS_WINDOW_VALUES: usize = 2;
/// All of a command that is not its value, key included.
pub const REDIS_COMMAND_OVERHEAD_BYTES: usize = 256;
/// One in so many connections of a worker is for large writes, so that they stand in no read's way.
pub const REDIS_BULK_SHARE: usize = 5;
/// A larger command is a large write. At 1 GB/s it holds up what is behind it for 16 µs.
pub const REDIS_BULK_BYTES_MIN: usize = 16 * KIB;
/// How long a connection that brings news of changes may be silent before it is asked for a sign of life. With the time
/// without progress after which it is given up ([`REDIS_STALL_MIN`], or [`REDIS_STALL_FACTOR`] command time-outs), this
/// is how long a node that has lost its network without being told may serve what it has in memory.
pub const REDIS_HEARTBEAT: Duration = Duration::from_millis(500);
/// Connections of a process that can bring news of changes; what is read over a further one is not tracked.
pub const REDIS_SEATS_MAX: usize = 4096;
/// How many of a connection's last news are known by what they were about: so many may come between a reply and the
/// moment at which it is remembered, unless one of them is about the same key.
pub const REDIS_NEWS_REMEMBERED: usize = 64;
/// How many command time-outs a connection may make no progress before it is given up.
pub const REDIS_STALL_FACTOR: u32 = 20;
/// The least time without progress that makes a connection be given up, however short the command time-out.
pub const REDIS_STALL_MIN: Duration = Duration::from_secs(1);
/// Replies from which on it is known what a server usually takes.
pub const REDIS_PACE_SAMPLES_MIN: u32 = 32;
/// Replies that are remembered at most; beyond it, each counts half.
pub const REDIS_PACE_SAMPLES_MAX: u32 = 2048;
/// How long a reply is remembered with half of its weight, where there are few.
pub const REDIS_PACE_HALF_LIFE: Duration = Duration::from_secs(30);
/// What is usual: what so many of so many replies take at most.
pub const REDIS_PACE_QUANTILE: (u32, u32) = (99, 100);
/// How many times the usual a server may be silent before a read that waits for it is given up.
pub const REDIS_SILENCE_FACTOR: u32 = 4;
/// The least such time: what a busy machine, this one or Redis', may take to come back to it. A turn of the scheduler that is
/// missed, or a fork for a snapshot, is 4 to 20 ms, and a read that is given up for it costs a fetch from the origin, which
/// takes longer; with 5 ms one hiccup cost 512 callers 1,413 reads. Where the server has really stalled, each caller pays this
/// once, and then the breaker is open.
pub const REDIS_SILENCE_MIN: Duration = Duration::from_millis(20);
/// The least age of a read at which it is worth a hedge.
pub const REDIS_HEDGE_DELAY_MIN: Duration = Duration::from_millis(2);
/// Hedges that may be saved up.
pub const REDIS_HEDGES_SAVED_MAX: f64 = 10.0;
/// Reads in a row that a silent server must have cost before its breaker opens.
pub const REDIS_BREAKER_MISSES: u32 = 8;
/// Connections that must be silent at the same time for that, where so many are up: one alone may have lost a packet.
pub const REDIS_BREAKER_SILENT_CONNECTIONS: usize = 2;
/// The first rest of an open breaker before it is probed.
pub const REDIS_BREAKER_REST_MIN: Duration = Duration::from_millis(25);
/// The longest: a quarter of what recovery may take.
pub const REDIS_BREAKER_REST_MAX: Duration = Duration::from_millis(500);
/// The longest that any wait for Redis may be set to; beyond it, moments could not be added.
pub const REDIS_WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long a connection may be silent before the kernel asks whether the peer is there, and how often it then asks.
pub const REDIS_KEEPALIVE: Duration = Duration::from_secs(15);
/// How long sent bytes may stay unacknowledged before the kernel gives the connection up.
pub const REDIS_UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);
/// The most connections that `redis_pool_size` may ask for.
pub const REDIS_CONNECTIONS_MAX: usize = 1024;
/// The first wait before a lost connection is dialled again.
pub const REDIS_BACKOFF_MIN: Duration = Duration::from_millis(50);
/// The longest wait before a lost connection is dialled again: half of what recovery may take.
pub const REDIS_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How many servers of a cluster are spoken to; each has one connection of a worker at least. A cluster of more is not
/// used.
pub const REDIS_NODES_MAX: usize = 128;
/// How many servers are told of in metrics that nobody speaks to any more, with those that are spoken to.
pub const REDIS_SERVERS_REMEMBERED: usize = REDIS_NODES_MAX;
/// The most seeds, of sentinels or of a cluster's servers, that `redis_url` may name.
pub const REDIS_SEEDS_MAX: usize = 16;
/// The least time between two questions for who the servers are, whatever goes wrong meanwhile.
pub const REDIS_TOPOLOGY_INTERVAL_MIN: Duration = Duration::from_millis(250);
/// How often it is asked when nothing goes wrong.
pub const REDIS_TOPOLOGY_INTERVAL_MAX: Duration = Duration::from_secs(30);
/// The most that one server may take to say who the servers are, from dialling it on.
pub const REDIS_TOPOLOGY_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a purge waits for a replica to have it, so that it is not lost with the master.
pub const REDIS_REPLICATION_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a master of a cluster is trusted that does not say whether it still is one.
pub const REDIS_VOUCHED_FOR: Duration = Duration::from_millis(1500);
/// How long after a change of masters a purge waits until everybody else has noticed it too: sentinels tell each other every
/// two seconds and are missed after two more ([`REDIS_TOPOLOGY_TIMEOUT`] twice); a cluster's master that was demoted is not
/// trusted for longer than [`REDIS_VOUCHED_FOR`], a rest and an unanswered question ([`REDIS_HEARTBEAT`] twice).
pub const REDIS_CHANGE_SETTLES: Duration = Duration::from_secs(4);
/// The largest file with a password.
pub const PASSWORD_FILE_BYTES_MAX: usize = 4 * KIB;

/// How long the answer of a health probe is remembered.
pub const HEALTH_REMEMBERED: Duration = Duration::from_secs(1);
/// The most that a health check waits for Redis.
pub const HEALTH_TIMEOUT: Duration = Duration::from_millis(80);
/// How long `cachewarp health` waits for the whole answer.
pub const HEALTH_PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How much of an answer `cachewarp health` reads.
pub const HEALTH_PROBE_BYTES_MAX: usize = 16 * KIB;

//! Limits of the Redis client: replies, windows, deadlines, topologies, probes.

use std::time::Duration;

use super::settings::{KIB, MIB};
use super::store::ENTRY_BYTES_MAX;

/// Bytes around an entry in a Redis reply: type, length, line ends.
pub const REPLY_OVERHEAD_BYTES: usize = 64;
/// The largest reply. A larger one closes the connection.
pub const REPLY_BYTES_MAX: usize = ENTRY_BYTES_MAX + REPLY_OVERHEAD_BYTES;
/// The deepest nesting of a reply.
pub const REPLY_DEPTH_MAX: usize = 8;
/// Elements of a reply, nested ones included. The largest expected reply is the slot map of a
/// cluster: two elements for each range of slots, if every second slot belonged to another server,
/// and twenty for each server.
pub const REPLY_ELEMENTS_MAX: usize = 40_960;
/// The longest one-line reply: a status, a number, an error.
pub const REPLY_LINE_BYTES_MAX: usize = 64 * KIB;
/// Size of a connection's read buffer: a window of replies of usual size. A reply that does not fit
/// gets its own buffer, and a slice of a small reply keeps at most one read buffer alive.
pub const REDIS_READ_BYTES: usize = 64 * KIB;
/// The least free room for a read, so that one system call reads a batch of replies.
pub const REDIS_READ_ROOM_BYTES_MIN: usize = 32 * KIB;
/// The largest value that is copied behind the other commands of a batch. A larger one is written
/// from its own buffer.
pub const REDIS_COPY_BYTES_MAX: usize = 16 * KIB;
/// Commands in flight on one connection before the pool uses the next one.
pub const REDIS_WINDOW_COMMANDS: usize = 32;
/// Commands in flight on all read connections together before the pool is full. With few
/// connections, each takes more than one window.
pub const REDIS_LANE_COMMANDS_MIN: usize = 1024;
/// The largest reply on a connection for commands that block. A larger one closes the connection.
pub const BLOCKING_REPLY_BYTES_MAX: usize = 4 * MIB;
/// Values of the largest size in flight on one connection.
pub const REDIS_WINDOW_VALUES: usize = 2;
/// Bytes of a command besides its value, key included.
pub const REDIS_COMMAND_OVERHEAD_BYTES: usize = 256;
/// One connection in this many of a worker carries large writes only, so that no read waits behind
/// them.
pub const REDIS_BULK_SHARE: usize = 5;
/// The size from which a command is a large write. At 1 GB/s such a command delays the next one by
/// 16 µs.
pub const REDIS_BULK_BYTES_MIN: usize = 16 * KIB;
/// Time for which a connection that delivers invalidations may be silent before the client sends a
/// heartbeat. This time, plus the time without progress after which the connection is closed
/// ([`REDIS_STALL_MIN`], or [`REDIS_STALL_FACTOR`] command timeouts), bounds how long a node whose
/// network fails silently serves from memory.
pub const REDIS_HEARTBEAT: Duration = Duration::from_millis(500);
/// Time for which the subscribed connection of a worker may be silent before a heartbeat, if
/// nothing was read over it: no entry in memory depends on it yet.
pub const REDIS_IDLE_HEARTBEAT: Duration = Duration::from_secs(1);
/// Connections of a process that can deliver invalidations. Reads over further connections are not
/// tracked.
pub const REDIS_TRACKING_SLOTS_MAX: usize = 4096;
/// Recent invalidations of a connection that are remembered by their key's digest. If more arrive
/// between a reply and the moment at which it is stored in memory, the reply counts as invalidated,
/// whatever their keys.
pub const REDIS_INVALIDATIONS_REMEMBERED: usize = 64;
/// Time without progress, in command timeouts, after which a connection is closed.
pub const REDIS_STALL_FACTOR: u32 = 20;
/// The least time without progress after which a connection is closed, however short the command
/// timeout.
pub const REDIS_STALL_MIN: Duration = Duration::from_secs(1);
/// Replies from which the latency estimate of a server is used.
pub const REDIS_LATENCY_SAMPLES_MIN: u32 = 32;
/// Replies that the latency estimate counts at most. Beyond it, the weight of all is halved.
pub const REDIS_LATENCY_SAMPLES_MAX: u32 = 2048;
/// Time after which a reply's weight in the latency estimate is halved, if few replies arrive.
pub const REDIS_LATENCY_HALF_LIFE: Duration = Duration::from_secs(30);
/// The quantile of the reply times that counts as the usual latency.
pub const REDIS_LATENCY_QUANTILE: (u32, u32) = (99, 100);
/// Silence of a server, in usual latencies, after which the client gives up a waiting read.
pub const REDIS_SILENCE_FACTOR: u32 = 4;
/// The shortest silence after which the client gives up a read: the longest pause that a busy
/// machine, this one or that of Redis, usually causes. A missed turn of the scheduler, or a fork
/// for a snapshot, takes 4 to 20 ms, and a read that is given up costs a fetch from the origin,
/// which takes longer: with 5 ms, one pause cost 512 callers 1,413 reads. If the server has really
/// stalled, each caller waits for this time once, and then the breaker is open.
pub const REDIS_SILENCE_MIN: Duration = Duration::from_millis(20);
/// The least age of a read at which the client sends a hedge.
pub const REDIS_HEDGE_DELAY_MIN: Duration = Duration::from_millis(2);
/// Hedges that the budget saves up at most.
pub const REDIS_HEDGES_SAVED_MAX: f64 = 10.0;
/// Consecutive reads that a silent server must fail before its breaker opens.
pub const REDIS_BREAKER_MISSES: u32 = 8;
/// Connections that must be silent at once before the breaker opens, if as many are up: one alone
/// may have lost a packet.
pub const REDIS_BREAKER_SILENT_CONNECTIONS: usize = 2;
/// The first pause of an open breaker before a probe.
pub const REDIS_BREAKER_REST_MIN: Duration = Duration::from_millis(25);
/// The longest pause of an open breaker: a quarter of the time that recovery may take.
pub const REDIS_BREAKER_REST_MAX: Duration = Duration::from_millis(500);
/// The longest configurable wait for Redis. Beyond it, adding it to an instant could overflow.
pub const REDIS_WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Idle time on a Redis connection before the kernel sends a keep-alive probe, and the interval
/// between two probes.
pub const REDIS_KEEPALIVE: Duration = Duration::from_secs(15);
/// Time for which sent bytes may stay unacknowledged before the kernel closes the connection.
pub const REDIS_UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);
/// The largest `redis_pool_size`.
pub const REDIS_CONNECTIONS_MAX: usize = 1024;
/// The first wait before a lost connection is dialled again.
pub const REDIS_BACKOFF_MIN: Duration = Duration::from_millis(50);
/// The longest wait before a lost connection is dialled again: half of the time that recovery may
/// take.
pub const REDIS_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Servers of a cluster to which the client connects; each has at least one connection of a worker.
/// The client refuses a larger cluster.
pub const REDIS_NODES_MAX: usize = 128;
/// Servers that the metrics list, former ones included.
pub const REDIS_SERVERS_REMEMBERED: usize = REDIS_NODES_MAX;
/// Seeds, sentinels or servers of a cluster, that `redis_url` may name.
pub const REDIS_SEEDS_MAX: usize = 16;
/// The least time between two reads of the topology, however many failures occur meanwhile.
pub const REDIS_TOPOLOGY_INTERVAL_MIN: Duration = Duration::from_millis(250);
/// Interval between two reads of the topology without a failure.
pub const REDIS_TOPOLOGY_INTERVAL_MAX: Duration = Duration::from_secs(30);
/// Time for which one server may take to report the topology, from dialling it on.
pub const REDIS_TOPOLOGY_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for which a purge waits for a replica to confirm it, so that a fail-over does not lose it.
pub const REDIS_REPLICATION_TIMEOUT: Duration = Duration::from_millis(500);
/// Time for which a master has to have its writes acknowledged by replicas that it no longer lists.
/// It exceeds the interval at which each worker counts them.
pub const REDIS_REPLICAS_REMEMBERED: Duration = Duration::from_secs(60);
/// Time for which a cluster's master is trusted without a confirmation that it is still the master.
pub const REDIS_MASTER_LEASE: Duration = Duration::from_millis(1500);
/// Grace after a fail-over in which a purge waits until all other nodes have noticed it. Sentinels
/// exchange their state every two seconds and are declared unreachable after two more
/// ([`REDIS_TOPOLOGY_TIMEOUT`] twice); a demoted master of a cluster is trusted for
/// [`REDIS_MASTER_LEASE`] plus a pause and an unanswered heartbeat ([`REDIS_HEARTBEAT`] twice).
pub const REDIS_FAILOVER_GRACE: Duration = Duration::from_secs(4);
/// The longest identifier of a server's run.
pub const REDIS_RUN_BYTES_MAX: usize = 64;

/// Time without a refusal of a command after which a success ends the state *refusing*: a full
/// Redis accepts some writes between refusals.
pub const REDIS_REFUSAL_CALM: Duration = Duration::from_secs(5);
/// Time without a refusal of a command after which any success ends the state *refusing*.
pub const REDIS_REFUSAL_EXPIRY: Duration = Duration::from_secs(30);
/// Causes of failed connections to one server that the log names before the next connection.
pub const LOGGED_CAUSES_MAX: usize = 8;
/// Time for which the result of a health probe is cached.
pub const HEALTH_REMEMBERED: Duration = Duration::from_secs(1);
/// Time for which a health check waits for Redis.
pub const HEALTH_TIMEOUT: Duration = Duration::from_millis(80);
/// Time for which `cachewarp health` waits for the whole answer.
pub const HEALTH_PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of an answer that `cachewarp health` reads.
pub const HEALTH_PROBE_BYTES_MAX: usize = 16 * KIB;

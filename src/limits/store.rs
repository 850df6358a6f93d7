//! Limits of stored data: entries, purges, the memory tier.

use std::time::Duration;

use super::settings::{KIB, MIB};

// --- Entries -------------------------------------------------------------------------------------

/// Interval between two looks for the first connection to Redis at a start.
pub const REDIS_START_POLL: Duration = Duration::from_millis(2);
/// The largest `cache_max_body`.
pub const BODY_BYTES_MAX: usize = 64 * MIB;
/// The largest encoded block of stored header fields.
pub const ENTRY_HEAD_BYTES_MAX: usize = 64 * KIB;
/// Bytes of an entry besides its header block and its body.
pub const ENTRY_FIXED_BYTES_MAX: usize = 2 * KIB;
/// The largest encoded entry.
pub const ENTRY_BYTES_MAX: usize = entry_bytes_max(BODY_BYTES_MAX);
/// Returns the size of the largest encoded entry with a body of `body_bytes_max`.
pub const fn entry_bytes_max(body_bytes_max: usize) -> usize {
    ENTRY_FIXED_BYTES_MAX + ENTRY_HEAD_BYTES_MAX + body_bytes_max
}
/// The smallest content of an entry that is compressed for Redis. Below it, a frame saves less than
/// the overhead of its key in Redis.
pub const COMPRESSED_BYTES_MIN: usize = KIB;
/// The largest content that is compressed: a hit in Redis decompresses it in the worker.
pub const COMPRESSED_BYTES_MAX: usize = 2 * MIB;
/// The level of zstd.
pub const COMPRESSION_LEVEL: i32 = 1;
/// The largest entry that a worker packs itself. A blocking thread packs a larger one, so that no
/// other request waits for it.
pub const PACKED_AT_ONCE_BYTES_MAX: usize = 64 * KIB;
/// Time for which a node without keys writes no entry to Redis after it has read a sealed one.
pub const SEALED_REMEMBERED: Duration = Duration::from_secs(60);
/// Time by which the clock of the node that stored an entry may be ahead. Beyond it, the entry is
/// refused.
pub const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(60);
/// Request fields that one `Vary` may name.
pub const VARY_FIELDS_MAX: usize = 16;
/// Request fields that `key_headers` may name: the rest of [`VARY_FIELDS_MAX`] is for the origin.
pub const KEY_HEADERS_MAX: usize = VARY_FIELDS_MAX / 2;
/// Bytes of decoded JSON for each byte that `cache_max_body` allows.
pub const INFLATE_FACTOR_MAX: usize = 8;
/// The largest JSON text, decoded, that a worker checks itself. A blocking thread checks a larger
/// one, so that no other request waits for it.
pub const JSON_AT_ONCE_BYTES_MAX: usize = 100 * KIB;
/// The largest JSON text that simd-json checks. A larger one is checked against the grammar alone,
/// which takes no memory for its values.
pub const JSON_TAPE_BYTES_MAX: usize = MIB;
/// Levels of nesting of a stored JSON text (RFC 8259 §9).
pub const JSON_NESTING_MAX: usize = 16 * 1024;
/// Bodies that blocking threads of a process check at once.
pub const JSON_CHECKS_MAX: usize = 2;
/// Time for which a body waits for its check. Beyond it, the body is not stored.
pub const JSON_CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// Invalid bodies that are remembered, so that they are not checked again.
pub const INVALID_BODIES_MAX: usize = 1024;
/// The longest lifetime of a stored response: RFC 9111 §1.2.2 lets a cache stop counting at 2^31 s,
/// and a shared Redis should forget sooner.
pub const LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest heuristic lifetime, computed from `Last-Modified`.
pub const HEURISTIC_LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// Time for which a response with a validator is kept past its lifetime, so that the proxy can
/// revalidate it.
pub const VALIDATION_KEPT: Duration = Duration::from_secs(10 * 60);
/// Time past its lifetime for which a response may be served while the origin is unreachable, if
/// the response does not limit it (RFC 9111 §4.2.4).
pub const DISCONNECTED_STALE_MAX: Duration = Duration::from_secs(60);
/// Ranges of one body that a request may name. With more, the answer is the whole body.
pub const RANGES_MAX: usize = 16;
/// Bytes in front of a range that the proxy reads and drops, of a response that it cannot store.
/// Beyond it, the client gets the whole body.
pub const RANGE_SKIPPED_BYTES_MAX: usize = 256 * KIB;
/// Tags and cache groups of one entry. A response with more tags is not stored.
pub const TAGS_MAX: usize = 64;
/// Cache groups of one response. Further ones are ignored.
pub const GROUPS_MAX: usize = 32;
/// The longest name of a cache group.
pub const GROUP_BYTES_MAX: usize = 128;

// --- Purges --------------------------------------------------------------------------------------

/// The longest tag of a response.
pub const TAG_BYTES_MAX: usize = 256;
/// The longest prefix of a purge.
pub const PREFIX_BYTES_MAX: usize = 512;
/// Purges by prefix that are kept until the entries they concern have expired. Beyond it, coarser
/// purges replace them.
pub const PREFIXES_MAX: usize = 64;
/// Purges of one resource, tag or group that Redis has not yet accepted and that a node remembers
/// and repeats one by one. Beyond it, a purge of everything replaces them.
pub const LOCAL_PURGES_MAX: usize = 4096;
/// Hard purges of single keys that a process with `entry_key_file` remembers, so that no other
/// client of Redis can undo them: 6 MiB at most.
pub const PURGED_KEYS_REMEMBERED: usize = 64 * 1024;
/// Removals that a process writes again after a fail-over.
pub const REMOVALS_RECENT_MAX: usize = 4096;
/// Time for which a process writes a removal again after a fail-over: longer than Sentinel usually
/// takes to replace a master.
pub const REMOVAL_RECENT_FOR: Duration = Duration::from_secs(60);
/// Pending purges that a node repeats in one round.
pub const PURGES_REPEATED_TOGETHER: usize = 64;

/// Pause after a first repetition that Redis has not accepted. It doubles each time.
pub const PURGE_REPEAT_PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two repetitions.
pub const PURGE_REPEAT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Items of one purge.
pub const PURGE_SCOPES_MAX: usize = 2000;
/// Time for which a purge waits until every node has confirmed it.
pub const PURGE_ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// Confirmations that may be pending in one worker. A node that gets no answer counts as
/// unconfirmed.
pub const PURGE_SYNCS_MAX: usize = 1024;
/// The longest fetch whose response is stored. A key's tombstone lives as long, so that no fetch
/// that began before a purge stores after it.
pub const FETCH_STORED_MAX: Duration = Duration::from_secs(600);
/// Time for which Redis keeps an unused purge log: longer than any entry that was stored under it.
pub const PURGE_LOG_KEPT: Duration = Duration::from_secs(2 * LIFETIME_MAX.as_secs());
/// Interval at which a worker that stores reads the purge log. The read extends its time to live,
/// and counts as a use, so that a Redis that evicts the least recently used keys keeps it.
pub const PURGE_LOG_RENEWED: Duration = Duration::from_secs(1);
/// Time after a change of the purge log in which entries are still checked against the last known
/// log: one round trip, in which a worker reads the new one. After it, each request reads the log
/// itself.
pub const PURGE_LOG_REVALIDATING_MAX: Duration = Duration::from_millis(20);
/// Earlier epochs of the purge log that a process remembers, to recognise one that Redis brings
/// back.
pub const PURGE_EPOCHS_REMEMBERED: usize = 16;
/// Keys that one request or purge reads from Redis at once, so that other requests find room.
pub const STORE_TOGETHER_MAX: usize = 8;
/// Counters of tags' changes in a process. Tags whose digests are equal here share a counter; a
/// change of one causes a further check of the entries of the others.
pub const TAG_CHANGE_COUNTERS: usize = 64 * 1024;

/// Length of a tag generation in Redis, more than any has.
pub const TAG_GENERATION_BYTES_MAX: u32 = 256;

/// Tag generations that a process caches. Others are read from Redis.
pub const TAG_GENERATIONS_MAX: usize = 64 * 1024;
/// Time for which Redis must be unreachable before memory serves entries that it cannot verify. So
/// a brief reconnect cannot undo a purge.
pub const MEMORY_ALONE_AFTER: Duration = Duration::from_secs(1);

// --- The registry of nodes -----------------------------------------------------------------------

/// Nodes that the registry lists, expired ones included.
pub const REGISTERED_NODES_MAX: usize = 1024;
/// The longest name in the registry: a host name or a `node_name`, and a port.
pub const REGISTERED_NAME_BYTES_MAX: usize = 80;
/// Time by which a registration outlives the memory of its node: the wait of a purge, and more than
/// that again for clocks that run apart.
pub const REGISTRATION_EXTRA: Duration = Duration::from_secs(5);
/// The longest pause between two renewals of a registration.
pub const REGISTRATION_INTERVAL_MAX: Duration = Duration::from_secs(5);
/// The shortest pause between two renewals of a registration.
pub const REGISTRATION_INTERVAL_MIN: Duration = Duration::from_millis(250);
/// The longest pause after a failed renewal.
pub const REGISTRATION_RETRY: Duration = Duration::from_secs(1);
/// Time for which an expired registration is listed: a server may count the connections of a dead
/// host as receivers until its keep-alive probes fail.
pub const NODE_LISTED: Duration = Duration::from_secs(15 * 60);
/// Syncs that a node leaves unanswered before purges do not wait for it any more.
pub const SILENT_SYNCS_MAX: u32 = 3;
/// Time after which an unconfirmed sync is repeated, if Redis has lost the registry: nodes are
/// connecting again.
pub const SYNC_REPEATED: Duration = Duration::from_millis(500);

// --- Memory tier ---------------------------------------------------------------------------------

/// Bytes of memory that an entry takes besides its encoding: key, links, index, the allocator's
/// rounding.
pub const MEMORY_ENTRY_OVERHEAD_BYTES: usize = 192;
/// The entry size from which the memory tier estimates its number of entries, to size its index
/// once.
pub const MEMORY_ENTRY_TYPICAL_BYTES: usize = 2 * KIB;
/// Entries for which the index is sized at the start. It grows if entries are smaller.
pub const MEMORY_ENTRIES_MAX: usize = 1 << 20;
/// Parts of the memory tier, each with its own lock, if each has room enough.
pub const MEMORY_SHARDS_MAX: usize = 64;
/// Entries of the largest size that one part must hold. An entry larger than its part is never
/// kept, and one that fills its part evicts all others.
pub const MEMORY_SHARD_ENTRIES_MIN: usize = 4;

/// Entries evicted from memory that are remembered, to measure how long they had been stale.
pub const DROPPED_REMEMBERED: usize = 1024;

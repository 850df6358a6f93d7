//! The bounds of what is stored: entries, purges, the memory tier.

use std::time::Duration;

use super::{KIB, MIB};

// --- Entries ---------------------------------------------------------------------------------------------------------

/// The largest body that `cache_max_body` may allow.
pub const BODY_BYTES_MAX: usize = 64 * MIB;
/// The largest block of stored header fields.
pub const ENTRY_HEAD_BYTES_MAX: usize = 64 * KIB;
/// Everything of an entry that is neither header block nor body.
pub const ENTRY_FIXED_BYTES_MAX: usize = 2 * KIB;
/// The largest encoded entry.
pub const ENTRY_BYTES_MAX: usize = entry_bytes_max(BODY_BYTES_MAX);
/// The largest encoded entry for bodies of at most so many bytes.
pub const fn entry_bytes_max(body_bytes_max: usize) -> usize {
    ENTRY_FIXED_BYTES_MAX + ENTRY_HEAD_BYTES_MAX + body_bytes_max
}
/// How far the clock of the node that stored an entry may be ahead: beyond it, the entry is refused.
pub const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(60);
/// How many request header fields one `Vary` may name.
pub const VARY_FIELDS_MAX: usize = 16;
/// How many bytes of JSON a compressed body may turn into, for each byte that `cache_max_body` allows.
pub const INFLATE_FACTOR_MAX: usize = 8;
/// How many bytes of what a body may decode to there have to be for each of its values: the check takes some fifty bytes
/// for a value, and a body that was not compressed cannot have more of them.
pub const JSON_VALUE_BYTES_MIN: usize = 2 * INFLATE_FACTOR_MAX;
/// The longest lifetime of anything stored: RFC 9111 §1.2.2 lets a cache stop counting at 2^31 s; a Redis that is
/// shared should forget sooner.
pub const LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest lifetime that is guessed from the last change of a response.
pub const HEURISTIC_LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long a response with a validator is kept past its lifetime, so that the origin can be asked about it.
pub const VALIDATION_KEPT: Duration = Duration::from_secs(10 * 60);
/// How long past its lifetime a response may stand in for an origin that cannot be reached, where nobody said anything
/// about that (RFC 9111 §4.2.4).
pub const DISCONNECTED_STALE_MAX: Duration = Duration::from_secs(60);
/// How many ranges of one body a client may ask for at a time; beyond it the whole is sent.
pub const RANGES_MAX: usize = 16;
/// How many names an entry may be purged by; what a response says beyond them is left out.
pub const TAGS_MAX: usize = 64;
/// How many cache groups of a response are followed.
pub const GROUPS_MAX: usize = 32;
/// The longest name of a cache group.
pub const GROUP_BYTES_MAX: usize = 128;

// --- Purges ----------------------------------------------------------------------------------------------------------

/// The longest tag that a response is followed by.
pub const TAG_BYTES_MAX: usize = 256;
/// The longest prefix that can be purged by.
pub const PREFIX_BYTES_MAX: usize = 512;
/// How many purges by prefix are remembered, until what they are of has expired.
pub const PREFIXES_MAX: usize = 64;
/// How many things one purge may be of.
pub const PURGE_SCOPES_MAX: usize = 1000;
/// How long a purge waits for the fleet to say that it holds.
pub const PURGE_ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// How many questions of that kind may wait in one worker; who gets no answer does not count as confirmed.
pub const PURGE_SYNCS_MAX: usize = 1024;
/// The longest that a fetch may take and still be stored. For so long a purge of a key is remembered under it, so that no
/// fetch that began before it stores after it.
pub const FETCH_STORED_MAX: Duration = Duration::from_secs(600);
/// How long the purge clock is kept without being used: longer than anything that was stored by it.
pub const CLOCK_KEPT: Duration = Duration::from_secs(2 * LIFETIME_MAX.as_secs());
/// How often a worker that stores looks at the clock: whether it has long enough to live, and so that a Redis that evicts what
/// was not used lately does not take it for such.
pub const CLOCK_RENEWED: Duration = Duration::from_secs(1);
/// How long entries are held against the last known state of the purge clock once it is known to have moved: as long as a
/// round trip may take that nobody waits for. Beyond it, who needs it asks.
pub const CLOCK_OUTRUN_MAX: Duration = Duration::from_millis(20);
/// How many keys one request or purge asks Redis about at a time: others have to find room beside it.
pub const STORE_TOGETHER_MAX: usize = 8;
/// How many tags' counters a process knows at a time; those of others are asked for.
pub const COUNTERS_MAX: usize = 64 * 1024;
/// How long Redis must have been away before memory serves what it cannot ask about. A connection that is lost and made
/// again opens no window in which a purge is undone.
pub const MEMORY_ALONE_AFTER: Duration = Duration::from_secs(1);

// --- Memory tier -----------------------------------------------------------------------------------------------------

/// What an entry costs in memory beside its bytes: key, links, index, the allocator's rounding.
pub const MEMORY_ENTRY_OVERHEAD_BYTES: usize = 192;
/// The size of entry from which the memory tier guesses how many it will hold, to size its index once.
pub const MEMORY_ENTRY_TYPICAL_BYTES: usize = 2 * KIB;
/// The most entries that the index is sized for at start; it grows if they are small.
pub const MEMORY_ENTRIES_MAX: usize = 1 << 20;
/// Parts of the memory tier, each with a lock of its own, where there is room for so many.
pub const MEMORY_SHARDS_MAX: usize = 64;
/// How many entries of the largest size one part holds: an entry that no part can hold is never kept, and one that
/// fills its part pushes out all others.
pub const MEMORY_SHARD_ENTRIES_MIN: usize = 4;

/// How many entries that memory let go of are remembered, to tell for how long they had been old.
pub const LET_GO_REMEMBERED: usize = 1024;

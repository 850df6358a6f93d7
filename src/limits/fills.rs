//! The bounds of fetches that are shared, and of what is remembered of keys.

use std::time::Duration;

use super::KIB;

/// Bytes of a body too large to store that a fill may hold for readers that lag behind.
pub const FILL_LAG_BYTES_MAX: usize = 256 * KIB;
/// How long a reader may hold a fill's window full before it is cut off, so that one slow client does not hold back the others.
pub const FILL_LAG_TIMEOUT: Duration = Duration::from_secs(5);
/// Fetches that are shared at one time in one process; beyond it each request goes alone.
pub const FILLS_MAX: usize = 16 * 1024;
/// Parts of the table of shared fetches, each with a lock of its own.
pub const FILL_SHARDS: usize = 64;
/// How long a refresh in the background may take, all in all.
pub const REFRESH_TIMEOUT: Duration = Duration::from_secs(60);
/// For how long a fetch is the whole fleet's, if its node says nothing more: what a node that dies costs the others.
pub const FETCH_LEASE: Duration = Duration::from_secs(2);
/// How often the node says more while it fetches.
pub const FETCH_LEASE_RENEWED: Duration = Duration::from_millis(500);
/// From what a fetch has to take on it is worth a question to the fleet: a hundred times what the question takes.
pub const FETCH_SLOW: Duration = Duration::from_millis(20);
/// How many keys are remembered whose fetch was slow.
pub const SLOW_KEYS_MAX: usize = 16 * 1024;
/// Bits in which the keys asked for of late are remembered, in each of two generations: a power of two.
pub const SIGHTS_BITS: usize = 1 << 21;
/// Keys of one generation; then the next one begins. At 16 bits a key, one in 400 is taken for another.
pub const SIGHTS_KEYS_MAX: usize = 128 * 1024;
/// How long a generation lasts, where there are fewer; and in what time the budget for first sights fills up.
pub const SIGHTS_REMEMBERED: Duration = Duration::from_secs(60);
/// How long what Redis has said of having no room is believed.
pub const ROOM_DOUBTED: Duration = Duration::from_secs(10);
/// How many uncacheable keys are remembered.
pub const UNCACHEABLE_KEYS_MAX: usize = 64 * 1024;
/// How long a key is remembered as uncacheable: as long as by Varnish. Where that is forgotten, of two that ask at once the
/// second waits for the first, and in vain.
pub const UNCACHEABLE_REMEMBERED: Duration = Duration::from_secs(120);
/// The same where it was for the status of an answer, which may be an error that passes.
pub const STATUS_REMEMBERED: Duration = Duration::from_secs(10);
/// How long Redis is taken to have nothing for such a key: another node may have stored something meanwhile.
pub const ABSENCE_REMEMBERED: Duration = Duration::from_secs(10);
/// How long it is left at that before it is remembered anew.
pub const UNCACHEABLE_RENEWED: Duration = Duration::from_secs(1);

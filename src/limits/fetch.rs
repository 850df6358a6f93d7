//! Limits of shared fetches, and of the records that the proxy keeps about keys.

use std::time::Duration;

use super::settings::KIB;

/// Bytes of a body too large to store that a shared fetch buffers for slower readers.
pub const FETCH_LAG_BYTES_MAX: usize = 256 * KIB;
/// Time for which a reader may keep the buffer of a shared fetch full. Then it is cut off, so that
/// one slow client does not hold back the others.
pub const FETCH_LAG_TIMEOUT: Duration = Duration::from_secs(5);
/// Concurrent shared fetches of one process. Beyond it, each request fetches alone.
pub const SHARED_FETCHES_MAX: usize = 16 * 1024;
/// Fetches of one key in progress whose responses answer the followers of a later one.
pub const EARLIER_FETCHES_MAX: usize = 8;
/// The most times that a request waits for `collapse_timeout`. Then it fetches alone.
pub const COLLAPSED_WAITS_MAX: usize = 8;
/// Parts of the table of shared fetches, each with its own lock.
pub const SHARED_FETCH_SHARDS: usize = 64;
/// The longest total duration of a background refresh.
pub const REFRESH_TIMEOUT: Duration = Duration::from_secs(60);
/// The first pause after a failed fetch of an entry for which a stale answer is served. In the
/// pause, the node does not fetch the entry again; each failure lengthens the pause.
pub const REFRESH_PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest such pause, without a `Retry-After`.
pub const REFRESH_PAUSE_MAX: Duration = Duration::from_secs(8);
/// The longest such pause by the origin's `Retry-After`, and the longest time for which the proxy
/// repeats a refusal: the origin may recover sooner than it expects.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Refusals of the origin, with `503` and `Retry-After`, that are remembered. Each has a digest of
/// 32 bytes and a time.
pub const ORIGIN_REFUSALS_MAX: usize = 16 * 1024;
/// Keys whose fetch failed that are remembered.
pub const REFRESH_PAUSES_MAX: usize = 16 * 1024;
/// Duration of the fleet's lease for one fetch without renewal: the delay that a node which dies
/// costs the others.
pub const FETCH_LEASE: Duration = Duration::from_secs(2);
/// Interval at which a fetching node renews its lease.
pub const FETCH_LEASE_RENEWED: Duration = Duration::from_millis(500);
/// The duration from which the proxy takes a lease in Redis for a fetch: a hundred times the cost
/// of the round trip.
pub const FETCH_SLOW: Duration = Duration::from_millis(20);
/// The most keys that are remembered for a slow fetch.
pub const SLOW_KEYS_MAX: usize = 16 * 1024;
/// Bits of each of the two Bloom filters that remember recently requested keys: a power of two.
pub const ADMISSION_FILTER_BITS: usize = 1 << 21;
/// Keys of one filter's generation; then the next generation begins. At 16 bits a key, one key in
/// 400 is mistaken for another.
pub const ADMISSION_FILTER_KEYS_MAX: usize = 128 * 1024;
/// The longest duration of a generation, and the time in which the storage budget for new keys
/// refills.
pub const ADMISSION_PERIOD: Duration = Duration::from_secs(60);
/// Time for which an out-of-memory error of Redis closes the admission of new keys.
pub const REDIS_FULL_REMEMBERED: Duration = Duration::from_secs(10);
/// The most keys that are remembered as uncacheable.
pub const UNCACHEABLE_KEYS_MAX: usize = 64 * 1024;
/// Time for which a key is remembered as uncacheable, as in Varnish. After it, the second of two
/// concurrent requests waits for the first and then fetches too.
pub const UNCACHEABLE_REMEMBERED: Duration = Duration::from_secs(120);
/// Time for which a key is remembered as uncacheable because of the status of an answer, which may
/// be a passing error.
pub const STATUS_REMEMBERED: Duration = Duration::from_secs(10);
/// Time for which requests for an uncacheable key skip the store after a lookup that found nothing.
/// The time is short, because this node misses every response that another node stores in it.
pub const ABSENCE_REMEMBERED: Duration = Duration::from_secs(10);
/// The least age at which the record of an uncacheable key is renewed.
pub const UNCACHEABLE_RENEWED: Duration = Duration::from_secs(1);
/// Time in which the content of a `QUERY` has to arrive. A slower client gets 408, and holds no
/// permit meanwhile.
pub const QUERY_CONTENT_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest `query_body_max`.
pub const QUERY_BODY_BYTES_MAX: usize = 1024 * 1024;

//! Limits of requests to the origin, and of the memory that the origin can cause.

use std::time::Duration;

use super::settings::KIB;

/// The longest response head of the origin.
pub const ORIGIN_HEAD_BYTES_MAX: usize = 64 * KIB;
/// The most header fields in one response head of the origin.
pub const ORIGIN_HEAD_FIELDS_MAX: usize = 256;
/// The most interim responses (1xx) before one response of the origin.
pub const ORIGIN_INTERIMS_MAX: usize = 64;
/// The most bytes that the origin may send between a request and the end of its response head: the
/// head, the interim responses, and the beginning of the body.
pub const ORIGIN_HEAD_PHASE_BYTES_MAX: u64 = 512 * 1024;
/// Time for which content waits for `100 Continue` of the origin. Then it is sent without (RFC 9110
/// §10.1.1).
pub const ORIGIN_CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of the chunk extensions of one response body.
pub const ORIGIN_CHUNK_EXTENSION_BYTES_MAX: usize = 16 * KIB;
/// Room for the first read of a response.
pub const ORIGIN_READ_BYTES_MIN: usize = 8 * KIB;
/// Room for a read of a response that fills its room.
pub const ORIGIN_READ_BYTES_MAX: usize = 64 * KIB;
/// Bytes of a piece of a request body that is copied behind the bytes in front of it, so that one
/// write takes both.
pub const ORIGIN_COPIED_BYTES_MAX: usize = 4 * KIB;
/// The smallest bound that hyper accepts for its read buffer.
pub const HYPER_BUFFER_BYTES_MIN: usize = 8 * KIB;
/// Addresses of the origin's name that are used.
pub const ORIGIN_ADDRESSES_MAX: usize = 64;
/// Addresses of the origin's name that one dial tries.
pub const ORIGIN_ADDRESS_ATTEMPTS_MAX: usize = 8;
/// Time between two resolutions of the origin's name while requests use it. The system's resolver
/// states no TTL.
pub const ORIGIN_RESOLVE_INTERVAL: Duration = Duration::from_secs(5);
/// Time for which a dial uses the resolved addresses without resolving the name again first.
pub const ORIGIN_RESOLVED_FRESH: Duration = Duration::from_secs(10);
/// Time for which the idle connections of an address are used after the name stopped resolving to
/// it.
pub const ORIGIN_ADDRESS_KEPT: Duration = Duration::from_secs(60);
/// Consecutive failures of one address, connects or answers of as many resources, that eject it.
pub const ORIGIN_ADDRESS_FAILURES: u32 = 3;
/// The first pause of an ejected address. It doubles with each failure after it.
pub const ORIGIN_EJECTION_MIN: Duration = Duration::from_secs(1);
/// The longest pause of an ejected address.
pub const ORIGIN_EJECTION_MAX: Duration = Duration::from_secs(30);
/// Time in use after which an address that fails again begins with the first pause.
pub const ORIGIN_EJECTION_REMEMBERED: Duration = Duration::from_secs(60);
/// Largest share by which the age of one connection stays below `origin_connection_max_age`.
pub const ORIGIN_CONNECTION_AGE_JITTER: f64 = 0.25;
/// Time for which an address is tried alone before the next one is tried as well (RFC 8305 §5).
pub const ORIGIN_ATTEMPT_HEAD_START: Duration = Duration::from_millis(250);
/// Idle time on a connection to the origin before the kernel sends a keep-alive probe, and the
/// interval between two probes.
pub const ORIGIN_KEEPALIVE: Duration = Duration::from_secs(15);
/// Time within which the pool notices that the origin has closed an idle connection.
pub const ORIGIN_IDLE_LOOK: Duration = Duration::from_secs(1);
/// Time before the announced end of an idle connection (`Keep-Alive: timeout`) from which it is not
/// used any more.
pub const ORIGIN_KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);
/// Concurrent requests to the origin that one worker always allows, whatever limit it has learned.
pub const ORIGIN_LIMIT_MIN: usize = 4;
/// The share of the permits for origin requests, and of the queue in front of them, that no single
/// client address takes: one in this many.
pub const ORIGIN_RESERVED_SHARE: usize = 4;
/// Requests of one worker that may wait for the origin. Further ones are refused at once.
pub const ORIGIN_QUEUE_MAX: usize = 1024;
/// Time of uninterrupted waiting after which a queue counts as a standing queue: a sign of
/// overload, since a passing burst would have drained.
pub const ORIGIN_QUEUE_STANDING: Duration = Duration::from_millis(100);
/// Time after a standing queue in which a new queue counts as standing at once.
pub const ORIGIN_QUEUE_RELAPSE: Duration = Duration::from_secs(1);
/// The longest wait in a standing queue, in permits that come free: few enough for a short wait,
/// and enough that a request is waiting for every permit.
pub const ORIGIN_QUEUE_TURNS: u32 = 4;
/// The wait that a standing queue allows in any case.
pub const ORIGIN_QUEUE_WAIT_MIN: Duration = Duration::from_millis(5);
/// Resources that must fail before the failures count against the origin. Failures of fewer count
/// against the resources.
pub const ORIGIN_RESOURCES_SEVERAL: u32 = 3;
/// Resources and collections whose recent results, good or bad, one worker remembers.
pub const ORIGIN_RESOURCES_KNOWN: usize = 1024;
/// Time for which a resource that has answered well counts as working.
pub const ORIGIN_RESOURCE_PROVEN: Duration = Duration::from_secs(10);
/// Duration of each of the two windows in which resources with signs of overload are compared with
/// resources without.
pub const ORIGIN_SIGNS_WINDOW: Duration = Duration::from_millis(500);
/// Consecutive failures, of connects or of answers of [`ORIGIN_RESOURCES_SEVERAL`] resources, after
/// which one worker opens its origin circuit breaker.
pub const ORIGIN_BREAKER_FAILURES: u32 = 10;
/// The shortest pause of an open breaker.
pub const ORIGIN_BREAKER_PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest pause of an open breaker: the traffic of an origin that recovers returns within a
/// second.
pub const ORIGIN_BREAKER_PAUSE_MAX: Duration = Duration::from_millis(750);
/// Interval at which the log repeats that the origin still fails.
pub const ORIGIN_OUTAGE_REMINDED: Duration = Duration::from_secs(60);
/// Ends of outages that the log records in that interval, so that an origin that alternates between
/// failing and answering does not flood it.
pub const ORIGIN_OUTAGES_LOGGED_MAX: u32 = 3;
/// Time for which bytes sent to the origin may stay unacknowledged before the kernel closes the
/// connection.
pub const ORIGIN_UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

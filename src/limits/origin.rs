//! The bounds of what is asked of the origin, and of what it can make us hold.

use std::time::Duration;

use super::KIB;

/// The longest response head that is read from the origin.
pub const ORIGIN_HEAD_BYTES_MAX: usize = 64 * KIB;
/// The smallest bound that hyper takes for its read buffer.
pub const HYPER_BUFFER_BYTES_MIN: usize = 8 * KIB;
/// How many addresses of the origin's name one dial tries.
pub const ORIGIN_ADDRESSES_MAX: usize = 8;
/// How long an address is tried alone before the next one is tried beside it (RFC 8305 §5).
pub const ORIGIN_ATTEMPT_HEAD_START: Duration = Duration::from_millis(250);
/// How long a connection to the origin is silent before the kernel asks whether the peer is still there, and between
/// two such questions.
pub const ORIGIN_KEEPALIVE: Duration = Duration::from_secs(15);
/// How long a connection that the origin has closed while it was idle may go unnoticed.
pub const ORIGIN_IDLE_LOOK: Duration = Duration::from_secs(1);
/// How long before the origin closes an idle connection, by its own word, it is not used any more.
pub const ORIGIN_KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);
/// Requests that one worker always asks the origin at one time, whatever that has shown it can do.
pub const ORIGIN_LIMIT_MIN: usize = 4;
/// Requests that wait for their turn at the origin, in one worker; beyond it they are refused at once.
pub const ORIGIN_QUEUE_MAX: usize = 1024;
/// How long somebody may have waited without a break before the queue is a standing one: then there is more load than
/// capacity, and no burst that passes.
pub const ORIGIN_QUEUE_STANDING: Duration = Duration::from_millis(100);
/// How long it is remembered that there was such a queue: one that forms within this time is no burst either.
pub const ORIGIN_QUEUE_RELAPSE: Duration = Duration::from_secs(1);
/// In a standing queue nobody waits longer than so many turns take to come free: few enough to be a short wait, and enough that
/// one who waits is there for every turn.
pub const ORIGIN_QUEUE_TURNS: u32 = 4;
/// But this long in any case.
pub const ORIGIN_QUEUE_WAIT_MIN: Duration = Duration::from_millis(5);
/// Failures in a row after which one worker does not ask the origin for a moment.
pub const ORIGIN_BREAKER_FAILURES: u32 = 10;
/// The shortest such moment.
pub const ORIGIN_BREAKER_PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest: an origin that is back has its traffic within a second.
pub const ORIGIN_BREAKER_PAUSE_MAX: Duration = Duration::from_millis(750);
/// How long bytes sent to the origin may stay unacknowledged before the kernel gives the connection up.
pub const ORIGIN_UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

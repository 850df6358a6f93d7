//! The bounds of what clients can make us hold or wait for.

use std::time::Duration;

use super::KIB;

/// The longest request head that is read; a longer one gets 431.
pub const CLIENT_HEAD_BYTES_MAX: usize = 64 * KIB;
/// The most header fields in one head, of a client or of the origin: as many as hyper parses without an allocation.
pub const HEAD_FIELDS_MAX: usize = 100;
/// Streams that one HTTP/2 client may have open.
pub const CLIENT_H2_STREAMS_MAX: u32 = 100;
/// Bytes of one HTTP/2 request body that may be on their way before the handler has taken any.
pub const CLIENT_H2_STREAM_BYTES_MAX: u32 = 64 * 1024;
/// The same for all request bodies of one HTTP/2 connection together.
pub const CLIENT_H2_CONNECTION_BYTES_MAX: u32 = 256 * 1024;
/// Bytes of one HTTP/2 response that may wait for the client to make room.
pub const CLIENT_H2_SEND_BYTES_MAX: usize = 64 * KIB;
/// The longest HTTP/2 header list, as RFC 9113 §6.5.2 counts it; a longer one gets 431. Less than over HTTP/1.1, where a
/// connection has one head and not one for each stream.
pub const CLIENT_H2_HEAD_BYTES_MAX: u32 = 16 * 1024;
/// Heads that one HTTP/2 client can have in our memory.
pub const CLIENT_H2_HEADS_BYTES_MAX: usize =
    CLIENT_H2_STREAMS_MAX as usize * CLIENT_H2_HEAD_BYTES_MAX as usize;
/// The largest HTTP/2 frame that is read: the smallest that can be set.
pub const CLIENT_H2_FRAME_BYTES_MAX: u32 = 16 * 1024;
/// What a client may have us remember of its header fields (RFC 7541 §4.2).
pub const CLIENT_H2_TABLE_BYTES_MAX: u32 = 4 * 1024;
/// Streams that a client may have opened and reset before they were accepted (CVE-2023-44487); beyond it, GOAWAY.
pub const CLIENT_H2_RESETS_MAX: usize = 20;
/// Streams that we may have reset for a client's errors (RUSTSEC-2024-0003, CVE-2025-8671); beyond it, GOAWAY.
pub const CLIENT_H2_ERRORS_MAX: usize = 64;
/// Bytes of a new connection that are read at most to tell HTTP/1.1 from HTTP/2.
pub const CLIENT_OPENING_BYTES_MAX: usize = 4 * KIB;
/// Bytes of an answer, head and body, that are copied together to be written as one piece.
pub const CLIENT_GATHERED_BYTES_MAX: usize = 2 * KIB;
/// Bytes of one line that are kept while the rest of it is on its way: a framing field with its value, and room.
pub const FRAMING_LINE_BYTES_MAX: usize = 64;
/// How long a client connection may be silent before the kernel asks whether it is still there.
pub const CLIENT_KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Between two such questions.
pub const CLIENT_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Questions without an answer after which the connection is gone.
pub const CLIENT_KEEPALIVE_PROBES: u32 = 3;
/// How long written bytes may stay unacknowledged, or the client's window closed, before the kernel gives up.
pub const CLIENT_UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(60);
/// How long after a shutdown has begun a connection may still send its next request. It is answered with `Connection: close`, so
/// whoever is about to ask is told, and not cut off.
pub const DRAIN_GRACE: Duration = Duration::from_millis(250);
/// In what time after that idle connections are closed, each at a moment of its own: between the last look at a socket and its
/// end, a request that comes is lost, and where thousands are closed in one turn of the loop that is milliseconds.
pub const DRAIN_SPREAD: Duration = Duration::from_millis(250);
/// How long a connection that we close with an answer may go on sending, so that the answer is not lost to a reset.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes that it may send in that time.
pub const LINGER_BYTES_MAX: usize = 256 * KIB;
/// Descriptors that may be open beside connections: listeners, runtimes, signals, files, questions to sentinels and to servers.
pub const DESCRIPTORS_BESIDE: u64 = 256;
/// How long to wait before accepting again when the process or the system is out of descriptors or memory.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// The longest request target that is cached; a longer one gets 414.
pub const TARGET_BYTES_MAX: usize = 16 * KIB;
/// The longest authority: a DNS name and a port.
pub const AUTHORITY_BYTES_MAX: usize = 261;

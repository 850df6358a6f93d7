//! Limits on the memory and the waiting that clients can cause.

use std::time::Duration;

use super::settings::KIB;

/// The longest request head. A longer one gets 431.
pub const CLIENT_HEAD_BYTES_MAX: usize = 64 * KIB;
/// The most header fields in one head of a client: the number that hyper parses without an
/// allocation.
pub const HEAD_FIELDS_MAX: usize = 100;
/// The most options that all `Connection` lines of one head may list, empty ones included. Each
/// option is compared with each field.
pub const CONNECTION_OPTIONS_MAX: usize = 64;
/// Bytes of a request id that a trusted proxy states. A longer one is replaced.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Bytes that one worker allocates at a time for the ids that it generates.
pub const REQUEST_ID_CHUNK_BYTES: usize = 4 * KIB;
/// Bytes of addresses and extensions of a PROXY header of version 2.
pub const PROXY_HEADER_BYTES_MAX: usize = 4 * KIB;
/// The most digits of a chunk size: those of a 64-bit number.
pub const CHUNK_SIZE_DIGITS_MAX: usize = 16;
/// The most open streams of one HTTP/2 client.
pub const CLIENT_H2_STREAMS_MAX: u32 = 100;
/// Bytes of one HTTP/2 request body that a client may send before the handler has read any.
pub const CLIENT_H2_STREAM_BYTES_MAX: u32 = 64 * 1024;
/// Bytes of all request bodies of one HTTP/2 connection that a client may send before the handlers
/// have read any.
pub const CLIENT_H2_CONNECTION_BYTES_MAX: u32 = 256 * 1024;
/// Bytes of one HTTP/2 response that may wait for the client to open its window.
pub const CLIENT_H2_SEND_BYTES_MAX: usize = 64 * KIB;
/// The longest HTTP/2 header list, counted as RFC 9113 §6.5.2 counts it: 32 bytes more for each
/// field. A longer one gets 431. A head that HTTP/1.1 accepts fits.
pub const CLIENT_H2_HEAD_BYTES_MAX: u32 = 64 * 1024 + 32 * 100;
/// The most bytes of heads that one HTTP/2 client can hold in memory.
pub const CLIENT_H2_HEADS_BYTES_MAX: usize =
    CLIENT_H2_STREAMS_MAX as usize * CLIENT_H2_HEAD_BYTES_MAX as usize;
/// The largest HTTP/2 frame that the server accepts: the smallest value that the protocol allows.
pub const CLIENT_H2_FRAME_BYTES_MAX: u32 = 16 * 1024;
/// The size of the HPACK dynamic table for a client's header fields (RFC 7541 §4.2).
pub const CLIENT_H2_TABLE_BYTES_MAX: u32 = 4 * 1024;
/// Streams that a client may open and reset before the server accepts them (CVE-2023-44487). Beyond
/// it, the server sends GOAWAY.
pub const CLIENT_H2_RESETS_MAX: usize = 20;
/// Streams that the server may reset for a client's errors (RUSTSEC-2024-0003, CVE-2025-8671).
/// Beyond it, the server sends GOAWAY.
pub const CLIENT_H2_ERRORS_MAX: usize = 64;
/// Bytes of a new connection that the server reads at most to distinguish HTTP/1.1 from HTTP/2.
pub const CLIENT_OPENING_BYTES_MAX: usize = 4 * KIB;
/// Bytes that a connection may send before the other connections of its worker have a turn.
pub const CLIENT_TURN_BYTES: usize = 32 * KIB;
/// The largest answer, head and body, that is copied into one buffer and sent with one write.
pub const CLIENT_GATHERED_BYTES_MAX: usize = 2 * KIB;
/// Bytes of interim responses (1xx) that wait for the client of one HTTP/1.1 connection to read.
/// Before one response, the origin sends at most
/// [`ORIGIN_INTERIMS_MAX`](crate::limits::ORIGIN_INTERIMS_MAX) of them.
pub const CLIENT_INTERIM_BYTES_MAX: usize = 16 * KIB;
/// Bytes of an incomplete line that the framing check keeps: a framing field with its value, and
/// some room.
pub const FRAMING_LINE_BYTES_MAX: usize = 64;
/// Bytes of a response that TLS encrypts at most before the client's socket takes them: two
/// records.
pub const CLIENT_TLS_BUFFER_BYTES_MAX: usize = 32 * KIB;
/// Unfinished TLS handshakes of one worker. Beyond it, a new one ends the oldest.
pub const TLS_HANDSHAKES_MAX: usize = 1024;
/// Idle time on a client connection before the kernel sends a keep-alive probe.
pub const CLIENT_KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Interval between two keep-alive probes to a client.
pub const CLIENT_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered keep-alive probes after which the kernel closes a client connection.
pub const CLIENT_KEEPALIVE_PROBES: u32 = 3;
/// Time after the start of a shutdown in which an idle connection may still send its next request.
/// The answer carries `Connection: close`, so the client learns of the end without losing a
/// request.
pub const DRAIN_GRACE: Duration = Duration::from_millis(250);
/// Period after [`DRAIN_GRACE`] in which each idle connection closes at a random moment. The server
/// loses a request that arrives between its last check of a socket and the close of this socket;
/// this gap lasts milliseconds if one turn of the loop closes thousands of sockets.
pub const DRAIN_SPREAD: Duration = Duration::from_millis(250);
/// Time for which the server keeps reading from a connection that it closes with an answer, so that
/// a reset does not destroy the answer.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes that the server reads at most in that time.
pub const LINGER_BYTES_MAX: usize = 256 * KIB;
/// Connections of clients to which the default of `max_connections` may be lowered without a
/// warning, where the system allows few open files.
pub const CONNECTIONS_USUAL: usize = 8192;
/// Descriptors that may be open besides connections: listeners, runtimes, signals, files,
/// connections to sentinels and for the topology.
pub const DESCRIPTORS_BESIDE: u64 = 256;
/// Wait before the next accept when the process or the system is out of descriptors or memory.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// Parts of a table of client addresses, each with a lock of its own.
pub const ADDRESS_SHARDS: usize = 64;
/// The slowest rate, in bytes a second, at which a client may take an answer or send its content.
/// Below it, the client uses up `client_body_timeout` or, with its content, `origin_body_timeout`.
pub const CLIENT_RATE_MIN: u32 = 256;
/// Checks within one `client_body_timeout` of whether the client takes its answers.
pub const CLIENT_PACE_SAMPLES: u32 = 4;
/// Idle time from which an HTTP/1.1 connection may be parked: the server drops hyper's state and
/// its buffers, and makes them again at the next byte. The timer of the limits finds the
/// connection, so it is parked up to a sample of its client's reading later.
pub const CLIENT_PARK_AFTER: Duration = Duration::from_secs(2);
/// Bytes of an HTTP/2 answer that the server hands to the stream at a time, so that it can drop the
/// rest of a body that the client does not take.
pub const CLIENT_H2_PIECE_BYTES_MAX: usize = 16 * KIB;
/// Bytes that a client's socket may hold unsent before it counts as full. The bound also limits the
/// interval at which a slow reader's progress is visible.
pub const CLIENT_UNSENT_BYTES_MAX: u32 = 128 * 1024;
/// The largest answer from memory that needs no permit of its client address.
pub const UNCOUNTED_HIT_BYTES_MAX: usize = 16 * KIB;
/// Values of `Age`, and of `Cache-Status` for each tier, that a thread keeps for later answers.
pub const SECONDS_VALUES_KEPT: usize = 256;
/// The longest request target that is cached. A longer one gets 414.
pub const TARGET_BYTES_MAX: usize = 16 * KIB;
/// The longest authority: a DNS name and a port.
pub const AUTHORITY_BYTES_MAX: usize = 261;
/// Authorities that a thread remembers with their text, so that it reads each of them once.
pub const AUTHORITIES_REMEMBERED: usize = 16;

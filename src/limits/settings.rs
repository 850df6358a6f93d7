//! Limits of settings, and the units of all limits.

use std::time::Duration;

/// One kibibyte.
pub const KIB: usize = 1024;
/// One mebibyte.
pub const MIB: usize = 1024 * KIB;

/// The shortest configurable timeout. Every wait has a timeout, so 0 is refused.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(1);
/// The longest configurable timeout.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// The longest `redis_timeout`: a cache slower than this is useless.
pub const REDIS_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// The most worker threads.
pub const WORKERS_MAX: usize = 256;
/// The most connections, to clients or to the origin, that a setting may allow.
pub const CONNECTIONS_MAX: usize = 1 << 20;
/// The longest backlog of a listener; the kernel cuts it to `net.core.somaxconn`.
pub const BACKLOG_MAX: usize = 65_535;
/// Connections that may be open on the admin listener at once, from scrapers and operators.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Connections of one address that may be open on the admin listener at once.
pub const ADMIN_CONNECTIONS_PER_ADDRESS_MAX: usize = 32;
/// The longest time for which an operator may read nothing of an answer.
pub const ADMIN_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest size of the memory tier: the limit of the address space.
pub const MEMORY_BYTES_MAX: usize = usize::MAX / 2;
/// The longest prefix of the keys in Redis: every key carries it.
pub const KEY_PREFIX_BYTES_MAX: usize = 64;
/// The longest path of a unix socket to listen on: the kernel's bound, less the suffix under which
/// the socket is made.
pub const SOCKET_PATH_BYTES_MAX: usize = 92;
/// Permissions of a unix socket to listen on: its user and its group may connect.
pub const SOCKET_MODE: u32 = 0o660;
/// Bytes of a file that holds a password or a token.
pub const SECRET_FILE_BYTES_MAX: usize = 4 * KIB;

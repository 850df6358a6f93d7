//! Limits of the keys that seal the values in Redis.

use super::settings::KIB;

/// Bytes of a key: AES-256 (RFC 8452 §4).
pub const KEY_BYTES: usize = 32;
/// Keys of one file: that of today, and those of the entries that have not expired.
pub const KEYS_MAX: usize = 16;
/// The longest id of a key.
pub const KEY_ID_BYTES_MAX: usize = 32;
/// The largest key file: all keys, and comments.
pub const KEY_FILE_BYTES_MAX: usize = 16 * KIB;
/// Values that one process seals with one key. RFC 8452 §6 bounds the loss of security for far more
/// than all processes of a fleet reach together.
pub const KEY_SEALS_MAX: u64 = 1 << 40;
/// Nonces for which a thread draws random bytes with one system call.
pub const NONCES_DRAWN_TOGETHER: usize = 64;

//! Sealing: authenticated encryption of the values in Redis, and the files with the keys of values
//! and of names.
//!
//! A seal is AES-256-GCM-SIV (RFC 8452). Its nonce has 96 random bits from the operating system;
//! a nonce that comes twice reveals only whether two equal values were sealed.
//!
//! **Always:** no output shows a key, and the program wipes the bytes of a key file after use.

mod key_file;
mod keys;
mod name_key_file;
mod nonce;
mod shared;
mod sizes;
mod value;

pub use key_file::{KeyFileError, KeyFileFault};
pub use keys::{KeyNumber, SealError, SealKey, SealKeys, UnsealError};
pub use nonce::SealNonce;
pub use shared::SharedSealKeys;
pub use sizes::{KEY_NUMBER_BYTES, NONCE_BYTES, TAG_BYTES};
pub use value::SEAL_BYTES;

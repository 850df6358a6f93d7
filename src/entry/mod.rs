//! Stored entries: self-describing bytes. `codec.rs` has the layout in memory, and `packed.rs`
//! packs them for Redis.
//!
//! Bytes from a store are untrusted: they can be damaged, truncated, of another version, of another
//! key, or hostile. [`decode`] returns an [`EntryError`] for each of these, and the caller counts
//! the error and treats the entry as a miss. An accepted entry was made by [`encode`] for this key,
//! as far as the digest, the checksum and `written.rs` can prove. The limit: without keys, a client
//! that can write to the store can still store anything that an origin could have sent.

mod codec;
mod error;
mod fields;
mod header;
mod inflate;
pub mod json;
mod packed;
mod value;
mod written;

pub use codec::{EntryDecoder, Provenance, decode, encode, history, key_name, received, with_checksum};
pub use error::{EncodeError, EntryError};
pub use header::{
    ENTRY_VERSION, EntryHeader, EntryVersion, HEADER_BYTES, KEY_GENERATION_END, KeyGeneration,
    PurgeGeneration, TagDigest, ValueKind, mark_stale, tombstone,
};
pub use json::{JsonCheck, JsonCheckError, JsonShape};
pub use packed::{
    CompressionPolicy, EntryPacker, EntrySeal, NamespaceDigest, PackError, PackedForm, UnpackedEntry,
};
pub use value::{Entry, StoredValue, Variants};

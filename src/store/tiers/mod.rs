//! The tiers: memory in front of Redis, and the lookups and writes of entries.

mod count;
pub(super) mod find;
pub(super) mod hot_keys;
pub(super) mod inspect;
pub(super) mod listing;
pub(super) mod memory;
pub(super) mod packing;
pub(super) mod put;
pub(super) mod sealed_seen;
pub(super) mod warm;

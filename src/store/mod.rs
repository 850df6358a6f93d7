//! The two tiers of the store: memory, then Redis.
//!
//! [`Store::find`] is the only lookup, [`Store::put`] the only write, and [`Store::purge`] the only
//! purge. Redis decides for the fleet. Memory answers without Redis while two conditions hold:
//! Redis would push an invalidation if the entry changed (`trust.rs`), and the entry has been
//! checked against every purge that this process knows (`purge/state.rs`). Memory answers alone
//! only in an outage of Redis (`alone.rs`), and then until the policy finds the entry stale.
//!
//! **Always:** a failure of Redis is a miss, never an error. Stored bytes pass
//! [`EntryDecoder::decode`](crate::entry::EntryDecoder::decode) for the requested key, or the
//! lookup is a miss. An answer fetched before a purge is not stored after it (`purge/permit.rs`).

mod alone;
mod fleet;
mod handle;
mod health;
mod lease;
mod lookup;
mod metrics;
mod namespace;
mod options;
mod purge;
mod scripts;
mod shared;
mod tiers;
mod together;
mod trust;

pub use fleet::registry::NodeRegistry;
pub use fleet::sync::{SyncAck, SyncRequest};
pub use fleet::waiting_writes::WriteConfirmation;
pub use handle::{Store, StoreRoom};
pub use health::RedisHealth;
pub use lease::{Lease, LeaseName, LeaseTurn};
pub use lookup::{Completeness, FoundValue, Lookup, MemoryUse, Tier};
pub use namespace::Namespace;
pub use options::Options;
pub use purge::changed::ChangedTags;
pub use purge::log::{PurgeLog, TagGeneration};
pub use purge::names::{
    CacheGroup, CacheTag, PurgeError, PurgeNameError, PurgeResult, PurgeScope, PurgeStrength, UrlPrefix,
};
pub use purge::permit::{FetchStart, StorePermit};
pub use shared::StoreShared;
pub use tiers::hot_keys::warm_list;
pub use tiers::inspect::{InspectedKey, TierConfirmation, TierContent};
pub use tiers::listing::listed_variants;
pub use tiers::put::PutRefusal;
pub use tiers::warm::WARM_TAKES_MAX;

pub use crate::entry::CompressionPolicy;
pub use crate::redis::{ConnectionState, Replication, ServerState};

#[cfg(test)]
mod tests;

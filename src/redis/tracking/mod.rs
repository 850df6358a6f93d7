//! Client-side caching (`CLIENT TRACKING`): which replies are still valid, and who is notified.

mod invalidations;
mod options;
#[cfg(test)]
pub(in crate::redis) mod recording;
mod table;

pub use invalidations::TrackedVersion;
pub(super) use invalidations::{ConnectionInvalidations, Invalidations};
pub use options::{ConnectedServer, KeyShare, TrackingListener, TrackingOptions};
pub(super) use options::{PublishScope, TrackingState};
pub use table::{TrackingTable, TrackingToken};

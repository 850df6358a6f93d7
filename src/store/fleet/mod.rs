//! The other nodes of the fleet: syncs and their acknowledgements, and the ends of their leases.

pub(super) mod lease_waiters;
pub(super) mod listener;
pub(super) mod sync;

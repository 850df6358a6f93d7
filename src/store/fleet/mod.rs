//! The fleet: the registration of its nodes, syncs and their acknowledgements, and the ends of
//! other nodes' leases.

pub(super) mod confirm;
mod envelope;
pub(super) mod lease_waiters;
pub(super) mod listener;
pub(super) mod membership;
pub(super) mod register;
pub(super) mod registry;
pub(super) mod round;
pub(super) mod sync;
pub(super) mod waiting_writes;
mod write_sync;

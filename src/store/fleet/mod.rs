//! The other nodes of the fleet: syncs and their acknowledgements.

pub(super) mod listener;
pub(super) mod sync;

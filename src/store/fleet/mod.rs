//! The other nodes of the fleet: syncs, and who has acknowledged them.

pub(super) mod listener;
pub(super) mod sync;

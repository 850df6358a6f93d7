//! The lease that lets one node of the fleet fetch a resource.

pub(super) mod turn;
pub(super) mod waiters;

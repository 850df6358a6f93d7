//! Admission: the limits on concurrent requests, and the choice of the keys that are stored.

pub(super) mod doorkeeper;
pub(super) mod load;
pub(super) mod write_rate;

//! Admission: how many requests are served at a time, and which keys are stored.

pub(super) mod doorkeeper;
pub(super) mod load;

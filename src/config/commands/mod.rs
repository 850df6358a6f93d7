//! The arguments of the commands that need more than settings.

pub(super) mod explain;
pub(super) mod operate;
pub(super) mod routes;

//! The lookup: finds a stored response and decides whether it answers the request.

pub(super) mod cached;
pub(super) mod find;
pub(super) mod location;

//! The look-up: where a response is stored, and whether it answers the request.

pub(super) mod cached;
pub(super) mod find;
pub(super) mod location;

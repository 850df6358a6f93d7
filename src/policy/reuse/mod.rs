//! The gate out of the store: whether a stored response answers a request, and with which part.

pub(super) mod conditions;
pub(super) mod decide;
pub(super) mod multipart;
pub(super) mod range;
pub(super) mod refresh;
pub(super) mod request;
pub(super) mod stale;
pub(super) mod vary;

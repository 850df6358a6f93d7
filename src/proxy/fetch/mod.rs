//! Shared fetches: one request to the origin for all concurrent requests of a key.
//!
//! The [`FetchTable`](table::FetchTable) holds the fetches in progress. [`join`] gives each request
//! its role, [`run`] is the fetch, in a task that outlives its client, and [`respond`] turns its
//! outcome into an answer. All requests read one
//! [`SharedBody`](crate::proxy::answer::shared_body::SharedBody) while it arrives: each byte
//! reaches every client at once, and the body is gathered in parallel, checked and stored when it
//! is whole.

mod active;
pub(super) mod direct;
mod gather;
mod head_digest;
pub(super) mod join;
pub(super) mod json_checks;
mod keep;
mod lease;
pub(super) mod pauses;
pub(super) mod post;
pub(super) mod refresh;
pub(super) mod refusals;
pub(super) mod request;
pub(super) mod respond;
mod response;
mod retry_after;
mod run;
pub(super) mod second_look;
pub(super) mod slow;
pub(super) mod stale_on_error;
pub(super) mod table;
pub(super) mod tags;
pub(super) mod tasks;
pub(super) mod uncacheable;

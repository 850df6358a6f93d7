//! The proxy: chooses the handler of a request, answers it from a store or from the origin, and
//! counts it. This module does not depend on Redis.
//!
//! [`respond`] begins the way of a request, and [`dispatch`] chooses its handler.
//! [`lookup::cached`] is the handler to read first. [`pass`] handles every request that bypasses
//! the cache. [`fetch`] sends one request to the origin for all concurrent requests of a key.
//! [`policy`](crate::policy) decides what the cache may do: every answer from a store or from a
//! shared fetch passes its checks.

mod admission;
mod answer;
mod dispatch;
mod explain;
mod fetch;
mod forward;
mod health;
mod lookup;
mod metrics;
mod on_write;
mod options;
mod pass;
mod popular;
mod purge;
mod query;
mod query_content;
mod recent_purges;
mod request;
mod respond;
mod rules;
mod shared;
mod tunnel;
mod unsafe_exchange;
mod worker;

pub use answer::body::{AdmittedBody, AnswerBody, BodyError};
pub use answer::outcome::cacheable_outcomes;
pub use explain::inspect::{InspectedRequest, QueryPassedError};
pub use options::{FetchLease, Options, ProbePaths};
pub use recent_purges::RecentPurge;
pub use request::Caller;
pub use respond::PendingResponse;
pub use shared::ProxyShared;
pub use worker::Proxy;

//! The admin listener, for operators. It never shares a port with clients.
//!
//! `/health`, `/ready` and `/metrics` are open to every peer that can connect: a supervisor and a
//! scraper have no token, and none of them shows a URL, a key or stored data. [`access`] guards
//! every other resource. The page `/` is open too: it has no figures, and asks for the token.

mod access;
mod body;
mod entries;
mod page;
mod problem;
mod purge;
mod query;
mod reload;
mod response;
mod series;
mod service;
mod stats;

pub use access::Options;
pub use reload::{ReloadOutcome, ReloadQueue, ReloadRequest};
pub use response::AdminResponse;
pub use service::AdminService;

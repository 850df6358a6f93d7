//! The JSON interface of purges: the order that an operator sends, and the outcome that the node
//! returns.
//!
//! [`read`] parses the body of a `POST /purge` strictly: an unknown or repeated member is an error,
//! so that exactly the named entries are purged. [`PurgeOutcome`] turns the result into a status
//! and a document. The store executes the purge.

mod document;
mod order;
mod outcome;

pub use document::{PurgeOrderError, read};
pub use order::{PurgeName, PurgeOrder};
pub use outcome::PurgeOutcome;

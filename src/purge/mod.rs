//! The interface of purges: the order that an operator sends as JSON, or a program as the fields of
//! a message, and the outcome that the node returns.
//!
//! [`read`] parses the body of a `POST /purge` strictly: an unknown or repeated member is an error,
//! so that exactly the named entries are purged. [`PurgeOutcome`] turns the result into a status
//! and a document. The store executes the purge. [`read_message`] parses an order that a program
//! writes to a Redis Stream.

mod document;
mod message;
mod order;
mod outcome;

pub use document::{PurgeOrderError, read};
pub use message::read_message;
pub use order::{PurgeName, PurgeOrder};
pub use outcome::PurgeOutcome;

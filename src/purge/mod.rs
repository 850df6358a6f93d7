//! A purge in words: what an operator asks for, and what is told of it.
//!
//! [`read`] turns the body of a `POST /purge` into an [`PurgeOrder`], strictly: whoever purges
//! wants to know that just that was purged, so an unknown or repeated member is an error and not a
//! guess. [`PurgeOutcome`] turns what became of it into a status and a document. How it is done is
//! the store's.

mod order;
mod outcome;

pub use order::{PurgeName, PurgeOrder, PurgeOrderError, read};
pub use outcome::PurgeOutcome;

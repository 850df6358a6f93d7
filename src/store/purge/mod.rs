//! Purges: their names, the fleet's log of them, and their effect on entries and fetches.

pub(super) mod apply;
mod cached;
pub(super) mod changed;
mod history;
pub(super) mod hold;
mod judge;
mod known_purges;
pub(super) mod local;
pub(super) mod log;
pub(super) mod names;
pub(super) mod permit;
mod prefixes;
pub(super) mod query;
pub(super) mod read;
pub(super) mod recent;
pub(super) mod remembered;
pub(super) mod repeat;
pub(super) mod runs;
mod sealed_prefix;
pub(super) mod state;
pub(super) mod tag_changes;
mod unless_held;
pub(super) mod verdict;
pub(super) mod watch;
mod write;
